//! The one way from a request to the engine: read only unless told otherwise, within limits, on threads that serve no sockets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::deadline::{Deadline, EndOnDrop};
use super::limits::{LimitReached, QueryLimits, STALL};
use crate::error::{Error, Result};
use crate::metrics::metrics;
use crate::pipeline::queries::{self, Parameter};
use crate::session::{Access, Session};

/// Batches that wait for a reader.
const AHEAD: usize = 2;

/// Queries of others, held to the server's rules.
#[derive(Debug)]
pub(crate) struct Gate {
    session: Session,
    access: Access,
    limits: QueryLimits,
    slots: Arc<Semaphore>,
    /// Threads for planning and computing: a long query must not keep sockets waiting.
    engine: Handle,
}

/// A query that was understood and not yet run.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    rows: DataFrame,
}

impl Planned {
    /// The columns it will return.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(self.rows.schema().inner())
    }

    /// Parameters by name (`1` for `$1`) with their types, where they can be told.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, Option<arrow::datatypes::DataType>)>> {
        let types = self.rows.logical_plan().get_parameter_types()?;
        let mut parameters: Vec<_> =
            types.into_iter().map(|(name, of)| (name.trim_start_matches('$').to_owned(), of)).collect();
        parameters.sort_by_key(|(name, _)| (name.parse::<usize>().unwrap_or(usize::MAX), name.clone()));
        Ok(parameters)
    }

    /// The query with values in place of its parameters.
    pub(crate) fn with_values(self, values: impl Into<ParamValues>) -> Result<Self> {
        Ok(Self { rows: self.rows.with_param_values(values)? })
    }
}

/// The rows of a query as they come. Dropping it stops the query.
pub(crate) struct Answer {
    schema: SchemaRef,
    batches: ReceiverStream<Result<RecordBatch>>,
    _end: EndOnDrop,
    _task: AbortOnDropHandle<()>,
}

impl Answer {
    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(context)
    }
}

/// A query of `queries/viewer` with what it found: what a page shows, and the SQL it shows below itself.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The query's file name.
    pub(crate) name: &'static str,
    /// The statement as it ran.
    pub(crate) sql: String,
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// All of its rows.
    pub(crate) batches: Vec<RecordBatch>,
}

impl Asked {
    /// The rows as JSON objects, a field a column; what is NULL is null, and so is what is no number.
    pub(crate) fn objects(&self) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
        super::rows::objects(&self.batches)
    }

    /// Drops the rows whose text in a column is another.
    pub(crate) fn keep_text(&mut self, column: &str, text: &str) -> Result<()> {
        for batch in &mut self.batches {
            // The engine shows texts in a form of its own choice.
            let texts = cast(batch.column(batch.schema().index_of(column)?), &DataType::Utf8)?;
            let same = eq(&texts, &StringArray::new_scalar(text))?;
            *batch = filter_record_batch(batch, &same)?;
        }
        Ok(())
    }
}

impl Gate {
    /// A gate before a session that was opened with this access.
    pub(crate) fn new(session: Session, access: Access, limits: QueryLimits, engine: Handle) -> Self {
        Self { session, access, limits, slots: Arc::new(Semaphore::new(limits.at_once)), engine }
    }

    /// The session behind it.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// What statements may do.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// What a statement would do. [`Gate::plan`] does at once what changes no rows, such as DROP and SET; this does nothing.
    ///
    /// # Errors
    /// As [`Session::understand`]; [`LimitReached`] for time.
    pub(crate) async fn understand(&self, sql: &str) -> Result<LogicalPlan> {
        let (session, sql) = (self.session.with_memory(self.limits.memory), sql.to_owned());
        let planning = async move { session.understand(&sql).await };
        let plan = self.on_engine(tokio::time::timeout(self.limits.time, planning)).await?;
        plan.map_err(|_| LimitReached::Time { limit: self.limits.time })?
    }

    /// Plans a query.
    ///
    /// # Errors
    /// As [`Session::sql`] or, where only reading is allowed, [`Session::read_only_sql`]; [`LimitReached`] for time.
    pub(crate) async fn plan(&self, sql: &str) -> Result<Planned> {
        self.plan_with(self.access, sql).await
    }

    async fn plan_with(&self, access: Access, sql: &str) -> Result<Planned> {
        let session = self.session.with_memory(self.limits.memory);
        let sql = sql.to_owned();
        let planning = async move {
            match access {
                Access::Full => session.sql(&sql).await,
                Access::Reading => session.read_only_sql(&sql).await,
            }
        };
        let start = Instant::now();
        let rows = self.on_engine(tokio::time::timeout(self.limits.time, planning)).await?;
        let rows = rows.map_err(|_| Error::from(LimitReached::Time { limit: self.limits.time })).flatten();
        let rows = rows.inspect_err(|error| {
            metrics().query("refused", start.elapsed());
            metrics().error(error.kind());
        })?;
        Ok(Planned { rows })
    }

