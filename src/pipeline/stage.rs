//! One stage: its rows are streamed, checked, and committed in whole units.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalake::DeltaTable;
use futures::StreamExt;

use super::Observer;
use super::estimate;
use super::failures::Failures;
use super::outdated::{Finder, Outdated};
use super::queries::{Parameter, Query};
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

mod sink;

use sink::Sink;

/// Parquet bytes after which the units held are committed.
const COMMIT_BYTES: usize = 32 << 20;
/// Time after which the units held are committed: what a kill can cost.
const COMMIT_AFTER: Duration = Duration::from_secs(10);
/// Documents of a chunk.
const CHUNK: i64 = 4_096;
/// How often a pass of the model is asked how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
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
pub async fn run(session: &Session, step: &Step, plan: &Plan, observer: &dyn Observer) -> Result<Done> {
    let query = &step.query;
    let name = query.writes.as_deref().unwrap_or_default();
    let definition = table(name).ok_or_else(|| Error::QueryFile {
        file: format!("queries/pipeline/{}.sql", query.name),
        reason: format!("expected to write a table of schemas/, got '{name}'"),
    })?;
    let run = Run::start(step, plan);
    // An incremental run makes rows of other settings anew.
    if plan.settings.regenerate == Regenerate::Missing {
        run.check_settings(session, plan).await?;
    }
    let finder = Finder::new(session, step, plan, definition, &run).await?;
    let finished = name == "activations" && run.finished_before(session).await?;
    let mut stage = Stage {
        session,
        step,
        query,
        plan,
        definition,
        finder,
        outdated: Outdated::default(),
        finished,
        run,
        observer,
        recorded: false,
        at: String::new(),
        n_units: 0,
        last_unit_seen: None,
        total: 0,
        n_done: 0,
        n_done_now: 0,
        spent_before: session.methods().models().spent(),
        n_rows: 0,
        n_written_units: 0,
        n_removed: 0,
        failures: Failures::default(),
    };
    if let Some(column) = query.resume.as_deref() {
        stage.in_turn(Part::Rest(column)).await?;
    } else {
        for hook in &plan.hook_points {
            stage.total += plan.settings.neurons.units(hook)?.units().len() as u64;
        }
        for hook in &plan.hook_points {
            hook.name().clone_into(&mut stage.at);
            stage.in_turn(Part::Units(hook)).await?;
        }
    }
    // Replies become rows of `completions` where a step ends: until then they are safe in the store.
    session.methods().models().fold().await?;
    if stage.recorded {
        let cost = session.methods().models().spent().dollars - stage.spent_before.dollars;
        stage.run.finish(session, stage.n_rows, cost).await?;
    }
    Ok(Done {
        n_rows: stage.n_rows,
        n_removed: stage.n_removed,
        n_units: stage.n_written_units,
        failures: stage.failures,
    })
}

/// What a stage does between two waits for its turn.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// What comes after the largest stored value of a column.
    Rest(&'a str),
    /// All units of a hook point.
    Units(&'a HookPoint),
}

struct Stage<'a> {
    session: &'a Session,
    step: &'a Step,
    query: &'a Query,
    plan: &'a Plan,
    definition: &'static TableDefinition,
    finder: Finder<'a>,
    /// Rows of the hook point under way that are made anew.
    outdated: Outdated,
    /// Whether a run with the same parameters ended well before: a unit without a firing has no row to tell that it is done.
    finished: bool,
    run: Run,
    observer: &'a dyn Observer,
    recorded: bool,
    /// The hook point under way; empty where there is none.
    at: String,
    n_units: u64,
    last_unit_seen: Option<i64>,
    total: u64,
    /// Units of the lots that ended, of all hook points …
    n_done: usize,
    /// … and those of them that rows were written of now, and what had been spent before them.
    n_done_now: usize,
    spent_before: Spent,
    /// Rows committed …
    n_rows: usize,
    /// … units that they are of, and keys whose rows were taken away.
    n_written_units: u64,
    n_removed: usize,
    failures: Failures,
}

