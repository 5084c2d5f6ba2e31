//! Whether some single latent knows the answer: logistic regression on one latent at a time (arXiv 2406.04093, section 4.2).

use rayon::prelude::*;

use crate::error::{Error, Result, expect_len};

#[cfg(test)]
mod tests;

/// Newton steps at most; values that separate the labels have no best weight, and the loss then nears 0.
const STEPS: usize = 50;

/// A fitted probe: the label is true with probability `1 / (1 + e^−(weight · value + bias))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Slope.
    pub weight: f64,
    /// Intercept.
    pub bias: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// The best latent of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestProbe {
    /// The latent.
    pub latent: u32,
    /// Its probe.
    pub probe: Probe,
}

/// Fits weight and bias by Newton's method, each step halved until the loss does not rise.
///
/// # Errors
/// [`Error::Shape`] unless there is a label for every value and both labels occur.
pub fn fit(values: &[f32], labels: &[bool]) -> Result<Probe> {
    expect_len("labels", values.len(), labels.len())?;
    both_occur(labels)?;
    Ok(fit_unchecked(values, labels))
}

/// The probe with the smallest loss among all latents of pooled codes `[n_texts, n_latents]`; of equal ones the lower
/// latent.
///
/// # Errors
/// As [`fit`]; [`Error::Shape`] without latents.
pub fn best(codes: &[f32], n_latents: usize, labels: &[bool]) -> Result<BestProbe> {
    expect_len("codes", labels.len() * n_latents, codes.len())?;
    both_occur(labels)?;
    let one = |latent: usize| {
        let values: Vec<f32> = codes.chunks_exact(n_latents).map(|row| row[latent]).collect();
        BestProbe { latent: latent as u32, probe: fit_unchecked(&values, labels) }
    };
    let probes: Vec<BestProbe> = (0..n_latents).into_par_iter().map(one).collect();
    let better = |a: BestProbe, b: BestProbe| if b.probe.loss < a.probe.loss { b } else { a };
    probes.into_iter().reduce(better).ok_or_else(|| Error::shape("codes", "one latent or more", 0))
}

/// Values of one latent over rows of which most are 0: how many rows there are and have the label, and the value and label of each
/// firing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseValues {
    /// Rows, and those among them whose label is true.
    pub n_rows: u64,
    /// Rows whose label is true.
    pub n_true: u64,
    /// Value and label of every row whose value is not 0.
    pub firings: Vec<(f32, bool)>,
}

impl SparseValues {
    /// Value, label and number of rows; the rows that are 0 at most twice.
    fn weighted(&self) -> Vec<(f64, f64, f64)> {
        let fired_true = self.firings.iter().filter(|(_, label)| *label).count() as u64;
        let silent_true = self.n_true - fired_true;
        let silent = self.n_rows - self.firings.len() as u64;
        let zeros = [(0.0, 1.0, silent_true as f64), (0.0, 0.0, (silent - silent_true) as f64)];
        let firings = self.firings.iter().map(|(value, label)| (f64::from(*value), f64::from(*label), 1.0));
        zeros.into_iter().filter(|(_, _, n)| *n > 0.0).chain(firings).collect()
    }
}

/// As [`fit`], in time that grows with the firings alone.
///
/// # Errors
/// [`Error::Shape`] unless both labels occur and there are at least as many rows with each label as firings.
pub fn fit_sparse(values: &SparseValues) -> Result<Probe> {
    checked(values)?;
    Ok(fit_weighted(&values.weighted()))
}

impl Probe {
    /// Mean cross-entropy in nats on other rows of the latent.
    ///
    /// # Errors
    /// [`Error::Shape`] without rows, and as [`fit_sparse`].
    pub fn loss_on(&self, values: &SparseValues) -> Result<f64> {
        consistent(values)?;
        if values.n_rows == 0 {
            return Err(Error::shape("values", "one row or more", 0));
        }
        Ok(mean_loss(&values.weighted(), self.weight, self.bias))
    }
}

