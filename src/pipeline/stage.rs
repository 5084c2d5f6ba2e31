//! One stage: its rows are streamed, checked, and committed in whole units.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalake::DeltaTable;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Observer;
use super::failures::Failures;
use super::outdated::{Finder, Outdated};
use super::queries::Query;
use super::runs::Run;
use super::settings::{Plan, Regenerate};
use super::steps::Step;
use crate::completions::budget::Spent;
use crate::error::{Error, Result};
use crate::metrics::metrics;
use crate::models::hook_points::HookPoint;
use crate::session::Session;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::lease::Lease;
use crate::tables::replace::{Leaving, TableReplacer};
use crate::tables::writer::{Origin, opened_after};

mod look;
mod rows;
mod sink;

use rows::{Bounds, RANGES_IN_FLIGHT, bounds};
use sink::Sink;

/// Parquet bytes after which the units held are committed.
const COMMIT_BYTES: usize = 32 << 20;
/// Time after which the units held are committed: what a kill can cost.
const COMMIT_AFTER: Duration = Duration::from_secs(10);
/// Documents of a chunk.
const CHUNK: i64 = 4_096;
/// How often a pass of the model is asked how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Hook points under way at the same time where workers compute: while the last rows of one are committed, the next keep them busy.
const HOOK_POINTS_IN_FLIGHT: usize = 4;
/// Times that work is begun again because another process committed the same, which happens only where a process held the turn,
/// was stopped for long, and went on.
const TRIES: u32 = 8;

/// What a stage did.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Rows committed.
    pub n_rows: usize,
    /// Keys whose rows were taken away.
    pub n_removed: usize,
    /// Units that rows were written of.
    pub n_units: u64,
    /// Rows without a result.
    pub failures: Failures,
}

/// Runs a stage, once or for each hook point.
///
/// # Errors
/// The first fault; what was committed stays.
pub async fn run(engine: &Session, step: &Step, plan: &Plan, observer: &dyn Observer) -> Result<Done> {
    let query = &step.query;
    let name = query.writes.as_deref().unwrap_or_default();
    let definition = table(name).ok_or_else(|| Error::QueryFile {
        file: format!("queries/pipeline/{}.sql", query.name),
        reason: format!("expected to write a table of schemas/, got '{name}'"),
    })?;
    // Of all that a stage asks only its own query is work for workers: what is there and what is missing is answered sooner than sent.
    let session = &engine.here();
    let engine = if step.pays { session } else { engine };
    let run = Run::start(step, plan);
    // An incremental run makes rows of other settings anew.
    if plan.settings.regenerate == Regenerate::Missing {
        run.check_settings(session, plan).await?;
    }
    let finder = Finder::new(session, step, plan, definition, &run).await?;
    let finished = name == "activations" && run.finished_before(session).await?;
    let mut total = 0;
    if query.resume.is_none() {
        for hook in &plan.hook_points {
            total += plan.settings.neurons.units(hook)?.units().len() as u64;
        }
    }
    let work = Work {
        session,
        engine,
        step,
        query,
        plan,
        definition,
        finder,
        finished,
        run,
        recorded: OnceCell::new(),
        observer,
        spent_before: session.methods().models().spent(),
        total,
        counts: Mutex::default(),
    };
    match query.resume.as_deref() {
        Some(column) => Stage::new(&work, "").in_turn(Part::Rest(column)).await?,
        None => {
            let mut stages: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
            for hook in &plan.hook_points {
                stages.push(Stage::new(&work, hook.name()).in_turn(Part::Units(hook)).boxed());
            }
            let mut at_once = 1;
            if work.by_ranges() {
                at_once = HOOK_POINTS_IN_FLIGHT;
                // Whoever makes the table refuses those that saw none.
                session.lake().open_or_create(definition).await?;
            }
            stream::iter(stages).buffered(at_once).try_for_each(|()| async { Ok(()) }).await?;
        }
    }
    // Replies become rows of `completions` where a step ends: until then they are safe in the store.
    session.methods().models().fold().await?;
    let done = work.counts.lock().done.clone();
    if work.recorded.initialized() {
        let cost = session.methods().models().spent().dollars - work.spent_before.dollars;
        work.run.finish(session, done.n_rows, cost).await?;
    }
    Ok(done)
}

