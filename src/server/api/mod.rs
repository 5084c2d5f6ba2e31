//! The interface for programs: `/api/v1`, described by an OpenAPI document that is made from these functions.
//!
//! Every list of rows comes as JSON or, where the request accepts it, as a stream of Arrow IPC.

mod activations;
mod catalog;
mod document;
mod page;
mod rows;
mod scores;
mod search;
mod sql;
mod units;

use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::{Router, routing};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use document::Document;

/// A piece of a path, with everything but letters, digits and -._~ encoded.
fn percent_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// What is below `/api/v1`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(catalog::tables))
        .routes(routes!(catalog::functions))
        .routes(routes!(catalog::models))
        .routes(routes!(units::units))
        .routes(routes!(units::unit))
        .routes(routes!(units::records))
        .routes(routes!(scores::score))
        .routes(routes!(scores::changes))
        .routes(routes!(search::search))
        .routes(routes!(activations::activations))
        .routes(routes!(sql::sql))
        .split_for_parts();
    let document: Arc<str> = document::whole(document).to_pretty_json().expect("the document is plain data").into();
    router.with_state(app).route(
        "/api/v1/openapi.json",
        routing::get(move || {
            let document = Arc::clone(&document);
            async move { ([(CONTENT_TYPE, "application/json")], document.to_string()) }
        }),
    )
}
