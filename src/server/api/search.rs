//! `GET /api/v1/search`: explanations by words and meaning.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::rows::{Form, Rows, page};
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::body::Fields;
use crate::server::problem::Problem;

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Words.
    q: String,
    /// By what.
    #[serde(default)]
    #[param(inline)]
    mode: Mode,
    /// An SQL condition on layer, score, text and the other columns of searchable_explanations; it holds before the best are taken.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// Rows at most, 1 to 1,000.
    #[serde(default = "twenty")]
    limit: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// BM25 over words.
    #[default]
    Keyword,
    /// Cosine of sentence vectors; needs the encoder that 'neuronlake pull minilm' fetches.
    Semantic,
    /// Both by reciprocal rank fusion.
    Hybrid,
}

fn twenty() -> u32 {
    20
}

/// Search explanations.
///
/// By words, by meaning or by both; each row has the score it was ranked by.
#[utoipa::path(
    get,
    path = "/api/v1/search",
    params(Wanted),
    responses(
        (status = OK, body = Rows),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used.")
    )
)]
pub(super) async fn search(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Fields(wanted): Fields<Wanted>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    if !(1..=1_000).contains(&wanted.limit) {
        return Err(Problem::argument(format!("limit: expected 1 to 1000, got {}", wanted.limit)));
    }
    let condition =
        wanted.condition.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("where", text))?;
    let name = match wanted.mode {
        Mode::Keyword => "keyword",
        Mode::Semantic => "semantic",
        Mode::Hybrid => "hybrid",
    };
    let values = [
        ("words", Parameter::Text(wanted.q)),
        ("condition", condition),
        ("top", Parameter::Integer(wanted.limit.into())),
    ];
    let found = app.gate.ask(name, &values).await?;
    page(form, &found.schema, &found.batches, None)
}
