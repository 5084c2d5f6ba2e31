//! Errors that cross the engine: ours come out as themselves, the engine's in plain words.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use super::Error;

/// What the engine says, without the names of its own types.
pub(super) fn in_words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(fault, _) => match fault.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => format!("SQL error: {text}"),
            ParserError::RecursionLimitExceeded => "SQL error: nested too deeply".to_owned(),
        },
        other => match ours(other) {
            Some(ours) => ours.to_string(),
            None => other.strip_backtrace(),
        },
    }
}

/// The error of ours at the bottom of one that several waiters share, and that none may therefore take.
pub(super) fn ours(error: &DataFusionError) -> Option<&Error> {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(ours) = cause.downcast_ref::<Error>() {
            return Some(ours);
        }
        cause = match cause.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::Shared(inner)) => inner.as_ref(),
            Some(DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner)) => inner.as_ref(),
            Some(DataFusionError::External(inner)) => inner.as_ref(),
            _ => cause.source()?,
        };
    }
}

impl Error {
    /// The error of ours that the engine may have wrapped.
    pub(crate) fn itself(&self) -> &Self {
        match self {
            Self::DataFusion(error) => ours(error).unwrap_or(self),
            _ => self,
        }
    }

    /// An error that the engine carried without looking at it.
    fn from_engine(inner: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match inner.downcast::<Self>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(engine) => Self::from(*engine),
                Err(other) => Self::DataFusion(Box::new(DataFusionError::External(other))),
            },
        }
    }
}

/// Errors of ours that travelled through the engine come out as themselves.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => Self::from_engine(inner),
            DataFusionError::ArrowError(inner, trace) => match *inner {
                ArrowError::ExternalError(inner) => Self::from_engine(inner),
                other => Self::DataFusion(Box::new(DataFusionError::ArrowError(Box::new(other), trace))),
            },
            DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => Self::from(inner),
                Err(shared) => Self::DataFusion(Box::new(DataFusionError::Shared(shared))),
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            DataFusionError::Diagnostic(_, inner) => Self::from(*inner),
            other => Self::DataFusion(Box::new(other)),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(inner) => *inner,
            other => Self::External(Box::new(other)),
        }
    }
}
