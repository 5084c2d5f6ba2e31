//! What can be wrong with a collection: its settings, what is handed to it, and its checkpoint.

/// What went wrong in a collection of activations.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A setting of the collection that cannot be honoured (the user's fault).
    #[error("setting '{field}' of the collection is unusable: {reason}")]
    Setting {
        /// The field of the configuration.
        field: &'static str,
        /// What was expected and what was there.
        reason: String,
    },
    /// Activations whose number does not fit their windows (our bug in the forward pass).
    #[error("activations of '{hook_point}': expected {expected} values, got {got}")]
    TileShape {
        /// TransformerLens name of the hook point.
        hook_point: String,
        /// Tokens of all windows times the hook point's width.
        expected: usize,
        /// Values in the tile.
        got: usize,
    },
    /// A number of tiles that is not the number of hook points (our bug in the forward pass).
    #[error("tiles of activations: expected one for each of {expected} hook points, got {got}")]
    TileCount {
        /// Hook points being collected.
        expected: usize,
        /// Tiles passed.
        got: usize,
    },
    /// A window longer than the collection was set up for.
    #[error("token sequence {sequence}: expected at most {expected} tokens, got {got}")]
    WindowLength {
        /// The window's token sequence.
        sequence: i64,
        /// The configured bound.
        expected: usize,
        /// The window's tokens.
        got: usize,
    },
    /// Windows out of order: results are only reproducible in ascending order.
    #[error("token sequences must come in ascending order: expected one above {previous}, got {got}")]
    SequenceOrder {
        /// The last sequence seen.
        previous: i64,
        /// The sequence that came after it.
        got: i64,
    },
    /// An activation that is infinite or not a number (the model's fault).
    #[error("neuron {neuron} of '{hook_point}' on token sequence {sequence}: expected finite activations")]
    ActivationNotFinite {
        /// TransformerLens name of the hook point.
        hook_point: String,
        /// 0-based index along the hook point's last dimension.
        neuron: u32,
        /// The window that held the value.
        sequence: i64,
    },
    /// More tokens than the 32-bit counters of one collection can hold.
    #[error("one collection counts at most {limit} tokens, got {got}")]
    TooManyTokens {
        /// The bound.
        limit: u64,
        /// The tokens there would have been.
        got: u64,
    },
    /// A checkpoint that was written by a collection with other settings.
    #[error("checkpoint belongs to other settings: expected configuration {expected:016x}, got {got:016x}")]
    CheckpointMismatch {
        /// Hash of the configuration in use.
        expected: u64,
        /// Hash in the checkpoint.
        got: u64,
    },
    /// A checkpoint that cannot be read or written.
    #[error("checkpoint: {reason}")]
    CheckpointFormat {
        /// What was expected and what was there.
        reason: String,
    },
    /// Reading or writing a checkpoint failed.
    #[error("checkpoint cannot be read or written")]
    CheckpointIo {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
