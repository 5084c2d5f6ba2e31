//! Rows put in the place of others: the old ones leave and the new ones come with one commit.
//!
//! The rows that leave are named by a condition and by their keys. Delta's own overwrite takes one condition for both, and writes it
//! into the log: with thousands of keys it asks every file of the table about each of them, and whoever opens the table afterwards
//! reads all those keys again, so that a hook point took the longer the more of them had been done. Here the log gets
//! the condition and the range of the keys, which is what conflicts between writers are found by, and the keys stay in memory.

use std::collections::{BTreeSet, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::execution::context::SessionContext;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::prelude::{DataFrame, Expr, cast as cast_to, ident};
use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Add, Remove};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use futures::StreamExt;

use super::check::check_batch;
use super::definition::TableDefinition;
use super::files::adds;
use super::writer::{Origin, commit_fault, new_writer, stored_form};
use crate::error::{Error, Result};

/// Bytes of a file at most, while rows that stay are written to others.
const FILE_BYTES: usize = 64 << 20;
/// Name of the column that says whether a row meets the condition; no table has it.
const MEETS: &str = "meets the condition";

/// Rows of a table that leave it.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// What they meet, in SQL.
    pub condition: &'a str,
    /// A column, and the texts of its values in these rows; `None` for all rows that meet the condition.
    pub keys: Option<(&'a str, &'a BTreeSet<String>)>,
}

/// An open table and the rows that will take the place of others.
pub struct TableReplacer {
    definition: &'static TableDefinition,
    table: DeltaTable,
    writer: RecordBatchWriter,
    origin: Origin,
    pending: usize,
}

impl std::fmt::Debug for TableReplacer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReplacer").field("table", &self.definition.name).finish_non_exhaustive()
    }
}

impl TableReplacer {
    /// Replaces rows of a version of the table that was read before the rows were thought of: what others commit to the same
    /// rows since then refuses these.
    ///
    /// # Errors
    /// When the table's columns cannot be written.
    pub fn over(table: DeltaTable, definition: &'static TableDefinition, origin: Origin) -> Result<Self> {
        let writer = new_writer(&table, definition, &origin)?;
        Ok(Self { definition, table, writer, origin, pending: 0 })
    }

    /// Checks a batch and holds it for the next commit.
    ///
    /// # Errors
    /// [`Error::Batch`] when it does not fit the table; nothing of it is held then.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            let checked = check_batch(self.definition, batch)?;
            self.writer.write(stored_form(&checked, &self.writer)?).await?;
            self.pending += batch.num_rows();
        }
        Ok(())
    }

    /// Bytes of Parquet held for the next commit.
    pub fn pending_bytes(&self) -> usize {
        self.writer.buffer_len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Removes rows and adds those held, which must be of the same condition and keys, with one commit; no commit where there is
    /// nothing to do. Files with rows that leave are read with the memory of the engine, and their other rows are written anew.
    ///
    /// # Errors
    /// When the store refuses, or another process committed to these rows ([`Error::Overtaken`]); nothing changes then.
    #[tracing::instrument(name = "commit", skip_all, fields(table = self.definition.name, n_rows = self.pending))]
    pub async fn commit(&mut self, context: &SessionContext, leaving: Leaving<'_>) -> Result<()> {
        let condition = self.bounded(leaving)?;
        let mut added: Vec<Add> = Vec::new();
        let mut actions: Vec<Action> = Vec::new();
        for add in candidates(&self.table, context, &condition).await? {
            let file = rows_of_file(&self.table, context, &add).await?;
            let meets = file.parse_sql_expr(&condition)?;
            match leaving_of(&file, &meets, leaving.keys).await? {
                (0, _) => continue,
                (gone, all) if gone == all => {}
                _ => self.keep_rest(file, meets, leaving.keys, &mut added).await?,
            }
            actions.push(Action::Remove(removed(add)));
        }
        added.extend(self.writer.flush().await?);
        actions.extend(added.into_iter().map(Action::Add));
        if actions.is_empty() {
            return Ok(());
        }
        let operation = match self.pending {
            0 => DeltaOperation::Delete { predicate: Some(condition) },
            _ => DeltaOperation::Write {
                mode: SaveMode::Overwrite,
                partition_by: Some(self.definition.partition_columns.clone()).filter(|columns| !columns.is_empty()),
                predicate: Some(condition),
            },
        };
        let committed = CommitBuilder::from(self.origin.properties())
            .with_actions(actions)
            .build(Some(self.table.snapshot()?), self.table.log_store(), operation)
            .await;
        match committed {
            Ok(done) => self.table.state = Some(done.snapshot()),
            Err(error) => return Err(commit_fault(self.definition, error)),
        }
        self.pending = 0;
        self.writer = new_writer(&self.table, self.definition, &self.origin)?;
        Ok(())
    }

    /// The condition, with the range of the keys.
    fn bounded(&self, leaving: Leaving<'_>) -> Result<String> {
        let Some((column, keys)) = leaving.keys else { return Ok(leaving.condition.to_owned()) };
        let range = match self.definition.schema.field_with_name(column)?.data_type().is_integer() {
            // Texts of numbers have another order.
            true => {
                let numbers = keys.iter().map(|key| {
                    key.parse::<i64>()
                        .map_err(|_| Error::internal(format!("expected a number in '{column}', got '{key}'")))
                });
                let numbers = numbers.collect::<Result<Vec<_>>>()?;
                numbers.iter().min().zip(numbers.iter().max()).map(|(a, b)| (a.to_string(), b.to_string()))
            }
            false => keys.first().zip(keys.last()).map(|(first, last)| (quoted(first), quoted(last))),
        };
        Ok(match range {
            Some((first, last)) => format!("{} AND {column} BETWEEN {first} AND {last}", leaving.condition),
            None => "false".to_owned(),
        })
    }

    /// Writes those rows of a file anew that do not leave.
    async fn keep_rest(
        &mut self,
        file: DataFrame,
        meets: Expr,
        keys: Option<(&str, &BTreeSet<String>)>,
        added: &mut Vec<Add>,
    ) -> Result<()> {
        let columns = self.definition.schema.fields().iter().map(|field| ident(field.name()));
        let columns = columns.chain([meets.alias(MEETS)]);
        let mut rows = file.select(columns.collect::<Vec<_>>())?.execute_stream().await?;
        let among = keys.map(|(column, keys)| (column, keys.iter().map(String::as_str).collect::<HashSet<_>>()));
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let last = batch.num_columns() - 1;
            let key = match &among {
                Some((column, _)) => Some(batch.column(batch.schema().index_of(column)?)),
                None => None,
            };
            let leaves = leaves(batch.column(last), key.zip(among.as_ref().map(|(_, keys)| keys)))?;
            let stays: BooleanArray = leaves.iter().map(|leaves| Some(!leaves)).collect();
            let rest = filter_record_batch(&batch.project(&(0..last).collect::<Vec<_>>())?, &stays)?;
            if rest.num_rows() > 0 {
                self.writer.write(stored_form(&rest, &self.writer)?).await?;
            }
            if self.writer.buffer_len() >= FILE_BYTES {
                added.extend(self.writer.flush().await?);
            }
        }
        Ok(())
    }
}

