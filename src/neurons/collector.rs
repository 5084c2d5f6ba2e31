//! One pass over activations, in bounded memory: statistics, records and token means of every selected neuron.
//!
//! Blocks of neurons are independent, so rayon runs them in parallel; inside a block windows are taken in sequence order and
//! every sum has a fixed order. Results are therefore the same bits for any batching of the same windows, any number of
//! threads, and a run that was cut by a checkpoint.

use std::io::{Read, Write};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::activation_records::record::{ActivationRecord, N_QUANTILE_RANGES};
use crate::error::collector::CollectorError;
use crate::error::{Error, Result};
use crate::neurons::block::{Block, BlockState, Scratch};
use crate::neurons::checkpoint;
use crate::neurons::lanes::BLOCK;
use crate::neurons::moments::Moments;
use crate::neurons::plan::{Progress, TokenRows, plan};
use crate::neurons::token_means::TokenLookup;
use crate::random::mix;
use crate::token_sequences::split::{Split, SplitStrategy};
use crate::token_sequences::window::Window;

/// How many windows of one split are kept of each neuron.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// The split whose windows these are.
    pub split: Split,
    /// Windows with the highest maximum activation, one a document.
    pub n_top: usize,
    /// Windows drawn uniformly.
    pub n_random: usize,
}

/// What to collect of each neuron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectorConfig {
    /// Seed of every draw.
    pub seed: u64,
    /// Tokens of the longest window.
    pub max_window_tokens: usize,
    /// Splits that records are kept of; windows of other splits count in statistics only. Quantile samples are taken over
    /// all of these splits together.
    pub record_sets: Vec<RecordSet>,
    /// Windows kept of each quantile range of the window maxima.
    pub n_quantile_records: usize,
    /// Ascending quantiles of the activations, in 0..=1.
    pub quantiles: Vec<f64>,
    /// Ascending token ids with a row of their own in the table of token means: the most frequent ones, as many as memory
    /// allows (4 bytes a neuron each).
    pub tracked_token_ids: Vec<u32>,
    /// Splits whose tokens enter the table of token means.
    pub token_mean_splits: Vec<Split>,
    /// Tokens of each neuron's lookup table.
    pub n_token_means: usize,
}

impl CollectorConfig {
    /// The defaults for a split strategy: 20 top windows of every split (or of the pool); 10 random ones of every split, 20
    /// of a pool; 5 windows of each quantile range; 9 quantiles from 0.001 to 0.999; lookup tables of 100 tokens over `train`.
    pub fn new(strategy: &SplitStrategy, seed: u64, max_window_tokens: usize) -> Self {
        let record_sets = match strategy {
            SplitStrategy::Document { .. } => [Split::Train, Split::Calibration, Split::Valid, Split::Test]
                .map(|split| RecordSet { split, n_top: 20, n_random: 10 })
                .to_vec(),
            SplitStrategy::Paper => vec![RecordSet { split: Split::Pool, n_top: 20, n_random: 20 }],
        };
        Self {
            seed,
            max_window_tokens,
            record_sets,
            n_quantile_records: 5,
            quantiles: vec![0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999],
            tracked_token_ids: Vec::new(),
            token_mean_splits: vec![Split::Train],
            n_token_means: 100,
        }
    }

    /// Bytes of state of one neuron (neurons are held in blocks of 64, so a hook point's last block may be partly empty).
    pub fn state_bytes(&self) -> usize {
        BlockState::bytes_per_unit(self)
    }

    fn check(&self) -> Result<()> {
        let fault = |field, reason: String| Err(CollectorError::Setting { field, reason }.into());
        if self.max_window_tokens == 0 {
            return fault("max_window_tokens", "expected at least 1, got 0".to_owned());
        }
        if !self.quantiles.iter().all(|q| (0.0..=1.0).contains(q)) || !self.quantiles.is_sorted() {
            return fault("quantiles", format!("expected ascending numbers in 0..=1, got {:?}", self.quantiles));
        }
        if !self.tracked_token_ids.is_sorted_by(|a, b| a < b) {
            return fault("tracked_token_ids", "expected strictly ascending token ids".to_owned());
        }
        let sets = self.record_sets.as_slice();
        if (1..sets.len()).any(|i| sets[..i].iter().any(|set| set.split == sets[i].split)) {
            return fault("record_sets", "expected each split once".to_owned());
        }
        Ok(())
    }
}

/// The neurons to collect at one hook point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookUnits {
    name: String,
    width: usize,
    units: Vec<u32>,
}

