//! Members of a zip archive: stored as they are (PyTorch, `numpy.savez`) or deflated (`numpy.savez_compressed`).

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use crate::error::{Error, Result};

/// Number of the method under which bytes are stored as they are.
const STORED: usize = 0;
/// Number of the method of RFC 1951.
const DEFLATED: usize = 8;

/// An archive held in memory.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    bytes: Vec<u8>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// Where its local header begins.
    header: usize,
    /// Bytes in the archive, and once unpacked.
    packed_size: usize,
    size: usize,
    method: usize,
}

impl Archive {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let members = members(&bytes).ok_or_else(|| Error::Format {
            path: path.to_owned(),
            expected: "a zip archive, as numpy and, since PyTorch 1.6, torch.save write them".to_owned(),
            got: format!("{} bytes that are none", bytes.len()),
        })?;
        Ok(Self { path: path.to_owned(), bytes, members })
    }

    /// Names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// A member's bytes, unpacked.
    pub(super) fn member(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let fault = |expected: String, got: String| Error::Format { path: self.path.clone(), expected, got };
        let member = self.members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| fault(format!("member '{name}'"), "none".to_owned()))?;
        // The local header repeats the name and has an extra field of its own length.
        let header = self.bytes.get(member.header..).unwrap_or_default();
        let packed = (|| {
            let start = 30 + number(header, 26, 2)? + number(header, 28, 2)?;
            let end = start.checked_add(member.packed_size)?;
            (number(header, 0, 4)? == 0x0403_4b50).then(|| header.get(start..end)).flatten()
        })();
        let packed =
            packed.ok_or_else(|| fault(format!("all of member '{name}'"), "one that ends early".to_owned()))?;
        let sized = |bytes: usize| format!("member '{name}' of {bytes} bytes");
        match member.method {
            STORED if packed.len() == member.size => Ok(Cow::Borrowed(packed)),
            STORED => Err(fault(sized(member.size), packed.len().to_string())),
            DEFLATED => {
                let mut bytes = Vec::new();
                // One byte more than is said tells that there is more, and no more is unpacked than that.
                let mut reader = DeflateDecoder::new(packed).take(member.size as u64 + 1);
                reader.read_to_end(&mut bytes).map_err(|error| fault(sized(member.size), error.to_string()))?;
                if bytes.len() != member.size {
                    return Err(fault(sized(member.size), format!("{} or more", bytes.len())));
                }
                Ok(Cow::Owned(bytes))
            }
            other => Err(fault(format!("member '{name}' stored or deflated"), format!("compression method {other}"))),
        }
    }
}

/// The list at an archive's end (APPNOTE.TXT 6.3, sections 4.3.12 and 4.3.16, with the 64-bit fields of 4.5.3).
fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    // The end record is followed by a comment of at most 64 KiB.
    let first = bytes.len().saturating_sub(22 + 0xffff);
    let end = (first..=bytes.len().checked_sub(22)?).rev().find(|at| number(bytes, *at, 4) == Some(0x0605_4b50))?;
    let (mut count, mut at) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    if count == 0xffff || at == 0xffff_ffff {
        let locator = end.checked_sub(20)?;
        (number(bytes, locator, 4)? == 0x0706_4b50).then_some(())?;
        let end = number(bytes, locator + 8, 8)?;
        (count, at) = (number(bytes, end + 32, 8)?, number(bytes, end + 48, 8)?);
    }
    let mut members = Vec::new();
    for _ in 0..count {
        (number(bytes, at, 4)? == 0x0201_4b50).then_some(())?;
        let (name, extra, comment) =
            (number(bytes, at + 28, 2)?, number(bytes, at + 30, 2)?, number(bytes, at + 32, 2)?);
        let (mut packed_size, mut size, mut header) =
            (number(bytes, at + 20, 4)?, number(bytes, at + 24, 4)?, number(bytes, at + 42, 4)?);
        // Sizes and places that do not fit are in the extra field, in this order.
        let mut wide = wide_fields(bytes.get(at + 46 + name..at + 46 + name + extra)?);
        if size == 0xffff_ffff {
            size = wide.next()?;
        }
        if packed_size == 0xffff_ffff {
            packed_size = wide.next()?;
        }
        if header == 0xffff_ffff {
            header = wide.next()?;
        }
        members.push(Member {
            name: String::from_utf8(bytes.get(at + 46..at + 46 + name)?.to_vec()).ok()?,
            header,
            packed_size,
            size,
            method: number(bytes, at + 10, 2)?,
        });
        at += 46 + name + extra + comment;
    }
    Some(members)
}

/// The 64-bit numbers of an extra field.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = usize> {
    let mut found = Vec::new();
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let data = extra.get(4..4 + length).unwrap_or_default();
        if id == 1 {
            found = (0..data.len() / 8).filter_map(|at| number(data, at * 8, 8)).collect();
        }
        extra = extra.get(4 + length..).unwrap_or_default();
    }
    found.into_iter()
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
}
