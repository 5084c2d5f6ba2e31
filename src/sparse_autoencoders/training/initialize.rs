//! Weights before the first step.

use super::config::{DecoderNorm, Method, TrainingConfig};
use super::geometric_median::geometric_median;
use super::parameters::Parameters;
use crate::number::Number;
use crate::random::Random;

/// Rows of the sample that place `b_dec`, as in the reference implementation.
const MEDIAN_ROWS: usize = 32_768;

/// Norm of decoder rows that are not kept at 1 (Conerly et al., April 2024).
const FREE_NORM: f64 = 0.1;

/// Decoder rows in random directions and the encoder equal to them (tied once, not for ever: the paper's most important
/// measure against dead latents); `b_dec` the targets' geometric median; `b_enc` 0.
///
/// Differences from `train.py`: the encoder is not rescaled by the norm of the first reconstructions (its own comment
/// sees no benefit). A transcoder's encoder has rows of norm 1 of its own, and its decoder begins at 0 unless it is kept
/// at norm 1 (sparsify).
pub(crate) fn initial<T: Number>(config: &TrainingConfig, targets: &[T], random: &mut Random) -> Parameters<T> {
    let (n_inputs, n_outputs, n_latents) = (config.n_inputs, config.n_outputs, config.n_latents);
    let sample = &targets[..targets.len().min(MEDIAN_ROWS * n_outputs)];
    let median = geometric_median(n_outputs, sample).point;
    let tied = n_inputs == n_outputs;
    let (w_enc, w_dec) = match (tied, config.decoder_norm) {
        (true, norm) => {
            let norm = if norm == DecoderNorm::Unit { 1.0 } else { FREE_NORM };
            let rows = directions(n_latents, n_outputs, norm, random);
            (rows.clone(), rows)
        }
        (false, DecoderNorm::Unit) => {
            (directions(n_latents, n_inputs, 1.0, random), directions(n_latents, n_outputs, 1.0, random))
        }
        (false, DecoderNorm::Free) => {
            (directions(n_latents, n_inputs, 1.0, random), vec![T::ZERO; n_latents * n_outputs])
        }
    };
    let (thresholds, log_scale, magnitude_bias) = match config.method {
        Method::JumpRelu { initial_threshold, .. } => {
            (vec![T::of(initial_threshold); n_latents], Vec::new(), Vec::new())
        }
        Method::Gated { .. } => (Vec::new(), vec![T::ZERO; n_latents], vec![T::ZERO; n_latents]),
        _ => (Vec::new(), Vec::new(), Vec::new()),
    };
    Parameters {
        w_enc,
        b_enc: vec![T::ZERO; n_latents],
        w_dec,
        b_dec: median.into_iter().map(T::of).collect(),
        thresholds,
        log_scale,
        magnitude_bias,
    }
}

/// Rows of one norm whose directions are uniform on the sphere.
fn directions<T: Number>(n_rows: usize, width: usize, norm: f64, random: &mut Random) -> Vec<T> {
    let mut rows = Vec::with_capacity(n_rows * width);
    for _ in 0..n_rows {
        let row: Vec<f64> = (0..width).map(|_| random.normal()).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        rows.extend(row.iter().map(|x| T::of(x * norm / length)));
    }
    rows
}