/// What a stage does between two waits for its turn.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// What comes after the largest stored value of a column.
    Rest(&'a str),
    /// All units of a hook point.
    Units(&'a HookPoint),
}

/// What all parts of a stage have in common.
struct Work<'a> {
    /// Answers in this process …
    session: &'a Session,
    /// … and computes the stage's own query, on workers where there are some.
    engine: &'a Session,
    step: &'a Step,
    query: &'a Query,
    plan: &'a Plan,
    definition: &'static TableDefinition,
    finder: Finder<'a>,
    /// Whether a run with the same parameters ended well before: a unit without a firing has no row to tell that it is done.
    finished: bool,
    run: Run,
    /// Whether the run has its row.
    recorded: OnceCell<()>,
    observer: &'a dyn Observer,
    /// What had been spent before the stage.
    spent_before: Spent,
    /// Units of all hook points.
    total: u64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Units that are known to be done.
    n_units: u64,
    /// Units of the lots that ended, of all hook points …
    n_done: usize,
    /// … and those of them that rows were written of now.
    n_done_now: usize,
    done: Done,
}

impl Work<'_> {
    fn wants(&self, name: &str) -> bool {
        self.query.params.iter().any(|(param, _)| param == name)
    }

    /// Whether the query goes to workers by ranges of units.
    fn by_ranges(&self) -> bool {
        self.engine.has_workers() && self.wants("first_neuron")
    }
}

/// One part of a stage.
struct Stage<'a> {
    of: &'a Work<'a>,
    /// The hook point under way; empty where there is none.
    at: String,
    /// Rows of the hook point under way that are made anew.
    outdated: Outdated,
    last_unit_seen: Option<i64>,
    /// Rows committed.
    n_rows: usize,
}

/// A table as it was before a query was planned; none where it was never written.
struct Pinned(Option<DeltaTable>);

impl<'a> Stage<'a> {
    fn new(of: &'a Work<'a>, at: &str) -> Self {
        Self { of, at: at.to_owned(), outdated: Outdated::default(), last_unit_seen: None, n_rows: 0 }
    }

    /// Does a part while no other process does the same one: whoever waited finds it done.
    async fn in_turn(mut self, part: Part<'_>) -> Result<()> {
        let (observer, step) = (self.of.observer, self.of.step);
        let lease = Lease::take_telling(self.of.session.lake(), &self.work(), &|| observer.stage_waits(step)).await?;
        let done = match part {
            Part::Rest(column) => self.rest(column).await,
            Part::Units(hook) => self.units_of(hook).await,
        };
        lease.release().await;
        done
    }

    /// Name of the work under way, the same in every process that does it.
    fn work(&self) -> String {
        self.of.step.work(self.of.plan, &self.at)
    }

    /// What comes after the largest stored value of the resume column: at once, or, where the query takes `$until`, some
    /// thousand documents at a time, so that what is sorted for the commit order stays small.
    async fn rest(&mut self, column: &str) -> Result<()> {
        self.outdated = self.of.finder.find(None).await?;
        if !self.outdated.keys.is_empty() {
            self.replace_all(column).await?;
        }
        let Some(source) = self.of.query.reads.first().filter(|_| self.of.wants("until")) else {
            let mut tries = 0;
            loop {
                let pinned = self.pin().await?;
                let after = self.largest(self.of.definition, column).await?;
                match self.once(pinned, None, &[vec![("after", after)]]).await {
                    Err(error) if self.begins_again(&error, &mut tries) => {}
                    other => return other,
                }
            }
        };
        let source = table(source).ok_or_else(|| Error::internal("a stage with $until reads a table"))?;
        let last = self.largest(source, column).await?;
        let (mut done, mut tries) = (self.largest(self.of.definition, column).await?, 0);
        while done < last {
            let pinned = self.pin().await?;
            // Looked at after the table was pinned; and documents may leave nothing behind, so it alone would come to no end.
            let after = self.largest(self.of.definition, column).await?.max(done);
            let until = after + CHUNK;
            match self.once(pinned, None, &[vec![("after", after), ("until", until)]]).await {
                Err(error) if self.begins_again(&error, &mut tries) => {}
                other => {
                    other?;
                    done = until;
                }
            }
        }
        Ok(())
    }

    /// Takes all rows of the corpus away, so that the stage begins anew: numbers of documents may have moved.
    async fn replace_all(&mut self, column: &str) -> Result<()> {
        let last = self.largest(self.of.definition, column).await?;
        tracing::info!(stage = self.of.query.name.as_str(), last, "the corpus is read anew");
        self.remove(None).await
    }

