//! One stage: its rows are streamed, checked, and committed in whole units.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalake::DeltaTable;
use futures::StreamExt;

use super::Observer;
use super::queries::{Parameter, Query};
use super::runs::Run;
use super::settings::Plan;
use super::steps::Step;
use crate::completions::budget::Spent;
use crate::error::{Error, Result};
use crate::hash;
use crate::models::hook_points::HookPoint;
use crate::session::Session;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::lease::Lease;
use crate::tables::writer::TableWriter;

/// Parquet bytes after which the units held are committed.
const COMMIT_BYTES: usize = 32 << 20;
/// Time after which the units held are committed: what a kill can cost.
const COMMIT_AFTER: Duration = Duration::from_secs(10);
/// Documents of a chunk.
const CHUNK: i64 = 4_096;
/// How often a part is begun again because another process wrote the same units.
const TRIES: usize = 8;
/// How often a pass of the model is asked how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs a stage, once or for each hook point, and returns the rows it wrote.
///
/// # Errors
/// The first fault; what was committed stays.
pub async fn run(session: &Session, step: &Step, plan: &Plan, observer: &dyn Observer) -> Result<usize> {
    let query = &step.query;
    let name = query.writes.as_deref().unwrap_or_default();
    let definition = table(name).ok_or_else(|| Error::QueryFile {
        file: format!("queries/pipeline/{}.sql", query.name),
        reason: format!("expected to write a table of schemas/, got '{name}'"),
    })?;
    let run = Run::start(step, plan);
    run.check_settings(session, plan).await?;
    if name == "activations" && run.finished_before(session).await? {
        return Ok(0);
    }
    let turn_name = |hook: Option<&HookPoint>| {
        let hook = hook.map_or("", HookPoint::name);
        let mut parts = vec![plan.model.id().to_owned(), plan.settings.corpus_id(), hook.to_owned()];
        // Where a model's files lie differs from machine to machine.
        let values = step.values.iter().filter(|(name, _)| !name.ends_with("_source"));
        parts.extend(values.map(|(name, value)| format!("{name}={}", value.to_sql())));
        format!("{} {}", query.name, hash::text(&parts.join("|")))
    };
    let mut stage = Stage {
        session,
        step,
        query,
        plan,
        definition,
        run,
        observer,
        recorded: false,
        turn: String::new(),
        n_units: 0,
        last_unit_seen: None,
        total: 0,
        n_done: 0,
        n_done_now: 0,
        spent_before: session.methods().models().spent(),
    };
    let mut n_rows = 0;
    if let Some(column) = query.resume.as_deref() {
        n_rows = stage.in_turn(&turn_name(None), Part::Rest(column)).await?;
    } else {
        for hook in &plan.hook_points {
            stage.total += plan.settings.neurons.units(hook)?.units().len() as u64;
        }
        for hook in &plan.hook_points {
            n_rows += stage.in_turn(&turn_name(Some(hook)), Part::Units(hook)).await?;
        }
    }
    // Replies become rows of `completions` where a step ends: until then they are safe in the store.
    session.methods().models().fold().await?;
    if stage.recorded {
        let cost = session.methods().models().spent().dollars - stage.spent_before.dollars;
        stage.run.finish(session, n_rows, cost).await?;
    }
    Ok(n_rows)
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
    run: Run,
    observer: &'a dyn Observer,
    recorded: bool,
    /// Name of the turn that is held.
    turn: String,
    n_units: u64,
    last_unit_seen: Option<i64>,
    total: u64,
    /// Units of the lots that ended, of all hook points …
    n_done: usize,
    /// … and those of them that rows were written of now, and what had been spent before them.
    n_done_now: usize,
    spent_before: Spent,
}

