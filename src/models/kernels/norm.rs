//! LayerNorm and RMSNorm over rows.

use super::isa::{multiply_add, multiversion};

/// Partial sums kept apart, so that a sum vectorises and its order is fixed: element i goes to partial sum i mod 16.
const LANES: usize = 16;

#[inline(always)]
fn sum_of<const FUSED: bool>(row: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            partial[lane] = term(chunk[lane], partial[lane]);
        }
    }
    for (partial, value) in partial.iter_mut().zip(rest) {
        *partial = term(*value, *partial);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            partial[lane] += partial[lane + width];
        }
        width /= 2;
    }
    partial[0]
}

/// A norm's parameters for rows of `weight.len()` values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<'a> {
    /// Factor of each column.
    pub(crate) weight: &'a [f32],
    /// Added to each column; empty for a norm without bias.
    pub(crate) bias: &'a [f32],
    /// Added to the variance or mean square before the root.
    pub(crate) epsilon: f32,
}

#[inline(always)]
fn layer_norm_body<const FUSED: bool>(rows: &[f32], affine: Affine<'_>, out: &mut [f32]) {
    let width = affine.weight.len();
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum_of::<FUSED>(row, |x, sum| sum + x) / width as f32;
        let square = sum_of::<FUSED>(row, |x, sum| multiply_add::<FUSED>(x - mean, x - mean, sum));
        let scale = 1.0 / (square / width as f32 + affine.epsilon).sqrt();
        for i in 0..width {
            out[i] = multiply_add::<FUSED>((row[i] - mean) * scale, affine.weight[i], affine.bias[i]);
        }
    }
}

multiversion! {
    /// LayerNorm of each row of `rows` `[n, width]` (Ba et al. 2016); `affine.bias` must be as long as the weight.
    pub(crate) fn layer_norm(rows: &[f32], affine: Affine<'_>, out: &mut [f32]) = layer_norm_body
}

#[inline(always)]
fn rms_norm_body<const FUSED: bool>(rows: &[f32], affine: Affine<'_>, out: &mut [f32]) {
    let width = affine.weight.len();
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let square = sum_of::<FUSED>(row, |x, sum| multiply_add::<FUSED>(x, x, sum));
        let scale = 1.0 / (square / width as f32 + affine.epsilon).sqrt();
        for i in 0..width {
            out[i] = row[i] * scale * affine.weight[i];
        }
    }
}

multiversion! {
    /// RMSNorm of each row of `rows` `[n, width]` (Zhang and Sennrich 2019).
    pub(crate) fn rms_norm(rows: &[f32], affine: Affine<'_>, out: &mut [f32]) = rms_norm_body
}
