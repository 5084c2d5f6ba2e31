//! Decoding: each row adds up the decoder rows of what fired, `2 L0 n_outputs` operations instead of all latents'.

use std::ops::Range;

use rayon::prelude::*;

use super::{InputNormalization, RowMean, SparseAutoencoder};
use crate::codes::Codes;
use crate::error::{Error, Result, expect_len};
use crate::kernels::{add_scaled, dot};
use crate::number::Number;

/// Rows that one thread takes at a time.
const ROWS: usize = 16;

/// `out[r] = bias + Σ value · w_dec[latent]`, latents in the order of the codes.
pub(crate) fn decode_rows<T: Number>(
    offsets: &[usize],
    latents: &[u32],
    values: &[T],
    w_dec: &[T],
    bias: &[T],
    out: &mut [T],
) {
    let width = bias.len();
    out.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(bias);
            let row = block * ROWS + row;
            for at in offsets[row]..offsets[row + 1] {
                add_scaled(values[at], &w_dec[latents[at] as usize * width..][..width], out);
            }
        }
    });
}

/// Adds to `out` what the latents of a range write.
pub(crate) fn add_decoded<T: Number>(
    codes: &Codes<T>,
    values: &[T],
    latents: Range<u32>,
    w_dec: &[T],
    width: usize,
    out: &mut [T],
) {
    out.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let row = block * ROWS + row;
            for at in codes.offsets[row]..codes.offsets[row + 1] {
                if latents.contains(&codes.latents[at]) && values[at] != T::ZERO {
                    add_scaled(values[at], &w_dec[codes.latents[at] as usize * width..][..width], out);
                }
            }
        }
    });
}

impl<T: Number> SparseAutoencoder<T> {
    /// Reconstructions of a batch in the activations' own units: `out` is `[n_rows, n_outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::LatentOutOfRange`]; [`Error::Setting`] with a skip connection, which needs the inputs
    /// ([`SparseAutoencoder::reconstruct`]).
    pub fn decode(&self, codes: &Codes<T>, out: &mut [T]) -> Result<()> {
        if self.w_skip.is_some() {
            return Err(Error::setting("w_skip", "none: with a skip connection use reconstruct", "a skip connection"));
        }
        self.decode_latents(codes, out)
    }

    /// Encodes and decodes a batch, with what the skip connection adds where there is one.
    ///
    /// # Errors
    /// As [`SparseAutoencoder::encode`] and [`SparseAutoencoder::decode`].
    pub fn reconstruct(&self, inputs: &[T], codes: &mut Codes<T>, out: &mut [T]) -> Result<()> {
        self.encode(inputs, codes)?;
        self.decode_latents(codes, out)?;
        if let Some(skip) = &self.w_skip {
            let (n_inputs, n_outputs) = (self.config.n_inputs, self.config.n_outputs);
            // With a scale, W_skip is of the scaled space as the other weights are.
            let factor = match self.config.input_normalization {
                InputNormalization::Scale { inputs, outputs } => T::of(inputs / outputs),
                InputNormalization::None => T::ONE,
                other => {
                    let expected = "none or scale beside a skip connection";
                    return Err(Error::setting("input_normalization", expected, format!("{other:?}")));
                }
            };
            out.par_chunks_mut(n_outputs).zip(inputs.par_chunks(n_inputs)).with_min_len(ROWS).for_each(
                |(out, input)| {
                    for (out, weights) in out.iter_mut().zip(skip.chunks_exact(n_inputs)) {
                        *out += factor * dot(weights, input);
                    }
                },
            );
        }
        Ok(())
    }

    fn decode_latents(&self, codes: &Codes<T>, out: &mut [T]) -> Result<()> {
        self.validate()?;
        let width = self.config.n_outputs;
        let n_rows = codes.n_rows();
        expect_len("out", n_rows * width, out.len())?;
        if let Some(latent) = codes.latents.iter().find(|latent| **latent as usize >= self.config.n_latents) {
            self.checked(*latent)?;
        }
        decode_rows(&codes.offsets, &codes.latents, &codes.values, &self.w_dec, &self.b_dec, out);
        if self.config.input_normalization.varies_by_row() {
            expect_len("row_scales of the codes", n_rows, codes.row_scales.len())?;
            expect_len("row_shifts of the codes", n_rows, codes.row_shifts.len())?;
            for ((out, scale), shift) in out.chunks_exact_mut(width).zip(&codes.row_scales).zip(&codes.row_shifts) {
                out.iter_mut().for_each(|x| *x = *x * *scale + *shift);
            }
        } else if let InputNormalization::Scale { outputs, .. } = self.config.input_normalization {
            let factor = T::of(1.0 / outputs);
            out.iter_mut().for_each(|x| *x *= factor);
        }
        if self.config.row_mean == RowMean::Removed {
            expect_len("row_means of the codes", n_rows, codes.row_means.len())?;
            for (out, mean) in out.chunks_exact_mut(width).zip(&codes.row_means) {
                out.iter_mut().for_each(|x| *x += *mean);
            }
        }
        Ok(())
    }
}
