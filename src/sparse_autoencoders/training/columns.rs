//! Codes by latent instead of by row: what the pass over the latents reads.

use crate::codes::Codes;
use crate::number::Number;

/// The firings of each latent, by rising row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns<T> {
    offsets: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<T>,
}

impl<T: Number> Columns<T> {
    pub(crate) fn of(codes: &Codes<T>, n_latents: usize) -> Self {
        let mut offsets = vec![0_usize; n_latents + 1];
        for latent in &codes.latents {
            offsets[*latent as usize + 1] += 1;
        }
        for latent in 0..n_latents {
            offsets[latent + 1] += offsets[latent];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0_u32; codes.latents.len()];
        let mut values = vec![T::ZERO; codes.latents.len()];
        for row in 0..codes.n_rows() {
            let (latents, row_values) = codes.row(row);
            for (latent, value) in latents.iter().zip(row_values) {
                let at = &mut next[*latent as usize];
                rows[*at] = row as u32;
                values[*at] = *value;
                *at += 1;
            }
        }
        Self { offsets, rows, values }
    }

    /// Rows on which a latent fires, and its values there.
    pub(crate) fn of_latent(&self, latent: usize) -> impl Iterator<Item = (usize, T)> {
        let range = self.offsets[latent]..self.offsets[latent + 1];
        self.rows[range.clone()].iter().map(|row| *row as usize).zip(self.values[range].iter().copied())
    }
}
