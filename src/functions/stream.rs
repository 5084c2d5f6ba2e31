//! A table function's rows as a stream: one partition, made by a future that runs when the first row is asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::SortExpr;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::col;
use futures::stream::BoxStream;

/// Makes the rows anew for each execution.
pub(crate) type Rows = Arc<dyn Fn() -> BoxStream<'static, Result<RecordBatch>> + Send + Sync>;

struct OnePartition {
    name: &'static str,
    schema: SchemaRef,
    rows: Rows,
}

impl fmt::Debug for OnePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartitionStream for OnePartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), (self.rows)()))
    }
}

/// A table of one partition whose rows come sorted by `order`, so that an ORDER BY of the same columns costs nothing.
pub(crate) fn table(
    name: &'static str,
    schema: SchemaRef,
    order: &[&str],
    rows: Rows,
) -> Result<Arc<dyn TableProvider>> {
    let partition = OnePartition { name, schema: Arc::clone(&schema), rows };
    let order = order.iter().map(|column| SortExpr::new(col(*column), true, false)).collect();
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(partition)])?.with_sort_order(order)))
}
