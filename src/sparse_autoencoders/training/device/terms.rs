//! Losses of a batch and all gradients, written as dense products: [`crate::training::losses`] and the pass over the latents
//! ([`crate::training::update`]) define what is computed.
//!
//! Notation: `h` pre-activations and `z` values `[n_rows, n_latents]`, 0 where a latent does not fire; errors of reconstructions, and
//! `pull`, the loss's gradient by them, `[n_rows, n_outputs]`; `dz` and `dh` the loss's gradients by `z` and `h`.

use candle_core::{D, Result, Tensor, WithDType};

use super::arrays::{Arrays, squares, total};
use super::firings::{Firings, Gated, firings, gated, largest_of_rows, numbers};
use crate::autoencoder::DecoderBias;
use crate::number::Number;
use crate::training::config::{AuxiliaryLoss, DecoderNorm, Method};
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

/// A batch, and what its losses are multiplied by.
struct Step<'a, T> {
    trainer: &'a Trainer<T>,
    weights: &'a Arrays,
    targets: &'a Tensor,
    h: Tensor,
    n_rows: usize,
    /// Of squared errors.
    scale: f64,
    /// The coefficient of the penalty, where there is one.
    coefficient: Option<f64>,
    parts: Parts,
}

/// The main reconstruction, or those of all prefixes.
struct Reconstruction {
    /// Of all latents together.
    error: Tensor,
    dz: Tensor,
    by_decoder: Tensor,
    /// The gradient of `b_dec` as it is added, `[n_outputs]`.
    output_sums: Tensor,
}

/// Gradients of everything but the encoder's rows and `b_dec`, which follow from `dh`.
struct Sums {
    dh: Tensor,
    w_dec: Tensor,
    /// Where it is not the sum of `dh`.
    b_enc: Option<Tensor>,
    thresholds: Option<Tensor>,
    log_scale: Option<Tensor>,
    magnitude_bias: Option<Tensor>,
}

impl Sums {
    fn of(dh: Tensor, w_dec: Tensor) -> Self {
        Self { dh, w_dec, b_enc: None, thresholds: None, log_scale: None, magnitude_bias: None }
    }

    /// Adds what follows from the pull at what some firings wrote.
    fn add(&mut self, firings: &Firings, pull: &Tensor, w_dec: &Tensor) -> Result<()> {
        self.dh = (&self.dh + (pull.matmul(&w_dec.t()?)? * &firings.mask)?)?;
        self.w_dec = (&self.w_dec + firings.z.t()?.matmul(pull)?)?;
        Ok(())
    }
}

/// Computes everything for inputs free of `b_dec` where that is subtracted, and normalised targets.
pub(super) fn terms<T: Number + WithDType>(
    trainer: &Trainer<T>,
    weights: &Arrays,
    inputs: &Tensor,
    targets: &Tensor,
) -> Result<Found> {
    let config = trainer.config();
    let h = inputs.matmul(&weights.w_enc.t()?)?.broadcast_add(&weights.b_enc)?;
    let main = firings::<T>(&config.method, &h, weights)?;
    let gated = gated::<T>(&h, &main, weights)?;
    let z = gated.as_ref().map_or(&main.z, |gated| &gated.z);
    let largest = z.max(0)?.to_vec1::<T>()?;
    let fired: Vec<bool> = largest.into_iter().map(|value| value.wide() > config.fires_above).collect();

    let mut step = Step::new(trainer, weights, targets, h)?;
    step.parts.mean_firings = total::<T>(&numbers::<T>(&z.gt(0.0)?)?)? / step.n_rows as f64;
    let Reconstruction { error, dz, by_decoder, mut output_sums } = step.reconstruct(z)?;
    let mut sums = step.penalised(&main, gated.as_ref(), dz, by_decoder)?;
    if let Method::MultiTopK { k, factor, weight } = config.method {
        output_sums = (output_sums + step.wide(k * factor, weight, &mut sums)?)?;
    }
    if let (Some(settings), Some(offsets)) = (config.auxiliary, trainer.dead_offsets()) {
        step.auxiliary(settings, offsets, &fired, &error, &mut sums)?;
    }

    if config.decoder_norm == DecoderNorm::Unit {
        let along = (&sums.w_dec * &weights.w_dec)?.sum_keepdim(D::Minus1)?;
        sums.w_dec = (sums.w_dec - weights.w_dec.broadcast_mul(&along)?)?;
    }
    let by_product = sums.dh.sum(0)?;
    let b_dec = match config.decoder_bias {
        DecoderBias::Subtracted => (output_sums - by_product.unsqueeze(0)?.matmul(&weights.w_enc)?.squeeze(0)?)?,
        DecoderBias::NotSubtracted => output_sums,
    };
    let gradients = Arrays {
        w_enc: sums.dh.t()?.matmul(inputs)?,
        b_enc: sums.b_enc.unwrap_or(by_product),
        w_dec: sums.w_dec,
        b_dec,
        thresholds: sums.thresholds,
        log_scale: sums.log_scale,
        magnitude_bias: sums.magnitude_bias,
    };
    Ok(Found { gradients, parts: step.parts, fired, smallest_kept: main.smallest_kept })
}