impl HookUnits {
    /// Every neuron of the hook point.
    pub fn all(name: impl Into<String>, width: usize) -> Self {
        Self { name: name.into(), width, units: (0..width as u32).collect() }
    }

    /// The neurons with these indices, of the hook point's `width`; order and repetition do not matter.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for an index that is not below `width`.
    pub fn selected(name: impl Into<String>, width: usize, mut units: Vec<u32>) -> Result<Self> {
        let name = name.into();
        units.sort_unstable();
        units.dedup();
        match units.last() {
            Some(last) if *last as usize >= width => {
                Err(Error::NeuronOutOfRange { hook_point: name, neuron: *last, n_neurons: width })
            }
            _ => Ok(Self { name, width, units }),
        }
    }

    /// TransformerLens name of the hook point.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size of the hook point's last dimension.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Ascending indices of the neurons that are collected.
    pub fn units(&self) -> &[u32] {
        &self.units
    }

    /// A number of its own for each name, the same on every machine.
    fn key(&self) -> u64 {
        self.name.bytes().fold(0, |key, byte| mix(key, u64::from(byte), 0))
    }
}

/// Everything collected of one neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitSummary {
    /// 0-based index along the hook point's last dimension.
    pub neuron: u32,
    /// Moments, extremes and density over counted tokens.
    pub moments: Moments,
    /// Activations at [`CollectorConfig::quantiles`], off by at most 1/33 of their value (see [`crate::neurons::sketch`]); empty
    /// when no token was counted.
    pub quantiles: Vec<f64>,
    /// Boundaries of the quantile ranges of window maxima ([`crate::activation_records::record::QUANTILE_BOUNDARIES`]), in the
    /// neuron's units; `None` without windows.
    pub window_max_boundaries: Option<[f32; N_QUANTILE_RANGES - 1]>,
    /// Kept windows: split by split the top and random ones by rank, then the quantile samples by range and rank.
    pub records: Vec<ActivationRecord>,
    /// Mean activation by token; `None` when no token of the configured splits was counted.
    pub token_lookup: Option<TokenLookup>,
}

/// Collects statistics, records and token means of the neurons of several hook points in one pass.
pub struct Collector {
    config: CollectorConfig,
    hooks: Vec<HookUnits>,
    token_rows: TokenRows,
    progress: Progress,
    blocks: Vec<Block>,
}

impl Collector {
    /// An empty collection.
    ///
    /// # Errors
    /// [`CollectorError::Setting`] for settings that contradict themselves.
    pub fn new(config: CollectorConfig, hooks: Vec<HookUnits>) -> Result<Self> {
        config.check()?;
        let blocks = (0..)
            .zip(&hooks)
            .flat_map(|(hook, units)| {
                let key = units.key();
                let config = &config;
                units.units.chunks(BLOCK).map(move |block| Block::new(config, hook, key, block))
            })
            .collect();
        let token_rows = TokenRows::new(&config.tracked_token_ids);
        let progress = Progress::new(&config);
        Ok(Self { config, hooks, token_rows, progress, blocks })
    }

    /// What is collected.
    pub fn config(&self) -> &CollectorConfig {
        &self.config
    }

    /// The hook points, in the order of their tiles.
    pub fn hooks(&self) -> &[HookUnits] {
        &self.hooks
    }

    /// Tokens counted so far.
    pub fn n_tokens(&self) -> u64 {
        self.progress.n_tokens
    }

    /// Windows seen so far.
    pub fn n_windows(&self) -> u64 {
        self.progress.n_windows
    }

    /// The last window's sequence: where to go on after [`Collector::restore`].
    pub fn last_sequence(&self) -> Option<i64> {
        self.progress.last_sequence
    }