    /// Removes the step's rows, or those of some keys, which are then no longer out of date.
    async fn remove(&mut self, keys: Option<&BTreeSet<String>>) -> Result<()> {
        let (condition, column) = (self.outdated.condition(), self.outdated.column);
        let leaving = Leaving { condition: &condition, keys: keys.map(|keys| (column, keys)) };
        let mut tries = 0;
        loop {
            let pinned = self.pin().await?;
            match self.replacer(pinned).await?.commit(self.of.session.context(), leaving).await {
                Err(error) if self.begins_again(&error, &mut tries) => {}
                other => {
                    self.of.counts.lock().done.n_removed += self.outdated.keys.len();
                    self.outdated = Outdated::default();
                    return other;
                }
            }
        }
    }

    /// All units of a hook point: at once, or some at a time where a language model is asked, each lot committed before the
    /// next is begun. Workers are sent as many lots as are in flight.
    async fn units_of(&mut self, hook: &HookPoint) -> Result<()> {
        self.outdated = self.of.finder.find(Some(hook)).await?;
        if self.of.finished && self.outdated.keys.is_empty() {
            return Ok(());
        }
        let Some(at_once) = self.of.step.units_at_once else {
            let collects = self.of.query.sql.contains("collect_activations(");
            if collects && self.outdated.keys.is_empty() && self.is_complete(hook).await? {
                return Ok(());
            }
            let ranges = if self.of.by_ranges() { self.ranges(hook)? } else { vec![vec![]] };
            self.units(hook, &ranges).await?;
            return self.drop_outdated().await;
        };
        let lots = self.lots(hook, at_once).await?;
        for lots in lots.chunks(if self.of.by_ranges() { RANGES_IN_FLIGHT } else { 1 }) {
            let bounds: Vec<Bounds> =
                lots.iter().filter_map(|units| Some(bounds(*units.first()?, *units.last()?))).collect();
            let before = self.n_rows;
            match self.units(hook, &bounds).await {
                Err(error) if error.is_budget_reached() => return Err(self.over_budget(error, hook).await),
                other => other?,
            }
            let n_units = lots.iter().map(Vec::len).sum::<usize>();
            let mut counts = self.of.counts.lock();
            counts.n_done += n_units;
            counts.n_done_now += if self.n_rows > before { n_units } else { 0 };
        }
        self.drop_outdated().await
    }

    /// What is missing, or out of date, of the units within the bounds, which follow each other.
    async fn units(&mut self, hook: &HookPoint, ranges: &[Bounds]) -> Result<()> {
        let mut tries = 0;
        loop {
            let pinned = self.pin().await?;
            match self.once(pinned, Some(hook), ranges).await {
                Err(error) if self.begins_again(&error, &mut tries) => {}
                other => return other,
            }
        }
    }

    /// Rows out of date that nothing took the place of: what they were made of is gone.
    async fn drop_outdated(&mut self) -> Result<()> {
        // A run for what is missing takes nothing away: what failed at the endpoint stays until there is something in its place.
        if self.outdated.keys.is_empty() || self.of.plan.settings.regenerate == Regenerate::Missing {
            return Ok(());
        }
        let n_keys = self.outdated.keys.len();
        let (stage, hook_point) = (self.of.query.name.as_str(), self.at.as_str());
        tracing::info!(stage, hook_point, n_keys, "rows of what is gone are removed");
        let keys = self.outdated.keys.clone();
        self.remove(Some(&keys)).await
    }

    /// The table as it is before the query that looks for what is missing: rows that others commit in between are then seen by the
    /// query, or refuse ours.
    async fn pin(&self) -> Result<Pinned> {
        Ok(Pinned(self.of.session.lake().open(self.of.definition).await?))
    }

    /// Whether work that failed is begun again, because another process committed the same: what is left to do is then less.
    fn begins_again(&self, error: &Error, tries: &mut u32) -> bool {
        *tries += 1;
        let again = matches!(error.itself(), Error::Overtaken { .. }) && *tries < TRIES;
        if again {
            let (stage, hook_point) = (self.of.query.name.as_str(), self.at.as_str());
            tracing::info!(stage, hook_point, tries, "another process committed the same work; looking again");
            metrics().commit_retries.inc();
        }
        again
    }

