//! Files of the index: written whole and synced, read through memory maps without a copy.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ToByteSlice};
use bytes::Bytes;
use memmap2::Mmap;

use super::error::SearchError;
use crate::error::{Error, Result};

/// A fault of a file of the index.
pub(super) fn fault(path: &Path, reason: impl std::fmt::Display) -> Error {
    SearchError::Index { path: path.to_owned(), reason: reason.to_string() }.into()
}

/// The bytes of a file, read when they are touched.
pub(super) fn map(path: &Path) -> Result<Buffer> {
    let file = File::open(path).map_err(|e| fault(path, e))?;
    if file.metadata().map_err(|e| fault(path, e))?.len() == 0 {
        return Ok(Buffer::from_vec(Vec::<u64>::new()));
    }
    // SAFETY: files of the index are never changed once they have their name: builders write new ones and remove old ones,
    // whose pages stay while they are mapped.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| fault(path, e))?;
    Ok(Buffer::from(Bytes::from_owner(map)))
}

/// A file of `n` numbers.
pub(super) fn numbers<T: ArrowNativeType>(path: &Path, n: usize) -> Result<ScalarBuffer<T>> {
    let bytes = map(path)?;
    let expected = n * size_of::<T>();
    if bytes.len() != expected {
        return Err(fault(path, format!("expected {expected} bytes, got {}", bytes.len())));
    }
    Ok(if n == 0 { ScalarBuffer::from(Vec::<T>::new()) } else { ScalarBuffer::new(bytes, 0, n) })
}

/// Writes a file of numbers.
pub(super) fn write_numbers<T: ArrowNativeType>(path: &Path, values: &[T]) -> Result<()>
where
    [T]: ToByteSlice,
{
    write(path, |out| out.write_all(values.to_byte_slice()))
}

/// Writes a file whole and makes sure that it is on the disk.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let done = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        fill(&mut out)?;
        out.into_inner().map_err(|e| e.into_error())?.sync_all()
    };
    done().map_err(|e| fault(path, e))
}

/// Puts a text in the place of a file's, at once: a reader sees the one or the other.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    let new = with_ending(path, "new");
    write(&new, |out| out.write_all(text.as_bytes()))?;
    std::fs::rename(&new, path).map_err(|e| fault(path, e))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes sure that the names in a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| fault(folder, e))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
