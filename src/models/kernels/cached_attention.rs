//! Attention of new tokens over keys and values that are kept: packed once, read by every later token.

use super::attention::softmax;
use super::isa::{Isa, multiversion};
use super::tile::{MAX_ROWS, PANEL, Tile};

/// Query rows that are scored together, at most; a multiple of every instruction set's tile.
const BLOCK_ROWS: usize = 6 * MAX_ROWS;

/// Keys and values of one key head over a run of tokens, in the order in which a tile reads them; grows token by token.
#[derive(Debug)]
pub(crate) struct KeyValues {
    d_head: usize,
    n_tokens: usize,
    /// `[token / PANEL, d_head, PANEL tokens]`, zero where there is no token yet.
    keys: Vec<f32>,
    /// `[token / PANEL, d_head / PANEL, PANEL tokens, PANEL]`, likewise.
    values: Vec<f32>,
}

impl KeyValues {
    /// No token yet.
    pub(crate) fn new(d_head: usize) -> Self {
        Self { d_head, n_tokens: 0, keys: Vec::new(), values: Vec::new() }
    }

    /// Forgets all tokens and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.n_tokens = 0;
        self.keys.clear();
        self.values.clear();
    }

    /// Adds one token's key and value, `[d_head]` each.
    pub(crate) fn push(&mut self, key: &[f32], value: &[f32]) {
        let padded = self.d_head.next_multiple_of(PANEL);
        let (block, within) = (self.n_tokens / PANEL, self.n_tokens % PANEL);
        if within == 0 {
            self.keys.resize((block + 1) * self.d_head * PANEL, 0.0);
            self.values.resize((block + 1) * padded * PANEL, 0.0);
        }
        let keys = &mut self.keys[block * self.d_head * PANEL + within..];
        for (slot, key) in keys.iter_mut().step_by(PANEL).zip(key) {
            *slot = *key;
        }
        let values = &mut self.values[block * padded * PANEL..];
        for (panel, value) in value.chunks(PANEL).enumerate() {
            values[(panel * PANEL + within) * PANEL..][..value.len()].copy_from_slice(value);
        }
        self.n_tokens += 1;
    }

    /// Bytes held.
    pub(crate) fn n_bytes(&self) -> usize {
        (self.keys.capacity() + self.values.capacity()) * size_of::<f32>()
    }
}

/// New tokens of one sequence: queries of the heads that share one key head, and where their outputs go.
#[derive(Debug)]
pub(crate) struct CachedHeads<'a> {
    /// What stands before the sequence's own tokens, oldest first; every query sees all of it.
    pub(crate) past: &'a [&'a KeyValues],
    /// The sequence's own tokens, the new ones among them.
    pub(crate) own: &'a KeyValues,
    /// The first new token's number among the own ones: new token t sees own tokens 0 to first + t.
    pub(crate) first: usize,
    /// Query of token t and head h: `queries[t * stride + h * d_head..][..d_head]`.
    pub(crate) queries: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) n_tokens: usize,
    pub(crate) n_heads: usize,
    /// Output of token t and head h: `out[t * out_stride + h * d_head..][..d_head]`.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
}

/// Memory of one call, kept between calls.
#[derive(Debug, Default)]
pub(crate) struct CachedAttentionScratch {
    /// `[tile, d_head, tile_rows]`.
    queries: Vec<f32>,
    /// `[row, column]`: the past's columns, each run of tokens filled up to a multiple of PANEL, then the own ones.
    scores: Vec<f32>,
    /// `[PANEL, tile_rows]` of the pattern.
    pattern: Vec<f32>,
    /// `[row, padded d_head]`.
    mixed: Vec<f32>,
}

/// Tokens that are best scored in one call when `n_heads` heads share a key head.
pub(crate) fn block_tokens(n_heads: usize) -> usize {
    (BLOCK_ROWS / n_heads).max(1)
}

/// Where a run of tokens stands among the columns of the scores.
struct Columns<'a> {
    start: usize,
    /// Tokens that the block may see; the rest up to a multiple of PANEL is masked.
    n: usize,
    tokens: &'a KeyValues,
}

