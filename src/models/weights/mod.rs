//! Reading tensors by name from the formats models come in; whatever the stored type, f32 comes out.

pub(crate) mod gguf;
pub(crate) mod llama2c;
pub(crate) mod random;
pub(crate) mod safetensors;

use std::path::Path;

use crate::error::{Error, Result};

/// The order of a head's rotary pairs in the rows of the query and key weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RotaryLayout {
    /// Element i turns with element i + d_head / 2: transformers.
    Halves,
    /// Element 2 i turns with element 2 i + 1: llama2.c, and GGUF files of the llama architecture.
    Pairs,
}

/// Tensors by their Hugging Face names.
pub(crate) trait TensorSource {
    /// Whether there is a tensor of this name.
    fn contains(&self, name: &str) -> bool;

    /// A tensor's values, row-major, widened to f32.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::TensorShape`] or [`Error::ModelFormat`].
    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;

    /// How query and key weights are ordered.
    fn rotary_layout(&self) -> RotaryLayout {
        RotaryLayout::Halves
    }
}

/// Turns a candle tensor into f32 values after checking its shape.
fn checked(
    tensor: candle_core::Result<candle_core::Tensor>,
    name: &str,
    shape: &[usize],
    path: &Path,
) -> Result<Vec<f32>> {
    let fault = |e: candle_core::Error| Error::ModelFormat {
        path: path.to_path_buf(),
        reason: format!("tensor '{name}': {e}"),
    };
    let tensor = tensor.map_err(fault)?;
    if tensor.dims() != shape {
        return Err(Error::TensorShape {
            path: path.to_path_buf(),
            name: name.to_owned(),
            expected: shape.to_vec(),
            got: tensor.dims().to_vec(),
        });
    }
    let widen = || tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>();
    widen().map_err(fault)
}
