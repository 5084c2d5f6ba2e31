//! The windows with the highest maximum activation of one split, at most one a document.

use crate::activation_records::record::{ActivationRecord, Sample};
use crate::activation_records::slots::{Candidate, Slots};
use crate::neurons::lanes::{BLOCK, Row};

/// Exact top windows of a block of neurons.
///
/// Ranked by maximum activation, ties by lower sequence; of one document only the best window counts. Windows must come in
/// ascending sequence, so a tie is always won by what is already held, and one comparison with a threshold per neuron turns
/// away almost every window.
#[derive(Clone)]
pub(crate) struct Top {
    /// What a window has to exceed; −∞ while slots are free, +∞ for lanes without a neuron.
    threshold: Row,
    pub(crate) slots: Slots,
}

impl Top {
    pub(crate) fn new(n_units: usize, n_top: usize, stride: usize) -> Self {
        let mut top = Self { threshold: [0.0; BLOCK], slots: Slots::new(n_units, n_top, stride) };
        top.reset_thresholds();
        top
    }

    /// Derives the thresholds from what is held.
    pub(crate) fn reset_thresholds(&mut self) {
        self.threshold =
            std::array::from_fn(|lane| if lane < self.slots.n_units() { self.lowest(lane) } else { f32::INFINITY });
    }

    pub(crate) fn observe(&mut self, candidate: &Candidate<'_>) {
        for group in 0..BLOCK / 16 {
            let lanes = 16 * group..16 * group + 16;
            // One branch for sixteen neurons: the comparison without branches is done in vectors.
            let pairs = candidate.max[lanes.clone()].iter().zip(&self.threshold[lanes.clone()]);
            if pairs.fold(false, |any, (max, threshold)| any | (max > threshold)) {
                for lane in lanes {
                    if candidate.max[lane] > self.threshold[lane] {
                        self.admit(lane, candidate);
                    }
                }
            }
        }
    }

    fn admit(&mut self, lane: usize, candidate: &Candidate<'_>) {
        let max = candidate.max[lane];
        let kept = candidate.held(lane);
        let held = self.slots.held(lane);
        if let Some(slot) = held.iter().position(|held| held.document == candidate.window.document) {
            if max <= held[slot].max {
                return;
            }
            self.slots.replace(lane, slot, candidate, kept);
        } else if held.len() < self.slots.capacity() {
            self.slots.push(lane, candidate, kept);
        } else {
            let worst = held
                .iter()
                .enumerate()
                .min_by(|(_, a), (_, b)| a.max.total_cmp(&b.max).then(b.sequence.cmp(&a.sequence)));
            let Some((slot, _)) = worst else { return };
            self.slots.replace(lane, slot, candidate, kept);
        }
        self.threshold[lane] = self.lowest(lane);
    }

    fn lowest(&self, lane: usize) -> f32 {
        let held = self.slots.held(lane);
        if self.slots.capacity() == 0 {
            f32::INFINITY
        } else if held.len() < self.slots.capacity() {
            f32::NEG_INFINITY
        } else {
            held.iter().map(|held| held.max).fold(f32::INFINITY, f32::min)
        }
    }

    /// The lane's records, best first.
    pub(crate) fn records(&self, lane: usize) -> impl Iterator<Item = ActivationRecord> {
        let held = self.slots.held(lane);
        let mut order: Vec<usize> = (0..held.len()).collect();
        order.sort_by(|a, b| held[*b].max.total_cmp(&held[*a].max).then(held[*a].sequence.cmp(&held[*b].sequence)));
        (0..).zip(order).map(move |(rank, slot)| self.slots.record(lane, slot, Sample::Top, rank))
    }
}