impl Stage<'_> {
    /// Does a part while no other process does the same one: whoever waited finds it done.
    async fn in_turn(&mut self, name: &str, part: Part<'_>) -> Result<usize> {
        name.clone_into(&mut self.turn);
        let (observer, step) = (self.observer, self.step);
        let lease = Lease::take_telling(self.session.lake(), name, &|| observer.stage_waits(step)).await?;
        let mut tried = 1;
        let done = loop {
            let done = match part {
                Part::Rest(column) => self.rest(column).await,
                Part::Units(hook) => self.units_of(hook).await,
            };
            match done {
                // Only where a process held the turn, was stopped for long, and went on: what it wrote is no longer missing.
                Err(Error::Overtaken { table }) if tried < TRIES => {
                    tracing::info!(table, "another process wrote the same units; looking again at what is missing");
                    tried += 1;
                }
                done => break done,
            }
        };
        lease.release().await;
        done
    }

    /// What comes after the largest stored value of the resume column: at once, or, where the query takes `$until`, some
    /// thousand documents at a time, so that what is sorted for the commit order stays small.
    async fn rest(&mut self, column: &str) -> Result<usize> {
        let mut before = self.before().await?;
        let mut after = self.largest(self.definition, column).await?;
        if !self.wants("until") {
            return Ok(self.once(None, &[("after", after)], before).await?.0);
        }
        let source = self.query.reads.first().and_then(|name| table(name));
        let source = source.ok_or_else(|| Error::internal("a stage with $until reads a table"))?;
        let last = self.largest(source, column).await?;
        let mut n_rows = 0;
        while after < last {
            let until = after + CHUNK;
            let n_written;
            (n_written, before) = self.once(None, &[("after", after), ("until", until)], before).await?;
            n_rows += n_written;
            after = until;
        }
        Ok(n_rows)
    }

    /// All units of a hook point: at once, or some at a time where a language model is asked, each lot committed before the
    /// next is begun.
    async fn units_of(&mut self, hook: &HookPoint) -> Result<usize> {
        let Some(at_once) = self.step.units_at_once else {
            let before = self.before().await?;
            return Ok(self.once(Some(hook), &[], before).await?.0);
        };
        let lots = self.lots(hook, at_once).await?;
        let mut n_rows = 0;
        for units in lots {
            let (Some(first), Some(last)) = (units.first(), units.last()) else { continue };
            let bounds = [("first_neuron", *first), ("last_neuron", *last)];
            let before = self.before().await?;
            let (n_written, _) = match self.once(Some(hook), &bounds, before).await {
                Err(error) if error.is_budget_reached() => return Err(self.over_budget(error, hook)),
                other => other?,
            };
            n_rows += n_written;
            self.n_done += units.len();
            self.n_done_now += if n_written > 0 { units.len() } else { 0 };
        }
        Ok(n_rows)
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

    /// What was done when the money ran out, and what the rest of the stage may cost.
    fn over_budget(&self, error: Error, hook: &HookPoint) -> Error {
        let spent = self.session.methods().models().spent();
        let before = &self.spent_before;
        let tokens = spent.prompt_tokens + spent.completion_tokens - before.prompt_tokens - before.completion_tokens;
        let rest = match self.n_done_now {
            0 => "what the rest would cost is not known yet".to_owned(),
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
            "stage '{}' at hook point '{hook}': {} of {} units done, {rest}",
            self.query.name, self.n_done, self.total
        ))
    }

    fn wants(&self, name: &str) -> bool {
        self.query.params.iter().any(|(param, _)| param == name)
    }

    /// The table as it is before it is asked what is missing: what is written then is refused if others of the same turn were faster.
    async fn before(&self) -> Result<Option<DeltaTable>> {
        self.session.lake().open(self.definition).await
    }

    /// Runs the query and writes its rows; their number, and the table after the last commit.
    async fn once(
        &mut self,
        hook: Option<&HookPoint>,
        bounds: &[(&str, i64)],
        before: Option<DeltaTable>,
    ) -> Result<(usize, Option<DeltaTable>)> {
        let sql = self.bind(hook, bounds)?;
        if let Some(hook) = hook
            && sql.contains("collect_activations(")
            && self.is_complete(hook).await?
        {
            return Ok((0, before));
        }
        self.last_unit_seen = None;
        let rows = self.session.sql(Query::select(&sql)).await?;
        let mut stream = rows.execute_stream().await?;
        let mut writer: Option<TableWriter> = None;
        let mut held: Option<RecordBatch> = None;
        let mut committed_at = Instant::now();
        let mut n_rows = 0;
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
            let writer = match &mut writer {
                Some(open) => open,
                none => none.insert(self.open(before.clone()).await?),
            };
            // The last unit of a batch may go on in the next one: it is held back, so that a commit never cuts it.
            let last = self.last_unit(&batch)?;
            if let Some(held) = held.take() {
                writer.write(&held).await?;
            }
            writer.write(&batch.slice(0, last)).await?;
            let due = writer.pending_bytes() > COMMIT_BYTES || committed_at.elapsed() > COMMIT_AFTER;
            if last > 0 && due {
                writer.commit().await?;
                committed_at = Instant::now();
            }
            n_rows += batch.num_rows();
            self.count(&batch)?;
            held = Some(batch.slice(last, batch.num_rows() - last));
        }
        let Some(mut writer) = writer else { return Ok((n_rows, before)) };
        if let Some(held) = held {
            writer.write(&held).await?;
            writer.commit().await?;
        }
        Ok((n_rows, Some(writer.into_table())))
    }

    /// The run's own row comes before the first row that names it.
    async fn open(&mut self, before: Option<DeltaTable>) -> Result<TableWriter> {
        if !self.recorded {
            self.run.record(self.session, self.plan).await?;
            self.recorded = true;
        }
        TableWriter::open_after(self.session.lake(), self.definition, &self.run.id, before, &self.turn).await
    }

    fn bind(&self, hook: Option<&HookPoint>, bounds: &[(&str, i64)]) -> Result<String> {
        let mut values = vec![("run".to_owned(), Parameter::Text(self.run.id.clone()))];
        if let Some(hook) = hook {
            values.push(("hook_point".to_owned(), Parameter::Text(hook.name().to_owned())));
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
        let unit = self.query.unit.as_deref().unwrap_or("row");
        if let Some(column) = &self.query.unit {
            let values = self.unit_column(batch, column)?;
            for &value in values.as_primitive::<Int64Type>().values() {
                // A unit's rows may be spread over batches; they come together.
                self.n_units += u64::from(self.last_unit_seen.replace(value) != Some(value));
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
