//! `POST /api/v1/activations`: which units fire on a text.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rows::{Form, Rows, streamed};
use crate::pipeline::queries::{self, Parameter};
use crate::server::App;
use crate::server::body::Body;
use crate::server::problem::Problem;

/// Bytes of a text at most.
const LONGEST_TEXT: usize = 100_000;

/// A text to run a subject model over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passage {
    /// The model, as the server was started with it; its first one when left out.
    model: Option<String>,
    /// The text, at most 100,000 bytes.
    text: String,
    /// Hook points; * stands for anything.
    #[serde(default = "every")]
    hook_point: String,
    /// An SQL condition on hook_point, layer, neuron, position, token and activation.
    #[serde(rename = "where", default)]
    condition: Option<String>,
    /// Rows at most, those with the largest activations. They are sent as they come and there is no upper bound, hence no pages.
    #[serde(default = "thousand")]
    limit: u32,
}

fn every() -> String {
    "blocks.*.mlp.hook_post".to_owned()
}

fn thousand() -> u32 {
    1_000
}

/// Units that fire on a text.
///
/// A row a unit and token, the largest activations first.
#[utoipa::path(
    post,
    path = "/api/v1/activations",
    request_body = Passage,
    responses(
        (status = OK, body = Rows),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used."),
        (status = FORBIDDEN, body = Problem, content_type = "application/problem+json", description = "A model that the server was not started with.")
    )
)]
pub(super) async fn activations(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(passage): Body<Passage>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    if passage.text.len() > LONGEST_TEXT {
        return Err(Problem::argument(format!(
            "text: expected at most {LONGEST_TEXT} bytes, got {}",
            passage.text.len()
        )));
    }
    let model = passage.model.or_else(|| app.models.first().cloned());
    let model = model.ok_or_else(|| Problem::argument("model: the server was started without one"))?;
    let condition =
        passage.condition.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("where", text))?;
    let values = [
        ("model", Parameter::Text(model)),
        ("text", Parameter::Text(passage.text)),
        ("hook_point", Parameter::Text(passage.hook_point)),
        ("condition", condition),
        ("limit", Parameter::Integer(passage.limit.into())),
    ];
    let values: Vec<_> = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let sql = queries::find("listed_activations")?.bind(&values)?;
    streamed(form, app.gate.query(&sql).await?).await
}
