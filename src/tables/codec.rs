//! How a query's tables are told to another process: as the files of the version that the query was planned on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use ballista_core::serde::BallistaLogicalExtensionCodec;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{TableReference, plan_datafusion_err, plan_err};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::datasource::{MemTable, TableType};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use serde::{Deserialize, Serialize};

use super::scan::{FileList, TableScan};

/// A table of the lake, on its way.
#[derive(Serialize, Deserialize)]
enum Told {
    /// A table that was never written.
    Empty,
    /// One version of a table.
    Files(FileList),
    /// Rows of the process that planned the query, as an Arrow stream.
    Rows(Vec<u8>),
}

/// Few rows of this process, sent along with the plans that read them.
#[derive(Debug)]
pub(crate) struct SentRows {
    rows: RecordBatch,
    table: MemTable,
}

impl SentRows {
    /// A table of these rows.
    ///
    /// # Errors
    /// None that the rows themselves would not have had.
    pub(crate) fn new(rows: RecordBatch) -> Result<Self> {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
        Ok(Self { rows, table })
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.rows.schema())?;
        writer.write(&self.rows)?;
        Ok(writer.into_inner()?)
    }
}

#[async_trait]
impl TableProvider for SentRows {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.scan(state, projection, filters, limit).await
    }
}

fn told(rows: &dyn TableProvider) -> Result<Option<Told>> {
    let rows = rows as &dyn Any;
    if let Some(scan) = rows.downcast_ref::<TableScan>() {
        return Ok(Some(Told::Files(scan.list().clone())));
    }
    if let Some(rows) = rows.downcast_ref::<SentRows>() {
        return Ok(Some(Told::Rows(rows.to_bytes()?)));
    }
    // The catalog shows a table that was never written as one without rows.
    Ok(rows.downcast_ref::<MemTable>().filter(|rows| is_empty(rows)).map(|_| Told::Empty))
}

/// Whether a table in memory has no row; one that is being written has some.
fn is_empty(rows: &MemTable) -> bool {
    let n_rows = |batches: &Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    rows.batches.iter().all(|part| part.try_read().is_ok_and(|batches| n_rows(&batches) == 0))
}

/// Whether another process can be told of a table: whether it is one of the lake or sent along, and not the rows of a function.
pub(crate) fn can_be_told(rows: &dyn TableProvider) -> bool {
    let rows = rows as &dyn Any;
    rows.is::<TableScan>() || rows.is::<SentRows>() || rows.downcast_ref::<MemTable>().is_some_and(is_empty)
}

/// Ballista's codec of plans, with the lake's tables.
#[derive(Default)]
pub(crate) struct LakeCodec {
    others: BallistaLogicalExtensionCodec,
}

impl fmt::Debug for LakeCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LakeCodec")
    }
}

impl LogicalExtensionCodec for LakeCodec {
    fn try_decode(&self, buf: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.others.try_decode(buf, inputs, context)
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        self.others.try_encode(node, buf)
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        _: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let fault =
            |e: postcard::Error| plan_datafusion_err!("table '{name}': a list of files that cannot be read: {e}");
        Ok(match postcard::from_bytes(buf).map_err(fault)? {
            Told::Files(list) => Arc::new(TableScan::new(list, schema)?),
            Told::Empty => Arc::new(MemTable::try_new(schema, vec![vec![]])?),
            Told::Rows(rows) => {
                let batches = StreamReader::try_new(rows.as_slice(), None)?.collect::<Result<Vec<_>, _>>()?;
                Arc::new(MemTable::try_new(schema, vec![batches])?)
            }
        })
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        rows: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(told) = told(rows.as_ref())? else {
            return plan_err!("table '{name}': its rows are made in this process and no other can be told of them");
        };
        let fault = |e: postcard::Error| plan_datafusion_err!("table '{name}': {e}");
        buf.extend(postcard::to_stdvec(&told).map_err(fault)?);
        Ok(())
    }

    fn try_decode_file_format(&self, buf: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.others.try_decode_file_format(buf, context)
    }

    fn try_encode_file_format(&self, buf: &mut Vec<u8>, node: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.others.try_encode_file_format(buf, node)
    }
}

#[cfg(test)]
mod tests;
