//! Gemma Scope's `params.npz` (Lieberum et al. 2024, arXiv 2408.05147): JumpReLU.
//!
//! `W_enc` (d, n), `W_dec` (n, d), `b_enc`, `b_dec`, `threshold` (n), names in either case. `z = h` where `h > threshold`;
//! `b_dec` is not taken from the input. Transcoders have a `W_dec` of another width. The
//! archive is not compressed (`numpy.savez`), as published.

use std::path::Path;

use candle_core::npy::NpzTensors;
use candle_core::{DType, Tensor as CandleTensor};

use super::{Format, Imported, refused};
use crate::autoencoder::{Activation, Architecture, Config, DecoderBias, InputNormalization, SparseAutoencoder};
use crate::error::{Error, Result};
use crate::tensors::{Tensor, Tensors};

/// The weights' file.
pub const WEIGHTS: &str = "params.npz";

/// Reads a `.npz` file, or the folder with its `params.npz`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if an array is missing or of another size; [`Error::Refused`] for the autoencoders of
/// embeddings, whose inputs their authors scale by `√d` elsewhere.
pub fn read(path: &Path) -> Result<Imported> {
    let path = if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() };
    if path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("embedding")) {
        let reason = "an autoencoder of embeddings: whether inputs are scaled by √d is not in the file; convert it with \
                      SAELens and read the folder that it saves";
        return Err(refused(&path, reason));
    }
    // Asked for first, since the reader of arrays does not name the file.
    std::fs::metadata(&path).map_err(Error::io(&path))?;
    let mut tensors = Tensors::new(&path, arrays(&path)?);
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
    Ok(Imported { autoencoder, format: Format::GemmaScope, model: None, hook_point: None })
}

/// Every array of the file, names in lower case.
fn arrays(path: &Path) -> Result<Vec<Tensor>> {
    let fault = |error: candle_core::Error| Error::Format {
        path: path.to_owned(),
        expected: "a .npz file of arrays of floats".to_owned(),
        got: error.to_string(),
    };
    let file = NpzTensors::new(path).map_err(fault)?;
    let values = |tensor: &CandleTensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let mut arrays = Vec::new();
    for name in file.names() {
        if let Some(tensor) = file.get(name).map_err(fault)? {
            arrays.push(Tensor {
                name: name.to_lowercase(),
                shape: tensor.dims().to_vec(),
                values: values(&tensor).map_err(fault)?,
            });
        }
    }
    Ok(arrays)
}