impl<'a, T: Number + WithDType> Step<'a, T> {
    fn new(trainer: &'a Trainer<T>, weights: &'a Arrays, targets: &'a Tensor, h: Tensor) -> Result<Self> {
        let config = trainer.config();
        let n_rows = h.dim(0)?;
        let coefficient = match config.method {
            Method::Relu { l1 } | Method::Gated { l1 } => Some(l1),
            Method::JumpRelu { l0, .. } => Some(l0),
            _ => None,
        };
        let coefficient = coefficient.map(|value| value * config.penalty_share(trainer.n_steps()));
        let per_row = 1.0 / n_rows as f64;
        let scale =
            if coefficient.is_some() { per_row } else { per_row * trainer.mse_scale() / config.n_outputs as f64 };
        Ok(Self { trainer, weights, targets, h, n_rows, scale, coefficient, parts: Parts::default() })
    }

    /// What the reconstruction by `z` leaves.
    fn error(&self, z: &Tensor) -> Result<Tensor> {
        z.matmul(&self.weights.w_dec)?.broadcast_add(&self.weights.b_dec)? - self.targets
    }

    /// A latent is pulled at by the error of its own prefix and by those of all longer ones.
    fn reconstruct(&mut self, z: &Tensor) -> Result<Reconstruction> {
        let config = self.trainer.config();
        let ends = match &config.method {
            Method::Matryoshka { prefixes, .. } => prefixes.clone(),
            _ => vec![config.n_latents],
        };
        let mut levels = Vec::with_capacity(ends.len());
        let mut errors: Vec<Tensor> = Vec::with_capacity(ends.len());
        let (mut first, mut squared) = (0, 0.0);
        for end in ends {
            let values = z.narrow(1, first, end - first)?.contiguous()?;
            let rows = self.weights.w_dec.narrow(0, first, end - first)?;
            let written = values.matmul(&rows)?;
            let error = match errors.last() {
                Some(shorter) => (shorter + written)?,
                None => (written.broadcast_add(&self.weights.b_dec)? - self.targets)?,
            };
            squared = squares::<T>(&error)?;
            self.parts.loss += squared * self.scale;
            errors.push(error);
            levels.push((values, rows));
            first = end;
        }
        self.parts.normalized_mse = squared * self.trainer.mse_scale() / (self.n_rows * config.n_outputs) as f64;
        let error = errors[errors.len() - 1].clone();
        let (mut dz, mut by_decoder) = (Vec::with_capacity(levels.len()), Vec::with_capacity(levels.len()));
        let mut pull = error.zeros_like()?;
        for ((values, rows), error) in levels.into_iter().zip(errors).rev() {
            pull = (pull + (error * (2.0 * self.scale))?)?;
            dz.push(pull.matmul(&rows.t()?)?);
            by_decoder.push(values.t()?.matmul(&pull)?);
        }
        dz.reverse();
        by_decoder.reverse();
        let (dz, by_decoder) = (Tensor::cat(&dz, 1)?, Tensor::cat(&by_decoder, 0)?);
        Ok(Reconstruction { error, dz, by_decoder, output_sums: pull.sum(0)? })
    }

