//! Arrays of numpy: the members of a `.npz` archive, compressed or not.
//!
//! A member is a magic, two bytes of version, the length of a header (two bytes in version 1, four in 2 and 3), a header that is
//! a dictionary as Python prints it with `descr`, `fortran_order` and `shape`, and the values.

use std::path::Path;

use super::zip::Archive;
use crate::error::{Error, Result};
use crate::tensors::{Tensor, Tensors, numbers, transposed};

/// Every array of a `.npz` file, under its name in lower case.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a member that is no array of floats.
pub(super) fn read_archive(path: &Path) -> Result<Tensors> {
    let archive = Archive::read(path)?;
    let mut tensors = Vec::new();
    for name in archive.names() {
        let bytes = archive.member(name)?;
        let (shape, values) = array(&bytes).map_err(|got| Error::Format {
            path: path.to_owned(),
            expected: format!("'{name}' as a little-endian array of floats"),
            got,
        })?;
        let name = name.strip_suffix(".npy").unwrap_or(name).to_lowercase();
        tensors.push(Tensor { name, shape, values });
    }
    Ok(Tensors::new(path, tensors))
}

/// Shape and values in row-major order, or what was found in their place.
fn array(bytes: &[u8]) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
    let early = || "one that ends early".to_owned();
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("a file that is no .npy")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(early)?;
    let (length, rest) = if version[0] == 1 {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(early)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(early)?;
        (u32::from_le_bytes(*length) as usize, rest)
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(early)?;
    let header = String::from_utf8_lossy(header);
    let field = |name: &str| header.split_once(&format!("'{name}':")).map(|(_, value)| value.trim_start());
    let shape = field("shape").and_then(|value| value.strip_prefix('(')?.split_once(')')).map(|(shape, _)| shape);
    let sizes = shape.ok_or("a header without a shape")?.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> =
        sizes.map(|size| size.parse().map_err(|_| format!("shape {size}"))).collect::<std::result::Result<_, _>>()?;
    let kind = field("descr").and_then(|value| value.strip_prefix('\'')?.split_once('\'')).map(|(kind, _)| kind);
    let values = match kind {
        Some("<f4") => numbers(data, f32::from_le_bytes),
        Some("<f8") => numbers(data, |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32),
        Some("<f2") => numbers(data, |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).to_f32()),
        other => return Err(format!("values of type {}", other.unwrap_or("unknown"))),
    };
    let expected = shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size));
    if expected != Some(values.len()) {
        return Err(format!("{} values in shape {shape:?}", values.len()));
    }
    if !field("fortran_order").is_some_and(|value| value.starts_with("True")) {
        return Ok((shape, values));
    }
    match shape.as_slice() {
        [rows, columns] => {
            let values = transposed(&values, *columns, *rows);
            Ok((shape, values))
        }
        [] | [_] => Ok((shape, values)),
        more => Err(format!("{} dimensions in column-major order", more.len())),
    }
}
