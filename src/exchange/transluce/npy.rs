//! Arrays of numpy, mapped into memory.

use std::fs::File;
use std::path::Path;

use half::f16;
use memmap2::Mmap;

use crate::error::{Error, Result};

/// An array of numbers in C order.
pub(super) struct Array {
    map: Mmap,
    start: usize,
    kind: Kind,
    pub(super) shape: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F16,
    F32,
    F64,
    I32,
    I64,
}

impl Kind {
    fn of(descr: &str) -> Option<Self> {
        match descr {
            "<f2" => Some(Self::F16),
            "<f4" => Some(Self::F32),
            "<f8" => Some(Self::F64),
            "<i4" => Some(Self::I32),
            "<i8" => Some(Self::I64),
            _ => None,
        }
    }

    fn width(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl Array {
    /// Maps a file; `Err` inside is what was expected and what was found.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<std::result::Result<Self, String>> {
        let fault = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(fault)?;
        if file.metadata().map_err(fault)?.len() < 10 {
            return Ok(Err("expected a numpy array, got a file too short for one".to_owned()));
        }
        // SAFETY: the map is read while the part is imported and dropped after; every read is inside the length checked here.
        let map = unsafe { Mmap::map(&file) }.map_err(fault)?;
        Ok(Self::parse(map))
    }

    fn parse(map: Mmap) -> std::result::Result<Self, String> {
        let none = || "expected a numpy array, got something else".to_owned();
        let (length, at) = match map.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _]) => (usize::from(u16::from_le_bytes([map[8], map[9]])), 10),
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _]) => {
                let bytes = map.get(8..12).and_then(|bytes| bytes.try_into().ok()).ok_or_else(none)?;
                (u32::from_le_bytes(bytes) as usize, 12)
            }
            _ => return Err(none()),
        };
        let header = map.get(at..at + length).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(none)?;
        let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let descr = value("descr").and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split_once('\''));
        let descr = descr.map(|(descr, _)| descr).ok_or_else(none)?;
        let kind =
            Kind::of(descr).ok_or_else(|| format!("expected numbers of type f2, f4, f8, i4 or i8, got '{descr}'"))?;
        if !value("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
            return Err("expected an array in C order, got one in Fortran order".to_owned());
        }
        let shape = value("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')'));
        let (shape, _) = shape.ok_or_else(none)?;
        let sides: Option<Vec<usize>> =
            shape.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect();
        let shape = sides.ok_or_else(none)?;
        let start = at + length;
        let n_bytes = shape.iter().try_fold(kind.width(), |bytes, side| bytes.checked_mul(*side));
        if n_bytes != Some(map.len() - start) {
            return Err(format!("expected an array of shape {shape:?}, got {} bytes", map.len() - start));
        }
        Ok(Self { map, start, kind, shape })
    }

    /// Whether the numbers are whole.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::I32 | Kind::I64)
    }

    fn bytes<const N: usize>(&self, i: usize) -> [u8; N] {
        let at = self.start + i * N;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.map[at..at + N]);
        bytes
    }

    /// A number, by its place in C order.
    pub(super) fn float(&self, i: usize) -> f32 {
        match self.kind {
            Kind::F16 => f16::from_le_bytes(self.bytes(i)).to_f32(),
            Kind::F32 => f32::from_le_bytes(self.bytes(i)),
            Kind::F64 => f64::from_le_bytes(self.bytes(i)) as f32,
            Kind::I32 => i32::from_le_bytes(self.bytes(i)) as f32,
            Kind::I64 => i64::from_le_bytes(self.bytes(i)) as f32,
        }
    }

    /// A token id; `None` for what is none.
    pub(super) fn id(&self, i: usize) -> Option<u32> {
        match self.kind {
            Kind::I32 => u32::try_from(i32::from_le_bytes(self.bytes(i))).ok(),
            Kind::I64 => i32::try_from(i64::from_le_bytes(self.bytes(i))).ok().and_then(|id| u32::try_from(id).ok()),
            Kind::F16 | Kind::F32 | Kind::F64 => None,
        }
    }
}
