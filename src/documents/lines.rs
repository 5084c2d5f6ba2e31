//! Lines of a text file: checked for UTF-8, bounded in length, counted.

use std::io::{BufRead, Read};

use crate::documents::format::Compression;
use crate::documents::open::{Opened, read_error};
use crate::error::Result;
use crate::error::corpus::CorpusError;

/// The mark that some editors put before a UTF-8 text; no part of the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file line by line; where the bytes happen to be split on their way here changes nothing.
pub(crate) struct Lines {
    bytes: Box<dyn BufRead>,
    compression: Option<Compression>,
    url: String,
    line: Vec<u8>,
    /// Bytes before the current line, after decompression.
    offset: u64,
    /// 1-based number of the current line.
    number: u64,
    max_bytes: usize,
}

impl Lines {
    /// `max_bytes` bounds one line.
    pub(crate) fn new(opened: Opened, url: &str, max_bytes: usize) -> Self {
        let Opened { bytes, compression } = opened;
        Self { bytes, compression, url: url.to_owned(), line: Vec::new(), offset: 0, number: 0, max_bytes }
    }

    /// The file's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// 1-based number of the line read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The longest line, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Byte at which the line read last starts, after decompression.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line with its line end, `None` after the last.
    ///
    /// # Errors
    /// [`CorpusError`], `Store`.
    pub(crate) fn next(&mut self) -> Result<Option<&str>> {
        self.offset += self.line.len() as u64;
        self.line.clear();
        let limit = self.max_bytes as u64 + 1;
        let read = (&mut self.bytes).take(limit).read_until(b'\n', &mut self.line);
        let n = read.map_err(|source| read_error(&self.url, self.compression, source))?;
        if n == 0 {
            return Ok(None);
        }
        if n > self.max_bytes {
            let (url, offset, limit) = (self.url.clone(), self.offset, self.max_bytes);
            return Err(CorpusError::DocumentTooLong { url, offset, limit }.into());
        }
        self.number += 1;
        match std::str::from_utf8(&self.line) {
            Ok(line) if self.offset == 0 => Ok(Some(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line))),
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let offset = self.offset + error.valid_up_to() as u64;
                Err(CorpusError::NotUtf8 { url: self.url.clone(), offset }.into())
            }
        }
    }
}
