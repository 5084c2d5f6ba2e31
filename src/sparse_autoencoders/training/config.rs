//! What is trained and how.

use serde::{Deserialize, Serialize};

use crate::autoencoder::{Activation, Architecture, DecoderBias, InputNormalization};
use crate::error::{Error, Result};

/// The architecture and the numbers of its loss.
///
/// Two reductions, never mixed: TopK and its kin minimise `mse_scale · mean over rows and outputs of e²`, where
/// `mse_scale` is one over the variance of a sample; those with a penalty minimise the mean over rows of `‖e‖² + penalty`
/// with `‖e‖²` summed over outputs, as their papers do, so that their coefficients mean what they mean there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum Method {
    /// The k largest of each row.
    TopK {
        /// Latents a row.
        k: usize,
    },
    /// `L(k) + weight · L(factor · k)`.
    MultiTopK {
        /// Latents a row.
        k: usize,
        /// How many times k the second loss takes; 4 in the paper.
        factor: usize,
        /// The second loss's weight; 1/8 in the paper.
        weight: f64,
    },
    /// The k·rows largest of each batch.
    BatchTopK {
        /// Latents a row on average.
        k: usize,
    },
    /// BatchTopK, where each prefix of the latents reconstructs too; the losses of all prefixes are added up.
    Matryoshka {
        /// Latents a row on average.
        k: usize,
        /// Where prefixes end, rising; the last is `n_latents`.
        prefixes: Vec<usize>,
    },
    /// `‖e‖² + l1 Σ z ‖W_dec row‖` with a decoder of free norm.
    Relu {
        /// λ.
        l1: f64,
    },
    /// `‖e‖² + l1 Σ ReLU(π) + ‖x − ReLU(π) W_dec − b_dec‖²`, the decoder held fixed in the last term.
    Gated {
        /// λ.
        l1: f64,
    },
    /// `‖e‖² + l0 Σ 1[h > θ]`; θ is trained itself, not its logarithm, and never below 0.
    JumpRelu {
        /// λ.
        l0: f64,
        /// ε: width of the window around a threshold in which pre-activations move it.
        bandwidth: f64,
        /// θ before training.
        initial_threshold: f64,
    },
}

impl Method {
    /// How the result is called.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::TopK { .. } => Architecture::TopK,
            Self::MultiTopK { .. } => Architecture::MultiTopK,
            Self::BatchTopK { .. } => Architecture::BatchTopK,
            Self::Matryoshka { .. } => Architecture::Matryoshka,
            Self::Relu { .. } => Architecture::Relu,
            Self::Gated { .. } => Architecture::Gated,
            Self::JumpRelu { .. } => Architecture::JumpRelu,
        }
    }

    /// How the result computes its codes.
    pub(crate) fn activation(&self) -> Activation {
        match self {
            Self::TopK { k } | Self::MultiTopK { k, .. } => Activation::TopK { k: *k },
            Self::BatchTopK { .. } | Self::Matryoshka { .. } | Self::JumpRelu { .. } => Activation::Threshold,
            Self::Relu { .. } => Activation::Relu,
            Self::Gated { .. } => Activation::Gated,
        }
    }
}

/// Whether decoder rows are kept at norm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderNorm {
    /// Gradients lose their part along the row, and rows are divided by their norm after every step.
    Unit,
    /// Rows have any norm.
    Free,
}

/// The loss that revives dead latents (AuxK): they reconstruct what the others leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuxiliaryLoss {
    /// Dead latents a row, at most; a power of two near `n_inputs / 2` in the paper.
    pub k: usize,
    /// α; 1/32 in the paper.
    pub coefficient: f64,
}

/// Adam's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Learning rate after the warm-up and before the decay.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment; 6.25e-10 in the paper, since gradients are means over large batches.
    pub epsilon: f64,
    /// Largest norm of all gradients together; none in the paper's smaller runs.
    pub clip_norm: Option<f64>,
}

