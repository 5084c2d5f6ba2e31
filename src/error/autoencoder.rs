//! What can go wrong with stored activations and with sparse autoencoders.

use std::path::PathBuf;

/// A fault of a store of activations or of a sparse autoencoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutoencoderError {
    /// A store that was begun with other settings.
    #[error(
        "activation store '{store}' was made with {setting} {expected}, got {got}; use the same, or another --name"
    )]
    StoreSettings {
        /// The store's name.
        store: String,
        /// What differs.
        setting: &'static str,
        /// The store's value.
        expected: String,
        /// The value given now.
        got: String,
    },
    /// No store of that name.
    #[error("no activation store '{name}' in the lake: expected {}", one_of(known))]
    StoreUnknown {
        /// The name asked for.
        name: String,
        /// The stores there are.
        known: Vec<String>,
    },
    /// A file of a store that is not what it should be.
    #[error("activation store, '{}': {reason}", path.display())]
    StoreFile {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what is there.
        reason: String,
    },
    /// Two stores whose rows are not of the same tokens in the same order.
    #[error(
        "activation stores '{inputs}' and '{targets}' do not make a transcoder: expected {expected}, as in the first, got {got}; \
         store both from one corpus with the same options, and with --max-norm 0 where rows were left out of one of them"
    )]
    StoresDiffer {
        /// The store of the inputs.
        inputs: String,
        /// The store of what they are to become.
        targets: String,
        /// What differs, and what it is in the first.
        expected: String,
        /// In the second.
        got: String,
    },
    /// No autoencoder of that id.
    #[error("no sparse autoencoder '{id}' in the lake: expected {}", one_of(known))]
    Unknown {
        /// The id asked for.
        id: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// An id that is taken.
    #[error("sparse autoencoder '{id}' is in the lake already; give another --id")]
    Exists {
        /// The id.
        id: String,
    },
    /// An autoencoder that cannot be used as asked.
    #[error("sparse autoencoder '{id}': {reason}")]
    Unusable {
        /// Its id.
        id: String,
        /// What was expected and what it is.
        reason: String,
    },
    /// Activations that are not finite.
    #[error("hook point '{hook_point}', token sequence {sequence}, position {position}: expected finite activations")]
    NotFinite {
        /// The hook point.
        hook_point: String,
        /// The token sequence.
        sequence: i64,
        /// 0-based token.
        position: usize,
    },
    /// Whatever the package of the mathematics reports.
    #[error(transparent)]
    Mathematics(#[from] sparse_autoencoders::error::Error),
}

impl AutoencoderError {
    /// The process's exit status: 2 for a command that can never work as given, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::StoreSettings { .. }
            | Self::StoreUnknown { .. }
            | Self::StoresDiffer { .. }
            | Self::Unknown { .. }
            | Self::Exists { .. }
            | Self::Mathematics(sparse_autoencoders::error::Error::Setting { .. }) => 2,
            _ => 1,
        }
    }
}

fn one_of(known: &[String]) -> String {
    match known {
        [] => "one, there is none".to_owned(),
        known => format!("one of {}", known.join(", ")),
    }
}