/// The files that may hold rows of a condition, as far as the log tells.
async fn candidates(table: &DeltaTable, context: &SessionContext, condition: &str) -> Result<Vec<Add>> {
    let schema = table.table_provider().await?.schema();
    let in_words = DFSchema::try_from(schema.as_ref().clone())?;
    let state = context.state();
    let condition = context.parse_sql_expr(condition, &in_words)?;
    let condition = state.create_physical_expr(condition, &in_words)?;
    let may = PruningPredicateBuilder::new().with_file_schema(schema).try_build(condition)?;
    let snapshot = table.snapshot()?;
    let kept = may.prune(&snapshot.log_data())?;
    Ok(adds(table)?.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(add, _)| add).collect())
}

/// The rows of one file, in the order in which they stand in it.
async fn rows_of_file(table: &DeltaTable, context: &SessionContext, add: &Add) -> Result<DataFrame> {
    let rows = context.read_table(table.table_provider().with_adds(vec![add.clone()]).await?)?;
    let (mut state, plan) = rows.into_parts();
    state.config_mut().options_mut().execution.target_partitions = 1;
    Ok(DataFrame::new(state, plan))
}

/// How many rows of a file leave, and how many it has.
async fn leaving_of(file: &DataFrame, meets: &Expr, keys: Option<(&str, &BTreeSet<String>)>) -> Result<(usize, usize)> {
    let key = keys.map(|(column, _)| cast_to(ident(column), DataType::Utf8).alias("key"));
    let columns: Vec<Expr> = [meets.clone().alias(MEETS)].into_iter().chain(key).collect();
    let among = keys.map(|(_, keys)| keys.iter().map(String::as_str).collect::<HashSet<_>>());
    let mut rows = file.clone().select(columns)?.execute_stream().await?;
    let (mut gone, mut all) = (0, 0);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let keys = among.as_ref().map(|keys| (batch.column(1), keys));
        gone += leaves(batch.column(0), keys)?.into_iter().filter(|leaves| *leaves).count();
        all += batch.num_rows();
    }
    Ok((gone, all))
}

/// Of each row, whether it leaves: a condition that is NULL is not met.
fn leaves(meets: &dyn Array, keys: Option<(&ArrayRef, &HashSet<&str>)>) -> Result<Vec<bool>> {
    let meets = meets.as_boolean_opt().ok_or_else(|| {
        Error::internal(format!("condition of rows that leave: expected Boolean, got {}", meets.data_type()))
    })?;
    let meets = meets.iter().map(|meets| meets == Some(true));
    let Some((column, keys)) = keys else { return Ok(meets.collect()) };
    let texts = cast(column, &DataType::Utf8)?;
    let is_key = texts.as_string::<i32>().iter().map(|text| text.is_some_and(|text| keys.contains(text)));
    Ok(meets.zip(is_key).map(|(meets, is_key)| meets && is_key).collect())
}

/// A text as SQL has it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn removed(add: Add) -> Remove {
    Remove {
        path: add.path,
        data_change: true,
        deletion_timestamp: Some(chrono::Utc::now().timestamp_millis()),
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values.into_iter().collect()),
        size: Some(add.size),
        tags: add.tags,
        deletion_vector: add.deletion_vector,
        base_row_id: add.base_row_id,
        default_row_commit_version: add.default_row_commit_version,
    }
}

#[cfg(test)]
mod tests;
