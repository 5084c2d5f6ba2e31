//! `GET /api/v1/search`: explanations by words and meaning.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::page::Page;
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
    /// Rows of a page, 1 to 1,000.
    #[serde(default = "twenty")]
    limit: u32,
    /// Rows to leave out before the first, at most 100,000.
    #[serde(default)]
    offset: u32,
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
        (status = OK, body = Rows, description = "A page; 'next' (JSON) or the header Link (Arrow) leads on."),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used.")
    )
)]
pub(super) async fn search(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Fields(wanted): Fields<Wanted>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let size = Page::of_ranking(wanted.limit, wanted.offset)?;
    let condition =
        wanted.condition.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("where", text))?;
    let name = match wanted.mode {
        Mode::Keyword => "keyword",
        Mode::Semantic => "semantic",
        Mode::Hybrid => "hybrid",
    };
    let values = [("words", Parameter::Text(wanted.q.clone())), ("condition", condition), size.top()];
    let found = app.gate.ask(name, &values).await?;
    let rows = size.after_offset(&found.batches);
    let others = [("q", Some(wanted.q)), ("mode", Some(name.to_owned())), ("where", wanted.condition)];
    page(form, &found.schema, &size.cut(&rows), size.next("/api/v1/search", &others, &rows))
}
