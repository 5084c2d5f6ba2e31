//! One training run: weights, optimiser, counters, and a step at a time.

use super::config::{DecoderNorm, Method, TrainingConfig};
use super::initialize::initial;
use super::losses::{Parts, Terms, squares_about_mean, terms};
use super::parameters::Parameters;
use super::select::{Dead, Selected, select};
use super::update::{fused_step, gradients, renormalize, scaled_step};
use crate::autoencoder::encode::subtract_from_rows;
use crate::autoencoder::{
    Config, DecoderBias, InputNormalization, Magnitude, RowMean, SparseAutoencoder, normalize_rows,
};
use crate::error::{Error, Result};
use crate::kernels::{AdamStep, sum_of_squares};
use crate::number::Number;
use crate::random::Random;

#[cfg(test)]
mod tests;

/// Share of a new batch in the running mean of the smallest value kept.
const THRESHOLD_RATE: f64 = 0.01;

/// Rows of one step, in the activations' own units.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T = f32> {
    /// `[n_rows, n_inputs]`.
    pub inputs: &'a [T],
    /// `[n_rows, n_outputs]`: the inputs themselves unless it is a transcoder.
    pub targets: &'a [T],
}

impl<'a, T> Batch<'a, T> {
    /// Rows that are to be reconstructed themselves.
    pub fn of(rows: &'a [T]) -> Self {
        Self { inputs: rows, targets: rows }
    }
}

/// Numbers of one step, of the weights before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// The step, counted from 0.
    pub step: u64,
    /// Rows seen with this one.
    pub rows: u64,
    /// What is minimised.
    pub loss: f64,
    /// Mean squared error over that of always predicting the sample's mean, of normalised inputs.
    pub normalized_mse: f64,
    /// The loss that revives dead latents, or a gate's own reconstruction, before its coefficient.
    pub auxiliary_loss: Option<f64>,
    /// The penalty a row, before its coefficient.
    pub penalty: Option<f64>,
    /// Latents a row (L0).
    pub mean_firings: f64,
    /// Share of latents that are dead, 0 to 1.
    pub dead_share: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The norm of all gradients together, where they are clipped.
    pub gradient_norm: Option<f64>,
}

/// A training run. Equal configurations, samples and batches give equal bits, whatever the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainer<T = f32> {
    pub(crate) config: TrainingConfig,
    pub(crate) parameters: Parameters<T>,
    pub(crate) first_moments: Parameters<T>,
    pub(crate) second_moments: Parameters<T>,
    pub(crate) rows_since_fired: Vec<u64>,
    pub(crate) random: Random,
    pub(crate) state: State,
}

/// The numbers of a run that change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) step: u64,
    pub(crate) rows: u64,
    /// One over the variance of the sample's targets.
    pub(crate) mse_scale: f64,
    /// Running mean, from 0, of the smallest value kept.
    pub(crate) threshold: f64,
    /// How often that mean was updated.
    pub(crate) threshold_updates: u64,
    /// The smallest value kept in the last batch.
    pub(crate) last_threshold: f64,
}

/// A batch in the space in which it is trained.
struct Prepared<T> {
    /// Normalised, free of `b_dec` where that is subtracted.
    inputs: Vec<T>,
    targets: Vec<T>,
}

impl<T: Number> Trainer<T> {
    /// Begins a run. The sample places `b_dec` and sets the loss's scale once and for all; the reference implementation
    /// takes 32,768 rows.
    ///
    /// # Errors
    /// [`Error::Setting`]; [`Error::Shape`] if the sample has no rows, no whole ones, or all alike.
    pub fn new(config: TrainingConfig, sample: Batch<'_, T>) -> Result<Self> {
        config.validate()?;
        let mut random = Random::seeded(config.seed);
        let (_, targets) = normalized(&config, sample)?;
        let variance = squares_about_mean(&targets, config.n_outputs) / targets.len() as f64;
        if !(variance > 0.0 && variance.is_finite()) {
            return Err(Error::shape(
                "sample",
                "finite rows that differ from each other",
                format!("variance {variance}"),
            ));
        }
        let parameters = initial(&config, &targets, &mut random);
        Ok(Self {
            first_moments: parameters.zeros_like(),
            second_moments: parameters.zeros_like(),
            rows_since_fired: vec![0; config.n_latents],
            random,
            state: State {
                step: 0,
                rows: 0,
                mse_scale: 1.0 / variance,
                threshold: 0.0,
                threshold_updates: 0,
                last_threshold: 0.0,
            },
            parameters,
            config,
        })
    }

