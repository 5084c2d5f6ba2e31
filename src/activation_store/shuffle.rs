//! One exact random order of all rows of a store, by an external shuffle in bounded memory.
//!
//! Every row has a random key of 64 bits, a hash of the seed and of its number; the order is that of the keys, so every order is as
//! likely as any other (but for equal keys, about N² / 2^65 of them, which stay in the order of their numbers). First rows are dealt into
//! buckets by the upper part of their key, file by file, then each bucket is sorted in memory and becomes one file. The order does not
//! depend on the number of buckets, and so not on the memory.
//!
//! A kill costs the file or the bucket under way: after each file the lengths of all buckets are written down, and a bucket that goes on
//! is first cut to its length.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{StoreFolder, write_whole};
use super::parts::{Footer, PartReader, PartWriter, RowForm, Rows, count_parts, footer, part_path};
use super::statistics::Sums;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::random::mix;

/// Bytes of a row in a bucket beside its activations: number, sequence, position.
const HEAD: usize = 8 + 8 + 4;
/// Bytes that wait for each bucket, at most.
const BUCKET_BUFFER: usize = 1 << 16;
/// Bytes that are read from a file at a time.
const READ_BYTES: usize = 4 << 20;

/// What a shuffle does and may take.
#[derive(Debug, Clone, Copy)]
pub struct ShuffleOptions {
    /// Seed of the order.
    pub seed: u64,
    /// Bytes that it may hold in memory.
    pub memory_limit: usize,
}

/// `shuffle.json`: a whole shuffled store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffled {
    /// Seed of the order.
    pub seed: u64,
    /// Rows of each file.
    pub rows: Vec<u64>,
}

impl Shuffled {
    /// What a folder of shuffled rows holds; `None` where it is missing or was cut short.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`], [`Error::File`].
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        read_json(&folder.join("shuffle.json"))
    }

    /// Rows in all.
    pub fn n_rows(&self) -> u64 {
        self.rows.iter().sum()
    }
}

/// How far the dealing has come.
#[derive(Debug, Serialize, Deserialize)]
struct Dealt {
    n_buckets: usize,
    /// Files that were dealt, and the rows in them.
    n_parts: usize,
    n_rows: u64,
    /// Bytes of each bucket.
    lengths: Vec<u64>,
}

/// Shuffles a whole store; does nothing where that was done.
///
/// # Errors
/// [`AutoencoderError::StoreFile`] for a store that is not whole, [`Error::File`], [`Error::Argument`] for memory that holds no row.
pub fn shuffle(store: &StoreFolder, options: ShuffleOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Shuffled> {
    let manifest = store.whole()?;
    let n_rows = manifest.n_rows.unwrap_or_default();
    if n_rows == 0 {
        let reason = "expected rows to be brought into order, got none".to_owned();
        return Err(AutoencoderError::StoreFile { path: store.path().to_owned(), reason }.into());
    }
    let folder = store.shuffled_path(options.seed);
    if let Some(done) = Shuffled::read(&folder)? {
        return Ok(done);
    }
    let form = RowForm { width: manifest.contents.width, values: manifest.contents.values };
    let buckets = folder.join("buckets");
    let shuffle = Shuffle { store, form, seed: options.seed, memory_limit: options.memory_limit, buckets, folder };
    let n_buckets = shuffle.n_buckets(n_rows)?;
    let dealt = shuffle.deal(n_buckets, &mut |done| progress(done, 2 * n_rows))?;
    let mut rows = Vec::with_capacity(dealt.n_buckets);
    let mut done = n_rows;
    for number in 0..dealt.n_buckets {
        let n = shuffle.sort(number, dealt.lengths[number])?;
        done += n;
        progress(done, 2 * n_rows);
        rows.push(n);
    }
    let shuffled = Shuffled { seed: options.seed, rows };
    if shuffled.n_rows() != n_rows {
        let reason = format!("expected {n_rows} rows in random order, got {}", shuffled.n_rows());
        return Err(AutoencoderError::StoreFile { path: shuffle.folder, reason }.into());
    }
    let text = serde_json::to_vec(&shuffled).map_err(|error| Error::internal(error.to_string()))?;
    write_whole(&shuffle.folder.join("shuffle.json"), &text)?;
    remove_folder(&shuffle.buckets)?;
    Ok(shuffled)
}

struct Shuffle<'a> {
    store: &'a StoreFolder,
    form: RowForm,
    seed: u64,
    memory_limit: usize,
    folder: PathBuf,
    buckets: PathBuf,
}

