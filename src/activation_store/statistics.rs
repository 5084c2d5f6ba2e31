//! Mean, spread and norms of the rows of a store.

use serde::{Deserialize, Serialize};

/// Sums over rows, in f64; those of several files are added in the order of the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// Rows.
    pub n_rows: u64,
    /// Rows that were left out for their norm.
    pub n_dropped: u64,
    /// Of each coordinate, `[width]`.
    pub values: Vec<f64>,
    /// Of each coordinate's square, `[width]`.
    pub squares: Vec<f64>,
    /// Of the rows' Euclidean norms.
    pub norms: f64,
}

/// [`Sums`] as they stand in a file's footer: floats by their bits, so that nothing is lost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SumsInBits {
    n_rows: u64,
    n_dropped: u64,
    values: Vec<u64>,
    squares: Vec<u64>,
    norms: u64,
}

impl From<&Sums> for SumsInBits {
    fn from(sums: &Sums) -> Self {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
        Self {
            n_rows: sums.n_rows,
            n_dropped: sums.n_dropped,
            values: bits(&sums.values),
            squares: bits(&sums.squares),
            norms: sums.norms.to_bits(),
        }
    }
}

impl From<SumsInBits> for Sums {
    fn from(sums: SumsInBits) -> Self {
        let floats = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        Self {
            n_rows: sums.n_rows,
            n_dropped: sums.n_dropped,
            values: floats(sums.values),
            squares: floats(sums.squares),
            norms: f64::from_bits(sums.norms),
        }
    }
}

impl Sums {
    /// Nothing yet of rows of `width` values.
    pub fn new(width: usize) -> Self {
        Self { n_rows: 0, n_dropped: 0, values: vec![0.0; width], squares: vec![0.0; width], norms: 0.0 }
    }

    /// Counts a row.
    pub fn add_row(&mut self, row: &[f32]) {
        let mut square = 0.0;
        for ((value, sum), squares) in row.iter().zip(&mut self.values).zip(&mut self.squares) {
            let value = f64::from(*value);
            *sum += value;
            *squares += value * value;
            square += value * value;
        }
        self.norms += square.sqrt();
        self.n_rows += 1;
    }

    /// Adds the sums of another file.
    pub fn add(&mut self, other: &Self) {
        self.n_rows += other.n_rows;
        self.n_dropped += other.n_dropped;
        self.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
        self.squares.iter_mut().zip(&other.squares).for_each(|(sum, value)| *sum += value);
        self.norms += other.norms;
    }

    /// What the sums say; `None` without rows.
    pub fn statistics(&self) -> Option<Statistics> {
        if self.n_rows == 0 {
            return None;
        }
        let n = self.n_rows as f64;
        let mean: Vec<f64> = self.values.iter().map(|sum| sum / n).collect();
        let sigma: Vec<f64> =
            self.squares.iter().zip(&mean).map(|(square, mean)| (square / n - mean * mean).max(0.0).sqrt()).collect();
        let length = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let spread = length(&sigma);
        Some(Statistics {
            mean_norm: self.norms / n,
            mean_square: self.squares.iter().sum::<f64>() / n,
            gamma: (spread > 0.0).then(|| length(&mean) / spread),
            mean,
            sigma,
        })
    }
}

/// What is known of the distribution of a store's rows, in the units of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// μ, the mean row, `[width]`.
    pub mean: Vec<f64>,
    /// σ, the standard deviation of each coordinate, `[width]`.
    pub sigma: Vec<f64>,
    /// γ = ‖μ‖ / ‖σ‖: how far the cloud of rows lies from the origin, in its own size. The larger, the more latents of an
    /// autoencoder that is not centred are dead from the start (arXiv 2605.31518). `None` where all rows are equal.
    pub gamma: Option<f64>,
    /// Mean Euclidean norm of a row.
    pub mean_norm: f64,
    /// Mean squared Euclidean norm of a row.
    pub mean_square: f64,
}
