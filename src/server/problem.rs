//! Faults as answers: RFC 9457 problem details, with types that stay.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::LimitReached;
use crate::error::Error;

/// What went wrong, for a program and for a person.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of fault, as a reference below the server: `/problems/query`.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The status in digits.
    status: u16,
    /// What happened this time.
    detail: String,
}

impl Problem {
    /// A fault of a kind.
    pub(crate) fn new(kind: &str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{kind}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// Nothing of that name.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new("not-found", StatusCode::NOT_FOUND, detail)
    }

    /// A value that cannot be used.
    pub(crate) fn argument(detail: impl Into<String>) -> Self {
        Self::new("argument", StatusCode::BAD_REQUEST, detail)
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What happened.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let error = error.itself();
        let (kind, status) = kind(error);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "a request failed");
        }
        Self::new(kind, status, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// Whose fault it is.
fn kind(error: &Error) -> (&'static str, StatusCode) {
    match error {
        Error::Limit(LimitReached::Busy { .. }) => ("busy", StatusCode::SERVICE_UNAVAILABLE),
        Error::Limit(LimitReached::Time { .. }) => ("time", StatusCode::UNPROCESSABLE_ENTITY),
        Error::Limit(LimitReached::Rows { .. }) => ("rows", StatusCode::UNPROCESSABLE_ENTITY),
        Error::Limit(LimitReached::Memory { .. }) => ("memory", StatusCode::UNPROCESSABLE_ENTITY),
        Error::Limit(LimitReached::Stalled) => ("stalled", StatusCode::REQUEST_TIMEOUT),
        Error::Refused { .. } | Error::Leak { .. } => ("refused", StatusCode::FORBIDDEN),
        Error::BudgetReached { .. } => ("budget", StatusCode::PAYMENT_REQUIRED),
        // What the model's side of the line said, or did not say.
        Error::ApiKeyRefused { .. }
        | Error::CompletionRefused { .. }
        | Error::CompletionFailed { .. }
        | Error::ReplyMalformed { .. } => ("model", StatusCode::BAD_GATEWAY),
        Error::ContextTooShort { .. }
        | Error::LogProbabilitiesMissing { .. }
        | Error::LogProbabilitiesShifted { .. }
        | Error::Untrustworthy { .. } => ("model", StatusCode::UNPROCESSABLE_ENTITY),
        Error::LengthMismatch { .. }
        | Error::MetricUnknown { .. }
        | Error::ModelNotFound { .. }
        | Error::SequencesMissing { .. }
        | Error::SequenceTooLong { .. }
        | Error::SplitFractions { .. }
        | Error::SplitStrategyUnknown { .. }
        | Error::TokenOutOfRange { .. } => ("argument", StatusCode::BAD_REQUEST),
        Error::DataFusion(error) => match error.find_root() {
            // A file of the lake that cannot be read.
            DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
                ("internal", StatusCode::INTERNAL_SERVER_ERROR)
            }
            // Whatever else the engine says it says about the statement: values that cannot be cast, plans it cannot make.
            _ => ("query", StatusCode::BAD_REQUEST),
        },
        usage if usage.exit_code() == 2 => ("argument", StatusCode::BAD_REQUEST),
        _ => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, [(CONTENT_TYPE, "application/problem+json")], Json(&self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