impl Shuffle<'_> {
    /// Buckets of at most a third of the memory on average: one is held as it was read and once more as rows of a file.
    fn n_buckets(&self, n_rows: u64) -> Result<usize> {
        let record = (HEAD + self.form.bytes()) as u64;
        let bytes = self.memory_limit as u64 / 3;
        if bytes < record {
            return Err(Error::Argument {
                argument: "--memory".to_owned(),
                expected: format!("enough for three rows of {record} bytes"),
                got: format!("{} bytes", self.memory_limit),
            });
        }
        Ok((n_rows * record).div_ceil(bytes).max(1) as usize)
    }

    fn bucket_path(&self, number: usize) -> PathBuf {
        self.buckets.join(format!("{number:08}"))
    }

    /// Deals the rows of all files into buckets.
    fn deal(&self, n_buckets: usize, progress: &mut dyn FnMut(u64)) -> Result<Dealt> {
        let state = self.buckets.join("dealt.json");
        let mut dealt = match read_json::<Dealt>(&state)? {
            Some(dealt) => dealt,
            None => Dealt { n_buckets, n_parts: 0, n_rows: 0, lengths: vec![0; n_buckets] },
        };
        let n_parts = count_parts(&self.store.rows_path());
        if dealt.n_parts == n_parts {
            return Ok(dealt);
        }
        fs::create_dir_all(&self.buckets).map_err(|source| Error::File { path: self.buckets.clone(), source })?;
        let buffer = (self.memory_limit / 3 / dealt.n_buckets).min(BUCKET_BUFFER);
        let mut buckets = (0..dealt.n_buckets)
            .map(|number| open_at(&self.bucket_path(number), dealt.lengths[number], buffer))
            .collect::<Result<Vec<_>>>()?;
        let record = (HEAD + self.form.bytes()) as u64;
        let batch_rows = (READ_BYTES / self.form.bytes()).max(1);
        let mut rows = Rows::default();
        while dealt.n_parts < n_parts {
            let path = part_path(&self.store.rows_path(), dealt.n_parts);
            let mut reader = PartReader::open(&path, self.form, 0, batch_rows)?;
            while reader.read(&mut rows)? {
                for (row, activations) in rows.bytes.chunks_exact(self.form.bytes()).enumerate() {
                    let number = bucket_of(mix(self.seed, dealt.n_rows, 0), dealt.n_buckets);
                    let bucket = &mut buckets[number];
                    let fault = |source| Error::File { path: self.bucket_path(number), source };
                    bucket.write_all(&dealt.n_rows.to_le_bytes()).map_err(fault)?;
                    bucket.write_all(&rows.sequences[row].to_le_bytes()).map_err(fault)?;
                    bucket.write_all(&rows.positions[row].to_le_bytes()).map_err(fault)?;
                    bucket.write_all(activations).map_err(fault)?;
                    dealt.lengths[number] += record;
                    dealt.n_rows += 1;
                }
                progress(dealt.n_rows);
                rows.clear();
            }
            for (number, bucket) in buckets.iter_mut().enumerate() {
                let fault = |source| Error::File { path: self.bucket_path(number), source };
                bucket.flush().map_err(fault)?;
                bucket.get_ref().sync_data().map_err(fault)?;
            }
            dealt.n_parts += 1;
            let text = serde_json::to_vec(&dealt).map_err(|error| Error::internal(error.to_string()))?;
            write_whole(&state, &text)?;
        }
        Ok(dealt)
    }

    /// Writes a bucket's rows in the order of their keys, and returns how many there are; the bucket goes when its file is whole.
    fn sort(&self, number: usize, length: u64) -> Result<u64> {
        let path = part_path(&self.folder, number);
        let bucket = self.bucket_path(number);
        if path.is_file() {
            let footer = footer(&path)?;
            remove_file(&bucket)?;
            return Ok(footer.sums.n_rows);
        }
        let mut bytes = Vec::with_capacity(length as usize);
        let fault = |source| Error::File { path: bucket.clone(), source };
        // A bucket may be longer than was written down when the dealing was cut short and never went on.
        File::open(&bucket).map_err(fault)?.take(length).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() as u64 != length {
            let reason = format!("expected {length} bytes, got {}", bytes.len());
            return Err(AutoencoderError::StoreFile { path: bucket, reason }.into());
        }
        let record = HEAD + self.form.bytes();
        let mut order: Vec<(u64, u32)> = bytes
            .chunks_exact(record)
            .zip(0..)
            .map(|(row, index)| (mix(self.seed, u64::from_le_bytes(head(row, 0)), 0), index))
            .collect();
        // Rows of a bucket stand in the order of their numbers: so do those of one key.
        order.sort_unstable();
        let mut writer = PartWriter::create(&self.folder, number, self.form)?;
        let mut sums = Sums::new(self.form.width);
        let (mut rows, mut values) = (Rows::default(), Vec::new());
        for some in order.chunks((READ_BYTES / self.form.bytes()).max(1)) {
            for (_, index) in some {
                let row = &bytes[*index as usize * record..][..record];
                rows.sequences.push(i64::from_le_bytes(head(row, 8)));
                rows.positions.push(i32::from_le_bytes(head(row, 16)));
                rows.bytes.extend_from_slice(&row[HEAD..]);
                values.clear();
                self.form.values.decode(&row[HEAD..], &mut values);
                sums.add_row(&values);
            }
            writer.write(&rows)?;
            rows.clear();
        }
        let n_rows = order.len() as u64;
        writer.finish(&Footer { last_sequence: None, sums })?;
        remove_file(&bucket)?;
        Ok(n_rows)
    }
}

/// The bucket of a key: its place among `n` equal parts of all keys, so that buckets stand in the order of the keys.
fn bucket_of(key: u64, n: usize) -> usize {
    ((u128::from(key) * n as u128) >> 64) as usize
}

fn head<const N: usize>(row: &[u8], from: usize) -> [u8; N] {
    std::array::from_fn(|i| row[from + i])
}

/// A file for appending behind its first `length` bytes; what follows them is cut off.
fn open_at(path: &Path, length: u64, buffer: usize) -> Result<BufWriter<File>> {
    let fault = |source| Error::File { path: path.to_owned(), source };
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(fault)?;
    file.set_len(length).map_err(fault)?;
    file.seek(SeekFrom::End(0)).map_err(fault)?;
    Ok(BufWriter::with_capacity(buffer, file))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| AutoencoderError::StoreFile { path: path.to_owned(), reason: error.to_string() }.into()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
