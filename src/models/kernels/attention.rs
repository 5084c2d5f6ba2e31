//! Causal attention of one head over one sequence.

use super::exp::exp;
use super::isa::{multiply_add, multiversion};

/// Keys a block of scores spans, and values a block of outputs spans: sums kept in registers.
const WIDTH: usize = 32;

/// One head's inputs and output over a sequence of `n_tokens` tokens, each a column range of a wider row-major matrix.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// Query of token t: `queries[t * stride..][..d_head]`.
    pub(crate) queries: &'a [f32],
    /// Key and value of token t, likewise.
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    /// Output of token t: `out[t * out_stride..][..d_head]`.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
    pub(crate) n_tokens: usize,
    pub(crate) d_head: usize,
}

/// Memory of one head's attention, kept between calls.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    /// Transposed keys, `[d_head, padded n_tokens]`.
    keys: Vec<f32>,
    /// Values, `[n_tokens, padded d_head]`.
    values: Vec<f32>,
    /// After a call: the attention pattern, `[n_tokens, padded n_tokens]`, zero above the diagonal.
    pattern: Vec<f32>,
}

impl AttentionScratch {
    /// Weight that query token `query` gave key token `key` in the last call, over a sequence of `n_tokens`.
    pub(crate) fn weight(&self, query: usize, key: usize, n_tokens: usize) -> f32 {
        self.pattern[query * n_tokens.next_multiple_of(WIDTH) + key]
    }
}

/// `out[i] = sum over k of a[k] * b[k][i]` for WIDTH columns starting at `column` of a matrix of `stride` columns.
#[inline(always)]
fn row_times_matrix<const FUSED: bool>(a: &[f32], b: &[f32], stride: usize, column: usize) -> [f32; WIDTH] {
    let mut sums = [0.0_f32; WIDTH];
    for (a, b) in a.iter().zip(b.chunks_exact(stride)) {
        let b = &b[column..column + WIDTH];
        for lane in 0..WIDTH {
            sums[lane] = multiply_add::<FUSED>(*a, b[lane], sums[lane]);
        }
    }
    sums
}

/// Softmax of `row`, whose length is a multiple of WIDTH, over its first `n` values; the rest becomes zero.
#[inline(always)]
pub(super) fn softmax<const FUSED: bool>(row: &mut [f32], n: usize) {
    row[n..].fill(f32::NEG_INFINITY);
    let mut largest = [f32::NEG_INFINITY; WIDTH];
    for chunk in row.chunks_exact(WIDTH) {
        for lane in 0..WIDTH {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    let largest = largest.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut sums = [0.0_f32; WIDTH];
    for chunk in row.chunks_exact_mut(WIDTH) {
        for lane in 0..WIDTH {
            let masked = chunk[lane] == f32::NEG_INFINITY;
            let value = exp::<FUSED>(chunk[lane] - largest);
            chunk[lane] = if masked { 0.0 } else { value };
            sums[lane] += chunk[lane];
        }
    }
    let scale = 1.0 / sums.iter().sum::<f32>();
    for value in row {
        *value *= scale;
    }
}

#[inline(always)]
fn attend_body<const FUSED: bool>(head: &mut Head<'_>, scratch: &mut AttentionScratch) {
    let (n, d) = (head.n_tokens, head.d_head);
    let (padded_n, padded_d) = (n.next_multiple_of(WIDTH), d.next_multiple_of(WIDTH));
    let AttentionScratch { keys, values, pattern } = scratch;
    keys.clear();
    keys.resize(d * padded_n, 0.0);
    values.clear();
    values.resize(n * padded_d, 0.0);
    pattern.clear();
    pattern.resize(n * padded_n, 0.0);
    for token in 0..n {
        for (i, key) in head.keys[token * head.stride..][..d].iter().enumerate() {
            keys[i * padded_n + token] = *key;
        }
        values[token * padded_d..][..d].copy_from_slice(&head.values[token * head.stride..][..d]);
    }
    let scale = 1.0 / (d as f32).sqrt();
    for token in 0..n {
        let row = &mut pattern[token * padded_n..][..padded_n];
        let query = &head.queries[token * head.stride..][..d];
        for column in (0..=token).step_by(WIDTH) {
            let scores = row_times_matrix::<FUSED>(query, keys, padded_n, column);
            for (out, score) in row[column..column + WIDTH].iter_mut().zip(scores) {
                *out = score * scale;
            }
        }
        softmax::<FUSED>(&mut row[..(token + 1).next_multiple_of(WIDTH)], token + 1);
        let out = &mut head.out[token * head.out_stride..][..d];
        for (block, out) in out.chunks_mut(WIDTH).enumerate() {
            let mixed = row_times_matrix::<FUSED>(&row[..=token], values, padded_d, block * WIDTH);
            for (out, value) in out.iter_mut().zip(mixed) {
                *out = value;
            }
        }
    }
}

multiversion! {
    /// Writes softmax(Q K^T / sqrt(d_head), causal) V of one head to its output.
    ///
    /// A sum over keys runs over the tokens of this sequence in order, so the result depends on nothing else in a tile.
    pub(crate) fn attend(head: &mut Head<'_>, scratch: &mut AttentionScratch) = attend_body
}