/// Everything a training run is determined by, but the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingConfig {
    /// The architecture and its loss.
    pub method: Method,
    /// Width of the inputs.
    pub n_inputs: usize,
    /// Width of the targets; the same as `n_inputs` unless it is a transcoder.
    pub n_outputs: usize,
    /// How many latents.
    pub n_latents: usize,
    /// Rows a step.
    pub batch_rows: usize,
    /// Steps in all; schedules end there.
    pub n_steps: u64,
    /// Where every random draw comes from.
    pub seed: u64,
    /// What is done to inputs first.
    pub input_normalization: InputNormalization,
    /// Whether `b_dec` is taken from the input.
    pub decoder_bias: DecoderBias,
    /// Whether decoder rows are kept at norm 1.
    pub decoder_norm: DecoderNorm,
    /// The optimiser.
    pub adam: Adam,
    /// Steps over which the learning rate rises from 0.
    pub warm_up_steps: u64,
    /// Steps at the end over which it falls to 0.
    pub decay_steps: u64,
    /// Steps over which the penalty's coefficient rises from 0.
    pub penalty_warm_up_steps: u64,
    /// What revives dead latents.
    pub auxiliary: Option<AuxiliaryLoss>,
    /// A latent that has not fired for more than this many rows is dead; 10 million in the paper.
    pub dead_after_rows: u64,
    /// A latent fires where its value is greater than this; 1e-3 in the reference implementation.
    pub fires_above: f64,
}

impl TrainingConfig {
    /// The recipe of arXiv 2406.04093 for a TopK autoencoder, with the learning rate `2e-4 √(2^14 / n_latents)`.
    pub fn top_k(n_inputs: usize, n_latents: usize, k: usize, batch_rows: usize, n_steps: u64) -> Self {
        Self {
            method: Method::TopK { k },
            n_inputs,
            n_outputs: n_inputs,
            n_latents,
            batch_rows,
            n_steps,
            seed: 0,
            input_normalization: InputNormalization::None,
            decoder_bias: DecoderBias::Subtracted,
            decoder_norm: DecoderNorm::Unit,
            adam: Adam {
                learning_rate: 2e-4 * (16_384.0 / n_latents as f64).sqrt(),
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 6.25e-10,
                clip_norm: None,
            },
            warm_up_steps: 0,
            decay_steps: 0,
            penalty_warm_up_steps: 0,
            auxiliary: Some(AuxiliaryLoss {
                k: nearest_power_of_two(n_inputs as f64 / 2.0).min(n_latents),
                coefficient: 1.0 / 32.0,
            }),
            dead_after_rows: 10_000_000,
            fires_above: 1e-3,
        }
    }

    /// A method with the defaults of its paper (docs/sparse-autoencoders.md has the table).
    pub fn with_method(method: Method, n_inputs: usize, n_latents: usize, batch_rows: usize, n_steps: u64) -> Self {
        let recipe = Self::top_k(n_inputs, n_latents, 1, batch_rows, n_steps);
        let adam = |learning_rate, beta1| Adam { learning_rate, beta1, epsilon: 1e-8, ..recipe.adam };
        let penalised = |adam, penalty_warm_up_steps, decoder_norm| Self {
            adam,
            penalty_warm_up_steps,
            decoder_norm,
            auxiliary: None,
            decay_steps: n_steps / 5,
            ..recipe.clone()
        };
        let config = match method {
            Method::Relu { .. } => {
                let adam = Adam { clip_norm: Some(1.0), ..adam(5e-5, 0.9) };
                penalised(adam, n_steps / 20, DecoderNorm::Free)
            }
            Method::Gated { .. } => penalised(adam(5e-5, 0.0), n_steps / 20, DecoderNorm::Unit),
            Method::JumpRelu { .. } => {
                let config = penalised(adam(7e-5, 0.0), n_steps / 10, DecoderNorm::Unit);
                Self { decoder_bias: DecoderBias::NotSubtracted, ..config }
            }
            _ => recipe,
        };
        Self { method, ..config }
    }

