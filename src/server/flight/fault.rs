//! Faults as gRPC statuses: the same kinds as for HTTP, and the same words.

use axum::http::StatusCode;
use tonic::{Code, Status};

use crate::error::Error;
use crate::server::limits::LimitReached;
use crate::server::problem::Problem;

/// Bytes of a message at most: it travels in a header, percent-encoded, and clients take 16 kB of headers.
const LONGEST_MESSAGE: usize = 4_000;

/// The fault as a status, with its text as the message.
pub(super) fn status(error: &Error) -> Status {
    let problem = Problem::from(error);
    let code = match error.itself() {
        Error::Limit(LimitReached::Time { .. }) => Code::DeadlineExceeded,
        Error::Limit(LimitReached::Rows { .. } | LimitReached::Memory { .. }) => Code::ResourceExhausted,
        Error::Limit(LimitReached::Busy { .. }) => Code::Unavailable,
        Error::Limit(LimitReached::Stalled) => Code::Aborted,
        _ => match problem.status() {
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::PAYMENT_REQUIRED => Code::ResourceExhausted,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::BAD_REQUEST => Code::InvalidArgument,
            StatusCode::UNPROCESSABLE_ENTITY => Code::FailedPrecondition,
            StatusCode::BAD_GATEWAY => Code::Unavailable,
            _ => Code::Internal,
        },
    };
    Status::new(code, shortened(problem.detail()))
}

/// The fault of a caller who sent what cannot be read.
pub(super) fn unreadable(what: &str, reason: impl std::fmt::Display) -> Status {
    Status::invalid_argument(shortened(&format!("{what} cannot be read: {reason}")))
}

/// The start of a text that is too long for a header.
fn shortened(text: &str) -> String {
    match text.len() > LONGEST_MESSAGE {
        true => format!("{}…", &text[..text.floor_char_boundary(LONGEST_MESSAGE)]),
        false => text.to_owned(),
    }
}
