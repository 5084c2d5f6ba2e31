//! The Parquet files of a store.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use half::bf16;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::statistics::{Sums, SumsInBits};
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// Bytes of activations in a row group: what a writer holds.
const ROW_GROUP_BYTES: usize = 8 << 20;
/// Name under which a file's footer says how far the pass had come.
const FOOTER: &str = "neuronlake.part";

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// 32-bit floats: what the model computed.
    F32,
    /// The upper half of them, rounded to the nearest: 3 decimal digits.
    Bf16,
}

impl ValueType {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Appends values as little-endian bytes.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
            Self::Bf16 => {
                values.iter().for_each(|value| bytes.extend_from_slice(&bf16::from_f32(*value).to_le_bytes()))
            }
        }
    }

    /// Appends the values that little-endian bytes stand for.
    pub fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.extend(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four))),
            Self::Bf16 => values.extend(bytes.as_chunks::<2>().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32())),
        }
    }
}

/// Form of a store's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowForm {
    /// Values a row.
    pub width: usize,
    /// How they are stored.
    pub values: ValueType,
}

impl RowForm {
    /// Bytes of a row's activations.
    pub fn bytes(self) -> usize {
        self.width * self.values.bytes()
    }

    fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("sequence", DataType::Int64, false),
            Field::new("position", DataType::Int32, false),
            Field::new("activations", DataType::FixedSizeBinary(self.bytes() as i32), false),
        ]))
    }
}

/// Rows in memory: where each was read, and its activations as stored bytes.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Token sequence of each row.
    pub sequences: Vec<i64>,
    /// 0-based token of each row.
    pub positions: Vec<i32>,
    /// The activations, `RowForm::bytes` a row.
    pub bytes: Vec<u8>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Takes all rows out.
    pub fn clear(&mut self) {
        self.sequences.clear();
        self.positions.clear();
        self.bytes.clear();
    }
}

/// What a file's footer says.
#[derive(Debug, Clone, PartialEq)]
pub struct Footer {
    /// Last token sequence that the pass had read when the file was closed; `None` in a shuffled file.
    pub last_sequence: Option<i64>,
    /// Sums over the file's rows.
    pub sums: Sums,
}

#[derive(Serialize, Deserialize)]
struct StoredFooter {
    last_sequence: Option<i64>,
    sums: SumsInBits,
}

/// The file of that number.
pub fn part_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:08}.parquet"))
}

/// How many files, numbered from 0 without a gap, a folder holds.
pub fn count_parts(folder: &Path) -> usize {
    (0..).take_while(|number| part_path(folder, *number).is_file()).count()
}

/// A file being written, beside its name until it is whole.
pub struct PartWriter {
    path: PathBuf,
    partial: PathBuf,
    form: RowForm,
    writer: ArrowWriter<BufWriter<File>>,
    n_rows: usize,
}

impl std::fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartWriter").field("path", &self.path).field("n_rows", &self.n_rows).finish_non_exhaustive()
    }
}

impl PartWriter {
    /// Begins the file of that number; the folder is made where it is missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(folder: &Path, number: usize, form: RowForm) -> Result<Self> {
        let path = part_path(folder, number);
        let partial = path.with_extension("partial");
        let fault = |source| Error::File { path: partial.clone(), source };
        fs::create_dir_all(folder).map_err(fault)?;
        let file = BufWriter::new(File::create(&partial).map_err(fault)?);
        let level = ZstdLevel::try_new(1).map_err(|error| Error::internal(error.to_string()))?;
        let activations = ColumnPath::from("activations");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            // Noise does not compress, and the smallest and largest of it are of no use.
            .set_column_compression(activations.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(activations.clone(), false)
            .set_column_statistics_enabled(activations, EnabledStatistics::None)
            .set_max_row_group_row_count(Some((ROW_GROUP_BYTES / form.bytes()).max(64)))
            .build();
        let writer = ArrowWriter::try_new(file, form.schema(), Some(properties)).map_err(parquet_fault(&path))?;
        Ok(Self { path, partial, form, writer, n_rows: 0 })
    }

