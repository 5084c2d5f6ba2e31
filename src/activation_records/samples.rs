//! A uniform sample of the windows of one split, drawn for each neuron on its own.

use crate::activation_records::record::{ActivationRecord, Sample};
use crate::activation_records::slots::{Candidate, Slots};
use crate::neurons::lanes::BLOCK;

/// The windows with the smallest draws: uniform without replacement, whatever the order of the windows.
#[derive(Clone)]
pub(crate) struct Samples {
    /// What a draw has to be below; 0 for lanes without a neuron.
    threshold: [u64; BLOCK],
    pub(crate) slots: Slots,
}

impl Samples {
    pub(crate) fn new(n_units: usize, n_random: usize, stride: usize) -> Self {
        let mut samples = Self { threshold: [0; BLOCK], slots: Slots::new(n_units, n_random, stride) };
        samples.reset_thresholds();
        samples
    }

    /// Derives the thresholds from what is held.
    pub(crate) fn reset_thresholds(&mut self) {
        self.threshold = std::array::from_fn(|lane| if lane < self.slots.n_units() { self.largest(lane) } else { 0 });
    }

    pub(crate) fn observe(&mut self, candidate: &Candidate<'_>) {
        for group in 0..BLOCK / 16 {
            let lanes = 16 * group..16 * group + 16;
            let pairs = candidate.draws[lanes.clone()].iter().zip(&self.threshold[lanes.clone()]);
            if pairs.fold(false, |any, (draw, threshold)| any | (draw < threshold)) {
                for lane in lanes {
                    if candidate.draws[lane] < self.threshold[lane] {
                        self.admit(lane, candidate);
                    }
                }
            }
        }
    }

    fn admit(&mut self, lane: usize, candidate: &Candidate<'_>) {
        let kept = candidate.held(lane);
        let held = self.slots.held(lane);
        if held.len() < self.slots.capacity() {
            self.slots.push(lane, candidate, kept);
        } else if let Some((slot, _)) = held.iter().enumerate().max_by_key(|(_, held)| (held.draw, held.sequence)) {
            self.slots.replace(lane, slot, candidate, kept);
        }
        self.threshold[lane] = self.largest(lane);
    }

    fn largest(&self, lane: usize) -> u64 {
        let held = self.slots.held(lane);
        if self.slots.capacity() == 0 {
            0
        } else if held.len() < self.slots.capacity() {
            u64::MAX
        } else {
            held.iter().map(|held| held.draw).max().unwrap_or(0)
        }
    }

    /// The lane's records in the order of their draws, so that the first n of them are a uniform sample too.
    pub(crate) fn records(&self, lane: usize) -> impl Iterator<Item = ActivationRecord> {
        let held = self.slots.held(lane);
        let mut order: Vec<usize> = (0..held.len()).collect();
        order.sort_by_key(|slot| (held[*slot].draw, held[*slot].sequence));
        (0..).zip(order).map(move |(rank, slot)| self.slots.record(lane, slot, Sample::Random, rank))
    }
}
