//! One file of cached latents: safetensors with `locations`, `activations` and `tokens`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use half::f16;
use memmap2::Mmap;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A file in memory or mapped into it.
pub(super) enum Content {
    Mapped(Mmap),
    Fetched(Bytes),
}

impl Content {
    /// Maps a file; its pages are read as they are asked for.
    pub(super) fn map(path: &Path) -> Result<Self> {
        let fault = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(fault)?;
        // SAFETY: the map is read while the part is imported and dropped after; whoever changes the file under a running import
        // gets wrong numbers, as with any reader. Every offset is checked against its length.
        Ok(Self::Mapped(unsafe { Mmap::map(&file) }.map_err(fault)?))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Fetched(bytes) => bytes,
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// A tensor's numbers, by the type they are stored in.
struct Tensor<'a> {
    dtype: String,
    shape: Vec<usize>,
    data: &'a [u8],
}

/// The checked tensors of a file.
pub(super) struct SplitFile<'a> {
    locations: Tensor<'a>,
    activations: Tensor<'a>,
    tokens: Option<Tensor<'a>>,
    lengths: Option<Tensor<'a>>,
}

/// Longest header that is read.
const LONGEST_HEADER: usize = 1 << 20;

impl<'a> SplitFile<'a> {
    /// Checks a whole file.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let short = || format!("expected a whole safetensors file, got {} bytes", bytes.len());
        let length =
            bytes.get(..8).and_then(|start| start.try_into().ok()).map(u64::from_le_bytes).ok_or_else(short)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_HEADER).ok_or_else(short)?;
        let header = bytes.get(8..8 + length).ok_or_else(short)?;
        let mut entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| format!("expected a safetensors header, got {error}"))?;
        let data = &bytes[8 + length..];
        let mut tensor = |name: &str| -> Result<Option<Tensor<'a>>, String> {
            let Some(entry) = entries.remove(name) else { return Ok(None) };
            let Entry { dtype, shape, data_offsets: [start, end] } =
                serde_json::from_value(entry).map_err(|error| format!("tensor '{name}': {error}"))?;
            let width = width(&dtype)
                .ok_or_else(|| format!("tensor '{name}': expected whole numbers or F16, F32, got {dtype}"))?;
            let n_bytes = shape.iter().try_fold(width, |bytes, side| bytes.checked_mul(*side));
            let found = data.get(start..end).ok_or_else(short)?;
            if n_bytes != Some(found.len()) {
                return Err(format!("tensor '{name}': expected {dtype} of shape {shape:?}, got {} bytes", found.len()));
            }
            Ok(Some(Tensor { dtype, shape, data: found }))
        };
        let missing = |name: &str| format!("expected a tensor '{name}', got none");
        let locations = tensor("locations")?.ok_or_else(|| missing("locations"))?;
        let activations = tensor("activations")?.ok_or_else(|| missing("activations"))?;
        let (tokens, lengths) = (tensor("tokens")?, tensor("neuronlake_lengths")?);
        if locations.shape.len() != 2 || locations.shape[1] != 3 || is_float(&locations.dtype) {
            return Err(format!("expected locations of shape [n, 3], got {:?}", locations.shape));
        }
        if activations.shape != [locations.shape[0]] || !is_float(&activations.dtype) {
            return Err(format!("expected {} activations, got {:?}", locations.shape[0], activations.shape));
        }
        if let Some(tokens) = tokens.as_ref().filter(|tokens| tokens.shape.len() != 2 || is_float(&tokens.dtype)) {
            return Err(format!("expected tokens of shape [rows, positions], got {:?}", tokens.shape));
        }
        let rows = tokens.as_ref().map(|tokens| tokens.shape[0]);
        if let Some(lengths) = lengths.as_ref().filter(|lengths| Some(lengths.shape.iter().product()) != rows) {
            return Err(format!("expected a length for each of {rows:?} rows, got {:?}", lengths.shape));
        }
        Ok(Self { locations, activations, tokens, lengths })
    }

    /// Number of firings.
    pub(super) fn len(&self) -> usize {
        self.locations.shape[0]
    }

    /// Row of the token matrix, position in it, and latent counted from the file's first one.
    pub(super) fn location(&self, i: usize) -> [u64; 3] {
        [0, 1, 2].map(|column| self.locations.whole(3 * i + column).unwrap_or(u64::MAX))
    }

    /// Activation of a firing.
    pub(super) fn activation(&self, i: usize) -> f32 {
        self.activations.float(i)
    }

    /// Rows and positions of the token matrix; `None` in a cache that was saved without tokens.
    pub(super) fn token_shape(&self) -> Option<(usize, usize)> {
        self.tokens.as_ref().map(|tokens| (tokens.shape[0], tokens.shape[1]))
    }

    /// Token ids of a row; `None` for one that is no id.
    pub(super) fn row(&self, row: usize) -> Option<Vec<u32>> {
        let tokens = self.tokens.as_ref()?;
        let width = tokens.shape[1];
        let length = self.lengths.as_ref().and_then(|lengths| lengths.whole(row)).and_then(|n| usize::try_from(n).ok());
        let end = row * width + length.unwrap_or(width).min(width);
        (row * width..end)
            .map(|i| tokens.whole(i).and_then(|id| i32::try_from(id).ok()).map(i32::cast_unsigned))
            .collect()
    }
}

impl Tensor<'_> {
    /// A whole number that is not negative.
    fn whole(&self, i: usize) -> Option<u64> {
        let bytes = |width: usize| &self.data[i * width..(i + 1) * width];
        let signed = |number: i64| u64::try_from(number).ok();
        match self.dtype.as_str() {
            "U8" => Some(u64::from(self.data[i])),
            "U16" => bytes(2).try_into().ok().map(u16::from_le_bytes).map(u64::from),
            "U32" => bytes(4).try_into().ok().map(u32::from_le_bytes).map(u64::from),
            "U64" => bytes(8).try_into().ok().map(u64::from_le_bytes),
            "I16" => bytes(2).try_into().ok().map(i16::from_le_bytes).map(i64::from).and_then(signed),
            "I32" => bytes(4).try_into().ok().map(i32::from_le_bytes).map(i64::from).and_then(signed),
            "I64" => bytes(8).try_into().ok().map(i64::from_le_bytes).and_then(signed),
            _ => None,
        }
    }

    fn float(&self, i: usize) -> f32 {
        let bytes = |width: usize| &self.data[i * width..(i + 1) * width];
        let read = match self.dtype.as_str() {
            "F16" => bytes(2).try_into().ok().map(f16::from_le_bytes).map(f16::to_f32),
            "BF16" => bytes(2).try_into().ok().map(half::bf16::from_le_bytes).map(half::bf16::to_f32),
            _ => bytes(4).try_into().ok().map(f32::from_le_bytes),
        };
        read.unwrap_or(f32::NAN)
    }
}

fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "U8" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" => Some(8),
        _ => None,
    }
}

fn is_float(dtype: &str) -> bool {
    matches!(dtype, "F16" | "BF16" | "F32")
}
