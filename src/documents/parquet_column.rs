//! Parquet: one text column, decoded in small batches.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArrayType};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::SchemaDescriptor;
use tokio::runtime::Handle;

use crate::documents::emit::{Emitter, Flow};
use crate::documents::jsonl::names;
use crate::documents::source::{CorpusFile, Place};
use crate::documents::store_chunks::StoreChunks;
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};

/// Rows decoded at a time: few, because one text may be a book.
const BATCH_ROWS: usize = 64;

/// Reads a column of a Parquet file into the emitter; NULL counts as an empty text.
///
/// Pages are decoded one after the other, so memory does not grow with the row groups; only the wanted column is read.
///
/// # Errors
/// [`CorpusError::Column`], [`CorpusError::Parquet`], `File`, `Store`.
pub(crate) fn read_column(file: &CorpusFile, handle: &Handle, column: &str, emitter: &mut Emitter) -> Result<Flow> {
    // The decoder checks most of what a damaged file may say, not all; its panics are the file's fault, not ours.
    catch_unwind(AssertUnwindSafe(|| read_batches(file, handle, column, emitter))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(damaged(file, said.unwrap_or("the decoder panicked")))
    })
}

fn read_batches(file: &CorpusFile, handle: &Handle, column: &str, emitter: &mut Emitter) -> Result<Flow> {
    match &file.place {
        Place::Local(path) => {
            let opened = File::open(path).map_err(|source| Error::File { path: path.clone(), source })?;
            read_chunks(file, opened, column, emitter)
        }
        Place::Store { store, path } => {
            let chunks = StoreChunks::open(Arc::clone(store), path.clone(), handle.clone());
            let chunks = chunks.map_err(|source| Error::Store { url: file.url.clone(), source: Box::new(source) })?;
            read_chunks(file, chunks, column, emitter)
        }
        Place::Embedded => Err(Error::Internal { reason: "the embedded corpus is no Parquet file".to_owned() }),
    }
}

/// Decodes the column of an opened file and emits it.
fn read_chunks(
    file: &CorpusFile,
    chunks: impl ChunkReader + 'static,
    column: &str,
    emitter: &mut Emitter,
) -> Result<Flow> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(|error| parquet_error(file, error))?;
    let mask = text_column(file, column, builder.schema(), builder.parquet_schema())?;
    let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    for batch in batches.map_err(|error| parquet_error(file, error))? {
        let batch = batch.map_err(|error| match error {
            ArrowError::ExternalError(source) => external_error(file, source),
            ArrowError::ParquetError(reason) => damaged(file, reason),
            other => damaged(file, other),
        })?;
        if emit_batch(file, &batch, emitter)?.is_break() {
            return Ok(Flow::Break(()));
        }
    }
    Ok(Flow::Continue(()))
}

/// Emits the only column of a batch.
fn emit_batch(file: &CorpusFile, batch: &RecordBatch, emitter: &mut Emitter) -> Result<Flow> {
    let Some(texts) = batch.columns().first() else {
        return Err(Error::Internal { reason: "the projected batch has no column".to_owned() });
    };
    let texts: ArrayRef = match texts.data_type() {
        DataType::Dictionary(_, value) => cast(texts, value).map_err(|error| damaged(file, error))?,
        _ => Arc::clone(texts),
    };
    match texts.data_type() {
        DataType::Utf8 => Ok(emit_texts(texts.as_string::<i32>(), emitter)),
        DataType::LargeUtf8 => Ok(emit_texts(texts.as_string::<i64>(), emitter)),
        DataType::Utf8View => Ok(emit_texts(texts.as_string_view(), emitter)),
        other => Err(damaged(file, format!("the column was read as {other}"))),
    }
}

fn emit_texts<'a>(texts: impl StringArrayType<'a>, emitter: &mut Emitter) -> Flow {
    texts.iter().try_for_each(|text| emitter.emit(text.unwrap_or_default().to_owned()))
}

/// Checks that the file has the text column, and selects it.
fn text_column(
    file: &CorpusFile,
    column: &str,
    schema: &SchemaRef,
    descriptor: &SchemaDescriptor,
) -> Result<ProjectionMask> {
    let fault = |reason| Error::from(CorpusError::Column { url: file.url.clone(), column: column.to_owned(), reason });
    let Some((index, field)) = schema.column_with_name(column) else {
        return Err(fault(names("columns", schema.fields().iter().map(|field| field.name().as_str()))));
    };
    let value = match field.data_type() {
        DataType::Dictionary(_, value) => value,
        other => other,
    };
    if !matches!(value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Err(fault(format!("type {}", field.data_type())));
    }
    Ok(ProjectionMask::roots(descriptor, [index]))
}

fn damaged(file: &CorpusFile, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    CorpusError::Parquet { url: file.url.clone(), source: source.into() }.into()
}

/// Damaged data, unless the decoder passes a store's fault on.
fn parquet_error(file: &CorpusFile, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => external_error(file, source),
        other => damaged(file, other),
    }
}

fn external_error(file: &CorpusFile, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let source = match source.downcast::<object_store::Error>() {
        Ok(source) => {
            return Error::Store { url: file.url.clone(), source };
        }
        Err(source) => source,
    };
    match source.downcast::<io::Error>() {
        Ok(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => Error::Store { url: file.url.clone(), source: Box::new(source) },
            Err(source) => damaged(file, source),
        },
        Err(source) => damaged(file, source),
    }
}
