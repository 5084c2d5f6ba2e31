//! Samples from each quantile range of a neuron's window maxima, in one pass.
//!
//! The boundaries of the ranges are not known before the end, so they are estimated as windows arrive: whenever the number
//! of windows is a power of two, the boundaries are taken anew from a sketch of the window maxima and the held windows are
//! put into their ranges again. At the end this happens once more with the final boundaries, so every record that is
//! returned lies in the range it is filed under. Inside a range the windows with the smallest draws are held, some more
//! than are returned, because the last move of a boundary may take some away.

use serde::{Deserialize, Serialize};

use crate::activation_records::record::{ActivationRecord, N_QUANTILE_RANGES, QUANTILE_BOUNDARIES, Sample};
use crate::activation_records::slots::{Candidate, Held, Slots};
use crate::neurons::lanes::{BLOCK, Row};
use crate::neurons::raw_bytes;
use crate::neurons::sketch::MaximumSketch;

/// Boundaries of the quantile ranges of one neuron.
type Boundaries = [f32; N_QUANTILE_RANGES - 1];

/// Quantile samples of a block of neurons.
#[derive(Clone)]
pub(crate) struct QuantileSamples {
    n_returned: usize,
    pub(crate) maxima: WindowMaxima,
    /// `None` until there are enough windows for a first estimate.
    boundaries: Option<Box<[Boundaries; BLOCK]>>,
    /// What a draw has to be below to be held, for each neuron and range.
    thresholds: Box<[[u64; N_QUANTILE_RANGES]; BLOCK]>,
    pub(crate) slots: Slots,
}

/// Distribution of the window maxima of a block.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WindowMaxima {
    sketch: MaximumSketch,
    #[serde(with = "raw_bytes")]
    min: Row,
    #[serde(with = "raw_bytes")]
    max: Row,
    n_windows: u64,
}

impl WindowMaxima {
    fn new() -> Self {
        Self {
            sketch: MaximumSketch::new(),
            min: [f32::INFINITY; BLOCK],
            max: [f32::NEG_INFINITY; BLOCK],
            n_windows: 0,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.sketch.is_whole()
    }

    fn add(&mut self, values: &Row) {
        self.sketch.add(values);
        for ((min, max), value) in self.min.iter_mut().zip(&mut self.max).zip(values) {
            // Comparisons instead of f32::min and max, which may return either of 0.0 and -0.0.
            *min = if value < min { *value } else { *min };
            *max = if value > max { *value } else { *max };
        }
        self.n_windows += 1;
    }

    fn boundaries(&self, lane: usize) -> Boundaries {
        self.sketch.boundaries(lane, QUANTILE_BOUNDARIES, self.n_windows, (self.min[lane], self.max[lane]))
    }
}

impl QuantileSamples {
    pub(crate) fn new(n_units: usize, n_returned: usize, stride: usize) -> Self {
        Self {
            n_returned,
            maxima: WindowMaxima::new(),
            boundaries: None,
            thresholds: Box::new([[0; N_QUANTILE_RANGES]; BLOCK]),
            slots: Slots::new(n_units, Self::capacity(n_returned), stride),
        }
    }

    /// Slots of one neuron.
    pub(crate) fn capacity(n_returned: usize) -> usize {
        N_QUANTILE_RANGES * n_held(n_returned)
    }

    /// Counts a window in the distribution; to be called before [`QuantileSamples::observe`] offers it.
    pub(crate) fn count(&mut self, max: &Row) {
        self.maxima.add(max);
        let n_windows = self.maxima.n_windows;
        if self.n_returned > 0 && n_windows.is_power_of_two() && 2 * n_windows > self.slots.capacity() as u64 {
            self.reclassify();
        }
    }

    /// Offers a window that may be kept.
    pub(crate) fn observe(&mut self, candidate: &Candidate<'_>) {
        if self.n_returned == 0 {
            return;
        }
        let Some(boundaries) = &self.boundaries else {
            // The first estimate comes no later than the slots are full, so there is room for every window before it.
            for lane in 0..self.slots.n_units() {
                self.slots.push(lane, candidate, held(candidate, lane, 0));
            }
            return;
        };
        for (lane, boundaries) in boundaries.iter().enumerate().take(self.slots.n_units()) {
            let range = range_of(candidate.max[lane], boundaries);
            let kept = held(candidate, lane, range);
            if kept.draw >= self.thresholds[lane][usize::from(range)] {
                continue;
            }
            match largest_draw(self.slots.held(lane), range) {
                (n, Some(slot)) if n == n_held(self.n_returned) => self.slots.replace(lane, slot, candidate, kept),
                _ => self.slots.push(lane, candidate, kept),
            }
            self.thresholds[lane][usize::from(range)] = threshold(self.slots.held(lane), range, self.n_returned);
        }
    }

