//! Reading a shuffled store in sequence, from any row on.

use std::path::PathBuf;

use sparse_autoencoders::source::ActivationSource;

use super::manifest::{Manifest, StoreFolder};
use super::parts::{PartReader, RowForm, Rows, part_path};
use super::shuffle::Shuffled;
use crate::error::Result;
use crate::error::autoencoder::AutoencoderError;

/// Rows that are read from a file at a time.
const BATCH_ROWS: usize = 1_024;

/// A place in a shuffled store: the file, and the row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    /// Number of the file.
    pub file: usize,
    /// 0-based row of the file.
    pub row: u64,
}

/// The rows of a shuffled store, one after the other: a row group is in memory at a time.
#[derive(Debug)]
pub struct ShuffledRows {
    folder: PathBuf,
    shuffled: Shuffled,
    manifest: Manifest,
    form: RowForm,
    cursor: Cursor,
    reader: Option<PartReader>,
    /// Rows read and not yet given out, and how many of them were.
    held: Rows,
    taken: usize,
}

impl ShuffledRows {
    /// Opens the order of a seed.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] for a store that was not shuffled with the seed or holds no row.
    pub fn open(store: &StoreFolder, seed: u64) -> Result<Self> {
        let manifest = store.whole()?;
        let folder = store.shuffled_path(seed);
        let shuffled = Shuffled::read(&folder)?.filter(|shuffled| shuffled.n_rows() > 0);
        let Some(shuffled) = shuffled else {
            let name = store.name();
            let reason = format!(
                "expected rows in random order; run 'neuronlake activations shuffle --name {name} --seed {seed}'"
            );
            return Err(AutoencoderError::StoreFile { path: folder, reason }.into());
        };
        let form = RowForm { width: manifest.contents.width, values: manifest.contents.values };
        let (cursor, held) = (Cursor::default(), Rows::default());
        Ok(Self { folder, shuffled, manifest, form, cursor, reader: None, held, taken: 0 })
    }

    /// What the store says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the row of that number stands; behind the last one it is the first row of a file that is not there.
    pub fn place(&self, row: u64) -> Cursor {
        let mut left = row;
        for (file, rows) in self.shuffled.rows.iter().enumerate() {
            if left < *rows {
                return Cursor { file, row: left };
            }
            left -= rows;
        }
        Cursor { file: self.shuffled.rows.len(), row: left }
    }

    /// Replaces `values` by `[n, width]` values from row `first` on.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] for rows that the store does not have and for a damaged file.
    pub fn read_rows(&mut self, first: u64, n: usize, values: &mut Vec<f32>) -> Result<()> {
        self.read_keyed(first, n, values, &mut Vec::new())
    }

    /// As [`ShuffledRows::read_rows`], and replaces `keys` by the token sequence and position of each row.
    ///
    /// # Errors
    /// As [`ShuffledRows::read_rows`].
    pub fn read_keyed(
        &mut self,
        first: u64,
        n: usize,
        values: &mut Vec<f32>,
        keys: &mut Vec<(i64, i32)>,
    ) -> Result<()> {
        values.clear();
        keys.clear();
        let all = self.shuffled.n_rows();
        if first + n as u64 > all {
            let reason = format!("expected rows below {all}, got {first} to {}", first + n as u64);
            return Err(AutoencoderError::StoreFile { path: self.folder.clone(), reason }.into());
        }
        let place = self.place(first);
        if place != self.place_of(self.cursor) {
            self.cursor = place;
            self.reader = None;
            self.held.clear();
            self.taken = 0;
        }
        values.reserve(n * self.form.width);
        let mut missing = n;
        while missing > 0 {
            if self.taken == self.held.len() {
                self.refill()?;
            }
            let some = missing.min(self.held.len() - self.taken);
            let size = self.form.bytes();
            let taken = self.taken..self.taken + some;
            self.form.values.decode(&self.held.bytes[taken.start * size..taken.end * size], values);
            let places = self.held.sequences[taken.clone()].iter().zip(&self.held.positions[taken]);
            keys.extend(places.map(|(sequence, position)| (*sequence, *position)));
            self.taken += some;
            self.cursor.row += some as u64;
            missing -= some;
        }
        Ok(())
    }

    /// The same place without an end of a file.
    fn place_of(&self, cursor: Cursor) -> Cursor {
        let before: u64 = self.shuffled.rows.iter().take(cursor.file).sum();
        self.place(before + cursor.row)
    }

    /// Reads the next rows of the file under the cursor, or of the next one where that has ended.
    fn refill(&mut self) -> Result<()> {
        self.held.clear();
        self.taken = 0;
        loop {
            let place = self.place_of(self.cursor);
            if place.file != self.cursor.file {
                self.cursor = place;
                self.reader = None;
            }
            let path = part_path(&self.folder, self.cursor.file);
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(PartReader::open(&path, self.form, self.cursor.row as usize, BATCH_ROWS)?),
            };
            if !reader.read(&mut self.held)? {
                let expected = self.shuffled.rows.get(self.cursor.file).copied().unwrap_or_default();
                let reason = format!("expected {expected} rows, got {}", self.cursor.row);
                return Err(AutoencoderError::StoreFile { path, reason }.into());
            }
            if !self.held.is_empty() {
                return Ok(());
            }
        }
    }
}

impl ActivationSource for ShuffledRows {
    fn width(&self) -> usize {
        self.form.width
    }

    fn n_rows(&self) -> u64 {
        self.shuffled.n_rows()
    }

    fn read(
        &mut self,
        first_row: u64,
        n_rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), sparse_autoencoders::error::Error> {
        self.read_rows(first_row, n_rows, out).map_err(|error| sparse_autoencoders::error::Error::Io {
            path: self.folder.clone(),
            source: std::io::Error::other(error.to_string()),
        })
    }
}
