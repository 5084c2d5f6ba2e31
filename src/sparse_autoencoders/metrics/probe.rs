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

fn both_occur(labels: &[bool]) -> Result<()> {
    if labels.contains(&true) && labels.contains(&false) {
        Ok(())
    } else {
        Err(Error::shape("labels", "both true and false ones", format!("{} alike", labels.len())))
    }
}

fn fit_unchecked(values: &[f32], labels: &[bool]) -> Probe {
    let n = values.len() as f64;
    // A value far from 0 or on a large scale makes the system ill-conditioned: fitted about the mean, in deviations.
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    let rows: Vec<(f64, f64)> =
        values.iter().zip(labels).map(|(x, label)| ((f64::from(*x) - mean) * scale, f64::from(*label))).collect();
    // ln(1 + e^s) − y s, without overflow.
    let loss = |weight: f64, bias: f64| {
        let one = |(x, y): &(f64, f64)| {
            let s = weight * x + bias;
            s.max(0.0) + (-s.abs()).exp().ln_1p() - y * s
        };
        rows.iter().map(one).sum::<f64>() / n
    };
    let share = rows.iter().map(|(_, y)| y).sum::<f64>() / n;
    let (mut weight, mut bias) = (0.0, (share / (1.0 - share)).ln());
    let mut best = loss(weight, bias);
    for _ in 0..STEPS {
        let [mut gradient_w, mut gradient_b, mut ww, mut wb, mut bb] = [0.0; 5];
        for (x, y) in &rows {
            let p = 1.0 / (1.0 + (-(weight * x + bias)).exp());
            let curvature = p * (1.0 - p);
            gradient_w += (p - y) * x;
            gradient_b += p - y;
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
