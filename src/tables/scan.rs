//! Scans of one version of a table: the Parquet files that its log names, read without asking the log again.
//!
//! Delta's own provider replays the log for every scan, which takes longer than most queries, and its plan cannot be sent
//! to another process. This one reads the list of files once a version, with what the log knows of them: partition values,
//! rows and ranges of columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics, not_impl_err};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, collect_partitioned};
use deltalake::DeltaTable;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Position;

use super::definition::tables;
use super::kept_columns::{ColumnKey, KeptColumns, batches, in_one_piece};
use crate::error::Error;

/// Files that are decoded together, where columns are kept.
const FILES_AT_ONCE: usize = 64;

/// Bytes of files of which a condition on the column they are sorted by leaves little to be read: one neuron of a layer of thousands.
const PRUNED_BYTES: u64 = 8 << 20;

/// Bytes of files that one thread reads as quickly as several: below, a plan in one part is the shorter way.
const ONE_PART_BYTES: u64 = 1 << 20;

/// The data files of one version of a table, as another process can be told of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileList {
    /// Scheme and host of the store that the paths are in.
    store: String,
    partition_columns: Vec<String>,
    files: Vec<ListedFile>,
}

/// One data file and what the log says of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ListedFile {
    path: String,
    size: u64,
    /// Milliseconds since 1970.
    modified: i64,
    /// The texts of its partition columns, in their order.
    partition_values: Vec<Option<String>>,
    /// Delta's statistics, a JSON object.
    statistics: Option<String>,
}

impl FileList {
    /// The files of the version that is open; `None` where they are not all there is to read: another program wrote
    /// deletion vectors, renamed columns or keeps files elsewhere.
    fn of(table: &DeltaTable) -> Result<Option<Self>, Error> {
        let snapshot = table.snapshot()?;
        let mapped = snapshot.metadata().configuration().get("delta.columnMapping.mode");
        if mapped.is_some_and(|mode| mode != "none") {
            return Ok(None);
        }
        let partition_columns = snapshot.metadata().partition_columns().to_vec();
        let root = Path::from_url_path(table.table_url().path()).map_err(|e| Error::internal(e.to_string()))?;
        let mut files = Vec::new();
        for view in snapshot.log_data() {
            #[expect(deprecated, reason = "nothing else carries path, partition, statistics and deletions together")]
            let add = view.add_action();
            if add.deletion_vector.is_some() || add.path.contains("://") {
                return Ok(None);
            }
            let path = Path::from_iter(root.parts().chain(view.object_store_path().parts()));
            let value = |column: &String| add.partition_values.get(column).cloned().flatten();
            files.push(ListedFile {
                path: path.into(),
                size: add.size.max(0) as u64,
                modified: add.modification_time,
                partition_values: partition_columns.iter().map(value).collect(),
                statistics: add.stats,
            });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let store = table.table_url()[Position::BeforeScheme..Position::BeforePath].to_owned();
        Ok(Some(Self { store, partition_columns, files }))
    }
}

/// One version of a table.
pub(crate) struct TableScan {
    list: FileList,
    schema: SchemaRef,
    /// Columns of the files, then the partition columns.
    stored: TableSchema,
    /// For each column of `schema`, its place in `stored`.
    places: Vec<usize>,
    files: Vec<PartitionedFile>,
    /// The partition values of all files, one row a file, for conditions that choose among them.
    partitions: RecordBatch,
    store_url: ObjectStoreUrl,
    /// Delta's provider, for what writes, in the process that opened the table.
    delta: Option<Arc<dyn TableProvider>>,
    /// Where columns are kept that are asked for again.
    kept: Option<Arc<KeptColumns>>,
}

impl std::fmt::Debug for TableScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableScan").field("store", &self.store_url).field("files", &self.files.len()).finish()
    }
}

/// How a table shows the columns whose values are names of folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FolderColumns {
    /// As dictionaries: two bytes a row.
    Dictionaries,
    /// As texts: what workers send to each other has no dictionaries, and plans must say so from the start.
    Texts,
}

/// The rows of the version that is open: by a scan of its files where they hold nothing but rows, else by Delta's provider.
pub(crate) async fn rows(
    table: &DeltaTable,
    folders: FolderColumns,
    kept: Option<Arc<KeptColumns>>,
) -> Result<Arc<dyn TableProvider>, Error> {
    let delta = table.table_provider().await?;
    let Some(list) = FileList::of(table)? else { return Ok(delta) };
    let schema = match folders {
        FolderColumns::Dictionaries => delta.schema(),
        FolderColumns::Texts => without_dictionaries(&delta.schema()),
    };
    Ok(Arc::new(TableScan { delta: Some(delta), kept, ..TableScan::new(list, schema)? }))
}

