//! What the OpenAPI document says of the whole: the token, and the faults that every request may meet.

use utoipa::openapi::path::PathItem;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{Modify, OpenApi};

use crate::server::problem::Problem;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "neuronlake",
        description = "Explanations, simulations and scores of neurons and latents. Lists come as JSON or, with 'Accept: \
                       application/vnd.apache.arrow.stream', as Arrow IPC. Faults are problem details (RFC 9457) whose 'type' stays \
                       the same. A server that was started with a token answers nobody without it."
    ),
    components(schemas(Problem)),
    modifiers(&Token),
    security((), ("token" = []))
)]
pub(super) struct Document;

/// The header that a server with a token looks for.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The document with what no single function knows: that any request may be refused, stopped by a limit, or fail.
pub(super) fn whole(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let everywhere = [
        ("401", "The server has a token, and it was not in the header."),
        ("default", "Another fault, told apart by 'type': a limit of the server, a refusal, a fault of its own."),
    ];
    for PathItem { get, post, .. } in document.paths.paths.values_mut() {
        for operation in [get, post].into_iter().flatten() {
            for (status, description) in everywhere {
                let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                let response =
                    ResponseBuilder::new().description(description).content("application/problem+json", content);
                operation.responses.responses.insert(status.to_owned(), RefOr::T(response.build()));
            }
        }
    }
    document
}
