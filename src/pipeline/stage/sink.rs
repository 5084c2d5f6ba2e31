//! Whatever takes a stage's rows.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::execution::context::SessionContext;
use deltalake::DeltaTable;

use crate::error::{Error, Result};
use crate::pipeline::outdated::Outdated;
use crate::tables::definition::TableDefinition;
use crate::tables::replace::{Leaving, TableReplacer};
use crate::tables::writer::{Origin, TableWriter};

/// Holds rows until they are committed.
pub(super) enum Sink {
    /// New rows beside those that are there.
    Append(Box<TableWriter>),
    /// Rows in the place of others of the same keys.
    Replace(Box<TableReplacer>, BTreeSet<String>),
}

impl Sink {
    /// Rows beside those of a version of the table.
    pub(super) fn append(table: DeltaTable, definition: &'static TableDefinition, origin: Origin) -> Result<Self> {
        Ok(Self::Append(Box::new(TableWriter::over(table, definition, origin)?)))
    }

    /// Rows in the place of some of a version of the table.
    pub(super) fn replace(table: DeltaTable, definition: &'static TableDefinition, origin: Origin) -> Result<Self> {
        Ok(Self::Replace(Box::new(TableReplacer::over(table, definition, origin)?), BTreeSet::new()))
    }

    /// Bytes of Parquet held.
    pub(super) fn pending_bytes(&self) -> usize {
        match self {
            Self::Append(writer) => writer.pending_bytes(),
            Self::Replace(replacer, _) => replacer.pending_bytes(),
        }
    }

    /// Holds rows of the query of that name.
    pub(super) async fn write(&mut self, batch: &RecordBatch, outdated: &Outdated, query: &str) -> Result<()> {
        match self {
            Self::Append(writer) => writer.write(batch).await,
            Self::Replace(replacer, keys) => {
                let column = batch.column_by_name(outdated.column).ok_or_else(|| Error::QueryFile {
                    file: format!("queries/pipeline/{query}.sql"),
                    reason: format!("expected a column '{}'", outdated.column),
                })?;
                let texts = cast(column, &DataType::Utf8)?;
                for text in texts.as_string::<i32>().iter().flatten() {
                    // Rows of a key stand together, many to a key.
                    if !keys.contains(text) {
                        keys.insert(text.to_owned());
                    }
                }
                replacer.write(batch).await
            }
        }
    }

    /// Makes what is held visible; rows out of date that it took the place of are then no longer among `outdated`.
    pub(super) async fn commit(&mut self, context: &SessionContext, outdated: &mut Outdated) -> Result<()> {
        match self {
            Self::Append(writer) => writer.commit().await,
            Self::Replace(replacer, keys) => {
                if !replacer.is_empty() {
                    let condition = outdated.condition();
                    let leaving = Leaving { condition: &condition, keys: Some((outdated.column, keys)) };
                    replacer.commit(context, leaving).await?;
                }
                outdated.keys.retain(|key| !keys.contains(key));
                keys.clear();
                Ok(())
            }
        }
    }
}
