//! `neuronlake maintain`: many small files become few sorted ones, and files that no version in keeping needs are removed.
//!
//! Nothing a reader holds is changed: files are written beside the old ones, one commit exchanges them without a change of rows,
//! and the old ones stay for as long as versions are kept. A writer that commits to the same files first wins: the exchange is
//! begun again from what is there then.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::row::{OwnedRow, RowConverter, SortField};
use chrono::TimeDelta;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::{DataFrame, Expr, col};
use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Add};
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::DeltaOperation;
use deltalake::protocol::checkpoints::create_checkpoint;
use deltalake::writer::DeltaWriter;
use futures::StreamExt;
use object_store::ObjectStoreExt;

use super::definition::{TableDefinition, tables};
use super::files::adds;
use super::lake::Lake;
use super::runs::RunRow;
use super::writer::{Origin, commit_fault, is_contended, new_writer};
use crate::error::{Error, Result};

/// Bytes of a file that is not made larger.
const TARGET: u64 = 256 << 20;
/// Files of a table without partitions that are left as they are: `runs` gets two with every stage.
const FEW: usize = 8;
/// Versions after which a checkpoint is due: to open a table is then to read it and few commits.
const CHECKPOINT_EVERY: u64 = 10;
/// Times that an exchange of files is begun again.
const TRIES: usize = 5;
/// Rows are sorted as scans take them to be.
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };
/// The shortest time that files of old versions are kept, unless forced: no reader holds a version longer.
const SHORTEST: Duration = Duration::from_secs(24 * 3_600);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// Only these tables; empty for all.
    pub tables: Vec<String>,
    /// How long files of old versions are kept.
    pub keep: Duration,
    /// Whether less than a day is taken for an answer.
    pub forced: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Maintenance {
    /// All tables, with files of old versions kept for so many days.
    pub fn keeping(days: u64) -> Self {
        Self { tables: Vec::new(), keep: Duration::from_secs(days * 24 * 3_600), forced: false, dry_run: false }
    }
}

/// What was done at one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Files of the newest version before.
    pub files_before: usize,
    /// Files after.
    pub files_after: usize,
    /// Their bytes before.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
    /// Files of old versions that were removed.
    pub files_removed: usize,
    /// Whether a checkpoint was written.
    pub checkpoint: bool,
    /// Whether writers were so busy that files were left as they are.
    pub left_to_writers: bool,
    /// Time it took.
    pub took: Duration,
}

impl TableReport {
    /// Whether anything was done.
    pub fn changed(&self) -> bool {
        self.files_before != self.files_after
            || self.bytes_before != self.bytes_after
            || self.files_removed > 0
            || self.checkpoint
    }
}

/// Maintains the tables of a lake; sorts may take the memory of the session.
///
/// # Errors
/// [`Error::Argument`] for a table that does not exist or a retention below a day that is not forced; when the store refuses.
pub async fn maintain(context: &SessionContext, lake: &Lake, what: &Maintenance) -> Result<Vec<TableReport>> {
    if what.keep < SHORTEST && !what.forced {
        return Err(Error::Argument {
            argument: "--keep-days".to_owned(),
            expected: "at least 1, because a query may still read an older version; or --force".to_owned(),
            got: format!("{:.2}", what.keep.as_secs_f64() / 86_400.0),
        });
    }
    let known = |name: &String| tables().iter().any(|table| table.name == *name);
    if let Some(unknown) = what.tables.iter().find(|name| !known(name)) {
        return Err(Error::Argument {
            argument: "table".to_owned(),
            expected: tables().iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", "),
            got: unknown.clone(),
        });
    }
    let mut run = Recorded { row: RunRow::starting("maintain", parameters(what)), started: false };
    let mut reports = Vec::new();
    for definition in tables() {
        if !what.tables.is_empty() && !what.tables.contains(&definition.name) {
            continue;
        }
        if let Some(report) = maintain_table(context, lake, definition, what, &mut run).await? {
            tracing::info!(
                table = report.table,
                files_before = report.files_before,
                files_after = report.files_after,
                bytes_before = report.bytes_before,
                bytes_after = report.bytes_after,
                files_removed = report.files_removed,
                checkpoint = report.checkpoint,
                "maintained"
            );
            reports.push(report);
        }
    }
    if run.started {
        run.row.finish(lake, 0, 0.0).await?;
    }
    Ok(reports)
}

/// The run that the commits name; recorded with the first of them.
struct Recorded {
    row: RunRow,
    started: bool,
}

impl Recorded {
    async fn origin(&mut self, lake: &Lake) -> Result<Origin> {
        if !self.started {
            self.row.record(lake).await?;
            self.started = true;
        }
        Ok(Origin { run: self.row.id.clone(), work: None })
    }
}