/// A table as it was before a query was planned; none where it was never written.
struct Pinned(Option<DeltaTable>);

impl Stage<'_> {
    /// Does a part while no other process does the same one: whoever waited finds it done.
    async fn in_turn(&mut self, part: Part<'_>) -> Result<()> {
        let (observer, step) = (self.observer, self.step);
        let lease = Lease::take_telling(self.session.lake(), &self.work(), &|| observer.stage_waits(step)).await?;
        let done = match part {
            Part::Rest(column) => self.rest(column).await,
            Part::Units(hook) => self.units_of(hook).await,
        };
        lease.release().await;
        done
    }

    /// Name of the work under way, the same in every process that does it.
    fn work(&self) -> String {
        self.step.work(self.plan, &self.at)
    }

    /// What comes after the largest stored value of the resume column: at once, or, where the query takes `$until`, some
    /// thousand documents at a time, so that what is sorted for the commit order stays small.
    async fn rest(&mut self, column: &str) -> Result<()> {
        self.outdated = self.finder.find(None).await?;
        if !self.outdated.keys.is_empty() {
            self.replace_all(column).await?;
        }
        let Some(source) = self.query.reads.first().filter(|_| self.wants("until")) else {
            let mut tries = 0;
            loop {
                let pinned = self.pin().await?;
                let after = self.largest(self.definition, column).await?;
                match self.once(pinned, None, &[("after", after)]).await {
                    Err(error) if self.begins_again(&error, &mut tries) => {}
                    other => return other,
                }
            }
        };
        let source = table(source).ok_or_else(|| Error::internal("a stage with $until reads a table"))?;
        let last = self.largest(source, column).await?;
        let (mut done, mut tries) = (self.largest(self.definition, column).await?, 0);
        while done < last {
            let pinned = self.pin().await?;
            // Looked at after the table was pinned; and documents may leave nothing behind, so it alone would come to no end.
            let after = self.largest(self.definition, column).await?.max(done);
            let until = after + CHUNK;
            match self.once(pinned, None, &[("after", after), ("until", until)]).await {
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
        let last = self.largest(self.definition, column).await?;
        tracing::info!(stage = self.query.name.as_str(), last, "the corpus is read anew");
        self.remove(None).await
    }

    /// Removes the step's rows, or those of some keys, which are then no longer out of date.
    async fn remove(&mut self, keys: Option<&BTreeSet<String>>) -> Result<()> {
        let (condition, column) = (self.outdated.condition(), self.outdated.column);
        let leaving = Leaving { condition: &condition, keys: keys.map(|keys| (column, keys)) };
        let mut tries = 0;
        loop {
            let pinned = self.pin().await?;
            match self.replacer(pinned).await?.commit(self.session.context(), leaving).await {
                Err(error) if self.begins_again(&error, &mut tries) => {}
                other => {
                    self.n_removed += self.outdated.keys.len();
                    self.outdated = Outdated::default();
                    return other;
                }
            }
        }
    }

    /// All units of a hook point: at once, or some at a time where a language model is asked, each lot committed before the
    /// next is begun.
    async fn units_of(&mut self, hook: &HookPoint) -> Result<()> {
        self.outdated = self.finder.find(Some(hook)).await?;
        if self.finished && self.outdated.keys.is_empty() {
            return Ok(());
        }
        let Some(at_once) = self.step.units_at_once else {
            let collects = self.query.sql.contains("collect_activations(");
            if collects && self.outdated.keys.is_empty() && self.is_complete(hook).await? {
                return Ok(());
            }
            self.units(hook, &[]).await?;
            return self.drop_outdated().await;
        };
        let lots = self.lots(hook, at_once).await?;
        for units in lots {
            let (Some(first), Some(last)) = (units.first(), units.last()) else { continue };
            let bounds = [("first_neuron", *first), ("last_neuron", *last)];
            let before = self.n_rows;
            match self.units(hook, &bounds).await {
                Err(error) if error.is_budget_reached() => return Err(self.over_budget(error, hook).await),
                other => other?,
            }
            self.n_done += units.len();
            self.n_done_now += if self.n_rows > before { units.len() } else { 0 };
        }
        self.drop_outdated().await
    }

    /// What is missing, or out of date, of the units within the bounds.
    async fn units(&mut self, hook: &HookPoint, bounds: &[(&str, i64)]) -> Result<()> {
        let mut tries = 0;
        loop {
            let pinned = self.pin().await?;
            match self.once(pinned, Some(hook), bounds).await {
                Err(error) if self.begins_again(&error, &mut tries) => {}
                other => return other,
            }
        }
    }

    /// Rows out of date that nothing took the place of: what they were made of is gone.
    async fn drop_outdated(&mut self) -> Result<()> {
        // A run for what is missing takes nothing away: what failed at the endpoint stays until there is something in its place.
        if self.outdated.keys.is_empty() || self.plan.settings.regenerate == Regenerate::Missing {
            return Ok(());
        }
        let n_keys = self.outdated.keys.len();
        let (stage, hook_point) = (self.query.name.as_str(), self.at.as_str());
        tracing::info!(stage, hook_point, n_keys, "rows of what is gone are removed");
        let keys = self.outdated.keys.clone();
        self.remove(Some(&keys)).await
    }

    /// The table as it is before the query that looks for what is missing: rows that others commit in between are then seen by the
    /// query, or refuse ours.
    async fn pin(&self) -> Result<Pinned> {
        Ok(Pinned(self.session.lake().open(self.definition).await?))
    }

    /// Whether work that failed is begun again, because another process committed the same: what is left to do is then less.
    fn begins_again(&self, error: &Error, tries: &mut u32) -> bool {
        *tries += 1;
        let again = matches!(error.itself(), Error::Overtaken { .. }) && *tries < TRIES;
        if again {
            let (stage, hook_point) = (self.query.name.as_str(), self.at.as_str());
            tracing::info!(stage, hook_point, tries, "another process committed the same work; looking again");
            metrics().commit_retries.inc();
        }
        again
    }

    /// The selected units of the hook point that have statistics, in order and in lots. No other unit of the lake stands
    /// between the first and the last of a lot: a query is bounded by them, and what nobody selected must not be paid for.
    async fn lots(&self, hook: &HookPoint, at_once: usize) -> Result<Vec<Vec<i64>>> {
        let selected = self.plan.settings.neurons.units(hook)?;
        let selected: HashSet<i64> = selected.units().iter().map(|unit| i64::from(*unit)).collect();
        let known = self.known_units(hook).await?;
        let runs = known.split(|unit| !selected.contains(unit));
        Ok(runs.flat_map(|run| run.chunks(at_once)).map(<[i64]>::to_vec).collect())
    }

    /// Every unit between the first and the last selected one that has statistics, in order.
    async fn known_units(&self, hook: &HookPoint) -> Result<Vec<i64>> {
        let (first, last) = self.plan.settings.neurons.bounds();
        let conditions = [
            condition("corpus", &self.plan.settings.corpus_id()),
            condition("model", self.plan.model.id()),
            condition("hook_point", hook.name()),
            format!("neuron BETWEEN {first} AND {last}"),
        ];
        let sql = format!("SELECT DISTINCT neuron FROM neurons WHERE {} ORDER BY neuron", conditions.join(" AND "));
        let mut units = Vec::new();
        for batch in self.session.sql(&sql).await?.collect().await? {
            let neurons = cast(batch.column(0), &DataType::Int64)?;
            units.extend_from_slice(neurons.as_primitive::<Int64Type>().values());
        }
        Ok(units)
    }

    /// What was done when the money ran out, and what the rest of the stage may cost; where no lot has ended yet by which to tell, what
    /// the rest of the run may cost at most.
    async fn over_budget(&self, error: Error, hook: &HookPoint) -> Error {
        let spent = self.session.methods().models().spent();
        let before = &self.spent_before;
        let tokens = spent.prompt_tokens + spent.completion_tokens - before.prompt_tokens - before.completion_tokens;
        let rest = match self.n_done_now {
            0 => Box::pin(estimate::rest_in_words(self.session, &self.plan.settings)).await,
            done => {
                let times = (self.total as usize).saturating_sub(self.n_done) as f64 / done as f64;
                let dollars = match spent.unpriced_calls {
                    0 => format!(" ({:.4} usd)", (spent.dollars - before.dollars) * times),
                    _ => String::new(),
                };
                format!("about {:.0} tokens{dollars} more for the rest of it", tokens as f64 * times)
            }
        };
        error.with_progress(&format!(
            "{} calls answered and kept; stage '{}' at hook point '{hook}': {} of {} units done, {rest}",
            spent.calls, self.query.name, self.n_done, self.total
        ))
    }

    fn wants(&self, name: &str) -> bool {
        self.query.params.iter().any(|(param, _)| param == name)
    }

    async fn once(&mut self, pinned: Pinned, hook: Option<&HookPoint>, bounds: &[(&str, i64)]) -> Result<()> {
        let sql = self.bind(hook, bounds)?;
        let select = match self.outdated.keys.is_empty() {
            true => Query::select(&sql).to_owned(),
            false => self.finder.without(Query::select(&sql), &self.outdated)?,
        };
        self.last_unit_seen = None;
        let rows = self.session.sql(&select).await?;
        let mut stream = rows.execute_stream().await?;
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
                sink.write(&held, &self.outdated, &self.query.name).await?;
            }
            pending += last;
            sink.write(&batch.slice(0, last), &self.outdated, &self.query.name).await?;
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
            sink.write(&held, &self.outdated, &self.query.name).await?;
            self.commit(&mut sink, &mut pending).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, sink: &mut Sink, pending: &mut usize) -> Result<()> {
        let started = Instant::now();
        sink.commit(self.session.context(), &mut self.outdated).await?;
        let (table, n_rows) = (self.definition.name.as_str(), *pending);
        tracing::debug!(table, n_rows, seconds = started.elapsed().as_secs_f64(), "committed");
        metrics().rows(table).inc_by(n_rows as u64);
        self.n_rows += n_rows;
        *pending = 0;
        Ok(())
    }

    async fn sink(&mut self, pinned: Pinned) -> Result<Sink> {
        let table = opened_after(self.session.lake(), self.definition, pinned.0).await?;
        let origin = self.origin().await?;
        match self.outdated.keys.is_empty() {
            true => Sink::append(table, self.definition, origin),
            false => Sink::replace(table, self.definition, origin),
        }
    }

    async fn replacer(&mut self, pinned: Pinned) -> Result<TableReplacer> {
        let table = opened_after(self.session.lake(), self.definition, pinned.0).await?;
        TableReplacer::over(table, self.definition, self.origin().await?)
    }

    /// The run's own row comes before the first row that names it.
    async fn origin(&mut self) -> Result<Origin> {
        if !self.recorded {
            self.run.record(self.session, self.plan).await?;
            self.recorded = true;
        }
        Ok(Origin { run: self.run.id.clone(), work: Some(self.work()) })
    }

    fn bind(&self, hook: Option<&HookPoint>, bounds: &[(&str, i64)]) -> Result<String> {
        let mut values = vec![("run".to_owned(), Parameter::Text(self.run.id.clone()))];
        if let Some(hook) = hook {
            values.push(("hook_point".to_owned(), Parameter::Text(hook.name().to_owned())));
            let layer = hook.layer().map_or("NULL".to_owned(), |layer| layer.to_string());
            values.push(("layer".to_owned(), Parameter::Number(layer)));
        }
        values.extend(bounds.iter().map(|(name, value)| ((*name).to_owned(), Parameter::Integer(*value))));
        // The first of a name counts: bounds before the step's own values before those of the whole run.
        for (name, value) in self.step.values.iter().chain(self.plan.parameters()) {
            if !values.iter().any(|(known, _)| known == name) {
                values.push((name.clone(), value.clone()));
            }
        }
        values.retain(|(name, _)| self.wants(name));
        self.query.bind(&values)
    }

    /// The largest stored value of the resume column, -1 when there is none.
    async fn largest(&self, table: &TableDefinition, column: &str) -> Result<i64> {
        let mut conditions = vec![condition("corpus", &self.plan.settings.corpus_id())];
        if table.schema.field_with_name("model").is_ok() {
            conditions.push(condition("model", self.plan.model.id()));
        }
        let expression = format!("CAST(COALESCE(max({column}), -1) AS BIGINT)");
        self.number(table, &expression, &conditions).await
    }

    /// Whether every selected unit of the hook point is in the table.
    async fn is_complete(&mut self, hook: &HookPoint) -> Result<bool> {
        let conditions = [
            condition("corpus", &self.plan.settings.corpus_id()),
            condition("model", self.plan.model.id()),
            condition("hook_point", hook.name()),
        ];
        let mut wanted = self.plan.settings.neurons.units(hook)?.units().len() as i64;
        let (first, last) = self.plan.settings.neurons.bounds();
        let among = format!("count(DISTINCT neuron) FILTER (WHERE neuron BETWEEN {first} AND {last})");
        wanted -= self.number(self.definition, &among, &conditions).await?;
        if wanted <= 0 {
            self.n_units += self.plan.settings.neurons.units(hook)?.units().len() as u64;
        }
        Ok(wanted <= 0)
    }

    async fn number(&self, table: &TableDefinition, expression: &str, conditions: &[String]) -> Result<i64> {
        let sql = format!("SELECT {expression} FROM {} WHERE {}", table.name, conditions.join(" AND "));
        let batches = self.session.sql(&sql).await?.collect().await?;
        let value = batches.first().and_then(|b| b.column(0).as_primitive::<Int64Type>().iter().next().flatten());
        value.ok_or_else(|| Error::internal(format!("no number from: {sql}")))
    }

    /// Index of the first row of the batch's last unit.
    fn last_unit(&self, batch: &RecordBatch) -> Result<usize> {
        let Some(unit) = &self.query.unit else { return Ok(batch.num_rows()) };
        let values = self.unit_column(batch, unit)?;
        let values = values.as_primitive::<Int64Type>();
        let last = values.value(values.len() - 1);
        Ok(values.values().iter().rposition(|&value| value != last).map_or(0, |index| index + 1))
    }

    fn unit_column(&self, batch: &RecordBatch, unit: &str) -> Result<arrow::array::ArrayRef> {
        let column = batch.column_by_name(unit).ok_or_else(|| Error::QueryFile {
            file: format!("queries/pipeline/{}.sql", self.query.name),
            reason: format!("expected a column '{unit}', its unit"),
        })?;
        Ok(cast(column, &DataType::Int64)?)
    }

    fn count(&mut self, batch: &RecordBatch) -> Result<()> {
        self.failures.add(&self.definition.name, batch);
        let unit = self.query.unit.as_deref().unwrap_or("row");
        if let Some(column) = &self.query.unit {
            let values = self.unit_column(batch, column)?;
            for &value in values.as_primitive::<Int64Type>().values() {
                // A unit's rows may be spread over batches; they come together.
                let is_new = u64::from(self.last_unit_seen.replace(value) != Some(value));
                self.n_units += is_new;
                self.n_written_units += is_new;
            }
        }
        self.observer.stage_advanced(self.step, self.n_units.min(self.total.max(self.n_units)), self.total, unit);
        Ok(())
    }

    fn show_pass(&self) {
        let (done, total) = self.session.progress().read();
        if self.query.sql.contains("collect_activations(") && done < total {
            self.observer.stage_advanced(self.step, done, total, "window");
        }
    }
}

fn condition(column: &str, value: &str) -> String {
    format!("{column} = {}", Parameter::Text(value.to_owned()).to_sql())
}
