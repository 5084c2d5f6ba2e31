//! Losses of a batch and all gradients, written as dense products: [`crate::training::losses`] and the pass over the latents
//! ([`crate::training::update`]) define what is computed.
//!
//! Notation: `h` pre-activations and `z` values `[n_rows, n_latents]`, 0 where a latent does not fire; `e` errors of
//! reconstructions and `pull` the loss's gradient by them, `[n_rows, n_outputs]`; `dh` the loss's gradient by `h`.

use candle_core::{D, Result, Tensor, WithDType};

use super::arrays::{Arrays, squares, total};
use super::select::{kth_largest, nth_largest_of_all};
use crate::autoencoder::DecoderBias;
use crate::number::Number;
use crate::training::config::{DecoderNorm, Method};
use crate::training::losses::Parts;
use crate::training::trainer::Trainer;

/// What a step needs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) gradients: Arrays,
    pub(super) parts: Parts,
    /// Which latents fired.
    pub(super) fired: Vec<bool>,
    /// As [`crate::training::select::Selected::smallest_kept`].
    pub(super) smallest_kept: Option<f64>,
}

/// Firings of a batch.
struct Firings {
    /// 1 where a latent takes part, else 0.
    mask: Tensor,
    /// Their values.
    z: Tensor,
    smallest_kept: Option<f64>,
}

/// Gradients by pre-activations and decoder rows, added up over the losses.
struct Sums {
    dh: Tensor,
    w_dec: Tensor,
}

impl Sums {
    fn add(&mut self, dh: &Tensor, w_dec: &Tensor) -> Result<()> {
        self.dh = (&self.dh + dh)?;
        self.w_dec = (&self.w_dec + w_dec)?;
        Ok(())
    }
}

/// A comparison's answers as numbers.
fn numbers<T: WithDType>(mask: &Tensor) -> Result<Tensor> {
    mask.to_dtype(T::DTYPE)
}

/// The positive ones of `h` that are not below `floor`, which has a value for each row or one for all.
fn firings<T: WithDType>(h: &Tensor, floor: Option<&Tensor>, smallest_kept: Option<f64>) -> Result<Firings> {
    let positive = numbers::<T>(&h.gt(0.0)?)?;
    let mask = match floor {
        Some(floor) => (positive * numbers::<T>(&h.broadcast_ge(floor)?)?)?,
        None => positive,
    };
    let z = (h.relu()? * &mask)?;
    Ok(Firings { mask, z, smallest_kept })
}

/// The k largest of each row.
fn largest_of_rows<T: Number + WithDType>(h: &Tensor, k: usize) -> Result<Firings> {
    let floor = kth_largest(h, k)?;
    let smallest = total::<T>(&floor.relu()?)? / h.dim(0)? as f64;
    firings::<T>(h, Some(&floor), Some(smallest))
}

/// The values of a batch by the rule of its method; a gate's own are [`gated`]'s.
fn select<T: Number + WithDType>(method: &Method, h: &Tensor, weights: &Arrays) -> Result<Firings> {
    match (method, &weights.thresholds) {
        (Method::TopK { k } | Method::MultiTopK { k, .. }, _) => largest_of_rows::<T>(h, *k),
        (Method::BatchTopK { k } | Method::Matryoshka { k, .. }, _) => {
            let smallest: Option<T> = nth_largest_of_all(h, k * h.dim(0)?)?;
            let floor = Tensor::full(smallest.unwrap_or(T::ZERO), (1, 1), h.device())?;
            firings::<T>(h, Some(&floor), smallest.map(Number::wide))
        }
        (Method::JumpRelu { .. }, Some(thresholds)) => {
            let mask = numbers::<T>(&h.broadcast_gt(thresholds)?)?;
            Ok(Firings { z: (h * &mask)?, mask, smallest_kept: None })
        }
        _ => firings::<T>(h, None, None),
    }
}

/// What a gate lets through.
struct Gated {
    /// `e^r`, `[n_latents]`.
    scale: Tensor,
    /// `e^r (h − b_enc)`.
    scaled: Tensor,
    /// 1 where gate and magnitude are positive.
    mask: Tensor,
    z: Tensor,
}

fn gated<T: WithDType>(h: &Tensor, gate: &Firings, weights: &Arrays) -> Result<Option<Gated>> {
    let (Some(log_scale), Some(bias)) = (&weights.log_scale, &weights.magnitude_bias) else { return Ok(None) };
    let scale = log_scale.exp()?;
    let scaled = h.broadcast_sub(&weights.b_enc)?.broadcast_mul(&scale)?;
    let magnitude = scaled.broadcast_add(bias)?;
    let mask = (numbers::<T>(&magnitude.gt(0.0)?)? * &gate.mask)?;
    Ok(Some(Gated { scale, scaled, z: (magnitude * &mask)?, mask }))
}

