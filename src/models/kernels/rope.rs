//! Rotary position embeddings.

use super::isa::multiversion;

/// Cosines and sines of every position, `[n_positions, d_head / 2]` each.
#[derive(Debug)]
pub(crate) struct RotaryTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// A table for `n_positions` positions of the given inverse frequencies (d_head / 2 of them).
    ///
    /// Angles are rounded to f32 before the cosine is taken, as transformers does.
    pub(crate) fn new(inverse_frequencies: &[f32], n_positions: usize) -> Self {
        let angles =
            || (0..n_positions).flat_map(|position| inverse_frequencies.iter().map(move |f| position as f32 * f));
        Self {
            half: inverse_frequencies.len(),
            cos: angles().map(f32::cos).collect(),
            sin: angles().map(f32::sin).collect(),
        }
    }

    /// Cosines and sines of every position, `[n_positions, half]` each, and how many of each a position has.
    pub(crate) fn tables(&self) -> (&[f32], &[f32], usize) {
        (&self.cos, &self.sin, self.half)
    }

    /// Rotates the `n_heads` heads at the start of one row to `position`.
    ///
    /// Element i of a head turns with element i + d_head / 2 (Su et al. 2021, in the order of transformers' `rotate_half`).
    pub(crate) fn rotate(&self, row: &mut [f32], n_heads: usize, position: usize) {
        let at = position * self.half;
        let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
        rotate_heads(&mut row[..n_heads * 2 * self.half], cos, sin);
    }
}

#[inline(always)]
fn rotate_heads_body<const FUSED: bool>(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
    for head in heads.chunks_exact_mut(2 * cos.len()) {
        let (first, second) = head.split_at_mut(cos.len());
        for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let (x, y) = (*first, *second);
            *first = x * cos - y * sin;
            *second = y * cos + x * sin;
        }
    }
}

multiversion! {
    fn rotate_heads(heads: &mut [f32], cos: &[f32], sin: &[f32]) = rotate_heads_body
}
