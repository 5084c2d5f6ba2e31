//! What can be wrong with a file of somebody else.

use std::fmt;

/// One place of one file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it is shown: without passwords.
    pub file: String,
    /// 1-based line, where the format has lines or the parser knows one.
    pub line: Option<usize>,
    /// What was expected and what was found.
    pub reason: String,
}

impl Fault {
    /// A fault of a whole file.
    pub fn of(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, reason: reason.into() }
    }

    /// A fault in a 1-based line of a file.
    pub fn in_line(file: impl Into<String>, line: usize, reason: impl Into<String>) -> Self {
        Self { file: file.into(), line: Some(line), reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "'{}', line {line}: {}", self.file, self.reason),
            None => write!(f, "'{}': {}", self.file, self.reason),
        }
    }
}

/// Whatever can go wrong when files are exchanged with other programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// A file that is not what its format says; what was read whole before it is committed.
    #[error("{0}; --keep-going skips such files")]
    BadFile(Fault),
    /// An address that is no folder, or a folder that does not hold what the format needs.
    #[error("'{source_url}': expected {expected}, got {got}")]
    NoSuchSource {
        /// The address, without secrets.
        source_url: String,
        /// What the format needs there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A store that cannot list a folder, where the format has to know what is there.
    #[error(
        "'{folder}': this store cannot list folders, and {needed_for} needs that; copy the files to a local folder first"
    )]
    CannotList {
        /// The folder, without secrets.
        folder: String,
        /// The format.
        needed_for: String,
    },
    /// A store that does not answer, or answers with less than a whole file.
    #[error("'{file}': {reason}; what was committed stays, run the same command again to go on")]
    Fetch {
        /// The file, without secrets.
        file: String,
        /// What happened.
        reason: String,
    },
    /// An export would replace a file.
    #[error("'{file}' is there already: expected a new folder or file; remove it, or export to another place")]
    OutputExists {
        /// The file.
        file: String,
    },
    /// An export of nothing.
    #[error("nothing to export: no unit fits {condition}")]
    NothingSelected {
        /// The condition, as given.
        condition: String,
    },
    /// A row of the lake that a format has no place for.
    #[error("unit '{unit}': cannot be written as {format}: {reason}")]
    NotExpressible {
        /// The unit.
        unit: String,
        /// The format.
        format: &'static str,
        /// What does not fit.
        reason: String,
    },
}

impl ExchangeError {
    /// The process's exit status: 2 for a command that can never work as given, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::CannotList { .. } | Self::OutputExists { .. } => 2,
            _ => 1,
        }
    }
}
