//! Appends batches to a Delta table in commits that never cut a unit in two.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::check::check_batch;
use super::definition::TableDefinition;
use super::lake::Lake;
use crate::error::{Error, Result};

/// Rows of a row group: one unit is then a read of kilobytes (measured by the dashboards of others, peers spec §2).
const ROW_GROUP_ROWS: usize = 4_096;

/// An open table and the rows that are not committed yet.
pub struct TableWriter {
    definition: &'static TableDefinition,
    table: DeltaTable,
    writer: RecordBatchWriter,
    run: String,
    pending: usize,
    written: usize,
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableWriter").field("table", &self.definition.name).field("pending", &self.pending).finish()
    }
}

impl TableWriter {
    /// Opens, or makes, the table; `run` goes into the log of every commit.
    ///
    /// # Errors
    /// When the store refuses, or the stored table is another version's.
    pub async fn open(lake: &Lake, definition: &'static TableDefinition, run: &str) -> Result<Self> {
        let table = lake.open_or_create(definition).await?;
        let writer = new_writer(&table, definition, run)?;
        Ok(Self { definition, table, writer, run: run.to_owned(), pending: 0, written: 0 })
    }

    /// Checks a batch and holds it for the next commit.
    ///
    /// # Errors
    /// [`Error::Batch`] when it does not fit the table; nothing of it is held then.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let checked = check_batch(self.definition, batch)?;
        let stored = stored_form(&checked, &self.writer)?;
        self.writer.write(stored).await?;
        self.pending += batch.num_rows();
        Ok(())
    }

    /// Bytes of Parquet held for the next commit.
    pub fn pending_bytes(&self) -> usize {
        self.writer.buffer_len()
    }

    /// Makes everything held visible at once; does nothing when nothing is held.
    ///
    /// # Errors
    /// When the store refuses; the rows are then not in the table.
    pub async fn commit(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let done = self.writer.flush_and_commit(&mut self.table).await;
        done.map_err(|e| Error::TableWrite { table: self.definition.name.clone(), source: Box::new(e) })?;
        self.written += self.pending;
        self.pending = 0;
        self.writer = new_writer(&self.table, self.definition, &self.run)?;
        Ok(())
    }

    /// Rows committed so far.
    pub fn written(&self) -> usize {
        self.written
    }
}

fn new_writer(table: &DeltaTable, definition: &TableDefinition, run: &str) -> Result<RecordBatchWriter> {
    let level = ZstdLevel::try_new(1).map_err(|e| Error::internal(e.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    // Activations hardly ever repeat: a dictionary of them is work for nothing.
    let properties = float_columns(definition)
        .fold(properties, |properties, column| properties.set_column_dictionary_enabled(column, false))
        .build();
    let commit = CommitProperties::default().with_metadata([("neuronlake.run".to_owned(), run.into())]);
    Ok(RecordBatchWriter::for_table(table)?.with_writer_properties(properties).with_commit_properties(commit))
}

/// Leaf columns of 32-bit floats, alone or in lists.
fn float_columns(definition: &TableDefinition) -> impl Iterator<Item = ColumnPath> {
    definition.schema.fields().iter().filter_map(|field| {
        let name = field.name().clone();
        match field.data_type() {
            DataType::Float32 => Some(ColumnPath::from(name)),
            DataType::List(element) if element.data_type() == &DataType::Float32 => {
                Some(ColumnPath::from(vec![name, "list".to_owned(), element.name().clone()]))
            }
            _ => None,
        }
    })
}

/// The stored schema may name list elements in its own way; the values are the same.
fn stored_form(batch: &RecordBatch, writer: &RecordBatchWriter) -> Result<RecordBatch> {
    let schema = writer.arrow_schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| arrow::compute::cast(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}
