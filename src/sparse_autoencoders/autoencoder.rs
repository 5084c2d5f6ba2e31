//! A sparse autoencoder: its configuration, its weights, and computing with it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, expect_len};
use crate::number::Number;

mod calibrate;
pub(crate) mod decode;
pub(crate) mod encode;
mod fold;
mod normalization;
#[cfg(test)]
mod tests;

pub(crate) use normalization::{normalize_rows, remove_means};

/// How an autoencoder was trained. Codes are computed by [`Activation`]; this says where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// ReLU with an L1 penalty (Bricken et al. 2023; Conerly et al., April 2024).
    Relu,
    /// The k largest of each row (Gao et al. 2024, arXiv 2406.04093).
    TopK,
    /// TopK trained for k and 4k at once (Gao et al. 2024, section 6.2).
    MultiTopK,
    /// The k·rows largest of each batch (Bussmann et al. 2024, arXiv 2412.06410).
    BatchTopK,
    /// BatchTopK whose prefixes of latents reconstruct too (Bussmann et al. 2025, arXiv 2503.17547).
    Matryoshka,
    /// ReLU with a learned jump for each latent (Rajamanoharan et al. 2024, arXiv 2407.14435).
    JumpRelu,
    /// A gate that decides and a magnitude (Rajamanoharan et al. 2024, arXiv 2404.16014).
    Gated,
}

/// How codes come from pre-activations `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Activation {
    /// `max(h, 0)`.
    Relu,
    /// `max(h, 0)` for the k largest `h` of a row, 0 for the others; of equal ones the lower latent is kept.
    TopK {
        /// Latents a row, at most (negative ones are dropped after the choice).
        k: usize,
    },
    /// `h` where `h` is greater than the latent's threshold, else 0 (JumpReLU): each latent can be computed alone.
    Threshold,
    /// `max(e^r (h − b_enc) + b_mag, 0)` where `h > 0`, else 0: `b_enc` is the gate's bias, see [`Magnitude`].
    Gated,
}

/// Whether `b_dec` is taken from the input before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderBias {
    /// `h = W_enc (x − b_dec) + b_enc`.
    Subtracted,
    /// `h = W_enc x + b_enc`.
    NotSubtracted,
}

/// What is done to a row before it is encoded, and undone after it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InputNormalization {
    /// Nothing.
    None,
    /// `(x − μ) / (σ + epsilon)` with the row's mean and its standard deviation over `n_inputs − 1`: what OpenAI's
    /// published TopK models do (`sparse_autoencoder/model.py`, `LN`; epsilon is added to σ, not to the variance).
    LayerNorm {
        /// 1e-5 in the published models.
        epsilon: f64,
    },
    /// `(x − μ) / ‖x − μ‖`: what the paper says of its inputs (arXiv 2406.04093, section 2); LayerNorm's is larger by
    /// about `√(n_inputs − 1)`.
    UnitNorm,
    /// `x √n_inputs / ‖x‖` (SAELens `constant_norm_rescale`).
    ConstantNorm,
    /// `x` times one number for all rows; outputs are divided by theirs (SAELens `expected_average_only_in`).
    Scale {
        /// What inputs are multiplied by.
        inputs: f64,
        /// What reconstructions are divided by; the same as `inputs` unless outputs are other activations.
        outputs: f64,
    },
}

impl InputNormalization {
    /// Whether each row is normalised by numbers of its own, so that codes must carry them.
    pub fn varies_by_row(self) -> bool {
        matches!(self, Self::LayerNorm { .. } | Self::UnitNorm | Self::ConstantNorm)
    }
}

/// Whether the mean over a row's coordinates is taken from the row before anything else is done to it, and added to its
/// reconstruction after everything else.
///
/// A residual stream under layer norms is read only less its mean. TransformerLens' `center_writing_weights` takes it out of the
/// weights that write to the stream, which takes exactly the mean out of every row: an autoencoder of such a stream reads the
/// unprocessed model's rows by [`RowMean::Removed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowMean {
    /// Rows are read as they are.
    #[default]
    Kept,
    /// Rows are read less their mean.
    Removed,
}

/// Everything about an autoencoder but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// How it was trained.
    pub architecture: Architecture,
    /// How codes are computed.
    pub activation: Activation,
    /// Width of the activations encoded.
    pub n_inputs: usize,
    /// Width of what is reconstructed; the same as `n_inputs` unless it is a transcoder.
    pub n_outputs: usize,
    /// How many latents.
    pub n_latents: usize,
    /// Whether `b_dec` is taken from the input.
    pub decoder_bias: DecoderBias,
    /// What is done to inputs first.
    pub input_normalization: InputNormalization,
    /// Whether inputs lose their mean before that; files from before there was the choice keep it.
    #[serde(default)]
    pub row_mean: RowMean,
}

/// The magnitude path of a gated autoencoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Magnitude<T = f32> {
    /// `r`, `[n_latents]`: the magnitude's encoder rows are `e^r` times the gate's.
    pub log_scale: Vec<T>,
    /// `b_mag`, `[n_latents]`.
    pub bias: Vec<T>,
}

