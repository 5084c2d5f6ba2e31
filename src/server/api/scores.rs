//! What moved between two versions of the score table, and what an explanation of one's own scores.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::page::Page;
use super::rows::{Form, Rows, page};
use super::units::Key;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::body::{Body, Fields};
use crate::server::limits::LONGEST_EXPLANATION;
use crate::server::problem::Problem;

/// Which scores of which versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Version of the score table before.
    before: u32,
    /// Version of the score table after.
    after: u32,
    /// What happened to the score.
    #[param(inline)]
    change: Change,
    /// The metric that is compared.
    #[serde(default = "usual_metric")]
    metric: String,
    /// The windows that it was computed over.
    #[serde(default = "usual_sample_set")]
    sample_set: String,
    /// Rows of a page, 1 to 1,000: those that moved furthest come first.
    #[serde(default = "fifty")]
    limit: u32,
    /// Rows to leave out before the first, at most 100,000.
    #[serde(default)]
    offset: u32,
}

/// What happened to a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Change {
    Rose,
    Fell,
    Appeared,
    Vanished,
    /// It has no value in one version.
    Undefined,
    Same,
}

impl Change {
    /// As the query knows it.
    fn name(self) -> &'static str {
        match self {
            Self::Rose => "rose",
            Self::Fell => "fell",
            Self::Appeared => "appeared",
            Self::Vanished => "vanished",
            Self::Undefined => "undefined",
            Self::Same => "same",
        }
    }
}

fn usual_metric() -> String {
    "ev_correlation".to_owned()
}

fn usual_sample_set() -> String {
    "top_and_random".to_owned()
}

fn fifty() -> u32 {
    50
}

/// Compare versions of the score table.
///
/// The scores that rose, fell, appeared or vanished most, with the runs that wrote them.
#[utoipa::path(
    get,
    path = "/api/v1/scores/changes",
    params(Wanted),
    responses(
        (status = OK, body = Rows, description = "A page; 'next' (JSON) or the header Link (Arrow) leads on."),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used, or a version that is not there.")
    )
)]
pub(super) async fn changes(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Fields(wanted): Fields<Wanted>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let size = Page::of_ranking(wanted.limit, wanted.offset)?;
    let values = [
        ("before", Parameter::Integer(wanted.before.into())),
        ("after", Parameter::Integer(wanted.after.into())),
        ("metric", Parameter::Text(wanted.metric.clone())),
        ("sample_set", Parameter::Text(wanted.sample_set.clone())),
        ("change", Parameter::Text(wanted.change.name().to_owned())),
        size.top(),
    ];
    let found = app.gate.ask("compare_version_changes", &values).await?;
    let others = [
        ("before", Some(wanted.before.to_string())),
        ("after", Some(wanted.after.to_string())),
        ("change", Some(wanted.change.name().to_owned())),
        ("metric", Some(wanted.metric)),
        ("sample_set", Some(wanted.sample_set)),
    ];
    let rows = size.after_offset(&found.batches);
    page(form, &found.schema, &size.cut(&rows), size.next("/api/v1/scores/changes", &others, &rows))
}

/// An explanation to be simulated and scored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Explanation {
    /// What the unit is said to respond to, at most 10,000 characters.
    text: String,
    /// The corpus of the windows it is scored on.
    corpus: String,
    /// Held-out windows of each sample, the first so many.
    #[serde(default = "five")]
    windows: u32,
}

fn five() -> u32 {
    5
}

/// Score an explanation.
///
/// Simulates it on the unit's windows that no explainer saw, by the server's simulator, and scores the simulation: a row a set of
/// windows. No table is written.
#[utoipa::path(
    post,
    path = "/api/v1/units/{model}/{hook_point}/{neuron}/score",
    params(Key),
    request_body = Explanation,
    responses(
        (status = OK, body = Rows),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used, or a server without a simulator.")
    )
)]
pub(super) async fn score(
    State(app): State<Arc<App>>,
    Path(key): Path<Key>,
    headers: HeaderMap,
    Body(explanation): Body<Explanation>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let Some(simulator) = app.simulator.clone() else {
        return Err(Problem::argument("the server has no simulator to score with: it was started without --simulator"));
    };
    let n_characters = explanation.text.chars().count();
    if n_characters == 0 || n_characters > LONGEST_EXPLANATION {
        return Err(Problem::argument(format!(
            "text: expected 1 to {LONGEST_EXPLANATION} characters, got {n_characters}"
        )));
    }
    let mut values = key.values().to_vec();
    values.extend([
        ("corpus", Parameter::Text(explanation.corpus)),
        ("text", Parameter::Text(explanation.text)),
        ("simulator", Parameter::Text(simulator)),
        ("windows", Parameter::Integer(explanation.windows.into())),
    ]);
    let found = app.gate.ask("neuron_own_score", &values).await?;
    page(form, &found.schema, &found.batches, None)
}
