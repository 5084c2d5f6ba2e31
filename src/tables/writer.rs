//! Appends batches to a Delta table in commits that never cut a unit in two.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::{CommitProperties, TransactionError};
use deltalake::writer::{DeltaWriter, RecordBatchWriter, WriteMode};
use deltalake::{DeltaTable, DeltaTableError};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::check::check_batch;
use super::definition::TableDefinition;
use super::lake::Lake;
use crate::error::{Error, Result};

/// Rows of a row group: one unit is then a read of kilobytes (measured by the dashboards of others, peers spec §2).
const ROW_GROUP_ROWS: usize = 4_096;

/// Rows of a page: of a row group, a query for one unit fetches the pages that may hold it. Pages of a quarter of this take 5 % more
/// room, because fewer equal bytes stand together in them.
const PAGE_ROWS: usize = 1_024;

/// Columns of floats, by table, that may hold few different values, and bytes of a dictionary of them: a column whose values are too many
/// for it is stored without one. Activations of others are often rounded to some digits and a third smaller for it; where they
/// are not, the dictionary that was begun costs 4 % of their room.
const REPEATING: [(&str, &str, usize); 2] =
    [("simulations", "distribution", 1 << 16), ("activation_records", "activations", 1 << 16)];

/// How often a commit is tried while other writers commit rows of their own to the same table.
const COMMIT_TRIES: usize = 100;

/// Where the rows of a commit come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The run: it goes into the log of every commit.
    pub run: String,
    /// The work that a commit is part of. Of two processes that do the same work at once, the second to commit is refused
    /// ([`Error::Overtaken`]) and nothing of it is written; `None` where rows of others do no harm.
    pub work: Option<String>,
}

impl Origin {
    /// What the log says of a commit.
    pub(super) fn properties(&self) -> CommitProperties {
        let properties = CommitProperties::default()
            .with_metadata([("neuronlake.run".to_owned(), self.run.as_str().into())])
            .with_max_retries(COMMIT_TRIES);
        match &self.work {
            // The number only has to be one: that the same work was committed by another is what the log refuses.
            Some(work) => properties.with_application_transaction(Transaction::new(format!("neuronlake/{work}"), 1)),
            None => properties,
        }
    }
}

/// The version of a table that was read before the rows were thought of, made where there was none.
///
/// # Errors
/// [`Error::Overtaken`] when a table that was not there holds rows by now; as [`Lake::open_or_create`].
pub(crate) async fn opened_after(
    lake: &Lake,
    definition: &'static TableDefinition,
    seen: Option<DeltaTable>,
) -> Result<DeltaTable> {
    if let Some(table) = seen {
        return Ok(table);
    }
    let table = lake.open_or_create(definition).await?;
    // Somebody's first commit is no more than the table itself.
    match table.version() {
        Some(version) if version > 0 => Err(Error::Overtaken { table: definition.name.clone() }),
        _ => Ok(table),
    }
}

/// What a commit that failed means: [`Error::Overtaken`] where others committed what it must not miss.
pub(super) fn commit_fault(definition: &TableDefinition, error: DeltaTableError) -> Error {
    let table = definition.name.clone();
    match error {
        DeltaTableError::Transaction { source: TransactionError::CommitConflict(_) } => Error::Overtaken { table },
        error => Error::TableWrite { table, source: Box::new(error) },
    }
}

/// Whether a commit was refused because another process committed what it must not miss: nothing was written, and whoever reads
/// the table again and does what is still to do loses nothing.
pub(super) fn is_contended(error: &Error) -> bool {
    match error {
        Error::Overtaken { .. } => true,
        Error::Delta(source) => {
            matches!(source, DeltaTableError::Transaction { source: TransactionError::CommitConflict(_) })
        }
        _ => false,
    }
}

