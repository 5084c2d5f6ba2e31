//! What can go wrong with a search and its index.

use std::path::PathBuf;

use thiserror::Error;

/// A fault of searching.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Words without a letter or digit.
    #[error("{place}: expected words to search for, got '{got}'")]
    NoWords {
        /// The argument or function.
        place: String,
        /// The first of what was given.
        got: String,
    },
    /// A file of the index that is not as its manifest says, or cannot be read or written.
    #[error("search index '{}': {reason}; it is made anew by 'neuronlake index --rebuild'", path.display())]
    Index {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what happened.
        reason: String,
    },
    /// An encoder whose vectors changed their length.
    #[error("encoder '{encoder}': expected vectors of {expected} numbers, as stored before, got {got}")]
    Width {
        /// The encoder.
        encoder: String,
        /// Length of the vectors in the table.
        expected: usize,
        /// Length of a new one.
        got: usize,
    },
    /// Tables that change faster than they can be read.
    #[error(
        "tables {tables} changed while they were being indexed, {tries} times in a row; try again when nothing is being written"
    )]
    Moving {
        /// Their names.
        tables: String,
        /// How often it was tried.
        tries: usize,
    },
}

impl SearchError {
    /// Whether the command can never work as given.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::NoWords { .. })
    }
}
