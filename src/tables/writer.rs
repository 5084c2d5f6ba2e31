//! Appends batches to a Delta table in commits that never cut a unit in two.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::{CommitConflictError, CommitProperties, TransactionError};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::check::check_batch;
use super::definition::TableDefinition;
use super::lake::Lake;
use crate::error::{Error, Result};

/// Rows of a row group: one unit is then a read of kilobytes (measured by the dashboards of others, peers spec §2).
const ROW_GROUP_ROWS: usize = 4_096;

/// How often a commit is tried while other writers commit rows of their own to the same table.
const COMMIT_TRIES: usize = 100;

/// An open table and the rows that are not committed yet.
pub struct TableWriter {
    definition: &'static TableDefinition,
    table: DeltaTable,
    writer: RecordBatchWriter,
    run: String,
    turn: Option<String>,
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
        Self::over(table, definition, run, None)
    }

    /// As [`TableWriter::open`] for rows that were made of what the table lacked as of `seen`, its version when it was asked. Writers
    /// of the same `turn` must not add what each found missing alone: the second one's commit is refused.
    ///
    /// # Errors
    /// As [`TableWriter::open`]; [`Error::Overtaken`] when a table that was not there holds rows by now.
    pub async fn open_after(
        lake: &Lake,
        definition: &'static TableDefinition,
        run: &str,
        seen: Option<DeltaTable>,
        turn: &str,
    ) -> Result<Self> {
        let table = match seen {
            Some(table) => table,
            None => {
                let table = lake.open_or_create(definition).await?;
                // Somebody's first commit is no more than the table itself.
                if table.version().is_some_and(|version| version > 0) {
                    return Err(Error::Overtaken { table: definition.name.clone() });
                }
                table
            }
        };
        Self::over(table, definition, run, Some(turn.to_owned()))
    }

    fn over(table: DeltaTable, definition: &'static TableDefinition, run: &str, turn: Option<String>) -> Result<Self> {
        let writer = new_writer(&table, definition, run, turn.as_deref())?;
        Ok(Self { definition, table, writer, run: run.to_owned(), turn, pending: 0, written: 0 })
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
    /// When the store refuses, and [`Error::Overtaken`] when a writer of the same turn was faster; the rows are then not in the table.
    pub async fn commit(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let done = self.writer.flush_and_commit(&mut self.table).await;
        done.map_err(|e| match e {
            DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(CommitConflictError::ConcurrentTransaction),
            } => Error::Overtaken { table: self.definition.name.clone() },
            e => Error::TableWrite { table: self.definition.name.clone(), source: Box::new(e) },
        })?;
        self.written += self.pending;
        self.pending = 0;
        self.writer = new_writer(&self.table, self.definition, &self.run, self.turn.as_deref())?;
        Ok(())
    }

    /// The table as of the last commit.
    pub fn into_table(self) -> DeltaTable {
        self.table
    }

    /// Rows committed so far.
    pub fn written(&self) -> usize {
        self.written
    }
}

fn new_writer(
    table: &DeltaTable,
    definition: &TableDefinition,
    run: &str,
    turn: Option<&str>,
) -> Result<RecordBatchWriter> {
    let level = ZstdLevel::try_new(1).map_err(|e| Error::internal(e.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    // Activations hardly ever repeat: a dictionary of them is work for nothing.
    let properties = float_columns(definition)
        .fold(properties, |properties, column| properties.set_column_dictionary_enabled(column, false))
        .build();
    let mut commit = CommitProperties::default()
        .with_metadata([("neuronlake.run".to_owned(), run.into())])
        .with_max_retries(COMMIT_TRIES);
    if let Some(turn) = turn {
        // Delta Lake refuses the later of two commits under one name that were begun from the same version. The number says nothing.
        let begun_from = table.version().and_then(|version| i64::try_from(version).ok()).unwrap_or_default();
        commit = commit.with_application_transaction(Transaction::new(turn, begun_from + 1));
    }
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

#[cfg(test)]
mod tests;