/// Configuration and weights; both matrices hold latents as rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseAutoencoder<T = f32> {
    /// How it computes.
    pub config: Config,
    /// `[n_latents, n_inputs]`.
    pub w_enc: Vec<T>,
    /// `[n_latents]`; of a gated one the gate's bias.
    pub b_enc: Vec<T>,
    /// `[n_latents, n_outputs]`: row j is the direction that latent j writes.
    pub w_dec: Vec<T>,
    /// `[n_outputs]`.
    pub b_dec: Vec<T>,
    /// `[n_latents]` what a pre-activation must exceed under [`Activation::Threshold`]; may be there for others too, see
    /// [`SparseAutoencoder::with_thresholds`].
    pub thresholds: Option<Vec<T>>,
    /// Of a gated one.
    pub magnitude: Option<Magnitude<T>>,
    /// `[n_outputs, n_inputs]` added to the reconstruction times the input (skip transcoders, arXiv 2501.18823).
    pub w_skip: Option<Vec<T>>,
}

impl<T: Number> SparseAutoencoder<T> {
    /// Checks that sizes and settings agree.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Setting`] with the first thing that does not.
    pub fn validate(&self) -> Result<()> {
        let Config { n_inputs, n_outputs, n_latents, .. } = self.config;
        for (setting, value) in [("n_inputs", n_inputs), ("n_outputs", n_outputs), ("n_latents", n_latents)] {
            if value == 0 || value > u32::MAX as usize {
                return Err(Error::setting(setting, "1 to 4294967295", value));
            }
        }
        expect_len("W_enc", n_latents * n_inputs, self.w_enc.len())?;
        expect_len("b_enc", n_latents, self.b_enc.len())?;
        expect_len("W_dec", n_latents * n_outputs, self.w_dec.len())?;
        expect_len("b_dec", n_outputs, self.b_dec.len())?;
        if let Some(thresholds) = &self.thresholds {
            expect_len("thresholds", n_latents, thresholds.len())?;
        }
        if let Some(skip) = &self.w_skip {
            expect_len("W_skip", n_outputs * n_inputs, skip.len())?;
        }
        if let Some(magnitude) = &self.magnitude {
            expect_len("r_mag", n_latents, magnitude.log_scale.len())?;
            expect_len("b_mag", n_latents, magnitude.bias.len())?;
        }
        match self.config.activation {
            Activation::TopK { k } if k == 0 || k > n_latents => {
                return Err(Error::setting("k", format!("1 to {n_latents} (n_latents)"), k));
            }
            Activation::Threshold if self.thresholds.is_none() => {
                return Err(Error::setting("thresholds", "one for each latent", "none"));
            }
            Activation::Gated if self.magnitude.is_none() => {
                return Err(Error::setting("magnitude", "r_mag and b_mag of a gated autoencoder", "none"));
            }
            _ => {}
        }
        if self.config.row_mean == RowMean::Removed && (n_inputs != n_outputs || self.w_skip.is_some()) {
            let expected = "kept in a transcoder, whose outputs have another mean";
            return Err(Error::setting("row_mean", expected, "removed"));
        }
        if n_inputs != n_outputs {
            if self.config.decoder_bias == DecoderBias::Subtracted {
                let expected = "not_subtracted, since outputs are not inputs";
                return Err(Error::setting("decoder_bias", expected, "subtracted"));
            }
            if self.config.input_normalization.varies_by_row() {
                let got = format!("{:?}", self.config.input_normalization);
                return Err(Error::setting("input_normalization", "none or scale, since outputs are not inputs", got));
            }
        }
        Ok(())
    }

    /// The direction that a latent writes, `[n_outputs]`.
    ///
    /// # Errors
    /// [`Error::LatentOutOfRange`].
    pub fn decoder_row(&self, latent: u32) -> Result<&[T]> {
        let row = self.checked(latent)?;
        Ok(&self.w_dec[row * self.config.n_outputs..][..self.config.n_outputs])
    }

    /// The direction that a latent reads, `[n_inputs]`.
    ///
    /// # Errors
    /// [`Error::LatentOutOfRange`].
    pub fn encoder_row(&self, latent: u32) -> Result<&[T]> {
        let row = self.checked(latent)?;
        Ok(&self.w_enc[row * self.config.n_inputs..][..self.config.n_inputs])
    }

    /// The same weights, with codes computed by the stored thresholds: no latent's value depends on another's.
    ///
    /// Gao et al. 2024, section 5.2 and Bussmann et al. 2024, section 3 use it at inference.
    ///
    /// # Errors
    /// [`Error::Setting`] without thresholds.
    pub fn with_thresholds(mut self) -> Result<Self> {
        self.config.activation = Activation::Threshold;
        self.validate()?;
        Ok(self)
    }

    pub(crate) fn checked(&self, latent: u32) -> Result<usize> {
        if (latent as usize) < self.config.n_latents {
            Ok(latent as usize)
        } else {
            Err(Error::LatentOutOfRange { latent, n_latents: self.config.n_latents })
        }
    }

    /// Rows in a slice of inputs.
    pub(crate) fn rows_of(&self, inputs: &[T]) -> Result<usize> {
        let width = self.config.n_inputs;
        if inputs.len().is_multiple_of(width) {
            Ok(inputs.len() / width)
        } else {
            Err(Error::shape("inputs", format!("rows of {width} values"), format!("{} values", inputs.len())))
        }
    }
}
