//! A training run on a device of candle's: a GPU, or candle's processor device, where tests run the same code.
//!
//! Losses, schedules, counters and checkpoints are the [`Trainer`]'s; what is computed by latent is written as dense products and
//! masks (`terms`), since a GPU multiplies faster than it gathers: `10 n_inputs n_latents` operations a row, and some six
//! arrays `[n_rows, n_latents]` on the device at once. Differences from a [`Trainer`]: sums run in the device's order, and of
//! equal pre-activations at the edge of a choice all are kept.

use candle_core::{Device, Tensor, WithDType};

use super::config::{Method, TrainingConfig};
use super::parameters::Parameters;
use super::trainer::{Batch, StepMetrics, Trainer};
use crate::autoencoder::DecoderBias;
use crate::error::{Error, Result};
use crate::number::Number;

mod arrays;
mod firings;
mod select;
mod terms;
#[cfg(test)]
mod tests;

use arrays::Arrays;
use select::{MOST_CHOSEN, MOST_SORTED};

/// A [`Trainer`] whose weights and moments lie on a device.
#[derive(Debug)]
pub struct DeviceTrainer<T = f32> {
    /// Configuration, counters and state; weights and moments as they were when last fetched.
    trainer: Trainer<T>,
    weights: Arrays,
    first_moments: Arrays,
    second_moments: Arrays,
    /// Whether the device's weights are newer than the trainer's.
    ahead: bool,
    device: Device,
}

impl<T: Number + WithDType> DeviceTrainer<T> {
    /// Copies a run to a device, to go on with there.
    ///
    /// # Errors
    /// [`Error::Device`] if its memory does not hold the weights and moments; [`Error::Setting`] for a k that is not chosen there.
    pub fn new(trainer: Trainer<T>, device: &Device) -> Result<Self> {
        check_choice(trainer.config())?;
        let upload = |parameters: &Parameters<T>| Arrays::upload(parameters, trainer.config(), device);
        Ok(Self {
            weights: upload(&trainer.parameters)?,
            first_moments: upload(&trainer.first_moments)?,
            second_moments: upload(&trainer.second_moments)?,
            ahead: false,
            device: device.clone(),
            trainer,
        })
    }

    /// Steps taken.
    pub fn n_steps(&self) -> u64 {
        self.trainer.n_steps()
    }

    /// One step, as [`Trainer::step`].
    ///
    /// # Errors
    /// As [`Trainer::step`], and [`Error::Device`]; then nothing was changed.
    pub fn step(&mut self, batch: Batch<'_, T>) -> Result<StepMetrics> {
        let (inputs, targets) = self.trainer.normalized(batch)?;
        let found = self.terms(&inputs, &targets)?;
        self.trainer.check_finite(found.parts.loss)?;
        let clip = self.trainer.config().adam.clip_norm;
        let norm = clip.map(|_| found.gradients.squares::<T>().map(f64::sqrt)).transpose()?;
        let factor = match (clip, norm) {
            (Some(limit), Some(norm)) if norm > limit => limit / norm,
            _ => 1.0,
        };
        let adam = self.trainer.adam_step();
        let (mut weights, first_moments, second_moments) =
            arrays::step(&adam, factor, &found.gradients, &self.weights, &self.first_moments, &self.second_moments)?;
        weights.constrain(self.trainer.config().decoder_norm)?;
        // Only now, since memory may run out at any line above.
        (self.weights, self.first_moments, self.second_moments) = (weights, first_moments, second_moments);
        self.ahead = true;
        let n_rows = inputs.len() / self.trainer.config().n_inputs;
        Ok(self.trainer.advance(&found.parts, &found.fired, found.smallest_kept, n_rows as u64, norm))
    }

    /// Loss and gradients of a batch, as [`Trainer::gradients`].
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Device`].
    pub fn gradients(&self, batch: Batch<'_, T>) -> Result<(f64, Parameters<T>)> {
        let (inputs, targets) = self.trainer.normalized(batch)?;
        let found = self.terms(&inputs, &targets)?;
        Ok((found.parts.loss, found.gradients.download()?))
    }

    /// The run as it stands, with its weights and moments fetched from the device.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn fetch(&mut self) -> Result<&Trainer<T>> {
        if self.ahead {
            self.trainer.parameters = self.weights.download()?;
            self.trainer.first_moments = self.first_moments.download()?;
            self.trainer.second_moments = self.second_moments.download()?;
            self.ahead = false;
        }
        Ok(&self.trainer)
    }

    /// The run with its weights and moments, off the device.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn into_trainer(mut self) -> Result<Trainer<T>> {
        self.fetch()?;
        Ok(self.trainer)
    }

    /// Losses and gradients of rows `[n_rows, n_inputs]` and targets `[n_rows, n_outputs]`, both normalised.
    fn terms(&self, inputs: &[T], targets: &[T]) -> Result<terms::Found> {
        let config = self.trainer.config();
        let rows = |values: &[T], width: usize| Tensor::from_slice(values, (values.len() / width, width), &self.device);
        let mut given = rows(inputs, config.n_inputs)?;
        if config.decoder_bias == DecoderBias::Subtracted {
            given = given.broadcast_sub(&self.weights.b_dec)?;
        }
        Ok(terms::terms(&self.trainer, &self.weights, &given, &rows(targets, config.n_outputs)?)?)
    }
}

/// Refuses a choice of more latents a row than is found on a device.
fn check_choice(config: &TrainingConfig) -> Result<()> {
    let of_method = match &config.method {
        Method::TopK { k } => *k,
        Method::MultiTopK { k, factor, .. } => k * factor,
        _ => 0,
    };
    let most = of_method.max(config.auxiliary.map_or(0, |auxiliary| auxiliary.k));
    if config.n_latents > MOST_SORTED && most > MOST_CHOSEN {
        return Err(Error::setting("k", format!("at most {MOST_CHOSEN} latents a row on a device"), most));
    }
    Ok(())
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        // Without candle's backtrace.
        match error {
            candle_core::Error::WithBacktrace { inner, .. } => (*inner).into(),
            other => Self::Device { reason: other.to_string() },
        }
    }
}
