//! Everything that is kept of one block of neurons, and the step that takes a batch of windows into it.

use crate::activation_records::quantile_samples::QuantileSamples;
use crate::activation_records::record::ActivationRecord;
use crate::activation_records::samples::Samples;
use crate::activation_records::slots::{Candidate, Slots};
use crate::activation_records::top::Top;
use crate::error::collector::CollectorError;
use crate::neurons::collector::{CollectorConfig, HookUnits};
use crate::neurons::lanes::{BLOCK, Row, widest};
use crate::neurons::moments::{BlockMoments, WindowSums, sum_window};
use crate::neurons::plan::Plan;
use crate::neurons::sketch::{ValueSketch, n_buckets};
use crate::neurons::token_means::BlockTokenMeans;
use crate::random::mix;

/// State of up to [`BLOCK`] neurons of one hook point.
pub(crate) struct Block {
    /// Index of the hook point in the collection.
    pub(crate) hook: usize,
    /// Neuron indices of the lanes, ascending.
    pub(crate) units: Vec<u32>,
    pub(crate) state: BlockState,
    /// One stream of draws for each neuron.
    streams: [u64; BLOCK],
}

/// The part of a block that changes, and that a checkpoint holds.
pub(crate) struct BlockState {
    pub(crate) moments: BlockMoments,
    pub(crate) sketch: ValueSketch,
    pub(crate) token_means: BlockTokenMeans,
    /// Strongest and random windows, for each configured record set.
    pub(crate) sets: Vec<(Top, Samples)>,
    pub(crate) quantile_samples: QuantileSamples,
}

/// Working memory of one thread.
pub(crate) struct Scratch {
    rows: Vec<Row>,
    buckets: Vec<[u16; BLOCK]>,
    sums: WindowSums,
    draws: [u64; BLOCK],
}

impl Scratch {
    pub(crate) fn new(config: &CollectorConfig) -> Self {
        let n = config.max_window_tokens;
        Self { rows: Vec::with_capacity(n), buckets: vec![[0; BLOCK]; n], sums: WindowSums::zero(), draws: [0; BLOCK] }
    }
}

impl BlockState {
    pub(crate) fn new(config: &CollectorConfig, n_units: usize) -> Self {
        let stride = config.max_window_tokens;
        let sets = config.record_sets.iter();
        let sets = sets.map(|set| (Top::new(n_units, set.n_top, stride), Samples::new(n_units, set.n_random, stride)));
        Self {
            moments: BlockMoments::new(),
            sketch: ValueSketch::new(),
            token_means: BlockTokenMeans::new(config.tracked_token_ids.len()),
            sets: sets.collect(),
            quantile_samples: QuantileSamples::new(n_units, config.n_quantile_records, stride),
        }
    }

    /// Bytes of one neuron's state, small parts included.
    pub(crate) fn bytes_per_unit(config: &CollectorConfig) -> usize {
        let stride = config.max_window_tokens;
        let sets = config.record_sets.iter();
        let sets: usize =
            sets.map(|set| Slots::bytes(set.n_top, stride) + Slots::bytes(set.n_random, stride) + 12).sum();
        let quantile_samples = Slots::bytes(QuantileSamples::capacity(config.n_quantile_records), stride) + 64;
        let sketches = (n_buckets(4) + n_buckets(3)) * size_of::<u32>();
        let token_means = (config.tracked_token_ids.len() + 1) * size_of::<f32>();
        size_of::<BlockMoments>() / BLOCK + 16 + sketches + token_means + sets + quantile_samples
    }

    /// The lane's records: for each set the strongest and the random ones, then the quantile samples.
    pub(crate) fn records(&self, lane: usize) -> Vec<ActivationRecord> {
        let mut records = Vec::new();
        for (top, samples) in &self.sets {
            records.extend(top.records(lane));
            records.extend(samples.records(lane));
        }
        records.extend(self.quantile_samples.records(lane));
        records
    }
}

impl Block {
    pub(crate) fn new(config: &CollectorConfig, hook: usize, hook_key: u64, units: &[u32]) -> Self {
        let stream = |lane: usize| units.get(lane).map_or(0, |neuron| mix(config.seed, hook_key, u64::from(*neuron)));
        Self {
            hook,
            units: units.to_vec(),
            state: BlockState::new(config, units.len()),
            streams: std::array::from_fn(stream),
        }
    }

    /// Takes in a batch: `tile` holds the hook point's activations, shape `[n_tokens, width]`.
    ///
    /// # Errors
    /// [`CollectorError::ActivationNotFinite`]; the block is then of no further use.
    pub(crate) fn observe(
        &mut self,
        hook: &HookUnits,
        plan: &Plan<'_>,
        tile: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), CollectorError> {
        let state = &mut self.state;
        for planned in &plan.windows {
            gather(&self.units, tile, hook.width(), planned.counted.clone(), &mut scratch.rows);
            let rows = scratch.rows.as_slice();
            sum_window(rows, &mut scratch.sums);
            if let Some(lane) = scratch.sums.sums[0].iter().position(|sum| !sum.is_finite()) {
                return Err(CollectorError::ActivationNotFinite {
                    hook_point: hook.name().to_owned(),
                    neuron: self.units[lane],
                    sequence: planned.window.sequence,
                });
            }
            state.moments.merge(planned.n_before, rows.len() as u64, &scratch.sums);
            state.sketch.add_rows(rows, &mut scratch.buckets);
            state.token_means.add(&plan.occurrences[planned.occurrences.clone()], rows);
            let max = &scratch.sums.max;
            state.quantile_samples.count(max);
            if let Some(set) = planned.record_set {
                draw(&self.streams, planned.window.sequence, &mut scratch.draws);
                let candidate = Candidate { window: planned.window, rows, max, draws: &scratch.draws };
                let (top, samples) = &mut state.sets[set];
                top.observe(&candidate);
                samples.observe(&candidate);
                state.quantile_samples.observe(&candidate);
            }
        }
        Ok(())
    }
}

/// Copies the block's columns of the given tokens; lanes without a neuron hold 0.
fn gather(units: &[u32], tile: &[f32], width: usize, tokens: std::ops::Range<usize>, rows: &mut Vec<Row>) {
    rows.clear();
    let tokens = tile[tokens.start * width..tokens.end * width].chunks_exact(width);
    let (Some(first), Some(last)) = (units.first(), units.last()) else { return };
    let columns = *first as usize..*last as usize + 1;
    if columns.len() == BLOCK {
        rows.extend(tokens.filter_map(|token| token[columns.clone()].first_chunk::<BLOCK>().copied()));
    } else {
        rows.extend(tokens.map(|token| {
            let mut row = [0.0; BLOCK];
            for (value, neuron) in row.iter_mut().zip(units) {
                *value = token[*neuron as usize];
            }
            row
        }));
    }
}

widest! {
    /// The draws of one window, the same for any order of windows.
    fn draw(streams: &[u64; BLOCK], sequence: i64, draws: &mut [u64; BLOCK]) = draw_in_lanes
}

#[inline(always)]
fn draw_in_lanes<const LANES: usize>(streams: &[u64; BLOCK], sequence: i64, draws: &mut [u64; BLOCK]) {
    for (draw, stream) in draws.iter_mut().zip(streams) {
        *draw = mix(*stream, sequence as u64, 0);
    }
}
