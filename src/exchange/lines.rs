//! Text files line by line, packed with gzip or not, from a local file or from bytes that were fetched.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::source::Source;
use crate::error::{Error, Result};

/// Longest line that is read, so that a damaged file cannot take all memory.
const LONGEST_LINE: u64 = 256 << 20;

/// A file that can be read more than once.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The file, as it is shown in faults.
    pub(crate) shown: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    Fetched(Bytes),
}

impl Input {
    /// A file of a source: a local one is read as it is needed, a remote one is fetched whole; `None` when it is not there.
    ///
    /// # Errors
    /// Those of the source.
    pub(crate) async fn of(source: &Source, path: &str) -> Result<Option<Self>> {
        let shown = source.shown_file(path);
        match source.local_path() {
            Some(root) => {
                let path = root.join(path);
                Ok(path.is_file().then_some(Self { shown, place: Place::Local(path) }))
            }
            None => Ok(source.get(path).await?.map(|bytes| Self { shown, place: Place::Fetched(bytes) })),
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(shown: &str, bytes: impl Into<Bytes>) -> Self {
        Self { shown: shown.to_owned(), place: Place::Fetched(bytes.into()) }
    }

    /// Size as stored, in bytes.
    pub(crate) fn size(&self) -> u64 {
        match &self.place {
            Place::Local(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Place::Fetched(bytes) => bytes.len() as u64,
        }
    }

    /// Reads from the start; what is packed with gzip, by its first two bytes, is unpacked.
    ///
    /// # Errors
    /// [`Error::File`] when a local file cannot be opened.
    pub(crate) fn open(&self) -> Result<Box<dyn BufRead + Send>> {
        let mut raw: Box<dyn BufRead + Send> = match &self.place {
            Place::Local(path) => {
                let fault = |source| Error::File { path: path.clone(), source };
                Box::new(BufReader::with_capacity(1 << 16, File::open(path).map_err(fault)?))
            }
            Place::Fetched(bytes) => Box::new(Cursor::new(bytes.clone())),
        };
        let packed = raw.fill_buf().is_ok_and(|start| start.starts_with(&[0x1f, 0x8b]));
        if packed { Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))) } else { Ok(raw) }
    }

    /// The lines of the file.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub(crate) fn lines(&self) -> Result<Lines> {
        Ok(Lines { reader: self.open()?, number: 0, line: Vec::new() })
    }
}

/// A line and its 1-based number.
pub(crate) type Line<'a> = (usize, &'a [u8]);

/// The number of a line that cannot be read, and why.
pub(crate) type BadLine = (usize, String);

/// Lines with their numbers.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    number: usize,
    line: Vec<u8>,
}

impl Lines {
    /// The next line that is not blank, with its 1-based number; `None` at the end.
    ///
    /// # Errors
    /// The line's number and why it cannot be read: a packed file that breaks off, or a line without end.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, BadLine> {
        loop {
            self.number += 1;
            self.line.clear();
            let mut reader = (&mut self.reader).take(LONGEST_LINE + 1);
            let n = reader.read_until(b'\n', &mut self.line).map_err(|error| {
                (self.number, format!("expected a whole file, got one that cannot be read on: {error}"))
            })?;
            if n == 0 {
                return Ok(None);
            }
            if n as u64 > LONGEST_LINE {
                return Err((self.number, format!("expected lines of at most {LONGEST_LINE} bytes, got a longer one")));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((self.number, self.line.trim_ascii())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }

    type Numbered = Vec<(usize, String)>;

    fn all(input: &Input) -> (Numbered, Option<BadLine>) {
        let mut lines = input.lines().expect("opens");
        let mut found = Vec::new();
        loop {
            match lines.next() {
                Ok(Some((number, line))) => found.push((number, String::from_utf8_lossy(line).into_owned())),
                Ok(None) => return (found, None),
                Err(fault) => return (found, Some(fault)),
            }
        }
    }

    #[test]
    fn packed_and_plain_files_have_the_same_lines() {
        let text = "one\n\n  two \r\nthree";
        let expected = vec![(1, "one".to_owned()), (3, "two".to_owned()), (4, "three".to_owned())];
        assert_eq!(all(&Input::bytes("plain", text)), (expected.clone(), None));
        assert_eq!(all(&Input::bytes("packed", packed(text))), (expected, None));
        // Two packed files one after the other are one file, as gzip itself has it.
        let twice = [packed("one\n"), packed("two\n")].concat();
        assert_eq!(all(&Input::bytes("twice", twice)).0.len(), 2);
    }

    #[test]
    fn a_packed_file_that_breaks_off_is_a_fault_with_its_line() {
        let text: String = (0..5_000).map(|i| format!("line {i} {}\n", i * 7919 % 1009)).collect();
        let whole = packed(&text);
        let (found, fault) = all(&Input::bytes("cut", whole[..whole.len() / 2].to_vec()));
        let (line, reason) = fault.expect("a fault");
        assert_eq!(line, found.len() + 1);
        assert!(line > 100, "{line}");
        assert!(reason.contains("expected a whole file"), "{reason}");
    }
}