    async fn once(&mut self, pinned: Pinned, hook: Option<&HookPoint>, ranges: &[Bounds]) -> Result<()> {
        self.last_unit_seen = None;
        let mut stream = self.rows(hook, ranges).await?;
        let mut pinned = Some(pinned);
        let mut sink: Option<Sink> = None;
        let mut held: Option<RecordBatch> = None;
        let mut committed_at = Instant::now();
        let mut pending = 0;
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    self.show_pass();
                    continue;
                }
            };
            let Some(batch) = next else { break };
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            if sink.is_none() {
                // What sorts gives nothing until it has everything: the time until then says nothing about what a kill can cost.
                committed_at = Instant::now();
            }
            let sink = match (&mut sink, pinned.take()) {
                (Some(open), _) => open,
                (none, Some(pinned)) => none.insert(self.sink(pinned).await?),
                (None, None) => return Err(Error::internal("a table is opened once")),
            };
            // The last unit of a batch may go on in the next one: it is held back, so that a commit never cuts it.
            let last = self.last_unit(&batch)?;
            if let Some(held) = held.take() {
                pending += held.num_rows();
                sink.write(&held, &self.outdated, &self.of.query.name).await?;
            }
            pending += last;
            sink.write(&batch.slice(0, last), &self.outdated, &self.of.query.name).await?;
            let due = sink.pending_bytes() > COMMIT_BYTES || committed_at.elapsed() > COMMIT_AFTER;
            if last > 0 && due {
                self.commit(sink, &mut pending).await?;
                committed_at = Instant::now();
            }
            self.count(&batch)?;
            held = Some(batch.slice(last, batch.num_rows() - last));
        }
        if let (Some(mut sink), Some(held)) = (sink, held) {
            pending += held.num_rows();
            sink.write(&held, &self.outdated, &self.of.query.name).await?;
            self.commit(&mut sink, &mut pending).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, sink: &mut Sink, pending: &mut usize) -> Result<()> {
        let started = Instant::now();
        sink.commit(self.of.session.context(), &mut self.outdated).await?;
        let (table, n_rows) = (self.of.definition.name.as_str(), *pending);
        tracing::debug!(table, n_rows, seconds = started.elapsed().as_secs_f64(), "committed");
        metrics().rows(table).inc_by(n_rows as u64);
        self.n_rows += n_rows;
        self.of.counts.lock().done.n_rows += n_rows;
        *pending = 0;
        Ok(())
    }

    async fn sink(&self, pinned: Pinned) -> Result<Sink> {
        let table = opened_after(self.of.session.lake(), self.of.definition, pinned.0).await?;
        let origin = self.origin().await?;
        match self.outdated.keys.is_empty() {
            true => Sink::append(table, self.of.definition, origin),
            false => Sink::replace(table, self.of.definition, origin),
        }
    }

    async fn replacer(&self, pinned: Pinned) -> Result<TableReplacer> {
        let table = opened_after(self.of.session.lake(), self.of.definition, pinned.0).await?;
        TableReplacer::over(table, self.of.definition, self.origin().await?)
    }

    /// The run's own row comes before the first row that names it.
    async fn origin(&self) -> Result<Origin> {
        self.of.recorded.get_or_try_init(|| self.of.run.record(self.of.session, self.of.plan)).await?;
        Ok(Origin { run: self.of.run.id.clone(), work: Some(self.work()) })
    }

    /// Index of the first row of the batch's last unit.
    fn last_unit(&self, batch: &RecordBatch) -> Result<usize> {
        let Some(unit) = &self.of.query.unit else { return Ok(batch.num_rows()) };
        let values = self.unit_column(batch, unit)?;
        let values = values.as_primitive::<Int64Type>();
        let last = values.value(values.len() - 1);
        Ok(values.values().iter().rposition(|&value| value != last).map_or(0, |index| index + 1))
    }

    fn unit_column(&self, batch: &RecordBatch, unit: &str) -> Result<arrow::array::ArrayRef> {
        let column = batch.column_by_name(unit).ok_or_else(|| Error::QueryFile {
            file: format!("queries/pipeline/{}.sql", self.of.query.name),
            reason: format!("expected a column '{unit}', its unit"),
        })?;
        Ok(cast(column, &DataType::Int64)?)
    }

    fn count(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut counts = self.of.counts.lock();
        counts.done.failures.add(&self.of.definition.name, batch);
        let unit = self.of.query.unit.as_deref().unwrap_or("row");
        if let Some(column) = &self.of.query.unit {
            let values = self.unit_column(batch, column)?;
            for &value in values.as_primitive::<Int64Type>().values() {
                // A unit's rows may be spread over batches; they come together.
                let is_new = u64::from(self.last_unit_seen.replace(value) != Some(value));
                counts.n_units += is_new;
                counts.done.n_units += is_new;
            }
        }
        let (done, total) = (counts.n_units, self.of.total);
        drop(counts);
        self.of.observer.stage_advanced(self.of.step, done.min(total.max(done)), total, unit);
        Ok(())
    }

    fn show_pass(&self) {
        let (done, total) = self.of.session.progress().read();
        if self.of.query.sql.contains("collect_activations(") && done < total {
            self.of.observer.stage_advanced(self.of.step, done, total, "window");
        }
    }
}