    /// Runs a query that was planned; rows come as the reader takes them.
    ///
    /// # Errors
    /// [`LimitReached::Busy`]; what goes wrong later comes out of the answer.
    pub(crate) async fn run(&self, planned: Planned) -> Result<Answer> {
        let slot = self.slot().await?;
        let schema = planned.schema();
        let (sender, receiver) = mpsc::channel(AHEAD);
        let limits = self.limits;
        let deadline = Deadline::after(limits.time);
        let end = EndOnDrop(Arc::clone(&deadline));
        let task = self.engine.spawn(async move {
            let start = Instant::now();
            let stalled = feed(planned, limits, &deadline, &sender).await;
            metrics().query(if stalled.is_ok() { "done" } else { "failed" }, start.elapsed());
            if let Err(error) = stalled {
                let error = LimitReached::of_memory(error, limits.memory, "--query-memory");
                metrics().error(error.kind());
                // A reader who is gone hears nothing.
                let _ = tokio::time::timeout(STALL, sender.send(Err(error))).await;
            }
            drop::<OwnedSemaphorePermit>(slot);
        });
        Ok(Answer { schema, batches: ReceiverStream::new(receiver), _end: end, _task: AbortOnDropHandle::new(task) })
    }

    /// Plans and runs a query.
    ///
    /// # Errors
    /// As [`Gate::plan`] and [`Gate::run`].
    pub(crate) async fn query(&self, sql: &str) -> Result<Answer> {
        self.run(self.plan(sql).await?).await
    }

    /// Plans and runs a query that may only read, whatever others may: for what is asked by GET, which anybody's page can make a
    /// browser do.
    ///
    /// # Errors
    /// As [`Session::read_only_sql`] and [`Gate::run`].
    pub(crate) async fn read(&self, sql: &str) -> Result<Answer> {
        self.run(self.plan_with(Access::Reading, sql).await?).await
    }

    /// Plans a query that may only read, runs it and waits for all its rows: for pages, whose queries have a LIMIT.
    ///
    /// # Errors
    /// As [`Gate::read`], and whatever the query meets.
    pub(crate) async fn rows(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let answer = self.read(sql).await?;
        let planned = answer.schema();
        let batches: Vec<RecordBatch> = answer.try_collect().await?;
        // The types that the rows have: a union's own, before its parts were made to agree, may be others.
        Ok((batches.first().map_or(planned, RecordBatch::schema), batches))
    }

    /// Runs a query of `queries/viewer`.
    ///
    /// # Errors
    /// As [`Gate::rows`], and for values that it does not take.
    pub(crate) async fn ask(&self, name: &'static str, values: &[(&str, Parameter)]) -> Result<Asked> {
        let values: Vec<_> = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let sql = queries::find(name)?.bind(&values)?;
        let (schema, batches) = self.rows(&sql).await?;
        Ok(Asked { name, sql, schema, batches })
    }

    /// Whether no query runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.available_permits() == self.limits.at_once
    }

    /// Runs something on the engine's threads.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn on_engine<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        AbortOnDropHandle::new(self.engine.spawn(work))
            .await
            .map_err(|error| Error::internal(format!("a query ended in a panic: {error}")))
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit> {
        let QueryLimits { at_once, wait, .. } = self.limits;
        let turn = tokio::time::timeout(wait, Arc::clone(&self.slots).acquire_owned()).await;
        turn.map_err(|_| LimitReached::Busy { at_once, wait })?.map_err(|_| Error::internal("the server is stopping"))
    }
}

/// Hands a query's batches to its reader, and counts its time and rows.
async fn feed(
    planned: Planned,
    limits: QueryLimits,
    deadline: &Arc<Deadline>,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let late = |_| deadline.fault();
    let context = Arc::new(planned.rows.task_ctx());
    let plan = tokio::time::timeout(deadline.left(), planned.rows.create_physical_plan()).await.map_err(late)??;
    let mut stream = execute_stream(deadline.hold(plan)?, context)?;
    let mut rows = 0;
    while let Some(batch) = tokio::time::timeout(deadline.left(), stream.next()).await.map_err(late)? {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        if rows > limits.rows {
            return Err(LimitReached::Rows { limit: limits.rows }.into());
        }
        match deadline.waiting(sender.send(Ok(batch))).await {
            Ok(Ok(())) => {}
            // The reader has gone.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(LimitReached::Stalled.into()),
        }
    }
    Ok(())
}
