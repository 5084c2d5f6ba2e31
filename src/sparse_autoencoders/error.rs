//! The package's error: a variant per fault that a caller may act on, with its data.

use std::io;
use std::path::PathBuf;

/// `Result` with the package's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whatever can go wrong with a sparse autoencoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice or tensor of another size than the autoencoder's dimensions ask for.
    #[error("'{what}': expected {expected}, got {got}")]
    Shape {
        /// The slice or tensor.
        what: String,
        /// Its size by the configuration.
        expected: String,
        /// Its size.
        got: String,
    },
    /// A setting that cannot be used, alone or with the others.
    #[error("setting '{setting}': expected {expected}, got {got}")]
    Setting {
        /// The setting's name.
        setting: String,
        /// What it takes.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A latent past the last one.
    #[error("the autoencoder has latents 0 to {}, got {latent}", n_latents - 1)]
    LatentOutOfRange {
        /// The index asked for.
        latent: u32,
        /// How many there are.
        n_latents: usize,
    },
    /// Training reached a value that is not a number: the learning rate is too high or the data hold one.
    #[error(
        "step {step}: expected a finite loss, got {loss}; the learning rate is too high or the data are not finite"
    )]
    Diverged {
        /// The step, counted from 0.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// A computation on a device that failed: most often, its memory ran out.
    #[error("device: {reason}")]
    Device {
        /// What the device says.
        reason: String,
    },
    /// Reading or writing a file.
    #[error("'{path}'")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file whose content is not what its format says.
    #[error("'{path}': expected {expected}, got {got}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format asks for.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A published autoencoder whose configuration leaves open how it computes, or asks for what is not supported.
    #[error("'{path}': {reason}")]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// What is open or unsupported, and what to do.
        reason: String,
    },
}

impl Error {
    /// A slice of another length than expected.
    pub(crate) fn shape(what: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { what: what.to_owned(), expected: expected.to_string(), got: got.to_string() }
    }

    /// A setting that cannot be used.
    pub(crate) fn setting(setting: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Setting { setting: setting.to_owned(), expected: expected.to_string(), got: got.to_string() }
    }

    /// A fault of the file system at a path.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Checks a length.
pub(crate) fn expect_len(what: &str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::shape(what, format!("{expected} values"), got)) }
}
