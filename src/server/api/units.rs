//! Units: lists of them, and what there is of one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::page::Page;
use super::rows::{Form, Rows, page};
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::body::Fields;
use crate::server::gate::Asked;
use crate::server::problem::Problem;
use crate::server::rows::array;

/// Which units, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// An SQL condition on the columns of the answer, such as layer >= 8 AND score > 0.5.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// An SQL expression to order by; by model, hook point, neuron and corpus where it is equal.
    order: Option<String>,
    /// Whether the largest come first. Rows without a value come last either way.
    #[serde(default)]
    descending: bool,
    /// Rows of a page, 1 to 1,000.
    #[serde(default = "hundred")]
    limit: u32,
    /// Rows to leave out before the first; rows that are written meanwhile shift those after them.
    #[serde(default)]
    offset: u32,
}

fn hundred() -> u32 {
    100
}

/// List units.
///
/// Statistics, the best explanation and its score, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/units",
    params(Wanted),
    responses(
        (status = OK, body = Rows, description = "A page; 'next' (JSON) or the header Link (Arrow) leads on."),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used.")
    )
)]
pub(super) async fn units(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Fields(wanted): Fields<Wanted>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let size = Page::new(wanted.limit, wanted.offset)?;
    let condition =
        wanted.condition.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("where", text))?;
    let key =
        wanted.order.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("order", text))?;
    let mut values =
        vec![("condition", condition), ("key", key), ("descending", Parameter::Integer(wanted.descending.into()))];
    values.extend(size.values());
    let found = app.gate.ask("listed_units", &values).await?;
    let others = [
        ("where", wanted.condition),
        ("order", wanted.order),
        ("descending", wanted.descending.then(|| "true".to_owned())),
    ];
    let rows = size.cut(&found.batches);
    page(form, &found.schema, &rows, size.next("/api/v1/units", &others, &found.batches))
}

/// A unit, as its path says it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Key {
    /// Id of the subject model.
    model: String,
    /// Name of the hook point.
    hook_point: String,
    /// 0-based index.
    neuron: u32,
}

impl Key {
    pub(super) fn values(&self) -> [(&'static str, Parameter); 3] {
        [
            ("model", Parameter::Text(self.model.clone())),
            ("hook_point", Parameter::Text(self.hook_point.clone())),
            ("neuron", Parameter::Integer(self.neuron.into())),
        ]
    }

    fn missing(&self) -> Problem {
        Problem::not_found(format!(
            "the lake holds nothing of neuron {} of hook point '{}' of model '{}'",
            self.neuron, self.hook_point, self.model
        ))
    }
}

/// What there is of a unit, but for its records.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the text that is put together from Arrow's")]
pub(super) struct Unit {
    /// Statistics, an object a corpus: the columns of table neurons.
    #[schema(value_type = Vec<Object>)]
    statistics: Vec<()>,
    /// Explanations with provenance.
    #[schema(value_type = Vec<Object>)]
    explanations: Vec<()>,
    /// Every score of these explanations: the columns of table scores.
    #[schema(value_type = Vec<Object>)]
    scores: Vec<()>,
}

/// One unit.
///
/// Its statistics, its explanations, and every score that there is of them.
#[utoipa::path(
    get,
    path = "/api/v1/units/{model}/{hook_point}/{neuron}",
    params(Key),
    responses(
        (status = OK, body = Unit),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "The lake holds nothing of it.")
    )
)]
pub(super) async fn unit(State(app): State<Arc<App>>, Path(key): Path<Key>) -> Result<Response, Problem> {
    let values = key.values();
    let (statistics, explanations, scores) = tokio::try_join!(
        app.gate.ask("listed_statistics", &values),
        app.gate.ask("listed_explanations", &values),
        app.gate.ask("listed_scores", &values)
    )?;
    let n_rows = |asked: &Asked| asked.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    if n_rows(&statistics) + n_rows(&explanations) == 0 {
        return Err(key.missing());
    }
    let [statistics, explanations, scores] = [&statistics, &explanations, &scores].map(|asked| array(&asked.batches));
    let body = format!("{{\"statistics\":{},\"explanations\":{},\"scores\":{}}}", statistics?, explanations?, scores?);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Records {
    /// An SQL condition on the columns of the answer, such as sample = 'top' AND split = 'valid'.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// Rows of a page, 1 to 1,000.
    #[serde(default = "hundred")]
    limit: u32,
    /// Rows to leave out before the first.
    #[serde(default)]
    offset: u32,
}

/// Activation records of a unit.
///
/// Windows chosen for it, with tokens and activations.
#[utoipa::path(
    get,
    path = "/api/v1/units/{model}/{hook_point}/{neuron}/records",
    params(Key, Records),
    responses(
        (status = OK, body = Rows, description = "A page; 'next' (JSON) or the header Link (Arrow) leads on."),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A value that cannot be used.")
    )
)]
pub(super) async fn records(
    State(app): State<Arc<App>>,
    Path(key): Path<Key>,
    headers: HeaderMap,
    Fields(wanted): Fields<Records>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let size = Page::new(wanted.limit, wanted.offset)?;
    let condition =
        wanted.condition.as_deref().map_or(Ok(Parameter::everything()), |text| Parameter::condition("where", text))?;
    let mut values = key.values().to_vec();
    values.push(("condition", condition));
    values.extend(size.values());
    let found = app.gate.ask("listed_records", &values).await?;
    let of = |text: &str| super::percent_encoded(text);
    let path = format!("/api/v1/units/{}/{}/{}/records", of(&key.model), of(&key.hook_point), key.neuron);
    let rows = size.cut(&found.batches);
    page(form, &found.schema, &rows, size.next(&path, &[("where", wanted.condition)], &found.batches))
}
