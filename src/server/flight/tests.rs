//! Faults as statuses.

use std::time::Duration;

use tonic::Code;

use super::*;
use crate::server::limits::LimitReached;

#[test]
fn each_fault_has_its_status() {
    for (error, code) in [
        (Error::from(LimitReached::Time { limit: Duration::from_secs(1) }), Code::DeadlineExceeded),
        (LimitReached::Rows { limit: 1 }.into(), Code::ResourceExhausted),
        (
            LimitReached::Memory { limit: 1, option: "--query-memory", reason: String::new() }.into(),
            Code::ResourceExhausted,
        ),
        (LimitReached::Busy { at_once: 1, wait: Duration::ZERO }.into(), Code::Unavailable),
        (LimitReached::Stalled.into(), Code::Aborted),
        (Error::Refused { what: "a".to_owned(), reason: "b".to_owned() }, Code::PermissionDenied),
        (Error::Leak { function: "a".to_owned(), table: "b".to_owned() }, Code::PermissionDenied),
        (
            Error::BudgetReached { spent: "1".to_owned(), budget: "1".to_owned(), done: "0".to_owned() },
            Code::ResourceExhausted,
        ),
        (Error::SplitUnknown { got: "a".to_owned() }, Code::Internal),
        (Error::QueryUnknown { name: "a".to_owned(), nearest: None }, Code::InvalidArgument),
        (datafusion::error::DataFusionError::Plan("a".to_owned()).into(), Code::InvalidArgument),
        (Error::internal("a"), Code::Internal),
    ] {
        let status = fault::status(&error);
        assert_eq!((status.code(), status.message()), (code, error.to_string().as_str()));
    }
    // A message travels in a header.
    let long = fault::status(&Error::internal("ü".repeat(10_000)));
    assert!(long.message().len() < 4_010 && long.message().ends_with('…'), "{}", long.message().len());
}