fn parameters(what: &Maintenance) -> String {
    serde_json::json!({ "keep_seconds": what.keep.as_secs(), "forced": what.forced, "tables": what.tables }).to_string()
}

async fn maintain_table(
    context: &SessionContext,
    lake: &Lake,
    definition: &'static TableDefinition,
    what: &Maintenance,
    run: &mut Recorded,
) -> Result<Option<TableReport>> {
    let start = Instant::now();
    let Some(mut table) = lake.open(definition).await? else { return Ok(None) };
    let (files_before, bytes_before) = size(&table)?;
    let mut report = TableReport {
        table: definition.name.clone(),
        files_before,
        files_after: files_before,
        bytes_before,
        bytes_after: bytes_before,
        files_removed: 0,
        checkpoint: false,
        left_to_writers: false,
        took: Duration::ZERO,
    };
    let partitions: Vec<String> = partitions(&table)?.into_keys().collect();
    for partition in partitions {
        let mut tries = 0;
        loop {
            match exchange(context, lake, definition, &mut table, &partition, what, run).await {
                Err(error) if is_contended(&error) => {
                    tries += 1;
                    tracing::info!(table = report.table, partition, tries, "a writer was first; looking again");
                    let Some(newest) = lake.open(definition).await? else { return Ok(None) };
                    table = newest;
                    if tries == TRIES {
                        report.left_to_writers = true;
                        break;
                    }
                }
                other => {
                    if let (Some((files, bytes)), true) = (other?, what.dry_run) {
                        // As many as would be left: each partition's files in one, or in files of the largest size.
                        report.files_after = report.files_after + bytes.div_ceil(TARGET).max(1) as usize - files;
                    }
                    break;
                }
            }
        }
    }
    if !what.dry_run {
        (report.files_after, report.bytes_after) = size(&table)?;
        let changed = table.version() != lake.open(definition).await?.and_then(|table| table.version());
        if changed && let Some(newest) = lake.open(definition).await? {
            table = newest;
        }
        report.checkpoint = checkpoint(&table).await?;
    }
    report.files_removed = vacuum(table, what).await?;
    report.took = start.elapsed();
    Ok(Some(report))
}

/// Files of the newest version, and their bytes.
fn size(table: &DeltaTable) -> Result<(usize, u64)> {
    let files = adds(table)?;
    let bytes = files.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
    Ok((files.len(), bytes))
}

/// The files of each partition, by the partition's values.
fn partitions(table: &DeltaTable) -> Result<BTreeMap<String, Vec<Add>>> {
    let mut partitions: BTreeMap<String, Vec<Add>> = BTreeMap::new();
    for add in adds(table)? {
        let values: BTreeMap<&String, &Option<String>> = add.partition_values.iter().collect();
        partitions.entry(format!("{values:?}")).or_default().push(add);
    }
    Ok(partitions)
}

/// Puts sorted files in the place of a partition's files, where they are many or out of order. Its files and bytes before, where
/// there was something to do.
async fn exchange(
    context: &SessionContext,
    lake: &Lake,
    definition: &'static TableDefinition,
    table: &mut DeltaTable,
    partition: &str,
    what: &Maintenance,
    run: &mut Recorded,
) -> Result<Option<(usize, u64)>> {
    let Some(files) = partitions(table)?.remove(partition) else { return Ok(None) };
    let bytes: u64 = files.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
    let few = if definition.partition_columns.is_empty() { FEW } else { 1 };
    let many = files.len() > few && files.len() as u64 > bytes.div_ceil(TARGET);
    if !many && (files.len() > 1 && bytes < TARGET || in_order(context, definition, table, &files).await?) {
        return Ok(None);
    }
    let found = Some((files.len(), bytes));
    if what.dry_run {
        return Ok(found);
    }
    let origin = run.origin(lake).await?;
    let order = definition
        .order_columns
        .iter()
        .map(|column| col(column.as_str()).sort(!ORDER.descending, ORDER.nulls_first))
        .collect();
    let mut rows = scan(context, table, files.clone()).await?.sort(order)?.execute_stream().await?;
    let mut writer = new_writer(table, definition, &origin)?;
    let mut added: Vec<Add> = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = super::writer::stored_form(&batch?, &writer)?;
        writer.write(batch).await?;
        if writer.buffer_len() as u64 >= TARGET {
            added.extend(writer.flush().await?);
        }
    }
    added.extend(writer.flush().await?);
    let now = chrono::Utc::now().timestamp_millis();
    let mut actions: Vec<Action> = files.iter().map(|add| Action::Remove(removed(add, now))).collect();
    actions.extend(added.into_iter().map(|add| Action::Add(Add { data_change: false, ..add })));
    let operation = DeltaOperation::Optimize { predicate: None, target_size: TARGET as i64 };
    let snapshot = table.snapshot()?;
    let committed = CommitBuilder::from(origin.properties())
        .with_actions(actions)
        .build(Some(snapshot), table.log_store(), operation)
        .await;
    match committed {
        Ok(done) => table.state = Some(done.snapshot()),
        Err(error) => return Err(commit_fault(definition, error)),
    }
    Ok(found)
}