/// An open table and the rows that are not committed yet.
pub struct TableWriter {
    definition: &'static TableDefinition,
    table: DeltaTable,
    writer: RecordBatchWriter,
    origin: Origin,
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
        Self::over(table, definition, Origin { run: run.to_owned(), work: None })
    }

    /// Appends to a version of the table that was read before the rows were thought of: a commit of the same work since then
    /// refuses these.
    ///
    /// # Errors
    /// When the table's columns cannot be written.
    pub fn over(table: DeltaTable, definition: &'static TableDefinition, origin: Origin) -> Result<Self> {
        let writer = new_writer(&table, definition, &origin)?;
        Ok(Self { definition, table, writer, origin, pending: 0, written: 0 })
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
        match partition_of(self.definition, &checked) {
            // Otherwise every row would be looked at, and copied.
            Some(partition) => {
                let partition = partition.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                self.writer.write_partition(stored, &partition, WriteMode::Default).await?;
            }
            None => self.writer.write(stored).await?,
        }
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
    /// When the store refuses, and [`Error::Overtaken`] when a writer of the same work was faster; the rows are then not in the table.
    #[tracing::instrument(name = "commit", skip_all, fields(table = self.definition.name, n_rows = self.pending))]
    pub async fn commit(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let done = self.writer.flush_and_commit(&mut self.table).await;
        done.map_err(|e| commit_fault(self.definition, e))?;
        self.written += self.pending;
        self.pending = 0;
        self.writer = new_writer(&self.table, self.definition, &self.origin)?;
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

pub(super) fn new_writer(
    table: &DeltaTable,
    definition: &TableDefinition,
    origin: &Origin,
) -> Result<RecordBatchWriter> {
    let properties = file_properties(definition)?;
    Ok(RecordBatchWriter::for_table(table)?
        .with_writer_properties(properties)
        .with_commit_properties(origin.properties()))
}

/// How the table's Parquet files are written.
pub(super) fn file_properties(definition: &TableDefinition) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|e| Error::internal(e.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS);
    // Of the four bytes of a float only the first compresses, which it does when it stands beside the first bytes of others.
    let properties = float_columns(definition).fold(properties, |properties, (column, path)| {
        let repeating = REPEATING.iter().find(|(table, name, _)| (*table, *name) == (definition.name.as_str(), column));
        let properties = match repeating {
            Some((.., bytes)) => properties.set_column_dictionary_page_size_limit(path.clone(), *bytes),
            None => properties.set_column_dictionary_enabled(path.clone(), false),
        };
        properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
    });
    Ok(properties.build())
}

/// Leaf columns of 32-bit floats, alone or in lists, by the name of the column.
fn float_columns(definition: &TableDefinition) -> impl Iterator<Item = (&str, ColumnPath)> {
    definition.schema.fields().iter().filter_map(|field| {
        let name = field.name().clone();
        match field.data_type() {
            DataType::Float32 => Some((field.name().as_str(), ColumnPath::from(name))),
            DataType::List(element) if element.data_type() == &DataType::Float32 => {
                Some((field.name().as_str(), ColumnPath::from(vec![name, "list".to_owned(), element.name().clone()])))
            }
            _ => None,
        }
    })
}

/// The partition that all rows are in, by its columns: `None` when there are several, or none to be in.
fn partition_of<'a>(definition: &'a TableDefinition, batch: &'a RecordBatch) -> Option<Vec<(&'a str, &'a str)>> {
    let of = |name: &'a String| {
        let texts = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        let first = (texts.null_count() == 0 && !texts.is_empty()).then(|| texts.value(0))?;
        texts.iter().all(|text| text == Some(first)).then_some((name.as_str(), first))
    };
    let partition: Vec<_> = definition.partition_columns.iter().map(of).collect::<Option<_>>()?;
    (!partition.is_empty()).then_some(partition)
}

/// The stored schema may name list elements in its own way; the values are the same.
pub(super) fn stored_form(batch: &RecordBatch, writer: &RecordBatchWriter) -> Result<RecordBatch> {
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