impl TableScan {
    /// A scan of listed files, whose store the session must know.
    ///
    /// # Errors
    /// When a partition value is not of its column's type.
    pub(crate) fn new(list: FileList, schema: SchemaRef) -> Result<Self, Error> {
        let (mut in_files, mut of_folders) = (Vec::new(), Vec::new());
        for field in schema.fields() {
            match list.partition_columns.contains(field.name()) {
                true => of_folders.push(Arc::clone(field)),
                false => in_files.push(Arc::clone(field)),
            }
        }
        // Partition values come in the order of the table's partition columns.
        of_folders.sort_by_key(|field| list.partition_columns.iter().position(|column| column == field.name()));
        let stored =
            TableSchema::builder(Arc::new(Schema::new(in_files))).with_table_partition_cols(of_folders.clone()).build();
        let all = stored.table_schema();
        let places = schema.fields().iter().map(|field| all.index_of(field.name())).collect::<Result<Vec<_>, _>>()?;
        let files =
            list.files.iter().map(|file| partitioned(file, &stored, &of_folders)).collect::<Result<Vec<_>, _>>()?;
        let partitions = partition_rows(&of_folders, &files)?;
        let store_url = ObjectStoreUrl::parse(&list.store)?;
        Ok(Self { list, schema, stored, places, files, partitions, store_url, delta: None, kept: None })
    }

    /// The files, for another process.
    pub(crate) fn list(&self) -> &FileList {
        &self.list
    }

    /// Whether the folder of a file decides a condition.
    fn is_of_folders(&self, filter: &Expr) -> bool {
        let columns: Vec<&str> = self.list.partition_columns.iter().map(String::as_str).collect();
        !filter.column_refs().is_empty() && expr_applicable_for_cols(&columns, filter) && !contains_subquery(filter)
    }

    /// The files whose folders meet the conditions.
    fn chosen(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let of_folders = filters.iter().filter(|filter| self.is_of_folders(filter)).cloned();
        let Some(condition) = conjunction(of_folders) else {
            return Ok(self.files.clone());
        };
        let schema = DFSchema::try_from(self.partitions.schema().as_ref().clone())?;
        let condition = state.create_physical_expr(condition, &schema)?;
        let kept = condition.evaluate(&self.partitions)?.into_array(self.partitions.num_rows())?;
        let kept = kept.as_any().downcast_ref::<BooleanArray>().ok_or_else(|| {
            DataFusionError::Internal(format!("condition on partitions: expected Boolean, got {}", kept.data_type()))
        })?;
        // NULL is not true.
        Ok(self.files.iter().zip(kept).filter(|(_, kept)| *kept == Some(true)).map(|(file, _)| file.clone()).collect())
    }

    /// A scan of Parquet files; places are those of `stored`.
    fn of_files(&self, groups: Vec<FileGroup>, places: Vec<usize>) -> Result<FileScanConfigBuilder> {
        let source = Arc::new(ParquetSource::new(self.stored.clone()));
        FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_projection_indices(Some(places))
    }

    /// Whether the conditions leave little of these files to be read.
    fn prunes(&self, filters: &[Expr], files: &[PartitionedFile]) -> bool {
        let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
        let folder = folder_of_table(&files[0], self.list.partition_columns.len());
        let name = folder.rsplit('/').next().unwrap_or_default();
        let sorted_by = tables().iter().find(|table| table.name == name).and_then(|table| table.order_columns.first());
        let names = |column: &str| filters.iter().any(|filter| filter.column_refs().iter().any(|c| c.name == column));
        bytes > PRUNED_BYTES && sorted_by.is_some_and(|column| names(column))
    }

