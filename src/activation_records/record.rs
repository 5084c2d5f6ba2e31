//! One neuron on one kept token sequence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::token_sequences::split::Split;

/// Quantile ranges of the window maxima that samples are taken from.
pub const N_QUANTILE_RANGES: usize = 5;

/// Shares of windows below the four inner boundaries of the quantile ranges.
pub const QUANTILE_BOUNDARIES: [f64; N_QUANTILE_RANGES - 1] = [0.5, 0.9, 0.99, 0.999];

/// Why a token sequence was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sample {
    /// Highest maximum activation of its split, at most one window a document.
    Top,
    /// Uniform draw without replacement from the windows of its split.
    Random,
    /// Uniform draw from the windows whose maximum lies in this range (0 to 4) of the window maxima.
    Quantile(u8),
}

impl fmt::Display for Sample {
    /// `top`, `random` or `quantile_0` to `quantile_4`: the names in the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sample::Top => f.write_str("top"),
            Sample::Random => f.write_str("random"),
            Sample::Quantile(range) => write!(f, "quantile_{range}"),
        }
    }
}

/// One neuron's activations on one kept token sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRecord {
    /// Why it was kept.
    pub sample: Sample,
    /// 0-based place within its sample and split (quantile samples: within the range, over all splits).
    pub rank: u32,
    /// Id of the token sequence.
    pub sequence: i64,
    /// Split of the token sequence.
    pub split: Split,
    /// Largest activation over counted positions, in the neuron's units.
    pub max_activation: f32,
    /// Activations, shape `[seq_len]`, in the neuron's units; positions that are not counted hold 0.0.
    pub activations: Vec<f32>,
}
