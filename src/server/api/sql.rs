//! `POST /api/v1/sql`: a query of the caller's own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use datafusion::common::ScalarValue;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::rows::{Form, Rows, streamed};
use crate::server::App;
use crate::server::body::Body;
use crate::server::problem::Problem;

/// A query.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    /// One SQL statement.
    sql: String,
    /// Values of $1, $2, …: texts, numbers, booleans or null.
    #[serde(default)]
    #[schema(value_type = Vec<Value>)]
    parameters: Vec<Value>,
}

/// Run a query.
///
/// Rows are streamed as they are found. A fault after the first rows cuts the answer short, so that it is no valid JSON.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    request_body = Statement,
    responses(
        (status = OK, body = Rows, description = "The rows, as JSON or as a stream of Arrow IPC."),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "The statement cannot be run."),
        (status = FORBIDDEN, body = Problem, content_type = "application/problem+json", description = "It would do more than read."),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json", description = "It reached a limit of time, rows or memory."),
        (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json", description = "Too many queries are running: try again.")
    )
)]
pub(super) async fn sql(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(statement): Body<Statement>,
) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let mut planned = app.gate.plan(&statement.sql).await?;
    if !statement.parameters.is_empty() {
        let values = statement
            .parameters
            .iter()
            .enumerate()
            .map(|(at, value)| scalar(at, value))
            .collect::<Result<Vec<_>, _>>()?;
        planned = planned.with_values(values)?;
    }
    streamed(form, app.gate.run(planned).await?).await
}

fn scalar(at: usize, value: &Value) -> Result<ScalarValue, Problem> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => ScalarValue::from(integer),
            (None, Some(number)) => ScalarValue::from(number),
            (None, None) => {
                return Err(Problem::argument(format!(
                    "parameter {}: expected a number of 64 bits, got {number}",
                    at + 1
                )));
            }
        },
        Value::String(text) => ScalarValue::from(text.as_str()),
        Value::Array(_) | Value::Object(_) => {
            return Err(Problem::argument(format!(
                "parameter {}: expected a text, number, boolean or null, got {value}",
                at + 1
            )));
        }
    })
}
