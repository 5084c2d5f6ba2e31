//! The searchable explanations as Arrow files: columns of a batch are decoded when they are first touched.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, root_as_footer};

use super::disk::{fault, map};
use crate::error::Result;

/// Rows of a batch; only the last of a segment has fewer.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Rows of a segment at most: its scores fit the second-level cache.
pub(super) const SEGMENT_ROWS: usize = 32 * BATCH_ROWS;

/// Bytes at the end of an Arrow file: length of the footer, magic word.
const TRAILER: usize = 10;

/// Columns of view `searchable_explanations`: those of the explanations themselves, then the facts about them.
pub(crate) static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new([TEXTS.fields().to_vec(), FACTS.fields().to_vec()].concat())));

/// What comes from table `explanations`.
pub(super) static TEXTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hook_point", DataType::Utf8, false),
        Field::new("layer", DataType::Int32, true),
        Field::new("neuron", DataType::Int32, false),
        Field::new("corpus", DataType::Utf8, false),
        Field::new("explanation", DataType::Utf8, false),
        Field::new("explainer", DataType::Utf8, false),
        Field::new("explainer_model", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
    ]))
});

/// What comes from other tables and changes with them.
pub(super) static FACTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("score", DataType::Float64, true),
        Field::new("density", DataType::Float64, true),
        Field::new("max_activation", DataType::Float32, true),
    ]))
});

/// Columns by number.
pub(super) const MODEL: usize = 0;
pub(super) const HOOK_POINT: usize = 1;
pub(crate) const EXPLANATION: usize = 5;
pub(super) const TEXT: usize = 8;

/// A file of batches under a memory map.
pub(super) struct RowsFile {
    path: PathBuf,
    schema: SchemaRef,
    bytes: Buffer,
    version: arrow::ipc::MetadataVersion,
    blocks: Vec<Block>,
    /// By batch, then by column.
    columns: Vec<OnceLock<ArrayRef>>,
}

impl RowsFile {
    /// Opens a file written with this schema; only its footer is read.
    pub(super) fn open(path: &Path, schema: &SchemaRef, n_rows: usize) -> Result<Self> {
        let bytes = map(path)?;
        let damaged = |reason: &str| fault(path, reason);
        let end =
            bytes.len().checked_sub(TRAILER).ok_or_else(|| damaged("expected an Arrow file, got a shorter one"))?;
        let trailer = bytes[end..].try_into().map_err(|_| damaged("expected ten bytes at the end"))?;
        let start = read_footer_length(trailer).ok().and_then(|length| end.checked_sub(length));
        let start = start.ok_or_else(|| damaged("expected an Arrow file's footer"))?;
        let footer = root_as_footer(&bytes[start..end]).map_err(|e| fault(path, e))?;
        let blocks: Vec<Block> = footer.recordBatches().into_iter().flatten().copied().collect();
        if blocks.len() != n_rows.div_ceil(BATCH_ROWS) {
            return Err(damaged("expected as many batches as the manifest says"));
        }
        let version = footer.version();
        let n_columns = schema.fields().len();
        let columns = std::iter::repeat_with(OnceLock::new).take(blocks.len() * n_columns).collect();
        Ok(Self { path: path.to_owned(), schema: Arc::clone(schema), bytes, version, blocks, columns })
    }

    /// A column of a batch.
    pub(super) fn column(&self, batch: usize, column: usize) -> Result<&ArrayRef> {
        let cell = &self.columns[batch * self.schema.fields().len() + column];
        if let Some(array) = cell.get() {
            return Ok(array);
        }
        let block = &self.blocks[batch];
        let (offset, length) = (block.offset() as usize, block.metaDataLength() as usize + block.bodyLength() as usize);
        if offset.checked_add(length).is_none_or(|end| end > self.bytes.len()) {
            return Err(fault(&self.path, "expected a batch inside the file"));
        }
        let decoder = FileDecoder::new(Arc::clone(&self.schema), self.version).with_projection(vec![column]);
        let read = decoder.read_record_batch(block, &self.bytes.slice_with_length(offset, length));
        let read = read.map_err(|e| fault(&self.path, e))?;
        let array = read.map(|batch| Arc::clone(batch.column(0)));
        let array = array.ok_or_else(|| fault(&self.path, "expected a batch"))?;
        Ok(cell.get_or_init(|| array))
    }
}

/// Writes batches of [`BATCH_ROWS`] rows.
pub(super) fn write_rows(path: &Path, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let file = File::create(path).map_err(|e| fault(path, e))?;
    let write = || -> std::result::Result<File, arrow::error::ArrowError> {
        let mut writer = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), schema)?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.finish()?;
        let out = writer.into_inner()?;
        Ok(out.into_inner().map_err(|e| e.into_error())?)
    };
    let file = write().map_err(|e| fault(path, e))?;
    file.sync_all().map_err(|e| fault(path, e))
}
