//! `/sql/download`: the rows of a query as a file, written as they come.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::writer::Writer as CsvWriter;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, Writer as JsonWriter, WriterBuilder};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;

use super::render::Fault;
use crate::error::{Error, Result};
use crate::server::App;
use crate::server::gate::Answer;
use crate::tables::nested_text::nested_as_json;

/// Bytes after which a Parquet row group is written: what bounds memory.
const ROW_GROUP_BYTES: usize = 16 << 20;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    format: String,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
    Parquet,
}

impl Format {
    fn parse(name: &str) -> std::result::Result<Self, Fault> {
        match name {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "parquet" => Ok(Self::Parquet),
            other => Err(Fault::argument(format!("format: expected csv, json or parquet, got '{other}'"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Answers with a file. What is wrong with the statement, or comes up before its first rows, is a page with its status; what comes
/// up later breaks the transfer off, so that no half of a file passes for a whole one.
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Query(wanted): Query<Wanted>,
) -> std::result::Result<Response, Fault> {
    let format = Format::parse(&wanted.format)?;
    if wanted.q.trim().is_empty() {
        return Err(Fault::argument("q: expected an SQL query, got nothing"));
    }
    let mut answer = app.gate.read(&wanted.q).await?;
    let encoder = Encoder::new(format, answer.schema())?;
    let first = answer.next().await.transpose()?;
    let state = Download { app, answer, first, encoder: Some(encoder) };
    let parts = futures::stream::unfold(state, |mut state| async {
        let part = state.part().await?;
        Some((part.map_err(io::Error::other), state))
    });
    // Whoever compresses a body asks again after its end.
    let parts = parts.fuse();
    let head = [
        (CONTENT_TYPE, format.media_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"neuronlake.{}\"", format.name())),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((head, Body::from_stream(parts)).into_response())
}

/// A file that is being written.
struct Download {
    app: Arc<App>,
    answer: Answer,
    first: Option<RecordBatch>,
    /// `None` when the file is whole, or will never be.
    encoder: Option<Encoder>,
}

impl Download {
    /// The next bytes of the file.
    async fn part(&mut self) -> Option<Result<Bytes>> {
        loop {
            let mut encoder = self.encoder.take()?;
            let batch = match self.first.take() {
                Some(batch) => Some(Ok(batch)),
                None => self.answer.next().await,
            };
            let batch = match batch.transpose() {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let last = batch.is_none();
            // Compressing is work for the threads that compute.
            let written = self.app.gate.on_engine(async move {
                let bytes = match batch {
                    Some(batch) => encoder.write(&batch),
                    None => encoder.finish(),
                };
                bytes.map(|bytes| (encoder, bytes))
            });
            match written.await.and_then(|written| written) {
                Err(error) => return Some(Err(error)),
                Ok((encoder, bytes)) => {
                    self.encoder = (!last).then_some(encoder);
                    if last || !bytes.is_empty() {
                        return Some(Ok(bytes));
                    }
                }
            }
        }
    }
}

/// Bytes that a writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock()).into()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Encoder {
    written: Written,
    writer: Writer,
    schema: SchemaRef,
    n_rows: usize,
}

enum Writer {
    Csv(Box<CsvWriter<Written>>),
    Json(Box<JsonWriter<Written, JsonArray>>),
    Parquet(Box<ArrowWriter<Written>>),
}

impl Encoder {
    fn new(format: Format, schema: SchemaRef) -> Result<Self> {
        let written = Written::default();
        let out = written.clone();
        let writer = match format {
            Format::Csv => Writer::Csv(Box::new(CsvWriter::new(out))),
            Format::Json => Writer::Json(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out))),
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|error| fault(format, error.into()))?))
            }
        };
        Ok(Self { written, writer, schema, n_rows: 0 })
    }

    /// The bytes that are ready once the batch is written.
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        self.n_rows += batch.num_rows();
        match &mut self.writer {
            Writer::Csv(writer) => nested_as_json(batch)
                .and_then(|batch| writer.write(&batch))
                .map_err(|error| fault(Format::Csv, error))?,
            Writer::Json(writer) => writer.write(batch).map_err(|error| fault(Format::Json, error))?,
            Writer::Parquet(writer) => {
                let mut write = || {
                    writer.write(batch)?;
                    if writer.in_progress_size() >= ROW_GROUP_BYTES {
                        writer.flush()?;
                    }
                    Ok(())
                };
                write().map_err(|error: parquet::errors::ParquetError| fault(Format::Parquet, error.into()))?;
            }
        }
        Ok(self.written.take())
    }

    /// What comes after the last row; without any row, the header too.
    fn finish(&mut self) -> Result<Bytes> {
        if matches!(self.writer, Writer::Csv(_)) && self.n_rows == 0 {
            return self.write(&RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        match &mut self.writer {
            Writer::Csv(_) => {}
            Writer::Json(writer) => writer.finish().map_err(|error| fault(Format::Json, error))?,
            Writer::Parquet(writer) => {
                writer.finish().map_err(|error| fault(Format::Parquet, error.into()))?;
            }
        }
        Ok(self.written.take())
    }
}

/// A value that the format cannot hold: what the statement returns is the caller's choice.
fn fault(format: Format, error: arrow::error::ArrowError) -> Error {
    Error::Argument {
        argument: "format".to_owned(),
        expected: format!("columns that {} can hold", format.name()),
        got: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
