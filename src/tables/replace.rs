//! Rows put in the place of others: the old ones leave and the new ones come with one commit.

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;

use super::check::check_batch;
use super::definition::TableDefinition;
use super::writer::{Origin, commit_fault, file_properties};
use crate::error::{Error, Result};

/// An open table and the rows that will take the place of others.
pub struct TableReplacer {
    definition: &'static TableDefinition,
    table: DeltaTable,
    origin: Origin,
    held: Vec<RecordBatch>,
}

impl std::fmt::Debug for TableReplacer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReplacer").field("table", &self.definition.name).finish_non_exhaustive()
    }
}

impl TableReplacer {
    /// Replaces rows of a version of the table that was read before the rows were thought of: what others commit to the same
    /// rows since then refuses these.
    pub fn over(table: DeltaTable, definition: &'static TableDefinition, origin: Origin) -> Self {
        Self { definition, table, origin, held: Vec::new() }
    }

    /// Checks a batch and holds it for the next commit.
    ///
    /// # Errors
    /// [`Error::Batch`] when it does not fit the table; nothing of it is held then.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            self.held.push(check_batch(self.definition, batch)?);
        }
        Ok(())
    }

    /// Bytes held for the next commit, uncompressed.
    pub fn pending_bytes(&self) -> usize {
        self.held.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    fn n_rows(&self) -> usize {
        self.held.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether anything is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Removes the rows that meet the condition and adds those held, which meet it too, with one commit.
    ///
    /// # Errors
    /// When the store refuses, or another process committed to these rows ([`Error::Overtaken`]); nothing changes then.
    #[tracing::instrument(name = "commit", skip_all, fields(table = self.definition.name, n_rows = self.n_rows()))]
    pub async fn commit(&mut self, condition: &str) -> Result<()> {
        let written = self
            .table
            .clone()
            .write(self.held.iter().cloned())
            .with_save_mode(SaveMode::Overwrite)
            .with_replace_where(condition)
            .with_writer_properties(file_properties(self.definition)?)
            .with_commit_properties(self.origin.properties())
            .await;
        self.table = written.map_err(|e| self.fault(e))?;
        self.held.clear();
        Ok(())
    }

    /// Removes the rows that meet the condition.
    ///
    /// # Errors
    /// As [`TableReplacer::commit`].
    pub async fn remove(&mut self, condition: &str) -> Result<()> {
        let removed = self
            .table
            .clone()
            .delete()
            .with_predicate(condition)
            .with_writer_properties(file_properties(self.definition)?)
            .with_commit_properties(self.origin.properties())
            .await;
        self.table = removed.map_err(|e| self.fault(e))?.0;
        Ok(())
    }

    fn fault(&self, error: deltalake::DeltaTableError) -> Error {
        commit_fault(self.definition, error)
    }
}