fn removed(add: &Add, now: i64) -> deltalake::kernel::Remove {
    deltalake::kernel::Remove {
        path: add.path.clone(),
        data_change: false,
        deletion_timestamp: Some(now),
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values.clone().into_iter().collect::<HashMap<_, _>>()),
        size: Some(add.size),
        tags: add.tags.clone(),
        deletion_vector: add.deletion_vector.clone(),
        base_row_id: add.base_row_id,
        default_row_commit_version: add.default_row_commit_version,
    }
}

async fn scan(context: &SessionContext, table: &DeltaTable, files: Vec<Add>) -> Result<DataFrame> {
    Ok(context.read_table(table.table_provider().with_adds(files).await?)?)
}

/// Whether each file is sorted as the table is, and no two files share a stretch of the order.
async fn in_order(
    context: &SessionContext,
    definition: &TableDefinition,
    table: &DeltaTable,
    files: &[Add],
) -> Result<bool> {
    if definition.order_columns.is_empty() {
        return Ok(true);
    }
    let mut stretches: Vec<(OwnedRow, OwnedRow)> = Vec::new();
    for file in files {
        let columns: Vec<Expr> = definition.order_columns.iter().map(|column| col(column.as_str())).collect();
        let rows = scan(context, table, vec![file.clone()]).await?.select(columns)?;
        let types = rows
            .schema()
            .fields()
            .iter()
            .map(|field| SortField::new_with_options(field.data_type().clone(), ORDER))
            .collect();
        let converter = RowConverter::new(types)?;
        // On one thread, rows come in the order in which they stand in the file.
        let (mut state, plan) = rows.into_parts();
        state.config_mut().options_mut().execution.target_partitions = 1;
        let mut rows = DataFrame::new(state, plan).execute_stream().await?;
        let mut stretch: Option<(OwnedRow, OwnedRow)> = None;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let columns: Vec<ArrayRef> = batch.columns().to_vec();
            for row in converter.convert_columns(&columns)?.iter() {
                match &mut stretch {
                    Some((_, last)) if row < last.row() => return Ok(false),
                    Some((_, last)) => *last = row.owned(),
                    None => stretch = Some((row.owned(), row.owned())),
                }
            }
        }
        stretches.extend(stretch);
    }
    stretches.sort_by(|a, b| a.0.row().cmp(&b.0.row()));
    Ok(stretches.windows(2).all(|pair| pair[0].1.row() <= pair[1].0.row()))
}

/// Writes a checkpoint where the last one is some versions old.
async fn checkpoint(table: &DeltaTable) -> Result<bool> {
    let Some(version) = table.version() else { return Ok(false) };
    let path = object_store::path::Path::from("_delta_log/_last_checkpoint");
    let store = table.log_store().object_store(None);
    let last = match store.get(&path).await {
        Ok(found) => {
            let bytes = found.bytes().await.map_err(deltalake::DeltaTableError::from)?;
            let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            told.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0)
        }
        Err(object_store::Error::NotFound { .. }) => 0,
        Err(error) => return Err(deltalake::DeltaTableError::from(error).into()),
    };
    if version < last + CHECKPOINT_EVERY {
        return Ok(false);
    }
    create_checkpoint(table, None).await?;
    Ok(true)
}

/// Removes files that only versions older than what is kept need; the number.
async fn vacuum(table: DeltaTable, what: &Maintenance) -> Result<usize> {
    let keep = TimeDelta::from_std(what.keep).map_err(|e| Error::internal(e.to_string()))?;
    // Files that no version names may be those of a writer that has not committed yet: only old ones are litter.
    let mode = if what.keep >= SHORTEST { VacuumMode::Full } else { VacuumMode::Lite };
    let (_, metrics) = table
        .vacuum()
        .with_retention_period(keep)
        .with_enforce_retention_duration(false)
        .with_mode(mode)
        .with_dry_run(what.dry_run)
        .await?;
    Ok(metrics.files_deleted.len())
}

#[cfg(test)]
mod tests;
