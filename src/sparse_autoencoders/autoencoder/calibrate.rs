//! A threshold under which as many latents fire as TopK would keep.

use super::{Activation, SparseAutoencoder};
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::number::Number;

/// Rows encoded at once: all their positive pre-activations are held.
const ROWS: usize = 256;

impl<T: Number> SparseAutoencoder<T> {
    /// Sets one threshold for all latents so that on these rows, `[n_rows, n_inputs]`, a row has `mean_firings` latents on
    /// average, or fewer if several are equal to the threshold or not as many are positive; returns it.
    ///
    /// Training stores a running mean; this is exact for the rows given, which should be others than it was trained on.
    ///
    /// # Errors
    /// [`Error::Shape`] if the inputs are no whole rows or none; [`Error::Setting`] for a gated autoencoder.
    pub fn calibrate_thresholds(&mut self, inputs: &[T], mean_firings: f64) -> Result<T> {
        if self.config.activation == Activation::Gated {
            return Err(Error::setting("activation", "one of pre-activations alone", "gated"));
        }
        let n_rows = self.rows_of(inputs)?;
        if n_rows == 0 {
            return Err(Error::shape("inputs", "one or more rows", 0));
        }
        let wanted = (mean_firings * n_rows as f64).round() as usize;
        let mut relu = Self { thresholds: None, ..self.clone() };
        relu.config.activation = Activation::Relu;
        let (mut codes, mut largest) = (Codes::default(), Vec::new());
        let falling = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal);
        for rows in inputs.chunks(ROWS * self.config.n_inputs) {
            relu.encode(rows, &mut codes)?;
            largest.extend_from_slice(&codes.values);
            // The threshold is the largest value that must not fire: one more than those that may.
            if largest.len() > wanted + 1 {
                largest.select_nth_unstable_by(wanted, falling);
                largest.truncate(wanted + 1);
            }
        }
        let threshold = if largest.len() > wanted {
            largest.iter().copied().fold(T::INFINITY, |least, value| if value < least { value } else { least })
        } else {
            T::ZERO
        };
        self.thresholds = Some(vec![threshold; self.config.n_latents]);
        Ok(threshold)
    }
}