fn checked(values: &SparseValues) -> Result<()> {
    consistent(values)?;
    if values.n_true > 0 && values.n_true < values.n_rows {
        return Ok(());
    }
    Err(Error::shape("labels", "both true and false ones", format!("{} alike", values.n_rows)))
}

fn consistent(values: &SparseValues) -> Result<()> {
    let fired_true = values.firings.iter().filter(|(_, label)| *label).count() as u64;
    let fired_false = values.firings.len() as u64 - fired_true;
    if values.n_true <= values.n_rows && fired_true <= values.n_true && fired_false <= values.n_rows - values.n_true {
        return Ok(());
    }
    let expected = format!("at most {} of {} rows with the label", values.n_true, values.n_rows);
    Err(Error::shape("firings", expected, format!("{fired_true} with it and {fired_false} without")))
}

/// Mean of `ln(1 + e^s) − y s` over weighted rows, without overflow.
fn mean_loss(rows: &[(f64, f64, f64)], weight: f64, bias: f64) -> f64 {
    let one = |(x, y, n): &(f64, f64, f64)| {
        let s = weight * x + bias;
        n * (s.max(0.0) + (-s.abs()).exp().ln_1p() - y * s)
    };
    rows.iter().map(one).sum::<f64>() / rows.iter().map(|(_, _, n)| n).sum::<f64>()
}

fn both_occur(labels: &[bool]) -> Result<()> {
    if labels.contains(&true) && labels.contains(&false) {
        Ok(())
    } else {
        Err(Error::shape("labels", "both true and false ones", format!("{} alike", labels.len())))
    }
}

fn fit_unchecked(values: &[f32], labels: &[bool]) -> Probe {
    let rows: Vec<(f64, f64, f64)> =
        values.iter().zip(labels).map(|(x, label)| (f64::from(*x), f64::from(*label), 1.0)).collect();
    fit_weighted(&rows)
}

/// Rows of value, label and weight.
fn fit_weighted(rows: &[(f64, f64, f64)]) -> Probe {
    let total = |of: &dyn Fn(f64, f64) -> f64| rows.iter().map(|(x, y, n)| n * of(*x, *y)).sum::<f64>();
    let n = total(&|_, _| 1.0);
    // A value far from 0 or on a large scale makes the system ill-conditioned: fitted about the mean, in deviations.
    let mean = total(&|x, _| x) / n;
    let variance = total(&|x, _| (x - mean).powi(2)) / n;
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    let rows: Vec<(f64, f64, f64)> = rows.iter().map(|(x, y, n)| ((x - mean) * scale, *y, *n)).collect();
    let loss = |weight: f64, bias: f64| mean_loss(&rows, weight, bias);
    let share = rows.iter().map(|(_, y, n)| n * y).sum::<f64>() / n;
    let (mut weight, mut bias) = (0.0, (share / (1.0 - share)).ln());
    let mut best = loss(weight, bias);
    for _ in 0..STEPS {
        let [mut gradient_w, mut gradient_b, mut ww, mut wb, mut bb] = [0.0; 5];
        for (x, y, n) in &rows {
            let p = 1.0 / (1.0 + (-(weight * x + bias)).exp());
            let curvature = n * p * (1.0 - p);
            gradient_w += n * (p - y) * x;
            gradient_b += n * (p - y);
            ww += curvature * x * x;
            wb += curvature * x;
            bb += curvature;
        }
        let determinant = ww * bb - wb * wb;
        // A constant latent, or labels that are separated: nothing more to gain.
        if determinant <= 1e-12 * n * n {
            break;
        }
        let step_w = (bb * gradient_w - wb * gradient_b) / determinant;
        let step_b = (ww * gradient_b - wb * gradient_w) / determinant;
        let halved = (0..30).map(|halvings| 0.5_f64.powi(halvings));
        let next = halved.map(|by| (weight - by * step_w, bias - by * step_b)).find(|(w, b)| loss(*w, *b) < best);
        let Some(next) = next else { break };
        (weight, bias) = next;
        let gained = best - loss(weight, bias);
        best -= gained;
        if gained < 1e-13 {
            break;
        }
    }
    Probe { weight: weight * scale, bias: bias - weight * scale * mean, loss: best }
}
