//! How well rows are reconstructed and by how many latents, in one pass over any number of batches.

use crate::codes::Codes;
use crate::error::{Result, expect_len};

#[cfg(test)]
mod tests;

/// What always predicting one vector would cost: the denominator of the paper's normalised error.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// The sample's mean, `[width]`.
    pub mean: Vec<f64>,
    /// The mean square of the sample's distance to it, over rows and coordinates.
    pub mse: f64,
}

impl Baseline {
    /// The baseline of a sample `[n_rows, width]`, in two passes; `None` without rows.
    pub fn of(width: usize, sample: &[f32]) -> Option<Self> {
        let n_rows = sample.len() / width;
        if n_rows == 0 {
            return None;
        }
        let mut mean = vec![0.0; width];
        for row in sample.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= n_rows as f64);
        let squares = |row: &[f32]| row.iter().zip(&mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>();
        let mse = sample.chunks_exact(width).map(squares).sum::<f64>() / (n_rows * width) as f64;
        Some(Self { mean, mse })
    }
}

/// The numbers of all rows added.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconstructionMetrics {
    /// Rows added.
    pub n_rows: u64,
    /// Mean of `(x − x̂)²` over rows and coordinates.
    pub mse: Option<f64>,
    /// `mse` over the baseline's, which was taken from a sample (arXiv 2406.04093, section 2.2).
    pub normalized_mse: Option<f64>,
    /// Fraction of variance unexplained: `Σ ‖x − x̂‖² / Σ ‖x − mean of these rows‖²`.
    pub fvu: Option<f64>,
    /// `1 − fvu`.
    pub explained_variance: Option<f64>,
    /// Mean over rows of `1 − ‖x − x̂‖² / ‖x − mean of the batch‖²`: what SAELens and SAEBench reported before they were
    /// corrected. It depends on how rows were cut into batches.
    pub explained_variance_legacy: Option<f64>,
    /// Latents a row that are not 0 (L0).
    pub mean_firings: Option<f64>,
    /// `Σ |z|` a row (L1).
    pub mean_l1: Option<f64>,
    /// Mean of `‖x̂‖ / ‖x‖` over rows that are not 0; below 1 is shrinkage.
    pub l2_ratio: Option<f64>,
    /// Mean cosine of `x` and `x̂`, over rows where neither is 0.
    pub cosine: Option<f64>,
    /// `E ‖x̂‖² / E ⟨x, x̂⟩`: 1 without bias (Rajamanoharan et al. 2024, section 4.3).
    pub relative_reconstruction_bias: Option<f64>,
    /// Share of latents that never fired, 0 to 1.
    pub dead_share: Option<f64>,
    /// Share of latents that fired on more than 1 % of rows.
    pub share_above_1_percent: Option<f64>,
    /// Share of latents that fired on more than 10 % of rows.
    pub share_above_10_percent: Option<f64>,
}

/// Sums over batches.
#[derive(Clone, Debug)]
pub struct ReconstructionSums {
    width: usize,
    baseline: Option<Baseline>,
    /// A latent counts as fired where its value is greater than this.
    fires_above: f32,
    n_rows: u64,
    /// The first row: sums about it do not cancel.
    origin: Vec<f64>,
    /// `Σ (x − origin)`.
    sums: Vec<f64>,
    /// `Σ ‖x − origin‖²`.
    squares: f64,
    errors: f64,
    legacy: (f64, u64),
    firings: u64,
    l1: f64,
    ratios: (f64, u64),
    cosines: (f64, u64),
    reconstruction_squares: f64,
    products: f64,
    fired: Vec<u64>,
}

impl ReconstructionSums {
    /// No rows yet, of reconstructions `width` wide by `n_latents` latents.
    pub fn new(width: usize, n_latents: usize, fires_above: f32, baseline: Option<Baseline>) -> Self {
        Self {
            width,
            baseline,
            fires_above,
            n_rows: 0,
            origin: Vec::new(),
            sums: vec![0.0; width],
            squares: 0.0,
            errors: 0.0,
            legacy: (0.0, 0),
            firings: 0,
            l1: 0.0,
            ratios: (0.0, 0),
            cosines: (0.0, 0),
            reconstruction_squares: 0.0,
            products: 0.0,
            fired: vec![0; n_latents],
        }
    }

