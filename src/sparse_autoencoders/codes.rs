//! Sparse codes: which latents fire on each row and how strongly, in compressed rows.

use crate::number::Number;

/// Firings of a batch, row after row, by rising latent within a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes<T = f32> {
    /// Where each row's firings begin, and after the last row their number: `[n_rows + 1]`.
    pub offsets: Vec<usize>,
    /// The latent of each firing.
    pub latents: Vec<u32>,
    /// The value of each firing, never 0.
    pub values: Vec<T>,
    /// `[n_rows]` what the reconstruction of a row is multiplied by, where inputs are normalised row by row; else empty.
    pub row_scales: Vec<T>,
    /// `[n_rows]` what is then added to it, where inputs are normalised row by row; else empty.
    pub row_shifts: Vec<T>,
    /// `[n_rows]` the mean that was taken from a row before all else, where it was ([`crate::autoencoder::RowMean`]); else empty.
    pub row_means: Vec<T>,
}

impl<T> Default for Codes<T> {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            latents: Vec::new(),
            values: Vec::new(),
            row_scales: Vec::new(),
            row_shifts: Vec::new(),
            row_means: Vec::new(),
        }
    }
}

impl<T: Number> Codes<T> {
    /// No rows; what was allocated is kept.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.latents.clear();
        self.values.clear();
        self.row_scales.clear();
        self.row_shifts.clear();
        self.row_means.clear();
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// How many firings there are in all rows.
    pub fn n_firings(&self) -> usize {
        self.latents.len()
    }

    /// Latents and values of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[T]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.latents[range.clone()], &self.values[range])
    }

    /// Adds a row whose firings are in order of the latents.
    pub fn push_row(&mut self, firings: impl IntoIterator<Item = (u32, T)>) {
        for (latent, value) in firings {
            self.latents.push(latent);
            self.values.push(value);
        }
        self.offsets.push(self.latents.len());
    }

    /// Adds the rows of another batch after these.
    pub fn append(&mut self, other: &Self) {
        let before = self.latents.len();
        self.offsets.extend(other.offsets[1..].iter().map(|offset| before + offset));
        self.latents.extend_from_slice(&other.latents);
        self.values.extend_from_slice(&other.values);
        self.row_scales.extend_from_slice(&other.row_scales);
        self.row_shifts.extend_from_slice(&other.row_shifts);
        self.row_means.extend_from_slice(&other.row_means);
    }

    /// Mean firings a row (L0); `None` without rows.
    pub fn mean_firings(&self) -> Option<f64> {
        (self.n_rows() > 0).then(|| self.n_firings() as f64 / self.n_rows() as f64)
    }
}
