//! Writes query results: as a table for people, or as CSV, JSON, JSON lines or Parquet for programs.
//!
//! Every format is written batch by batch. The table looks at its first rows to choose its widths, so no format
//! holds more than a bounded part of the result.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::csv::writer::Writer as CsvWriter;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder};
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::cli::table::text::TextTable;
use crate::error::{Error, Result};
use crate::tables::nested_text::nested_as_json;

mod text;

#[cfg(test)]
mod tests;

/// Rows in one Parquet row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Bytes after which a Parquet row group is written whatever its rows: what bounds memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// Comma-separated values with a header; lists as JSON text
    Csv,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Jsonl,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// The name as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// How a table is laid out; the other formats have but one layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A line a row.
    Rows,
    /// A line a value, for rows wider than the screen.
    Expanded,
}

/// How wide a table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableWidth {
    /// A terminal of this many columns: longer text loses its end to an ellipsis.
    Terminal(usize),
    /// A file or a pipe: nothing is cut.
    Unlimited,
}

/// Writes the batches of one result.
pub struct ResultWriter<W: Write + Send> {
    sink: Sink<Watched<W>>,
    fault: Fault,
    schema: SchemaRef,
    n_rows: u64,
}

enum Sink<W: Write + Send> {
    Table(TextTable<W>),
    Csv(CsvWriter<W>),
    Json(JsonWriter<W, JsonArray>),
    Jsonl(JsonWriter<W, LineDelimited>),
    Parquet(ArrowWriter<W>),
}

impl<W: Write + Send> ResultWriter<W> {
    /// A writer of rows of one schema to `out`; give it a buffered one.
    ///
    /// # Errors
    /// `OutputFormat` if the format cannot hold the schema, `Output` if `out` fails.
    pub fn new(out: W, schema: SchemaRef, format: Format, layout: Layout, width: TableWidth) -> Result<Self> {
        // A missing field and a NULL are different things to the reader of an export.
        let json = WriterBuilder::new().with_explicit_nulls(true);
        let fault = Fault::default();
        let out = Watched { out, fault: Arc::clone(&fault) };
        let sink = match format {
            Format::Table => Sink::Table(TextTable::new(out, &schema, layout, width)),
            Format::Csv => Sink::Csv(CsvWriter::new(out)),
            Format::Json => Sink::Json(json.build(out)),
            Format::Jsonl => Sink::Jsonl(json.build(out)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties));
                Sink::Parquet(writer.map_err(parquet_error)?)
            }
        };
        Ok(Self { sink, fault, schema, n_rows: 0 })
    }

    /// Writes the rows of a batch.
    ///
    /// # Errors
    /// `Output` if the other end fails (`BrokenPipe`: it wants no more), `OutputFormat` if a value cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.write_batch(batch);
        of_output(&self.fault, written)
    }

    fn write_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.n_rows += batch.num_rows() as u64;
        match &mut self.sink {
            Sink::Table(table) => table.write(batch),
            Sink::Csv(writer) => nested_as_json(batch)
                .and_then(|batch| writer.write(&batch))
                .map_err(|error| arrow_error(Format::Csv, error)),
            Sink::Json(writer) => writer.write(batch).map_err(|error| arrow_error(Format::Json, error)),
            Sink::Jsonl(writer) => writer.write(batch).map_err(|error| arrow_error(Format::Jsonl, error)),
            Sink::Parquet(writer) => {
                writer.write(batch).map_err(parquet_error)?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush().map_err(parquet_error)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is left (footer, closing bracket, header of an empty result) and returns the number of rows.
    ///
    /// # Errors
    /// As [`ResultWriter::write`].
    pub fn finish(self) -> Result<u64> {
        let fault = Arc::clone(&self.fault);
        of_output(&fault, self.finish_rows())
    }

    fn finish_rows(mut self) -> Result<u64> {
        if let (Sink::Csv(_), 0) = (&self.sink, self.n_rows) {
            self.write_batch(&RecordBatch::new_empty(Arc::clone(&self.schema)))?;
        }
        let mut out = match self.sink {
            Sink::Table(table) => table.finish(self.n_rows)?,
            Sink::Csv(writer) => writer.into_inner(),
            Sink::Json(mut writer) => {
                writer.finish().map_err(|error| arrow_error(Format::Json, error))?;
                let mut out = writer.into_inner();
                out.write_all(b"\n").map_err(output_error)?;
                out
            }
            Sink::Jsonl(mut writer) => {
                writer.finish().map_err(|error| arrow_error(Format::Jsonl, error))?;
                writer.into_inner()
            }
            Sink::Parquet(mut writer) => {
                writer.finish().map_err(parquet_error)?;
                // Not `into_inner`: it turns the fault of the output into a text.
                writer.sync().map_err(output_error)?;
                return Ok(self.n_rows);
            }
        };
        out.flush().map_err(output_error)?;
        Ok(self.n_rows)
    }
}

/// The fault of an output, kept because encoders turn it into a text.
type Fault = Arc<Mutex<Option<io::Error>>>;

/// An output that keeps its fault.
struct Watched<W> {
    out: W,
    fault: Fault,
}

impl<W: Write> Watched<W> {
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let copy = io::Error::new(error.kind(), error.to_string());
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            copy
        })
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.watch(result)
    }
}

/// The result, its error replaced by the output's own when that is why.
fn of_output<T>(fault: &Fault, result: Result<T>) -> Result<T> {
    result.map_err(|error| match fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(source) => Error::Output { source },
        None => error,
    })
}

/// Whether an error only says that the reader of our output has gone (`neuronlake sql … | head`), which is no failure.
pub fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Output { source } if source.kind() == io::ErrorKind::BrokenPipe)
}

fn output_error(source: io::Error) -> Error {
    Error::Output { source }
}

fn arrow_error(format: Format, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::Output { source },
        source => Error::OutputFormat { format: format.as_str(), source },
    }
}

fn parquet_error(error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => return Error::Output { source: *source },
            Err(source) => ParquetError::External(source),
        },
        other => other,
    };
    Error::OutputFormat { format: Format::Parquet.as_str(), source: error.into() }
}