    /// Adds a batch: what was to be reconstructed and the reconstructions, both `[n_rows, width]`, and the codes.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::error::Error::Shape) if they are not of as many rows.
    pub fn add(&mut self, targets: &[f32], reconstructions: &[f32], codes: &Codes) -> Result<()> {
        let (width, n_rows) = (self.width, codes.n_rows());
        expect_len("targets", n_rows * width, targets.len())?;
        expect_len("reconstructions", n_rows * width, reconstructions.len())?;
        if n_rows == 0 {
            return Ok(());
        }
        if self.n_rows == 0 {
            self.origin = targets[..width].iter().map(|x| f64::from(*x)).collect();
        }
        self.n_rows += n_rows as u64;
        let mean = Baseline::of(width, targets).map(|baseline| baseline.mean).unwrap_or_default();
        for (target, reconstruction) in targets.chunks_exact(width).zip(reconstructions.chunks_exact(width)) {
            let [mut error, mut variance, mut own, mut other, mut product] = [0.0_f64; 5];
            for at in 0..width {
                let (x, y) = (f64::from(target[at]), f64::from(reconstruction[at]));
                let shifted = x - self.origin[at];
                self.sums[at] += shifted;
                self.squares += shifted * shifted;
                error += (x - y).powi(2);
                variance += (x - mean[at]).powi(2);
                own += x * x;
                other += y * y;
                product += x * y;
            }
            self.errors += error;
            self.reconstruction_squares += other;
            self.products += product;
            if variance > 0.0 {
                add(&mut self.legacy, 1.0 - error / variance);
            }
            if own > 0.0 {
                add(&mut self.ratios, (other / own).sqrt());
            }
            if own > 0.0 && other > 0.0 {
                add(&mut self.cosines, product / (own.sqrt() * other.sqrt()));
            }
        }
        self.firings += codes.values.iter().filter(|value| **value != 0.0).count() as u64;
        self.l1 += codes.values.iter().map(|value| f64::from(value.abs())).sum::<f64>();
        for (latent, value) in codes.latents.iter().zip(&codes.values) {
            if *value > self.fires_above {
                self.fired[*latent as usize] += 1;
            }
        }
        Ok(())
    }

    /// On how many rows each latent fired, `[n_latents]`.
    pub fn fired(&self) -> &[u64] {
        &self.fired
    }

    /// The numbers of all rows so far.
    pub fn metrics(&self) -> ReconstructionMetrics {
        let n = self.n_rows as f64;
        let a_row = |sum: f64| (self.n_rows > 0).then(|| sum / n);
        let mse = a_row(self.errors / self.width as f64);
        let about_mean = self.squares - self.sums.iter().map(|sum| sum * sum).sum::<f64>() / n.max(1.0);
        let fvu = (about_mean > 0.0).then(|| self.errors / about_mean);
        let share =
            |count: usize| (self.n_rows > 0 && !self.fired.is_empty()).then(|| count as f64 / self.fired.len() as f64);
        let above = |share: f64| self.fired.iter().filter(|fired| **fired as f64 > share * n).count();
        ReconstructionMetrics {
            n_rows: self.n_rows,
            mse,
            normalized_mse: mse
                .zip(self.baseline.as_ref().filter(|baseline| baseline.mse > 0.0))
                .map(|(mse, baseline)| mse / baseline.mse),
            fvu,
            explained_variance: fvu.map(|fvu| 1.0 - fvu),
            explained_variance_legacy: mean(self.legacy),
            mean_firings: a_row(self.firings as f64),
            mean_l1: a_row(self.l1),
            l2_ratio: mean(self.ratios),
            cosine: mean(self.cosines),
            relative_reconstruction_bias: (self.products != 0.0).then(|| self.reconstruction_squares / self.products),
            dead_share: share(self.fired.iter().filter(|fired| **fired == 0).count()),
            share_above_1_percent: share(above(0.01)),
            share_above_10_percent: share(above(0.1)),
        }
    }
}

fn add(sum: &mut (f64, u64), value: f64) {
    sum.0 += value;
    sum.1 += 1;
}

fn mean((sum, count): (f64, u64)) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