    /// Rows written.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Appends rows.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] when the file cannot be written.
    pub fn write(&mut self, rows: &Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let activations =
            FixedSizeBinaryArray::try_new(self.form.bytes() as i32, Buffer::from_slice_ref(&rows.bytes), None)?;
        let batch = RecordBatch::try_new(
            self.form.schema(),
            vec![
                Arc::new(Int64Array::from(rows.sequences.clone())),
                Arc::new(Int32Array::from(rows.positions.clone())),
                Arc::new(activations),
            ],
        )?;
        self.n_rows += rows.len();
        self.writer.write(&batch).map_err(parquet_fault(&self.path))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`], [`Error::File`].
    pub fn finish(mut self, footer: &Footer) -> Result<()> {
        let stored = StoredFooter { last_sequence: footer.last_sequence, sums: SumsInBits::from(&footer.sums) };
        let text = serde_json::to_string(&stored).map_err(|error| Error::internal(error.to_string()))?;
        self.writer.append_key_value_metadata(KeyValue::new(FOOTER.to_owned(), text));
        let file = self.writer.into_inner().map_err(parquet_fault(&self.path))?;
        let fault = |source| Error::File { path: self.path.clone(), source };
        file.into_inner().map_err(|error| fault(error.into_error()))?.sync_all().map_err(fault)?;
        fs::rename(&self.partial, &self.path).map_err(fault)
    }
}

/// A file of a store, open for reading from some row on.
pub struct PartReader {
    path: PathBuf,
    form: RowForm,
    batches: parquet::arrow::arrow_reader::ParquetRecordBatchReader,
}

impl std::fmt::Debug for PartReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PartReader {
    /// Opens a file behind its first `skip` rows; `batch_rows` rows are read at a time.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] for a file that is not a part of a store of this form, [`Error::File`].
    pub fn open(path: &Path, form: RowForm, skip: usize, batch_rows: usize) -> Result<Self> {
        let builder = builder(path)?;
        if builder.schema().fields() != form.schema().fields() {
            let reason = format!("expected columns {}, got {}", form.schema(), builder.schema());
            return Err(AutoencoderError::StoreFile { path: path.to_owned(), reason }.into());
        }
        let batches = builder.with_batch_size(batch_rows).with_offset(skip).build().map_err(parquet_fault(path))?;
        Ok(Self { path: path.to_owned(), form, batches })
    }

    /// Appends the next rows to `rows`; whether there were any.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] for a damaged file.
    pub fn read(&mut self, rows: &mut Rows) -> Result<bool> {
        let Some(batch) = self.batches.next() else { return Ok(false) };
        let fault = |reason: String| AutoencoderError::StoreFile { path: self.path.clone(), reason };
        let batch = batch.map_err(|error| fault(error.to_string()))?;
        let activations = batch
            .column(2)
            .as_fixed_size_binary_opt()
            .ok_or_else(|| fault("expected binaries of fixed size".to_owned()))?;
        let size = self.form.bytes();
        let offset = activations.offset() * size;
        let n = batch.num_rows();
        rows.sequences.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        rows.positions.extend_from_slice(batch.column(1).as_primitive::<Int32Type>().values());
        rows.bytes.extend_from_slice(&activations.values()[offset..offset + n * size]);
        Ok(true)
    }
}

/// What the footer of a file says, and how many rows the file has.
///
/// # Errors
/// [`AutoencoderError::StoreFile`] for a file without our footer, [`Error::File`].
pub fn footer(path: &Path) -> Result<Footer> {
    let builder = builder(path)?;
    let stored = builder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let text = stored.filter(|entry| entry.key == FOOTER).find_map(|entry| entry.value.clone());
    let fault = |reason: String| AutoencoderError::StoreFile { path: path.to_owned(), reason };
    let text = text.ok_or_else(|| fault(format!("expected '{FOOTER}' in the footer, got none")))?;
    let stored: StoredFooter = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    Ok(Footer { last_sequence: stored.last_sequence, sums: stored.sums.into() })
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet_fault(path))
}

fn parquet_fault(path: &Path) -> impl Fn(parquet::errors::ParquetError) -> Error {
    let path = path.to_owned();
    move |error| AutoencoderError::StoreFile { path: path.clone(), reason: error.to_string() }.into()
}
