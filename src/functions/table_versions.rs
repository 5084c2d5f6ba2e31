//! `table_versions(table)`: the commits of one of the lake's tables.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::StreamExt;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::stream;
use crate::tables::definition::{TableDefinition, table, tables};
use crate::tables::lake::Lake;

pub(crate) struct TableVersions {
    lake: Lake,
}

impl std::fmt::Debug for TableVersions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("table_versions")
    }
}

impl TableVersions {
    pub(crate) fn new(host: &Host) -> Self {
        Self { lake: host.lake.clone() }
    }
}

impl TableFunctionImpl for TableVersions {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("table_versions", &["table"], 1, args.exprs())?;
        let name = text_argument("table_versions", "table", &values[0])?;
        let Some(definition) = table(&name) else {
            let known: Vec<&str> = tables().iter().map(|table| table.name.as_str()).collect();
            return plan_err!("'table_versions': table: expected one of {}, got '{name}'", known.join(", "));
        };
        let lake = self.lake.clone();
        let rows: stream::Rows = Arc::new(move || {
            let lake = lake.clone();
            futures::stream::once(async move { batch(&lake, definition).await }).boxed()
        });
        stream::table("table_versions", schema(), &["version"], rows)
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("version", DataType::Int64, false),
        Field::new("committed_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("operation", DataType::Utf8, true),
        Field::new("n_rows_added", DataType::Int64, true),
        Field::new("run", DataType::Utf8, true),
        Field::new("readable", DataType::Boolean, false),
    ]))
}

async fn batch(lake: &Lake, definition: &TableDefinition) -> Result<RecordBatch> {
    let commits = lake.commits(definition).await.map_err(DataFusionError::from)?;
    let committed_at = commits.iter().map(|commit| commit.committed_at.and_then(|time| time.checked_mul(1_000)));
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(commits.iter().map(|commit| commit.version.cast_signed()))),
            Arc::new(committed_at.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            Arc::new(commits.iter().map(|commit| commit.operation.as_deref()).collect::<StringArray>()),
            Arc::new(commits.iter().map(|commit| commit.n_rows_added).collect::<Int64Array>()),
            Arc::new(commits.iter().map(|commit| commit.run.as_deref()).collect::<StringArray>()),
            Arc::new(commits.iter().map(|commit| Some(commit.readable)).collect::<BooleanArray>()),
        ],
    )?)
}

pub(crate) fn documentation() -> Documentation {
    document(
        "The versions of a table of the lake, oldest first, as its Delta log tells of them: version, committed_at, operation, \
         n_rows_added (rows of the files that the commit added; NULL where the log does not count them), run (a key of runs; NULL \
         for a commit of another program) and readable (false when files of the version were removed since). A version is read by \
         its quoted name, \"scores@12\". No rows for a table that was never written.",
        "table_versions(table)",
        "SELECT version, operation, readable FROM table_versions('documents') ORDER BY version LIMIT 2",
    )
}