    /// What the run was begun with.
    pub fn config(&self) -> &TrainingConfig {
        &self.config
    }

    /// Steps taken.
    pub fn n_steps(&self) -> u64 {
        self.state.step
    }

    /// Rows seen.
    pub fn n_rows(&self) -> u64 {
        self.state.rows
    }

    /// The weights.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// Rows since each latent last fired.
    pub fn rows_since_fired(&self) -> &[u64] {
        &self.rows_since_fired
    }

    /// Share of latents that have not fired for more than `dead_after_rows` rows.
    pub fn dead_share(&self) -> f64 {
        let dead = self.rows_since_fired.iter().filter(|rows| **rows > self.config.dead_after_rows).count();
        dead as f64 / self.config.n_latents as f64
    }

    /// One step.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Diverged`], and then nothing was changed.
    pub fn step(&mut self, batch: Batch<'_, T>) -> Result<StepMetrics> {
        let prepared = self.prepare(batch)?;
        let (terms, selected) = self.terms(&prepared);
        self.check_finite(terms.parts.loss)?;
        let step = self.adam_step();
        let mut gradient_norm = None;
        if let Some(limit) = self.config.adam.clip_norm {
            let mut gradients = gradients(&self.config, &mut self.parameters, &terms, &prepared.inputs);
            let norm = gradients.named().iter().map(|(_, values)| sum_of_squares(values)).sum::<f64>().sqrt();
            let factor = if norm > limit { limit / norm } else { 1.0 };
            scaled_step(
                &self.config,
                &mut self.parameters,
                &mut self.first_moments,
                &mut self.second_moments,
                &mut gradients,
                T::of(factor),
                &step,
            );
            gradient_norm = Some(norm);
        } else {
            fused_step(
                &self.config,
                &mut self.parameters,
                &mut self.first_moments,
                &mut self.second_moments,
                &terms,
                &prepared.inputs,
                &step,
            );
        }
        let n_rows = (prepared.inputs.len() / self.config.n_inputs) as u64;
        Ok(self.advance(&terms.parts, &terms.fired, selected.smallest_kept, n_rows, gradient_norm))
    }

    /// Refuses a loss that is not a number, before anything is changed.
    pub(crate) fn check_finite(&self, loss: f64) -> Result<()> {
        if loss.is_finite() { Ok(()) } else { Err(Error::Diverged { step: self.state.step, loss }) }
    }

    /// Counts a step whose weights were changed: rows since latents fired, the running mean of the smallest value kept.
    pub(crate) fn advance(
        &mut self,
        parts: &Parts,
        fired: &[bool],
        smallest_kept: Option<f64>,
        n_rows: u64,
        gradient_norm: Option<f64>,
    ) -> StepMetrics {
        for (rows, fired) in self.rows_since_fired.iter_mut().zip(fired) {
            *rows = if *fired { 0 } else { *rows + n_rows };
        }
        if let Some(smallest) = smallest_kept {
            self.state.threshold += THRESHOLD_RATE * (smallest - self.state.threshold);
            self.state.threshold_updates += 1;
            self.state.last_threshold = smallest;
        }
        self.state.rows += n_rows;
        let metrics = StepMetrics {
            step: self.state.step,
            rows: self.state.rows,
            loss: parts.loss,
            normalized_mse: parts.normalized_mse,
            auxiliary_loss: parts.auxiliary,
            penalty: parts.penalty,
            mean_firings: parts.mean_firings,
            dead_share: self.dead_share(),
            learning_rate: self.config.learning_rate(self.state.step),
            gradient_norm,
        };
        self.state.step += 1;
        metrics
    }