    /// The same rows from the columns that are kept, once those that are not are decoded; `None` where they are not to be kept, or where
    /// only a few rows are asked for and not all is kept.
    async fn kept_rows(
        &self,
        state: &dyn Session,
        kept: &KeptColumns,
        files: &[PartitionedFile],
        places: &[usize],
        few: bool,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let n_stored = self.stored.file_schema().fields().len();
        let mut columns: Vec<usize> = places.iter().copied().filter(|place| *place < n_stored).collect();
        columns.sort_unstable();
        columns.dedup();
        let table = folder_of_table(&files[0], self.list.partition_columns.len());
        let bytes = files.iter().map(|file| file.object_meta.size).sum();
        // Rows alone are counted without reading, and folders are known without.
        if columns.is_empty() || !kept.ask(&table, &columns, bytes) {
            return Ok(None);
        }
        let key = |file: &PartitionedFile, column: usize| ColumnKey {
            path: file.object_meta.location.as_ref().into(),
            size: file.object_meta.size,
            modified: file.object_meta.last_modified.timestamp_millis(),
            column,
        };
        let mut found: Vec<HashMap<usize, ArrayRef>> = files
            .iter()
            .map(|file| columns.iter().filter_map(|column| Some((*column, kept.get(&key(file, *column))?))).collect())
            .collect();
        let wanted: Vec<usize> =
            columns.iter().copied().filter(|column| found.iter().any(|found| !found.contains_key(column))).collect();
        let mut decoded = Vec::new();
        let without: Vec<usize> = (0..files.len()).filter(|file| found[*file].len() < columns.len()).collect();
        // A few rows are read faster than all.
        if few && !without.is_empty() {
            return Ok(None);
        }
        for lot in without.chunks(FILES_AT_ONCE) {
            let groups = lot.iter().map(|file| FileGroup::new(vec![files[*file].clone()])).collect();
            // In order means also that no part of the scan reads files of another: each part is one file.
            let plan = planned(state, self.of_files(groups, wanted.clone())?.with_preserve_order(true).build()).await?;
            let schema = plan.schema();
            let read = collect_partitioned(plan, state.task_ctx()).await?;
            for (file, batches) in lot.iter().zip(read) {
                for (column, values) in wanted.iter().zip(in_one_piece(&schema, &batches)?) {
                    decoded.push((key(&files[*file], *column), Arc::clone(&values)));
                    found[*file].insert(*column, values);
                }
            }
        }
        kept.keep(&table, &decoded);
        let all = self.stored.table_schema();
        let schema = Arc::new(all.project(places)?);
        let n_parts = if bytes < ONE_PART_BYTES { 1 } else { state.config().target_partitions().max(1) };
        let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); n_parts.min(files.len())];
        let mut rows_of_part = vec![0; parts.len()];
        // One dictionary for all files: rows of several are put together without making another.
        let folders = partition_rows(self.partitions.schema().fields(), files)?;
        for (number, columns) in found.iter().enumerate() {
            let n_rows = columns.values().next().map_or(0, |column| column.len());
            let column = |place: &usize| match columns.get(place) {
                Some(column) => Ok(Arc::clone(column)),
                None => {
                    let rows = UInt32Array::from_value(number as u32, n_rows);
                    Ok(take(folders.column(place - n_stored), &rows, None)?)
                }
            };
            let columns = places.iter().map(column).collect::<Result<Vec<_>>>()?;
            // The next file goes where there is least.
            let Some(part) = (0..parts.len()).min_by_key(|part| rows_of_part[*part]) else { continue };
            rows_of_part[part] += n_rows;
            parts[part].extend(batches(&schema, columns, state.config().batch_size())?);
        }
        let source = MemorySourceConfig::try_new(&parts, schema, None)?;
        Ok(Some(DataSourceExec::from_data_source(source)))
    }
}

#[async_trait]
impl TableProvider for TableScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match self.is_of_folders(filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.chosen(state, filters)?;
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let places = match projection {
            Some(columns) => columns.iter().map(|column| self.places[*column]).collect(),
            None => self.places.clone(),
        };
        let few = limit.is_some() || self.prunes(filters, &files);
        if let Some(kept) = &self.kept
            && let Some(plan) = self.kept_rows(state, kept, &files, &places, few).await?
        {
            return Ok(plan);
        }
        let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
        let statistics = all_statistics(self.stored.table_schema(), &files);
        let groups = match bytes < ONE_PART_BYTES {
            true => vec![FileGroup::new(files)],
            false => FileGroup::new(files).split_files(state.config().target_partitions()),
        };
        let scan = self.of_files(groups, places)?.with_statistics(statistics).with_limit(limit).build();
        planned(state, scan).await
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert_op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.delta {
            Some(delta) => delta.insert_into(state, input, insert_op).await,
            None => not_impl_err!("rows are written by the process that opened the table, not by a worker"),
        }
    }
}

async fn planned(state: &dyn Session, scan: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
    let format = ParquetFormat::default().with_options(state.table_options().parquet.clone());
    format.create_physical_plan(state, scan).await
}