    /// Checks that settings agree.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first that does not.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("n_inputs", self.n_inputs),
            ("n_outputs", self.n_outputs),
            ("n_latents", self.n_latents),
            ("batch_rows", self.batch_rows),
        ];
        for (setting, value) in positive {
            if value == 0 || value > u32::MAX as usize {
                return Err(Error::setting(setting, "1 to 4294967295", value));
            }
        }
        let between = |setting: &str, value: f64, low: f64, high: f64| {
            if value >= low && value <= high && value.is_finite() {
                Ok(())
            } else {
                Err(Error::setting(setting, format!("{low} to {high}"), value))
            }
        };
        between("learning_rate", self.adam.learning_rate, 0.0, 1e3)?;
        between("beta1", self.adam.beta1, 0.0, 0.999_999)?;
        between("beta2", self.adam.beta2, 0.0, 0.999_999_9)?;
        between("epsilon", self.adam.epsilon, f64::MIN_POSITIVE, 1.0)?;
        between("clip_norm", self.adam.clip_norm.unwrap_or(1.0), f64::MIN_POSITIVE, f64::MAX)?;
        between("fires_above", self.fires_above, 0.0, f64::MAX)?;
        let k_of = |setting: &str, k: usize| {
            if k == 0 || k > self.n_latents {
                return Err(Error::setting(setting, format!("1 to {} (n_latents)", self.n_latents), k));
            }
            Ok(())
        };
        match &self.method {
            Method::TopK { k } | Method::BatchTopK { k } => k_of("k", *k)?,
            Method::MultiTopK { k, factor, weight } => {
                k_of("k", *k)?;
                if *factor < 2 {
                    return Err(Error::setting("factor", "2 or more", factor));
                }
                k_of("k times factor", k.saturating_mul(*factor))?;
                between("weight", *weight, 0.0, f64::MAX)?;
            }
            Method::Matryoshka { k, prefixes } => {
                k_of("k", *k)?;
                let rising = prefixes.first().is_some_and(|first| *first > 0)
                    && prefixes.windows(2).all(|pair| pair[0] < pair[1])
                    && prefixes.last() == Some(&self.n_latents);
                if !rising {
                    let expected = format!("rising ends of prefixes, the last {} (n_latents)", self.n_latents);
                    return Err(Error::setting("prefixes", expected, format!("{prefixes:?}")));
                }
            }
            Method::Relu { l1 } | Method::Gated { l1 } => between("l1", *l1, 0.0, f64::MAX)?,
            Method::JumpRelu { l0, bandwidth, initial_threshold } => {
                between("l0", *l0, 0.0, f64::MAX)?;
                between("bandwidth", *bandwidth, f64::MIN_POSITIVE, f64::MAX)?;
                between("initial_threshold", *initial_threshold, 0.0, f64::MAX)?;
            }
        }
        if let Some(auxiliary) = self.auxiliary {
            k_of("auxiliary k", auxiliary.k)?;
            between("auxiliary coefficient", auxiliary.coefficient, 0.0, f64::MAX)?;
            if matches!(self.method, Method::Relu { .. } | Method::Gated { .. } | Method::JumpRelu { .. }) {
                let expected = "none beside a penalty, whose loss has another reduction";
                return Err(Error::setting("auxiliary", expected, format!("k {}", auxiliary.k)));
            }
        }
        if self.n_inputs != self.n_outputs {
            if self.decoder_bias == DecoderBias::Subtracted {
                return Err(Error::setting("decoder_bias", "not_subtracted in a transcoder", "subtracted"));
            }
            if self.input_normalization.varies_by_row() {
                let got = format!("{:?}", self.input_normalization);
                return Err(Error::setting("input_normalization", "none or scale in a transcoder", got));
            }
        }
        Ok(())
    }

    /// The learning rate of a step, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let rise = ratio(step + 1, self.warm_up_steps + 1);
        let fall = if self.decay_steps == 0 { 1.0 } else { ratio(self.n_steps.saturating_sub(step), self.decay_steps) };
        self.adam.learning_rate * rise.min(fall)
    }

    /// What the penalty's coefficient is multiplied by at a step.
    pub(crate) fn penalty_share(&self, step: u64) -> f64 {
        ratio(step, self.penalty_warm_up_steps)
    }
}

/// `a / b`, at most 1, and 1 where `b` is 0.
fn ratio(a: u64, b: u64) -> f64 {
    if a >= b { 1.0 } else { a as f64 / b as f64 }
}

fn nearest_power_of_two(value: f64) -> usize {
    1 << value.max(1.0).log2().round() as u32
}