    /// From values to pre-activations, with the penalty.
    fn penalised(&mut self, main: &Firings, gated: Option<&Gated>, dz: Tensor, by_decoder: Tensor) -> Result<Sums> {
        let per_row = 1.0 / self.n_rows as f64;
        let weight = self.coefficient.unwrap_or(0.0) * per_row;
        let w_dec = &self.weights.w_dec;
        let (penalty, sums) = match (&self.trainer.config().method, gated, &self.weights.thresholds) {
            (Method::Relu { .. }, ..) => {
                let norms = w_dec.sqr()?.sum_keepdim(1)?.sqrt()?;
                let penalty = total::<T>(&main.z.broadcast_mul(&norms.t()?)?)? * per_row;
                let divisors = norms.eq(0.0)?.where_cond(&norms.ones_like()?, &norms)?;
                let shares = (main.z.sum(0)?.unsqueeze(1)? * weight)?.div(&divisors)?;
                let dh = dz.broadcast_add(&(norms.t()? * weight)?)?.mul(&main.mask)?;
                (penalty, Sums::of(dh, (by_decoder + w_dec.broadcast_mul(&shares)?)?))
            }
            (Method::JumpRelu { bandwidth, .. }, _, Some(limits)) => {
                let within = self.h.broadcast_sub(limits)?.affine(1.0 / bandwidth, 0.0)?.abs()?.lt(0.5)?;
                let pull = (dz.broadcast_mul(limits)? + weight)?.mul(&numbers::<T>(&within)?)?;
                let thresholds = Some((pull.sum(0)? * (-1.0 / bandwidth))?);
                (self.parts.mean_firings, Sums { thresholds, ..Sums::of((dz * &main.mask)?, by_decoder) })
            }
            (Method::Gated { .. }, Some(gated), _) => {
                let penalty = total::<T>(&main.z)? * per_row;
                // The gate's own reconstruction leaves the decoder alone.
                let error = self.error(&main.z)?;
                let own = squares::<T>(&error)? * self.scale;
                self.parts.loss += own;
                self.parts.auxiliary = Some(own);
                let gate = ((error * (2.0 * self.scale))?.matmul(&w_dec.t()?)? + weight)?.mul(&main.mask)?;
                let through = (dz * &gated.mask)?;
                let sums = Sums {
                    b_enc: Some(gate.sum(0)?),
                    log_scale: Some((&through * &gated.scaled)?.sum(0)?),
                    magnitude_bias: Some(through.sum(0)?),
                    ..Sums::of((through.broadcast_mul(&gated.scale)? + gate)?, by_decoder)
                };
                (penalty, sums)
            }
            _ => return Ok(Sums::of((dz * &main.mask)?, by_decoder)),
        };
        self.parts.penalty = Some(penalty);
        self.parts.loss += self.coefficient.unwrap_or(0.0) * penalty;
        Ok(sums)
    }

    /// MultiTopK's second loss, of more latents a row; returns its part of the gradient of `b_dec`.
    fn wide(&mut self, k: usize, weight: f64, sums: &mut Sums) -> Result<Tensor> {
        let wide = largest_of_rows::<T>(&self.h, k)?;
        let error = self.error(&wide.z)?;
        self.parts.loss += weight * squares::<T>(&error)? * self.scale;
        let pull = (error * (2.0 * weight * self.scale))?;
        sums.add(&wide, &pull, &self.weights.w_dec)?;
        pull.sum(0)
    }

    /// Dead latents reconstruct what the others leave; `offsets` are minus infinity for the living.
    fn auxiliary(
        &mut self,
        settings: AuxiliaryLoss,
        offsets: Vec<T>,
        fired: &[bool],
        error: &Tensor,
        sums: &mut Sums,
    ) -> Result<()> {
        let by_latent = |values: Vec<T>| Tensor::from_vec(values, (1, fired.len()), self.h.device());
        let mut found = largest_of_rows::<T>(&self.h.broadcast_add(&by_latent(offsets)?)?, settings.k)?;
        // Latents that were dead before this batch and fire in it are left out.
        let silent = by_latent(fired.iter().map(|fired| if *fired { T::ZERO } else { T::ONE }).collect())?;
        (found.z, found.mask) = (found.z.broadcast_mul(&silent)?, found.mask.broadcast_mul(&silent)?);
        let residual = error.neg()?;
        let baseline = squares::<T>(&residual.broadcast_sub(&residual.mean_keepdim(0)?)?)?;
        let error = (found.z.matmul(&self.weights.w_dec)? - residual)?;
        // Nothing left to explain, or nothing that could explain it: no loss rather than 0/0.
        let any = baseline > 0.0 && total::<T>(&found.mask)? > 0.0;
        let loss = if any { squares::<T>(&error)? / baseline } else { 0.0 };
        self.parts.auxiliary = Some(loss);
        self.parts.loss += settings.coefficient * loss;
        if loss > 0.0 {
            let pull = (error * (2.0 * settings.coefficient / baseline))?;
            sums.add(&found, &pull, &self.weights.w_dec)?;
        }
        Ok(())
    }
}