    /// Takes new boundaries and puts the held windows into their ranges again.
    fn reclassify(&mut self) {
        let mut boundaries = Box::new([[0.0; N_QUANTILE_RANGES - 1]; BLOCK]);
        for (lane, boundaries) in boundaries.iter_mut().enumerate().take(self.slots.n_units()) {
            *boundaries = self.maxima.boundaries(lane);
            self.slots.file(lane, |max| range_of(max, boundaries));
            for range in 0..N_QUANTILE_RANGES as u8 {
                while let (n, Some(slot)) = largest_draw(self.slots.held(lane), range)
                    && n > n_held(self.n_returned)
                {
                    self.slots.remove(lane, slot);
                }
            }
        }
        self.boundaries = Some(boundaries);
        self.reset_thresholds();
    }

    fn reset_thresholds(&mut self) {
        for lane in 0..self.slots.n_units() {
            let held = self.slots.held(lane);
            self.thresholds[lane] = std::array::from_fn(|range| threshold(held, range as u8, self.n_returned));
        }
    }

    /// Boundaries of the lane's ranges over all windows so far, in the neuron's units; `None` without windows.
    pub(crate) fn final_boundaries(&self, lane: usize) -> Option<Boundaries> {
        (self.maxima.n_windows > 0).then(|| self.maxima.boundaries(lane))
    }

    /// The lane's records, range by range, in the order of their draws.
    pub(crate) fn records(&self, lane: usize) -> Vec<ActivationRecord> {
        let Some(boundaries) = self.final_boundaries(lane) else { return Vec::new() };
        let held = self.slots.held(lane);
        let mut records = Vec::new();
        for range in 0..N_QUANTILE_RANGES as u8 {
            let inside = (0..held.len()).filter(|slot| range_of(held[*slot].max, &boundaries) == range);
            let mut inside: Vec<usize> = inside.collect();
            inside.sort_by_key(|slot| (held[*slot].draw, held[*slot].sequence));
            let sample = Sample::Quantile(range);
            let chosen = (0..).zip(inside.into_iter().take(self.n_returned));
            records.extend(chosen.map(|(rank, slot)| self.slots.record(lane, slot, sample, rank)));
        }
        records
    }

    /// What a checkpoint has to hold besides `maxima` and `slots`.
    pub(crate) fn current_boundaries(&self) -> Option<Vec<Boundaries>> {
        self.boundaries.as_ref().map(|boundaries| boundaries.to_vec())
    }

    /// Takes up where a checkpoint left off; false when the shapes do not fit.
    pub(crate) fn restore(&mut self, maxima: WindowMaxima, boundaries: Option<Vec<Boundaries>>) -> bool {
        let whole = maxima.is_whole();
        self.maxima = maxima;
        let boundaries = boundaries.map(<Box<[Boundaries; BLOCK]>>::try_from).transpose();
        let fits = boundaries.is_ok();
        self.boundaries = boundaries.unwrap_or(None);
        self.reset_thresholds();
        whole && fits
    }
}

/// Windows held in each range while more may come.
fn n_held(n_returned: usize) -> usize {
    n_returned + n_returned.div_ceil(2)
}

/// The candidate as it is held here. Its draw is the order of the low half of the bits, so that it is independent of the
/// one for the random sample.
fn held(candidate: &Candidate<'_>, lane: usize, range: u8) -> Held {
    let kept = candidate.held(lane);
    Held { draw: kept.draw.rotate_left(32), range, ..kept }
}

/// The range of a maximum: the number of boundaries below it. What equals a boundary belongs to the lower range, so the
/// windows of a neuron that is always silent lie in range 0.
fn range_of(max: f32, boundaries: &Boundaries) -> u8 {
    boundaries.iter().map(|boundary| u8::from(max > *boundary)).sum()
}

/// How many held windows are filed under the range, and the slot of the one that goes first.
fn largest_draw(held: &[Held], range: u8) -> (usize, Option<usize>) {
    let (mut n, mut worst) = (0, None);
    for (slot, held) in held.iter().enumerate().filter(|(_, held)| held.range == range) {
        n += 1;
        if worst.is_none_or(|(draw, sequence, _)| (held.draw, held.sequence) > (draw, sequence)) {
            worst = Some((held.draw, held.sequence, slot));
        }
    }
    (n, worst.map(|(.., slot)| slot))
}

/// What a draw has to be below to be held in the range.
fn threshold(held: &[Held], range: u8, n_returned: usize) -> u64 {
    match largest_draw(held, range) {
        (n, Some(slot)) if n == n_held(n_returned) => held[slot].draw,
        _ => u64::MAX,
    }
}
