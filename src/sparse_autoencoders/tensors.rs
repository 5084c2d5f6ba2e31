//! Named arrays as they come out of files, checked against the sizes that a format asks for.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// A named array; values in row-major order, converted to `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// The arrays of one file; what a format knows is taken out one by one.
#[derive(Clone, Debug)]
pub(crate) struct Tensors {
    path: PathBuf,
    tensors: Vec<Tensor>,
}

impl Tensors {
    pub(crate) fn new(path: &Path, tensors: Vec<Tensor>) -> Self {
        Self { path: path.to_owned(), tensors }
    }

    /// Reads a safetensors file.
    pub(crate) fn read_safetensors(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_safetensors(&bytes, path)
    }

    /// Every array of a safetensors file.
    pub(crate) fn from_safetensors(bytes: &[u8], path: &Path) -> Result<Self> {
        let format = |expected: String, got: String| Error::Format { path: path.to_owned(), expected, got };
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| format("a safetensors file".to_owned(), error.to_string()))?;
        let tensor = |(name, view): (&str, TensorView<'_>)| {
            let values = floats(view.dtype(), view.data()).ok_or_else(|| {
                format(format!("tensor '{name}' of floats or whole numbers"), format!("{:?}", view.dtype()))
            })?;
            Ok(Tensor { name: name.to_owned(), shape: view.shape().to_vec(), values })
        };
        Ok(Self::new(path, file.iter().map(tensor).collect::<Result<_>>()?))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// The sizes of an array.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name);
        tensor.map(|tensor| tensor.shape.as_slice()).ok_or_else(|| self.missing(name))
    }

    /// The two sizes of a matrix.
    pub(crate) fn matrix_shape(&self, name: &str) -> Result<[usize; 2]> {
        let shape = self.shape(name)?;
        shape.try_into().map_err(|_| self.fault(format!("'{name}' as a matrix"), format!("shape {shape:?}")))
    }

    /// The three sizes of an array of matrices.
    pub(crate) fn cube_shape(&self, name: &str) -> Result<[usize; 3]> {
        let shape = self.shape(name)?;
        shape
            .try_into()
            .map_err(|_| self.fault(format!("'{name}' as matrices of one size"), format!("shape {shape:?}")))
    }

    /// Takes out an array of known sizes; all its values are finite.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let at = self.tensors.iter().position(|tensor| tensor.name == name).ok_or_else(|| self.missing(name))?;
        let tensor = self.tensors.swap_remove(at);
        if tensor.shape != shape {
            return Err(self.fault(format!("'{name}' of shape {shape:?}"), format!("{:?}", tensor.shape)));
        }
        if let Some(at) = tensor.values.iter().position(|value| !value.is_finite()) {
            return Err(self.fault(format!("finite values in '{name}'"), format!("{} at {at}", tensor.values[at])));
        }
        Ok(tensor.values)
    }

    /// Takes out a matrix `[rows, columns]` as `[columns, rows]`.
    pub(crate) fn take_transposed(&mut self, name: &str, [rows, columns]: [usize; 2]) -> Result<Vec<f32>> {
        Ok(transposed(&self.take(name, &[rows, columns])?, rows, columns))
    }

    /// Takes out one number.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<f32> {
        let shape = self.shape(name)?.to_vec();
        match self.take(name, &shape)?.as_slice() {
            [value] => Ok(*value),
            values => Err(self.fault(format!("'{name}' as one number"), format!("{} values", values.len()))),
        }
    }

    /// Refuses a file with arrays that nothing has taken: they may change what the others mean.
    pub(crate) fn nothing_left(&self) -> Result<()> {
        let mut names: Vec<&str> = self.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        if names.is_empty() {
            return Ok(());
        }
        Err(self.fault("no other tensors".to_owned(), names.join(", ")))
    }

    fn missing(&self, name: &str) -> Error {
        let mut names: Vec<&str> = self.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        self.fault(format!("tensor '{name}'"), format!("only {}", names.join(", ")))
    }

    fn fault(&self, expected: String, got: String) -> Error {
        Error::Format { path: self.path.clone(), expected, got }
    }
}

/// `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    // Blocks of 32 by 32, so that neither side leaves the cache.
    for first_row in (0..rows).step_by(32) {
        for first_column in (0..columns).step_by(32) {
            for row in first_row..rows.min(first_row + 32) {
                for column in first_column..columns.min(first_column + 32) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// Tensors as a safetensors file at `path` is to hold them.
pub(crate) fn views<'a>(
    tensors: &[(&'a str, Vec<usize>, &'a [f32])],
    path: &Path,
) -> Result<Vec<(&'a str, TensorView<'a>)>> {
    let broken = |error: safetensors::SafeTensorError| Error::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    };
    let view = |values: &'a [f32], shape: &[usize]| {
        TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).map_err(broken)
    };
    tensors.iter().map(|(name, shape, values)| Ok((*name, view(values, shape)?))).collect()
}

/// Little-endian numbers as `f32`; `None` for other kinds.
fn floats(kind: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    Some(match kind {
        Dtype::F32 => numbers(data, f32::from_le_bytes),
        Dtype::F64 => numbers(data, |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => numbers(data, |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => numbers(data, |bytes: [u8; 2]| half::bf16::from_le_bytes(bytes).to_f32()),
        // Counts and names of choices beside the weights.
        Dtype::I64 => numbers(data, |bytes: [u8; 8]| i64::from_le_bytes(bytes) as f32),
        Dtype::I32 => numbers(data, |bytes: [u8; 4]| i32::from_le_bytes(bytes) as f32),
        _ => return None,
    })
}

/// Numbers of `N` bytes each.
pub(crate) fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}
