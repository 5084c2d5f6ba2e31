//! What may be wrong with the device that a language model is computed on.

/// A fault of a device, or of what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A GPU that this program was not built for.
    #[error(
        "device '{device}': this program was built without CUDA; build it with scripts/build_cuda (cargo feature 'cuda'), or \
         choose --device cpu"
    )]
    NotBuilt {
        /// What was asked for.
        device: String,
    },
    /// A GPU that cannot be used.
    #[error("device '{device}': expected a CUDA device and its driver, got: {reason}")]
    NotFound {
        /// What was asked for.
        device: String,
        /// What the driver says.
        reason: String,
    },
    /// A precision the processor's kernels do not have.
    #[error(
        "precision '{precision}': expected f32 on the processor, which computes in f32 only; it needs --device cuda"
    )]
    Precision {
        /// What was asked for.
        precision: String,
    },
    /// A computation that failed: most often, the device's memory ran out.
    #[error("device: {reason}")]
    Computation {
        /// What the device says.
        reason: String,
    },
}

impl DeviceError {
    /// The process's exit status, as [`super::Error::exit_code`].
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotBuilt { .. } | Self::Precision { .. } => 2,
            Self::NotFound { .. } | Self::Computation { .. } => 1,
        }
    }
}
