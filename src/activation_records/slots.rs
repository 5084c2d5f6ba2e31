//! Room for a fixed number of windows for each neuron of a block.

use serde::{Deserialize, Serialize};

use crate::activation_records::record::{ActivationRecord, Sample};
use crate::neurons::lanes::{BLOCK, Row};
use crate::neurons::raw_bytes;
use crate::token_sequences::split::Split;
use crate::token_sequences::window::Window;

/// What is known of a kept window besides its activations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) sequence: i64,
    pub(crate) document: i64,
    /// The draw that decides uniform samples; smaller wins.
    pub(crate) draw: u64,
    pub(crate) max: f32,
    pub(crate) length: u32,
    pub(crate) split: Split,
    /// The quantile range it is filed under; 0 where there are no ranges.
    pub(crate) range: u8,
}

/// One window's counted activations of a block, as the samplers see it.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) window: &'a Window<'a>,
    /// Activations of the counted positions.
    pub(crate) rows: &'a [Row],
    /// Largest of them for each neuron.
    pub(crate) max: &'a Row,
    /// This window's draw for each neuron.
    pub(crate) draws: &'a [u64; BLOCK],
}

impl Candidate<'_> {
    /// The window as the lane's neuron holds it.
    pub(crate) fn held(&self, lane: usize) -> Held {
        Held {
            sequence: self.window.sequence,
            document: self.window.document,
            draw: self.draws[lane],
            max: self.max[lane],
            length: self.window.token_ids.len() as u32,
            split: self.window.split,
            range: 0,
        }
    }
}

/// Kept windows of a block: `capacity` slots a neuron, each with room for `stride` activations.
#[derive(Clone)]
pub(crate) struct Slots {
    capacity: usize,
    stride: usize,
    held: Vec<Vec<Held>>,
    /// `[neuron, slot, position]`; memory of slots that were never used is not touched.
    activations: Vec<f32>,
}

impl Slots {
    pub(crate) fn new(n_units: usize, capacity: usize, stride: usize) -> Self {
        let held = (0..n_units).map(|_| Vec::with_capacity(capacity)).collect();
        Self { capacity, stride, held, activations: vec![0.0; n_units * capacity * stride] }
    }

    /// Bytes of one neuron's slots.
    pub(crate) fn bytes(capacity: usize, stride: usize) -> usize {
        size_of::<Vec<Held>>() + capacity * (size_of::<Held>() + stride * size_of::<f32>())
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn n_units(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn held(&self, lane: usize) -> &[Held] {
        &self.held[lane]
    }

    /// Keeps the candidate in a new slot; the caller has made sure that one is free.
    pub(crate) fn push(&mut self, lane: usize, candidate: &Candidate<'_>, held: Held) {
        let slot = self.held[lane].len();
        debug_assert!(slot < self.capacity);
        self.held[lane].push(held);
        self.write(lane, slot, candidate);
    }

    /// Keeps the candidate in place of what the slot held.
    pub(crate) fn replace(&mut self, lane: usize, slot: usize, candidate: &Candidate<'_>, held: Held) {
        self.held[lane][slot] = held;
        self.write(lane, slot, candidate);
    }

    /// Files every held window of the neuron under the range that `range_of` gives its maximum.
    pub(crate) fn file(&mut self, lane: usize, range_of: impl Fn(f32) -> u8) {
        for held in &mut self.held[lane] {
            held.range = range_of(held.max);
        }
    }

    /// Frees a slot; the last one moves into its place.
    pub(crate) fn remove(&mut self, lane: usize, slot: usize) {
        let last = self.held[lane].len() - 1;
        if slot != last {
            let start = self.start(lane, last);
            let target = self.start(lane, slot);
            self.activations.copy_within(start..start + self.stride, target);
        }
        self.held[lane].swap_remove(slot);
    }

    /// The slot's record.
    pub(crate) fn record(&self, lane: usize, slot: usize, sample: Sample, rank: u32) -> ActivationRecord {
        let held = &self.held[lane][slot];
        let start = self.start(lane, slot);
        ActivationRecord {
            sample,
            rank,
            sequence: held.sequence,
            split: held.split,
            max_activation: held.max,
            activations: self.activations[start..start + held.length as usize].to_vec(),
        }
    }

    fn start(&self, lane: usize, slot: usize) -> usize {
        (lane * self.capacity + slot) * self.stride
    }

    fn write(&mut self, lane: usize, slot: usize, candidate: &Candidate<'_>) {
        let start = self.start(lane, slot);
        let length = candidate.window.token_ids.len();
        let (uncounted, counted) = self.activations[start..start + length].split_at_mut(length - candidate.rows.len());
        uncounted.fill(0.0);
        for (activation, row) in counted.iter_mut().zip(candidate.rows) {
            *activation = row[lane];
        }
    }
}

/// The used slots only: the form in checkpoints.
#[derive(Serialize, Deserialize)]
pub(crate) struct UsedSlots {
    held: Vec<Vec<Held>>,
    #[serde(with = "raw_bytes")]
    activations: Vec<f32>,
}

impl Slots {
    pub(crate) fn used(&self) -> UsedSlots {
        let mut activations = Vec::new();
        for (lane, held) in self.held.iter().enumerate() {
            for (slot, held) in held.iter().enumerate() {
                let start = self.start(lane, slot);
                activations.extend_from_slice(&self.activations[start..start + held.length as usize]);
            }
        }
        UsedSlots { held: self.held.clone(), activations }
    }

    /// Takes the place of empty slots; false when the shapes do not fit.
    pub(crate) fn refill(&mut self, used: UsedSlots) -> bool {
        if used.held.len() != self.held.len() {
            return false;
        }
        let mut rest = used.activations.as_slice();
        for (lane, held) in used.held.into_iter().enumerate() {
            if held.len() > self.capacity {
                return false;
            }
            for (slot, held) in held.iter().enumerate() {
                let length = held.length as usize;
                let Some((activations, after)) = rest.split_at_checked(length) else { return false };
                if length > self.stride {
                    return false;
                }
                let start = self.start(lane, slot);
                self.activations[start..start + length].copy_from_slice(activations);
                rest = after;
            }
            self.held[lane].clear();
            self.held[lane].extend(held);
        }
        rest.is_empty()
    }
}
