//! Ends a query from within: a join that finds nothing gives no thread back, so nobody else can end it.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::unnest::UnnestExec;
use tokio::time::error::Elapsed;

use super::limits::{LimitReached, STALL};
use crate::error::Error;

/// When a query has to end: once it has computed for as long as it may, or once nobody reads it.
#[derive(Debug)]
pub(super) struct Deadline {
    start: Instant,
    limit: Duration,
    /// Microseconds after the start.
    end: AtomicU64,
}

/// Ends its query when it is dropped.
#[derive(Debug)]
pub(super) struct EndOnDrop(pub(super) Arc<Deadline>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Relaxed);
    }
}

impl Deadline {
    /// A query that starts now.
    pub(super) fn after(limit: Duration) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), limit, end: AtomicU64::new(micros(limit)) })
    }

    /// What is left, at least a millisecond.
    pub(super) fn left(&self) -> Duration {
        let end = Duration::from_micros(self.end.load(Ordering::Relaxed));
        end.saturating_sub(self.start.elapsed()).max(Duration::from_millis(1))
    }

    /// Waits for the query's reader, for [`STALL`] at most, and leaves that time out: at once, because what the query computes ahead looks at the
    /// clock meanwhile.
    pub(super) async fn waiting<T>(&self, reader: impl Future<Output = T>) -> Result<T, Elapsed> {
        let begun = Instant::now();
        self.move_end(|end| end.saturating_add(micros(STALL)));
        let done = tokio::time::timeout(STALL, reader).await;
        self.move_end(|end| end.saturating_sub(micros(STALL.saturating_sub(begun.elapsed()))));
        done
    }

    fn move_end(&self, to: impl Fn(u64) -> u64) {
        // One that has ended stays so.
        let _ = self.end.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |end| (end > 0).then(|| to(end)));
    }

    /// The fault of a query that goes on behind it.
    pub(super) fn fault(&self) -> Error {
        LimitReached::Time { limit: self.limit }.into()
    }

    fn is_over(&self) -> bool {
        micros(self.start.elapsed()) >= self.end.load(Ordering::Relaxed)
    }

    /// The plan, which ends by itself and lets others compute meanwhile.
    ///
    /// The engine's operators give their thread back when they ask for their input. What makes many batches of one does so a batch, and
    /// conditions of joins, which may be false for billions of pairs before there is one, look at the clock.
    pub(super) fn hold(self: &Arc<Self>, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let held = plan.transform_up(|plan| {
            let held: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
                match join.filter() {
                    Some(filter) => {
                        let builder = NestedLoopJoinExecBuilder::from(join);
                        Arc::new(builder.with_filter(Some(self.watched(filter))).build()?)
                    }
                    None => plan,
                }
            } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
                match join.filter() {
                    Some(filter) => join.builder().with_filter(Some(self.watched(filter))).build_exec()?,
                    None => plan,
                }
            } else if plan.is::<CrossJoinExec>() || plan.is::<UnnestExec>() {
                plan
            } else {
                return Ok(Transformed::no(plan));
            };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(held)) as _))
        })?;
        Ok(held.data)
    }

    fn watched(self: &Arc<Self>, filter: &JoinFilter) -> JoinFilter {
        let condition = Watched { condition: Arc::clone(filter.expression()), deadline: Arc::clone(self) };
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A condition that is a fault once its query should have ended.
#[derive(Debug)]
struct Watched {
    condition: Arc<dyn PhysicalExpr>,
    deadline: Arc<Deadline>,
}

impl PhysicalExpr for Watched {
    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.condition.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.deadline.is_over() {
            return Err(self.deadline.fault().into());
        }
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { condition: children.swap_remove(0), deadline: Arc::clone(&self.deadline) }))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}

impl Display for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition) && Arc::ptr_eq(&self.deadline, &other.deadline)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}
