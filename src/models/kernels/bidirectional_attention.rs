//! Attention of one head in which every token sees every other, as in encoders.

use super::attention::Head;
use super::exp::exp;
use super::isa::{multiply_add, multiversion};

/// Keys or columns of values that one run over a row computes: sums kept in registers.
const WIDTH: usize = 16;

/// Memory of one head's attention, kept between calls.
#[derive(Debug, Default)]
pub(crate) struct EncoderScratch {
    /// Transposed keys, `[d_head, padded n_tokens]`.
    keys: Vec<f32>,
    /// Values, `[n_tokens, padded d_head]`.
    values: Vec<f32>,
    /// One query's scores, then its weights, `[padded n_tokens]`.
    row: Vec<f32>,
}

/// `out[i] = sum over k of a[k] * b[k][i]` for [`WIDTH`] columns starting at `column` of a matrix of `stride` columns.
#[inline(always)]
fn columns_of<const FUSED: bool>(a: &[f32], b: &[f32], stride: usize, column: usize) -> [f32; WIDTH] {
    let mut sums = [0.0_f32; WIDTH];
    for (a, b) in a.iter().zip(b.chunks_exact(stride)) {
        let b = &b[column..column + WIDTH];
        for lane in 0..WIDTH {
            sums[lane] = multiply_add::<FUSED>(*a, b[lane], sums[lane]);
        }
    }
    sums
}

#[inline(always)]
fn attend_to_all_body<const FUSED: bool>(head: &mut Head<'_>, scratch: &mut EncoderScratch) {
    let (n, d) = (head.n_tokens, head.d_head);
    let (padded_n, padded_d) = (n.next_multiple_of(WIDTH), d.next_multiple_of(WIDTH));
    let EncoderScratch { keys, values, row } = scratch;
    keys.clear();
    keys.resize(d * padded_n, 0.0);
    values.clear();
    values.resize(n * padded_d, 0.0);
    row.resize(padded_n, 0.0);
    let scale = 1.0 / (d as f32).sqrt();
    for token in 0..n {
        for (i, key) in head.keys[token * head.stride..][..d].iter().enumerate() {
            keys[i * padded_n + token] = *key * scale;
        }
        values[token * padded_d..][..d].copy_from_slice(&head.values[token * head.stride..][..d]);
    }
    for token in 0..n {
        let query = &head.queries[token * head.stride..][..d];
        for column in (0..n).step_by(WIDTH) {
            row[column..column + WIDTH].copy_from_slice(&columns_of::<FUSED>(query, keys, padded_n, column));
        }
        let largest = row[..n].iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
        let mut sum = 0.0;
        for weight in &mut row[..n] {
            *weight = exp::<FUSED>(*weight - largest);
            sum += *weight;
        }
        let share = 1.0 / sum;
        let out = &mut head.out[token * head.out_stride..][..d];
        for (block, out) in out.chunks_mut(WIDTH).enumerate() {
            let mixed = columns_of::<FUSED>(&row[..n], values, padded_d, block * WIDTH);
            for (out, value) in out.iter_mut().zip(mixed) {
                *out = value * share;
            }
        }
    }
}

multiversion! {
    /// Writes softmax(Q K^T / sqrt(d_head)) V of one head to its output; sums run over the tokens of this sequence in order.
    pub(crate) fn attend_to_all(head: &mut Head<'_>, scratch: &mut EncoderScratch) = attend_to_all_body
}

#[cfg(test)]
mod tests;
