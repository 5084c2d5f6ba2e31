//! Keys and values of tokens that were run, in segments that several sequences may share.

use std::sync::Arc;

use super::runner::Growing;
use crate::models::config::ModelConfig;
use crate::models::kernels::cached_attention::KeyValues;

/// Keys and values of a run of tokens, in every layer.
#[derive(Debug)]
pub struct Segment {
    /// `[layer][key head]`; one layer only for tokens that no later call reads.
    layers: Vec<Vec<KeyValues>>,
    n_tokens: usize,
}

/// Whether later calls read the keys and values of a sequence's own tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They do: the sequence goes on, or others share it.
    All,
    /// They do not: one layer's memory serves all layers, and the sequence is extended once.
    Nothing,
}

impl Segment {
    fn new(config: &ModelConfig, keep: Keep) -> Self {
        let n_layers = if keep == Keep::All { config.n_layers } else { 1 };
        let layer = || (0..config.n_kv_heads).map(|_| KeyValues::new(config.d_head)).collect();
        Self { layers: (0..n_layers).map(|_| layer()).collect(), n_tokens: 0 }
    }

    /// One layer's keys and values, a key head each.
    pub(super) fn layer(&self, layer: usize) -> &[KeyValues] {
        &self.layers[layer % self.layers.len()]
    }

    /// Tokens held.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Bytes held.
    pub fn n_bytes(&self) -> usize {
        self.layers.iter().flatten().map(KeyValues::n_bytes).sum()
    }
}

/// A token sequence that grows at its end: shared segments, then tokens of its own.
#[derive(Debug)]
pub struct Sequence {
    past: Vec<Arc<Segment>>,
    own: Segment,
    keep: Keep,
}

impl Sequence {
    /// A sequence that goes on after `past`, whose segments stand in order.
    pub fn new(config: &ModelConfig, past: &[Arc<Segment>], keep: Keep) -> Self {
        Self { past: past.to_vec(), own: Segment::new(config, keep), keep }
    }

    /// Makes all tokens so far something that other sequences can go on after.
    pub fn into_shared(self) -> Vec<Arc<Segment>> {
        let mut past = self.past;
        past.push(Arc::new(self.own));
        past
    }

    pub(super) fn past(&self) -> &[Arc<Segment>] {
        &self.past
    }

    pub(super) fn own(&self) -> &Segment {
        &self.own
    }

    /// Adds the keys and values of new tokens in one layer, `rows` being `[n_new, stride]`.
    pub(super) fn push_layer(&mut self, layer: usize, rows: &[f32], config: &ModelConfig) {
        let ModelConfig { n_heads, n_kv_heads, d_head, .. } = *config;
        let n_layers = self.own.layers.len();
        for (head, cache) in self.own.layers[layer % n_layers].iter_mut().enumerate() {
            if self.keep == Keep::Nothing {
                cache.clear();
            }
            for row in rows.chunks_exact((n_heads + 2 * n_kv_heads) * d_head) {
                let key = &row[(n_heads + head) * d_head..][..d_head];
                let value = &row[(n_heads + n_kv_heads + head) * d_head..][..d_head];
                cache.push(key, value);
            }
        }
    }

    /// Counts new tokens after all layers have them.
    pub(super) fn advance(&mut self, n_tokens: usize) {
        self.own.n_tokens += n_tokens;
    }
}

impl Growing for Sequence {
    fn n_tokens(&self) -> usize {
        self.past.iter().map(|segment| segment.n_tokens).sum::<usize>() + self.own.n_tokens
    }

    fn closed(&self) -> bool {
        self.keep == Keep::Nothing && self.own.n_tokens > 0
    }
}