#[inline(always)]
fn attend_cached_body<const FUSED: bool>(heads: &mut CachedHeads<'_>, scratch: &mut CachedAttentionScratch) {
    let tile_rows = Isa::detected().tile_rows();
    let d = heads.own.d_head;
    let padded_d = d.next_multiple_of(PANEL);
    let n_rows = heads.n_tokens * heads.n_heads;
    let visible = heads.first + heads.n_tokens;
    let mut runs: Vec<Columns<'_>> = Vec::with_capacity(heads.past.len() + 1);
    let mut width = 0;
    let past = heads.past.iter().map(|tokens| (*tokens, tokens.n_tokens));
    for (tokens, n) in past.chain([(heads.own, visible)]) {
        runs.push(Columns { start: width, n, tokens });
        width += n.next_multiple_of(PANEL);
    }
    let own_start = width - visible.next_multiple_of(PANEL);
    let CachedAttentionScratch { queries, scores, pattern, mixed } = scratch;
    pack_queries(heads, d, tile_rows, queries);
    scores.clear();
    scores.resize(n_rows * width, 0.0);
    for run in &runs {
        for (panel, keys) in run.tokens.keys.chunks_exact(d * PANEL).take(run.n.div_ceil(PANEL)).enumerate() {
            let column = run.start + panel * PANEL;
            for (tile, a) in queries.chunks_exact(d * tile_rows).enumerate() {
                let row = tile * tile_rows;
                let rows = tile_rows.min(n_rows - row);
                let out = &mut scores[row * width + column..];
                Tile { a, b: keys, out, stride: width, rows }.accumulate(Isa::detected());
            }
        }
    }
    for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
        for run in &runs[..runs.len() - 1] {
            scores[run.start + run.n..run.start + run.n.next_multiple_of(PANEL)].fill(f32::NEG_INFINITY);
        }
        softmax::<FUSED>(scores, own_start + heads.first + row / heads.n_heads + 1);
    }
    mixed.clear();
    mixed.resize(n_rows * padded_d, 0.0);
    pattern.clear();
    pattern.resize(PANEL * tile_rows, 0.0);
    for row in (0..n_rows).step_by(tile_rows) {
        let rows = tile_rows.min(n_rows - row);
        for run in &runs {
            for (block, values) in
                run.tokens.values.chunks_exact(padded_d * PANEL).take(run.n.div_ceil(PANEL)).enumerate()
            {
                let column = run.start + block * PANEL;
                transpose(&scores[row * width + column..], width, rows, pattern);
                for (panel, b) in values.chunks_exact(PANEL * PANEL).enumerate() {
                    let out = &mut mixed[row * padded_d + panel * PANEL..];
                    Tile { a: pattern, b, out, stride: padded_d, rows }.accumulate(Isa::detected());
                }
            }
        }
    }
    for (row, mixed) in mixed.chunks_exact(padded_d).enumerate() {
        let (token, head) = (row / heads.n_heads, row % heads.n_heads);
        heads.out[token * heads.out_stride + head * d..][..d].copy_from_slice(&mixed[..d]);
    }
}

/// Writes `rows` rows of PANEL weights, `width` apart, to `[PANEL, tile_rows]`: two rows at a time, which halves the stores.
#[inline(always)]
fn transpose(weights: &[f32], width: usize, rows: usize, pattern: &mut [f32]) {
    let row = |r: usize| &weights[r * width..][..PANEL];
    let tile_rows = pattern.len() / PANEL;
    for r in (0..rows - rows % 2).step_by(2) {
        for ((slots, even), odd) in pattern.chunks_exact_mut(tile_rows).zip(row(r)).zip(row(r + 1)) {
            slots[r..r + 2].copy_from_slice(&[*even, *odd]);
        }
    }
    if rows % 2 == 1 {
        for (slots, weight) in pattern.chunks_exact_mut(tile_rows).zip(row(rows - 1)) {
            slots[rows - 1] = *weight;
        }
    }
}

/// Rearranges queries, divided by the root of d_head, to `[tile, d_head, tile_rows]`; row = token * n_heads + head.
fn pack_queries(heads: &CachedHeads<'_>, d: usize, tile_rows: usize, packed: &mut Vec<f32>) {
    let n_rows = heads.n_tokens * heads.n_heads;
    let scale = 1.0 / (d as f32).sqrt();
    packed.clear();
    packed.resize(n_rows.div_ceil(tile_rows) * tile_rows * d, 0.0);
    for row in 0..n_rows {
        let (token, head) = (row / heads.n_heads, row % heads.n_heads);
        let query = &heads.queries[token * heads.stride + head * d..][..d];
        let target = &mut packed[row / tile_rows * tile_rows * d + row % tile_rows..];
        for (slot, value) in target.iter_mut().step_by(tile_rows).zip(query) {
            *slot = value * scale;
        }
    }
}

multiversion! {
    /// Writes softmax(Q K^T / sqrt(d_head), causal) V of the heads that share one key head.
    ///
    /// A row's result depends on its own query, on the keys and values it sees and on how these are cut into runs.
    pub(crate) fn attend_cached(heads: &mut CachedHeads<'_>, scratch: &mut CachedAttentionScratch) = attend_cached_body
}
