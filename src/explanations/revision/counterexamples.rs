//! Which of the sentences written for an explanation speak most against it.

use crate::activation_records::normalize::normalize;
use crate::explanations::evidence::EvidenceRecord;

/// Below this, on the scale 0..10 of the neuron's evidence, a sentence leaves it silent.
const SILENT_BELOW: i8 = 2;
/// Sentences shown at most.
const N_SHOWN: usize = 5;
/// … of which so many at most agree with the text, where there are any.
const N_AGREEING: usize = 2;
/// A sentence contradicts a simulation when some token is off by this much, on the scale of 10.
const OFF_BY: f32 = 5.0;

/// A sentence with what its neuron really does on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// Tokens, and activations in the neuron's units.
    pub(super) record: EvidenceRecord,
    /// Whether no token moves the neuron, though the sentence was written so that one should.
    pub(super) silent: bool,
    /// Largest difference between what was expected and what is, in tenths of the neuron's strongest activation, and 10 or
    /// more where nothing of what was expected came; 0..20.
    contradiction: f32,
}

impl Measured {
    /// `expected` is a simulation of the explanation, 0..10, shape `[seq_len]`; `max` the neuron's strongest activation in its
    /// evidence, in its units.
    pub(super) fn new(record: EvidenceRecord, expected: Option<Vec<f32>>, max: f32) -> Self {
        let real = normalize(&record.activations, max);
        let peak = real.iter().copied().max().unwrap_or(0);
        let silent = peak < SILENT_BELOW;
        // Too much expected at a token counts as too little does: both tell what the text got wrong.
        let off = expected
            .filter(|expected| expected.len() == real.len())
            .and_then(|expected| {
                expected
                    .iter()
                    .zip(&real)
                    .map(|(expected, real)| (expected - f32::from(*real)).abs())
                    .max_by(f32::total_cmp)
            })
            .unwrap_or(0.0);
        // Without a simulation the claim is that the sentence moves the neuron fully.
        let claim = if silent { 10.0 - f32::from(peak) } else { 0.0 };
        Self { record, silent, contradiction: claim + off.clamp(0.0, 10.0) }
    }

    fn contradicts(&self) -> bool {
        self.silent || self.contradiction >= OFF_BY
    }
}

/// Up to five sentences to show, those that contradict most first, then up to two that agree; `None` where none contradicts.
pub(super) fn chosen(measured: &[Measured]) -> Option<Vec<&Measured>> {
    let (mut against, agreeing): (Vec<&Measured>, Vec<&Measured>) =
        measured.iter().partition(|measured| measured.contradicts());
    if against.is_empty() {
        return None;
    }
    // The sort is stable: of equal ones the first written is shown.
    against.sort_by(|a, b| b.contradiction.total_cmp(&a.contradiction));
    let n_agreeing = agreeing.len().min(N_AGREEING);
    against.truncate(N_SHOWN - n_agreeing);
    let n_agreeing = N_SHOWN - against.len();
    against.extend(agreeing.into_iter().take(n_agreeing));
    Some(against)
}