    /// Loss and gradients of a batch, written out and nothing changed: for comparison with automatic differentiation.
    /// Gradients of decoder rows lose their part along the row where rows are kept at norm 1.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn gradients(&self, batch: Batch<'_, T>) -> Result<(f64, Parameters<T>)> {
        let prepared = self.prepare(batch)?;
        let (terms, _) = self.terms(&prepared);
        let mut parameters = self.parameters.clone();
        Ok((terms.parts.loss, gradients(&self.config, &mut parameters, &terms, &prepared.inputs)))
    }

    /// Replaces the weights, as a comparison with another implementation needs.
    ///
    /// # Errors
    /// [`Error::Shape`] if an array has another size.
    pub fn set_parameters(&mut self, parameters: Parameters<T>) -> Result<()> {
        for ((name, ours), (_, theirs)) in self.parameters.named().iter().zip(parameters.named()) {
            crate::error::expect_len(name, ours.len(), theirs.len())?;
        }
        self.parameters = parameters;
        Ok(())
    }

    /// Replaces the counters of rows since each latent last fired.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one for each latent.
    pub fn set_rows_since_fired(&mut self, rows: Vec<u64>) -> Result<()> {
        crate::error::expect_len("rows_since_fired", self.config.n_latents, rows.len())?;
        self.rows_since_fired = rows;
        Ok(())
    }

    /// Inputs and targets of a batch, normalised.
    pub(crate) fn normalized(&self, batch: Batch<'_, T>) -> Result<(Vec<T>, Vec<T>)> {
        normalized(&self.config, batch)
    }

    /// One over the variance of the sample's targets.
    pub(crate) fn mse_scale(&self) -> f64 {
        self.state.mse_scale
    }

    /// 0 for every latent that is dead and minus infinity for the others; `None` while none is dead.
    pub(crate) fn dead_offsets(&self) -> Option<Vec<T>> {
        let dead = |rows: &u64| *rows > self.config.dead_after_rows;
        let offset = |rows| if dead(rows) { T::ZERO } else { -T::INFINITY };
        self.rows_since_fired.iter().any(dead).then(|| self.rows_since_fired.iter().map(offset).collect())
    }

    fn prepare(&self, batch: Batch<'_, T>) -> Result<Prepared<T>> {
        let (mut inputs, targets) = self.normalized(batch)?;
        if self.config.decoder_bias == DecoderBias::Subtracted {
            subtract_from_rows(&self.parameters.b_dec, &mut inputs);
        }
        Ok(Prepared { inputs, targets })
    }

    fn terms(&self, prepared: &Prepared<T>) -> (Terms<T>, Selected<T>) {
        let config = &self.config;
        let dead = config.auxiliary.and_then(|auxiliary| {
            Dead::of(&self.parameters.b_enc, &self.rows_since_fired, config.dead_after_rows, auxiliary.k)
        });
        let hint = T::of(self.state.last_threshold * 0.7);
        let selected = select(&config.method, config.n_inputs, &prepared.inputs, &self.parameters, dead.as_ref(), hint);
        let share = config.penalty_share(self.state.step);
        let terms = terms(config, &self.parameters, self.state.mse_scale, share, &prepared.targets, &selected);
        (terms, selected)
    }

    pub(crate) fn adam_step(&self) -> AdamStep<T> {
        let adam = self.config.adam;
        let learning_rate = self.config.learning_rate(self.state.step);
        let t = (self.state.step + 1) as f64;
        AdamStep {
            beta1: T::of(adam.beta1),
            beta2: T::of(adam.beta2),
            rate: T::of(learning_rate / (1.0 - adam.beta1.powf(t))),
            second_correction: T::of(1.0 / (1.0 - adam.beta2.powf(t)).sqrt()),
            epsilon: T::of(adam.epsilon),
        }
    }

    /// The smallest value kept, averaged over the last batches: a threshold under which about as many latents fire.
    /// `None` before the first step and for methods that have no choice to make.
    pub fn threshold(&self) -> Option<f64> {
        let weight = 1.0 - (1.0 - THRESHOLD_RATE).powf(self.state.threshold_updates as f64);
        (self.state.threshold_updates > 0).then(|| self.state.threshold / weight)
    }

    /// The autoencoder as it stands, for evaluation while training goes on.
    pub fn snapshot(&self) -> SparseAutoencoder<T> {
        let config = &self.config;
        let mut parameters = self.parameters.clone();
        match (&config.method, config.decoder_norm) {
            (_, DecoderNorm::Unit) => parameters.w_dec.chunks_exact_mut(config.n_outputs).for_each(renormalize),
            // The same function with decoder rows of norm 1: what a latent writes goes into what it reads.
            (Method::Relu { .. } | Method::JumpRelu { .. }, DecoderNorm::Free) => {
                fold_decoder_norms(config, &mut parameters);
            }
            _ => {}
        }
        let thresholds = match &config.method {
            Method::JumpRelu { .. } => Some(parameters.thresholds),
            Method::Relu { .. } | Method::Gated { .. } => None,
            // Before the first step the threshold of a batch-wise choice is that of ReLU.
            _ => Some(vec![T::of(self.threshold().unwrap_or(0.0)); config.n_latents]),
        };
        let magnitude = matches!(config.method, Method::Gated { .. })
            .then_some(Magnitude { log_scale: parameters.log_scale, bias: parameters.magnitude_bias });
        SparseAutoencoder {
            config: Config {
                architecture: config.method.architecture(),
                activation: config.method.activation(),
                n_inputs: config.n_inputs,
                n_outputs: config.n_outputs,
                n_latents: config.n_latents,
                decoder_bias: config.decoder_bias,
                input_normalization: config.input_normalization,
                row_mean: RowMean::Kept,
            },
            w_enc: parameters.w_enc,
            b_enc: parameters.b_enc,
            w_dec: parameters.w_dec,
            b_dec: parameters.b_dec,
            thresholds,
            magnitude,
            w_skip: None,
        }
    }

    /// The trained autoencoder: decoder rows of norm 1 where that changes nothing, thresholds stored.
    pub fn finish(self) -> SparseAutoencoder<T> {
        self.snapshot()
    }
}

