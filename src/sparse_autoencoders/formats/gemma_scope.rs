//! Gemma Scope's `params.npz` (Lieberum et al. 2024, arXiv 2408.05147): JumpReLU.
//!
//! `W_enc` (d, n), `W_dec` (n, d), `b_enc`, `b_dec`, `threshold` (n), names in either case. `z = h` where `h > threshold`;
//! `b_dec` is not taken from the input. Transcoders have a `W_dec` of another width. The
//! archive may be compressed (`numpy.savez_compressed`).

use std::path::Path;

use super::npy;
use super::{Format, Imported, WritingWeights, refused};
use crate::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, RowMean, SparseAutoencoder,
};
use crate::error::Result;

/// The weights' file.
pub const WEIGHTS: &str = "params.npz";

/// Reads a `.npz` file, or the folder with its `params.npz`.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if an array is missing or of another size; [`Error::Refused`](crate::error::Error::Refused) for the autoencoders of
/// embeddings, whose inputs their authors scale by `√d` elsewhere.
pub fn read(path: &Path) -> Result<Imported> {
    let path = if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() };
    if path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("embedding")) {
        let reason = "an autoencoder of embeddings: whether inputs are scaled by √d is not in the file; convert it with \
                      SAELens and read the folder that it saves";
        return Err(refused(&path, reason));
    }
    let mut tensors = npy::read_archive(&path)?;
    let [width, n_latents] = tensors.matrix_shape("w_enc")?;
    let [_, n_outputs] = tensors.matrix_shape("w_dec")?;
    let autoencoder = SparseAutoencoder {
        config: Config {
            architecture: Architecture::JumpRelu,
            activation: Activation::Threshold,
            n_inputs: width,
            n_outputs,
            n_latents,
            decoder_bias: DecoderBias::NotSubtracted,
            input_normalization: InputNormalization::None,
            row_mean: RowMean::Kept,
        },
        w_enc: tensors.take_transposed("w_enc", [width, n_latents])?,
        b_enc: tensors.take("b_enc", &[n_latents])?,
        w_dec: tensors.take("w_dec", &[n_latents, n_outputs])?,
        b_dec: tensors.take("b_dec", &[n_outputs])?,
        thresholds: Some(tensors.take("threshold", &[n_latents])?),
        magnitude: None,
        w_skip: None,
    };
    tensors.nothing_left()?;
    autoencoder.validate()?;
    Ok(Imported {
        autoencoder,
        format: Format::GemmaScope,
        model: None,
        hook_point: None,
        writing_weights: WritingWeights::AsTheyAre,
    })
}
