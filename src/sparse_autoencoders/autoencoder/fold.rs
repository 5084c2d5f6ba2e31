//! The same function with other weights: scales moved from the data or the decoder into the weights.

use super::{Activation, InputNormalization, SparseAutoencoder};
use crate::error::{Error, Result};
use crate::kernels::sum_of_squares;
use crate::number::Number;

impl<T: Number> SparseAutoencoder<T> {
    /// Moves a scale of all inputs into the weights: codes and reconstructions stay what they are.
    ///
    /// With `x' = s x` and `x̂ = x̂' / t`: `W_enc s`, `b_dec / t`, `W_dec / t`. Pre-activations do not change, so neither
    /// do biases and thresholds. Other normalisations are left alone: they cannot be moved.
    pub fn fold_input_scale(&mut self) {
        let InputNormalization::Scale { inputs, outputs } = self.config.input_normalization else { return };
        let scale = |values: &mut [T], factor: f64| values.iter_mut().for_each(|x| *x *= T::of(factor));
        scale(&mut self.w_enc, inputs);
        scale(&mut self.w_dec, 1.0 / outputs);
        // Where b_dec is subtracted, inputs and outputs are the same activations and have one scale.
        scale(&mut self.b_dec, 1.0 / outputs);
        if let Some(skip) = &mut self.w_skip {
            scale(skip, inputs / outputs);
        }
        self.config.input_normalization = InputNormalization::None;
    }

    /// Gives decoder rows norm 1 and multiplies what each latent reads by what its row's norm was: reconstructions stay
    /// what they are, codes are multiplied by the norms. A row of zeros stays.
    ///
    /// # Errors
    /// [`Error::Setting`] under TopK, where other latents would then be chosen.
    pub fn fold_decoder_norms(&mut self) -> Result<()> {
        if let Activation::TopK { .. } = self.config.activation {
            return Err(Error::setting("activation", "one that computes each latent alone", "top_k"));
        }
        self.scale_latents_by_decoder_norms();
        Ok(())
    }

    /// As [`SparseAutoencoder::fold_decoder_norms`], whatever is chosen: what `rescale_acts_by_decoder_norm` means.
    pub(crate) fn scale_latents_by_decoder_norms(&mut self) {
        let (n_inputs, n_outputs) = (self.config.n_inputs, self.config.n_outputs);
        for (latent, row) in self.w_dec.chunks_exact_mut(n_outputs).enumerate() {
            let norm = sum_of_squares(row).sqrt();
            if norm > 0.0 {
                let factor = T::of(norm);
                row.iter_mut().for_each(|w| *w = T::of(w.wide() / norm));
                self.w_enc[latent * n_inputs..][..n_inputs].iter_mut().for_each(|w| *w *= factor);
                self.b_enc[latent] *= factor;
                if let Some(thresholds) = &mut self.thresholds {
                    thresholds[latent] *= factor;
                }
                if let Some(magnitude) = &mut self.magnitude {
                    magnitude.bias[latent] *= factor;
                }
            }
        }
    }
}