fn without_dictionaries(schema: &Schema) -> SchemaRef {
    let plain = |field: &FieldRef| match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(field.as_ref().clone().with_data_type(values.as_ref().clone())),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new_with_metadata(
        schema.fields().iter().map(plain).collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

fn contains_subquery(filter: &Expr) -> bool {
    filter
        .exists(|expr| {
            Ok(matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
        })
        .unwrap_or(true)
}

fn partitioned(file: &ListedFile, stored: &TableSchema, of_folders: &[FieldRef]) -> Result<PartitionedFile, Error> {
    let value = |(column, text): (&FieldRef, &Option<String>)| match text {
        Some(text) => ScalarValue::Utf8(Some(text.clone())).cast_to(column.data_type()),
        None => ScalarValue::try_from(column.data_type()),
    };
    let values = of_folders.iter().zip(&file.partition_values).map(value).collect::<Result<Vec<_>>>()?;
    let meta = ObjectMeta {
        location: Path::parse(&file.path).map_err(|e| Error::internal(e.to_string()))?,
        last_modified: DateTime::from_timestamp_millis(file.modified).unwrap_or_default(),
        size: file.size,
        e_tag: None,
        version: None,
    };
    let statistics = statistics(stored.file_schema(), file);
    Ok(PartitionedFile::new_from_meta(meta).with_partition_values(values).with_statistics(Arc::new(statistics)))
}

/// The folder that a table's partition folders are in.
fn folder_of_table(file: &PartitionedFile, n_partition_columns: usize) -> String {
    let parts: Vec<_> = file.object_meta.location.parts().collect();
    let n = parts.len().saturating_sub(1 + n_partition_columns);
    parts[..n].iter().map(|part| part.as_ref()).collect::<Vec<_>>().join("/")
}

fn partition_rows(columns: &[FieldRef], files: &[PartitionedFile]) -> Result<RecordBatch, Error> {
    // A table without partition columns still has a row for each of its files.
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(files.len()));
    let values = |column: usize| -> Result<ArrayRef, Error> {
        match files.is_empty() {
            true => Ok(arrow::array::new_empty_array(columns[column].data_type())),
            false => Ok(ScalarValue::iter_to_array(files.iter().map(|file| file.partition_values[column].clone()))?),
        }
    };
    let arrays = (0..columns.len()).map(values).collect::<Result<Vec<_>, Error>>()?;
    let fields: Vec<Field> = columns.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

/// What the log knows of a file's columns. Ranges are bounds: those of texts are cut, those of floats leave NaN out.
fn statistics(schema: &Schema, file: &ListedFile) -> Statistics {
    let told: HashMap<String, Value> =
        file.statistics.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
    let of = |what: &str, column: &str| told.get(what)?.get(column).cloned();
    let rows = told.get("numRecords").and_then(Value::as_u64).map(|rows| rows as usize);
    let column_statistics = schema
        .fields()
        .iter()
        .map(|field| {
            let bound = |what: &str| {
                of(what, field.name()).and_then(|value| bound(field.data_type(), &value)).map_or(
                    Precision::Absent,
                    |value| match field.data_type().is_integer() {
                        true => Precision::Exact(value),
                        false => Precision::Inexact(value),
                    },
                )
            };
            let nulls = of("nullCount", field.name()).and_then(|count| count.as_u64());
            ColumnStatistics {
                null_count: nulls.map_or(Precision::Absent, |count| Precision::Exact(count as usize)),
                min_value: bound("minValues"),
                max_value: bound("maxValues"),
                ..ColumnStatistics::new_unknown()
            }
        })
        .collect();
    Statistics {
        num_rows: rows.map_or(Precision::Absent, Precision::Exact),
        total_byte_size: Precision::Inexact(file.size as usize),
        column_statistics,
    }
}

fn bound(kind: &DataType, value: &Value) -> Option<ScalarValue> {
    match kind {
        DataType::Int32 | DataType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)).cast_to(kind).ok(),
        DataType::Float32 | DataType::Float64 => ScalarValue::Float64(Some(value.as_f64()?)).cast_to(kind).ok(),
        DataType::Utf8 | DataType::Utf8View => ScalarValue::Utf8(Some(value.as_str()?.to_owned())).cast_to(kind).ok(),
        _ => None,
    }
}

/// Rows and bytes of some files together; a plan asks for no more of a table that it must read.
fn all_statistics(schema: &Schema, files: &[PartitionedFile]) -> Statistics {
    let known = files.iter().filter_map(|file| file.statistics.as_deref());
    match Statistics::try_merge_iter(known, schema) {
        Ok(merged) => merged,
        Err(_) => Statistics::new_unknown(schema),
    }
}