/// `W_enc`, `b_enc` and θ times each decoder row's norm, and the row divided by it.
fn fold_decoder_norms<T: Number>(config: &TrainingConfig, parameters: &mut Parameters<T>) {
    for (latent, row) in parameters.w_dec.chunks_exact_mut(config.n_outputs).enumerate() {
        let norm = sum_of_squares(row).sqrt();
        if norm > 0.0 {
            let factor = T::of(norm);
            renormalize(row);
            parameters.w_enc[latent * config.n_inputs..][..config.n_inputs].iter_mut().for_each(|w| *w *= factor);
            parameters.b_enc[latent] *= factor;
            if let Some(threshold) = parameters.thresholds.get_mut(latent) {
                *threshold *= factor;
            }
        }
    }
}

/// Inputs and targets of a batch, normalised.
fn normalized<T: Number>(config: &TrainingConfig, batch: Batch<'_, T>) -> Result<(Vec<T>, Vec<T>)> {
    let (n_inputs, n_outputs) = (config.n_inputs, config.n_outputs);
    let n_rows = batch.inputs.len() / n_inputs;
    if n_rows == 0 || batch.inputs.len() != n_rows * n_inputs {
        let got = format!("{} values", batch.inputs.len());
        return Err(Error::shape("batch", format!("one or more rows of {n_inputs} values"), got));
    }
    crate::error::expect_len("targets", n_rows * n_outputs, batch.targets.len())?;
    let mut inputs = batch.inputs.to_vec();
    let (mut scales, mut shifts) = (Vec::new(), Vec::new());
    normalize_rows(config.input_normalization, n_inputs, &mut inputs, &mut scales, &mut shifts);
    let targets = match config.input_normalization {
        _ if std::ptr::eq(batch.inputs, batch.targets) => inputs.clone(),
        InputNormalization::Scale { outputs, .. } => {
            let factor = T::of(outputs);
            batch.targets.iter().map(|x| *x * factor).collect()
        }
        InputNormalization::None => batch.targets.to_vec(),
        other => {
            let expected = "none or scale where targets are not the inputs";
            return Err(Error::setting("input_normalization", expected, format!("{other:?}")));
        }
    };
    Ok((inputs, targets))
}
