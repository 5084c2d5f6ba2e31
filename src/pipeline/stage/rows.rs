//! The rows of a stage's query: from this process as it computes them, or from workers, range of units by range.
//!
//! Ballista cuts a query where its engine would exchange rows between threads, and each cut writes all of them to disk, waits until the last
//! task before it has ended, and asks for the next tasks at intervals. A unit's rows follow from its own records alone, so here the units
//! are cut and not the query: each range is one task from the files to the rows that are stored. Ranges come back in their order, in which
//! one machine would have computed them.

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::Stage;
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;
use crate::pipeline::queries::{Parameter, Query};

/// Units of a task at most: their scores take half a second or more, and planning and fetching them a twentieth.
const UNITS_OF_A_TASK: usize = 4_096;
/// Tasks of a hook point at least, so that few units whose rows take long are work for several workers.
const TASKS_OF_A_HOOK_POINT: usize = 4;
/// Ranges that are asked for at the same time: workers are never without one while this process takes the first of them in.
pub(super) const RANGES_IN_FLIGHT: usize = 16;

/// Values of a query's parameters that say which units or documents it is about.
pub(super) type Bounds = Vec<(&'static str, i64)>;

/// The units from the first to the last, both included.
pub(super) fn bounds(first: i64, last: i64) -> Bounds {
    vec![("first_neuron", first), ("last_neuron", last)]
}

/// Units of a task, of so many in all: tasks are of one size.
fn of_a_task(n_units: usize) -> usize {
    n_units.div_ceil(n_units.div_ceil(UNITS_OF_A_TASK).max(TASKS_OF_A_HOOK_POINT)).max(1)
}

/// The bounds between `first` and `last`, all of them, cut before every so many of the units.
fn cut(units: &[u32], (first, last): (u32, u32), of_a_task: usize) -> Vec<Bounds> {
    let starts = units.chunks(of_a_task).skip(1).map(|chunk| i64::from(chunk[0]));
    let starts: Vec<i64> = std::iter::once(i64::from(first)).chain(starts).collect();
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([i64::from(last)]);
    starts.iter().zip(ends).map(|(start, end)| bounds(*start, end)).collect()
}

impl Stage<'_> {
    /// The ranges of a hook point's units. Together they hold every unit that the query would take were it not cut.
    pub(super) fn ranges(&self, hook: &HookPoint) -> Result<Vec<Bounds>> {
        let selection = &self.of.plan.settings.neurons;
        let units = selection.units(hook)?;
        Ok(cut(units.units(), selection.bounds(), of_a_task(units.units().len())))
    }

    /// The rows of the stage's query within each of the bounds, in their order.
    pub(super) async fn rows(
        &self,
        hook: Option<&HookPoint>,
        ranges: &[Bounds],
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if !self.outdated.keys.is_empty() {
            self.of.finder.put_outdated(&self.at, &self.outdated)?;
        }
        let selects = ranges.iter().map(|bounds| self.select(hook, bounds)).collect::<Result<Vec<String>>>()?;
        if self.of.by_ranges() {
            return Ok(self.sent(selects));
        }
        let mut parts = Vec::with_capacity(selects.len());
        for select in &selects {
            parts.push(self.of.engine.sql(select).await?.execute_stream().await?);
        }
        Ok(stream::iter(parts).flatten().map_err(Error::from).boxed())
    }

    /// The rows of queries that are each a task, in the order of the queries.
    fn sent(&self, selects: Vec<String>) -> BoxStream<'static, Result<RecordBatch>> {
        let engine = self.of.engine.in_one_task();
        stream::iter(selects)
            .map(move |select| {
                let engine = engine.clone();
                // A task of the runtime, because ranges are to be planned beside each other and to go on while others are written.
                SpawnedTask::spawn(async move { Ok::<_, Error>(engine.sql(&select).await?.collect().await?) })
            })
            .buffered(RANGES_IN_FLIGHT)
            .map(|ended| ended.unwrap_or_else(|fault| Err(Error::internal(format!("a range of units: {fault}")))))
            .map_ok(|batches: Vec<RecordBatch>| stream::iter(batches).map(Ok))
            .try_flatten()
            .boxed()
    }

    /// The text of the query: what is missing, or out of date, within the bounds.
    fn select(&self, hook: Option<&HookPoint>, bounds: &Bounds) -> Result<String> {
        let sql = self.bind(hook, bounds)?;
        match self.outdated.keys.is_empty() {
            true => Ok(Query::select(&sql).to_owned()),
            false => self.of.finder.without(&self.at, Query::select(&sql), &self.outdated),
        }
    }

    fn bind(&self, hook: Option<&HookPoint>, bounds: &Bounds) -> Result<String> {
        let mut values = vec![("run".to_owned(), Parameter::Text(self.of.run.id.clone()))];
        if let Some(hook) = hook {
            values.push(("hook_point".to_owned(), Parameter::Text(hook.name().to_owned())));
            let layer = hook.layer().map_or("NULL".to_owned(), |layer| layer.to_string());
            values.push(("layer".to_owned(), Parameter::Number(layer)));
        }
        values.extend(bounds.iter().map(|(name, value)| ((*name).to_owned(), Parameter::Integer(*value))));
        // The first of a name counts: bounds before the step's own values before those of the whole run.
        for (name, value) in self.of.step.values.iter().chain(self.of.plan.parameters()) {
            if !values.iter().any(|(known, _)| known == name) {
                values.push((name.clone(), value.clone()));
            }
        }
        values.retain(|(name, _)| self.of.wants(name));
        self.of.query.bind(&values)
    }
}

#[cfg(test)]
mod tests;