/// Computes everything for inputs free of `b_dec` where that is subtracted, and normalised targets.
pub(super) fn terms<T: Number + WithDType>(
    trainer: &Trainer<T>,
    weights: &Arrays,
    inputs: &Tensor,
    targets: &Tensor,
) -> Result<Found> {
    let config = trainer.config();
    let method = &config.method;
    let (n_rows, n_outputs) = targets.dims2()?;
    let Arrays { w_enc, b_enc, w_dec, b_dec, .. } = weights;
    let h = inputs.matmul(&w_enc.t()?)?.broadcast_add(b_enc)?;
    let main = select::<T>(method, &h, weights)?;
    let gated = gated::<T>(&h, &main, weights)?;
    let z = gated.as_ref().map_or(&main.z, |gated| &gated.z);
    let fires = |values: &Tensor| -> Result<Vec<bool>> {
        Ok(values.max(0)?.to_vec1::<T>()?.into_iter().map(|value| value.wide() > config.fires_above).collect())
    };
    let fired = fires(z)?;
    let n_firings = total::<T>(&numbers::<T>(&z.gt(0.0)?)?)?;
    let mut parts = Parts { mean_firings: n_firings / n_rows as f64, ..Parts::default() };

    let per_value = trainer.mse_scale() / (n_rows * n_outputs) as f64;
    let per_row = 1.0 / n_rows as f64;
    let coefficient = match method {
        Method::Relu { l1 } | Method::Gated { l1 } => Some(*l1),
        Method::JumpRelu { l0, .. } => Some(*l0),
        _ => None,
    };
    let coefficient = coefficient.map(|value| value * config.penalty_share(trainer.n_steps()));
    let scale = if coefficient.is_some() { per_row } else { per_value };
    let error = |z: &Tensor| z.matmul(w_dec)?.broadcast_add(b_dec)? - targets;

    // The main reconstruction, or those of all prefixes; a latent is pulled at by its own and by all longer ones.
    let ends = match method {
        Method::Matryoshka { prefixes, .. } => prefixes.clone(),
        _ => vec![config.n_latents],
    };
    let ranges: Vec<(usize, usize)> = (0..ends.len())
        .map(|level| if level == 0 { (0, ends[0]) } else { (ends[level - 1], ends[level] - ends[level - 1]) })
        .collect();
    let mut errors: Vec<Tensor> = Vec::with_capacity(ends.len());
    let mut squared = 0.0;
    for (first, n_latents) in &ranges {
        let values = z.narrow(1, *first, *n_latents)?.contiguous()?;
        let written = values.matmul(&w_dec.narrow(0, *first, *n_latents)?)?;
        let error = match errors.last() {
            Some(shorter) => (shorter + written)?,
            None => (written.broadcast_add(b_dec)? - targets)?,
        };
        squared = squares::<T>(&error)?;
        parts.loss += squared * scale;
        errors.push(error);
    }
    parts.normalized_mse = squared * per_value;
    let mut pulls: Vec<Tensor> = errors.iter().map(|error| error * (2.0 * scale)).collect::<Result<_>>()?;
    for level in (1..pulls.len()).rev() {
        pulls[level - 1] = (&pulls[level - 1] + &pulls[level])?;
    }
    let mut dz = Vec::with_capacity(pulls.len());
    let mut by_decoder = Vec::with_capacity(pulls.len());
    for ((first, n_latents), pull) in ranges.iter().zip(&pulls) {
        dz.push(pull.matmul(&w_dec.narrow(0, *first, *n_latents)?.t()?)?);
        by_decoder.push(z.narrow(1, *first, *n_latents)?.t()?.contiguous()?.matmul(pull)?);
    }
    let (dz, by_decoder) = (Tensor::cat(&dz, 1)?, Tensor::cat(&by_decoder, 0)?);
    let mut output_sums = pulls[0].sum(0)?;

    // From values to pre-activations, with the penalty.
    let weight = coefficient.unwrap_or(0.0) * per_row;
    let (mut thresholds, mut log_scale, mut magnitude_bias, mut gate_bias) = (None, None, None, None);
    let mut sums = match (method, &gated, &weights.thresholds) {
        (Method::Relu { .. }, ..) => {
            let norms = w_dec.sqr()?.sum_keepdim(1)?.sqrt()?;
            parts.penalty = Some(total::<T>(&z.broadcast_mul(&norms.t()?)?)? * per_row);
            let divisors = norms.eq(0.0)?.where_cond(&norms.ones_like()?, &norms)?;
            let shares = (z.sum(0)?.unsqueeze(1)? * weight)?.div(&divisors)?;
            Sums {
                dh: dz.broadcast_add(&(norms.t()? * weight)?)?.mul(&main.mask)?,
                w_dec: (by_decoder + w_dec.broadcast_mul(&shares)?)?,
            }
        }
        (Method::JumpRelu { bandwidth, .. }, _, Some(limits)) => {
            parts.penalty = Some(n_firings * per_row);
            let within = h.broadcast_sub(limits)?.affine(1.0 / bandwidth, 0.0)?.abs()?.lt(0.5)?;
            let pull = (dz.broadcast_mul(limits)? + weight)?.mul(&numbers::<T>(&within)?)?;
            thresholds = Some((pull.sum(0)? * (-1.0 / bandwidth))?);
            Sums { dh: (dz * &main.mask)?, w_dec: by_decoder }
        }
        (Method::Gated { .. }, Some(gated), _) => {
            parts.penalty = Some(total::<T>(&main.z)? * per_row);
            // The gate's own reconstruction leaves the decoder alone.
            let error = error(&main.z)?;
            let own = squares::<T>(&error)? * scale;
            parts.loss += own;
            parts.auxiliary = Some(own);
            let gate = ((error * (2.0 * scale))?.matmul(&w_dec.t()?)? + weight)?.mul(&main.mask)?;
            let through = (dz * &gated.mask)?;
            log_scale = Some((&through * &gated.scaled)?.sum(0)?);
            magnitude_bias = Some(through.sum(0)?);
            gate_bias = Some(gate.sum(0)?);
            Sums { dh: (through.broadcast_mul(&gated.scale)? + gate)?, w_dec: by_decoder }
        }
        _ => Sums { dh: (dz * &main.mask)?, w_dec: by_decoder },
    };
    if let (Some(coefficient), Some(penalty)) = (coefficient, parts.penalty) {
        parts.loss += coefficient * penalty;
    }
    if let Method::MultiTopK { k, factor, weight } = method {
        let wide = largest_of_rows::<T>(&h, k * factor)?;
        let error = error(&wide.z)?;
        parts.loss += weight * squares::<T>(&error)? * scale;
        let pull = (error * (2.0 * weight * scale))?;
        output_sums = (output_sums + pull.sum(0)?)?;
        sums.add(&(pull.matmul(&w_dec.t()?)? * &wide.mask)?, &wide.z.t()?.matmul(&pull)?)?;
    }
    if let (Some(settings), Some(offsets)) = (config.auxiliary, trainer.dead_offsets()) {
        let dead = Tensor::from_vec(offsets, (1, config.n_latents), h.device())?;
        let mut found = largest_of_rows::<T>(&h.broadcast_add(&dead)?, settings.k)?;
        // Latents that were dead before this batch and fire in it are left out.
        let silent = fired.iter().map(|fired| if *fired { T::ZERO } else { T::ONE }).collect();
        let silent = Tensor::from_vec(silent, (1, config.n_latents), h.device())?;
        (found.z, found.mask) = (found.z.broadcast_mul(&silent)?, found.mask.broadcast_mul(&silent)?);
        let residual = errors[errors.len() - 1].neg()?;
        let baseline = squares::<T>(&residual.broadcast_sub(&residual.mean_keepdim(0)?)?)?;
        let error = (found.z.matmul(w_dec)? - residual)?;
        // Nothing left to explain, or nothing that could explain it: no loss rather than 0/0.
        let any = baseline > 0.0 && total::<T>(&found.mask)? > 0.0;
        let loss = if any { squares::<T>(&error)? / baseline } else { 0.0 };
        parts.auxiliary = Some(loss);
        parts.loss += settings.coefficient * loss;
        if loss > 0.0 {
            let pull = (error * (2.0 * settings.coefficient / baseline))?;
            sums.add(&(pull.matmul(&w_dec.t()?)? * &found.mask)?, &found.z.t()?.matmul(&pull)?)?;
        }
    }

    if config.decoder_norm == DecoderNorm::Unit {
        let along = (&sums.w_dec * w_dec)?.sum_keepdim(D::Minus1)?;
        sums.w_dec = (sums.w_dec - w_dec.broadcast_mul(&along)?)?;
    }
    let by_product = sums.dh.sum(0)?;
    let by_bias = match config.decoder_bias {
        DecoderBias::Subtracted => (output_sums - by_product.unsqueeze(0)?.matmul(w_enc)?.squeeze(0)?)?,
        DecoderBias::NotSubtracted => output_sums,
    };
    let gradients = Arrays {
        w_enc: sums.dh.t()?.matmul(inputs)?,
        b_enc: gate_bias.unwrap_or(by_product),
        w_dec: sums.w_dec,
        b_dec: by_bias,
        thresholds,
        log_scale,
        magnitude_bias,
    };
    Ok(Found { gradients, parts, fired, smallest_kept: main.smallest_kept })
}