    /// Takes in windows, in ascending sequence, on the threads of the current rayon pool.
    ///
    /// `tiles` has one tile for each hook point: its activations over the windows' tokens one after the other, shape
    /// `[n_tokens, width]`, where `n_tokens` is the sum of the windows' lengths. Every batch reads a block's counters from
    /// memory once, so batches of a thousand tokens and more are fastest.
    ///
    /// # Errors
    /// For windows or tiles that do not fit ([`CollectorError::SequenceOrder`], [`CollectorError::WindowLength`], [`CollectorError::TileCount`],
    /// [`CollectorError::TileShape`], [`CollectorError::TooManyTokens`]) nothing is changed. After [`CollectorError::ActivationNotFinite`] some blocks
    /// hold the batch and some do not, so the collection is of no further use.
    pub fn observe(&mut self, windows: &[Window<'_>], tiles: &[&[f32]]) -> Result<()> {
        let n_tokens: usize = windows.iter().map(|window| window.token_ids.len()).sum();
        if tiles.len() != self.hooks.len() {
            return Err(CollectorError::TileCount { expected: self.hooks.len(), got: tiles.len() }.into());
        }
        for (hook, tile) in self.hooks.iter().zip(tiles) {
            let expected = n_tokens * hook.width;
            if tile.len() != expected {
                return Err(
                    CollectorError::TileShape { hook_point: hook.name.clone(), expected, got: tile.len() }.into()
                );
            }
        }
        let plan = plan(&self.config, &self.token_rows, &mut self.progress, windows)?;
        let (config, hooks) = (&self.config, &self.hooks);
        self.blocks.par_iter_mut().try_for_each_init(
            || Scratch::new(config),
            |scratch, block| block.observe(&hooks[block.hook], &plan, tiles[block.hook], scratch),
        )?;
        Ok(())
    }

    /// What was collected of each neuron of a hook point, one at a time in ascending order; nothing for an unknown hook.
    pub fn finish(&self, hook: usize) -> impl Iterator<Item = UnitSummary> {
        let blocks = self.blocks.iter().filter(move |block| block.hook == hook);
        blocks.flat_map(|block| (0..block.units.len()).map(|lane| self.summary(block, lane)))
    }

    fn summary(&self, block: &Block, lane: usize) -> UnitSummary {
        let state = &block.state;
        let n_tokens = self.progress.n_tokens;
        let (config, counts) = (&self.config, &self.progress.token_counts);
        UnitSummary {
            neuron: block.units[lane],
            moments: state.moments.summary(lane, n_tokens),
            quantiles: state.sketch.quantiles(lane, &config.quantiles, n_tokens, state.moments.extremes(lane)),
            window_max_boundaries: state.quantile_samples.final_boundaries(lane),
            records: state.records(lane),
            token_lookup: state.token_means.lookup(lane, &config.tracked_token_ids, counts, config.n_token_means),
        }
    }

    /// Writes everything collected so far.
    ///
    /// # Errors
    /// [`CollectorError::CheckpointIo`] when the writer fails.
    pub fn checkpoint(&self, writer: impl Write) -> Result<()> {
        let blocks = self.blocks.iter().map(|block| &block.state);
        Ok(checkpoint::write(writer, self.configuration_hash(), &self.progress, blocks)?)
    }

    /// Takes up a collection where [`Collector::checkpoint`] left it.
    ///
    /// # Errors
    /// [`CollectorError::CheckpointMismatch`] when it was written with another configuration or other hook points,
    /// [`CollectorError::CheckpointFormat`] when it is not whole, [`CollectorError::CheckpointIo`] when the reader fails.
    pub fn restore(config: CollectorConfig, hooks: Vec<HookUnits>, reader: impl Read) -> Result<Self> {
        let mut collector = Self::new(config, hooks)?;
        let hash = collector.configuration_hash();
        let blocks = collector.blocks.iter_mut().map(|block| &mut block.state);
        checkpoint::read(reader, hash, &mut collector.progress, blocks)?;
        Ok(collector)
    }

    /// The same for the same configuration and hook points on every machine.
    fn configuration_hash(&self) -> u64 {
        let mut hash = 0;
        let mut add = |value: u64| hash = mix(hash, value, 0);
        let config = &self.config;
        add(config.seed);
        add(config.max_window_tokens as u64);
        add(config.record_sets.len() as u64);
        for set in &config.record_sets {
            add(set.split as u64);
            add(set.n_top as u64);
            add(set.n_random as u64);
        }
        add(config.n_quantile_records as u64);
        add(config.quantiles.len() as u64);
        config.quantiles.iter().for_each(|q| add(q.to_bits()));
        add(config.tracked_token_ids.len() as u64);
        config.tracked_token_ids.iter().for_each(|token_id| add(u64::from(*token_id)));
        add(config.token_mean_splits.len() as u64);
        config.token_mean_splits.iter().for_each(|split| add(*split as u64));
        add(config.n_token_means as u64);
        for hook in &self.hooks {
            add(hook.key());
            add(hook.width as u64);
            add(hook.units.len() as u64);
            hook.units.iter().for_each(|unit| add(u64::from(*unit)));
        }
        hash
    }
}
