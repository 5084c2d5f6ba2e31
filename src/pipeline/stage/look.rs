//! What a stage asks before it computes: answered in this process.

use std::collections::HashSet;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::Stage;
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;
use crate::pipeline::estimate;
use crate::pipeline::queries::Parameter;
use crate::tables::definition::TableDefinition;

impl Stage<'_> {
    /// The selected units of the hook point that have statistics, in order and in lots. No other unit of the lake stands
    /// between the first and the last of a lot: a query is bounded by them, and what nobody selected must not be paid for.
    pub(super) async fn lots(&self, hook: &HookPoint, at_once: usize) -> Result<Vec<Vec<i64>>> {
        let selected = self.of.plan.settings.neurons.units(hook)?;
        let selected: HashSet<i64> = selected.units().iter().map(|unit| i64::from(*unit)).collect();
        let known = self.known_units(hook).await?;
        let runs = known.split(|unit| !selected.contains(unit));
        Ok(runs.flat_map(|run| run.chunks(at_once)).map(<[i64]>::to_vec).collect())
    }

    /// Every unit between the first and the last selected one that has statistics, in order.
    async fn known_units(&self, hook: &HookPoint) -> Result<Vec<i64>> {
        let (first, last) = self.of.plan.settings.neurons.bounds();
        let conditions = [
            condition("corpus", &self.of.plan.settings.corpus_id()),
            condition("model", self.of.plan.model.id()),
            condition("hook_point", hook.name()),
            format!("neuron BETWEEN {first} AND {last}"),
        ];
        let sql = format!("SELECT DISTINCT neuron FROM neurons WHERE {} ORDER BY neuron", conditions.join(" AND "));
        let mut units = Vec::new();
        for batch in self.of.session.sql(&sql).await?.collect().await? {
            let neurons = cast(batch.column(0), &DataType::Int64)?;
            units.extend_from_slice(neurons.as_primitive::<Int64Type>().values());
        }
        Ok(units)
    }

    /// The largest stored value of the resume column, -1 when there is none.
    pub(super) async fn largest(&self, table: &TableDefinition, column: &str) -> Result<i64> {
        let mut conditions = vec![condition("corpus", &self.of.plan.settings.corpus_id())];
        if table.schema.field_with_name("model").is_ok() {
            conditions.push(condition("model", self.of.plan.model.id()));
        }
        let expression = format!("CAST(COALESCE(max({column}), -1) AS BIGINT)");
        self.number(table, &expression, &conditions).await
    }

    /// Whether every selected unit of the hook point is in the table.
    pub(super) async fn is_complete(&self, hook: &HookPoint) -> Result<bool> {
        let conditions = [
            condition("corpus", &self.of.plan.settings.corpus_id()),
            condition("model", self.of.plan.model.id()),
            condition("hook_point", hook.name()),
        ];
        let mut wanted = self.of.plan.settings.neurons.units(hook)?.units().len() as i64;
        let (first, last) = self.of.plan.settings.neurons.bounds();
        let among = format!("count(DISTINCT neuron) FILTER (WHERE neuron BETWEEN {first} AND {last})");
        wanted -= self.number(self.of.definition, &among, &conditions).await?;
        if wanted <= 0 {
            self.of.counts.lock().n_units += self.of.plan.settings.neurons.units(hook)?.units().len() as u64;
        }
        Ok(wanted <= 0)
    }

    async fn number(&self, table: &TableDefinition, expression: &str, conditions: &[String]) -> Result<i64> {
        let sql = format!("SELECT {expression} FROM {} WHERE {}", table.name, conditions.join(" AND "));
        let batches = self.of.session.sql(&sql).await?.collect().await?;
        let value = batches.first().and_then(|b| b.column(0).as_primitive::<Int64Type>().iter().next().flatten());
        value.ok_or_else(|| Error::internal(format!("no number from: {sql}")))
    }

    /// What was done when the money ran out, and what the rest of the stage may cost; where no lot has ended yet by which to tell, what
    /// the rest of the run may cost at most.
    pub(super) async fn over_budget(&self, error: Error, hook: &HookPoint) -> Error {
        let spent = self.of.session.methods().models().spent();
        let before = &self.of.spent_before;
        let tokens = spent.prompt_tokens + spent.completion_tokens - before.prompt_tokens - before.completion_tokens;
        let (n_done, n_done_now) = {
            let counts = self.of.counts.lock();
            (counts.n_done, counts.n_done_now)
        };
        let rest = match n_done_now {
            0 => Box::pin(estimate::rest_in_words(self.of.session, &self.of.plan.settings)).await,
            done => {
                let times = (self.of.total as usize).saturating_sub(n_done) as f64 / done as f64;
                let dollars = match spent.unpriced_calls {
                    0 => format!(" ({:.4} usd)", (spent.dollars - before.dollars) * times),
                    _ => String::new(),
                };
                format!("about {:.0} tokens{dollars} more for the rest of it", tokens as f64 * times)
            }
        };
        error.with_progress(&format!(
            "{} calls answered and kept; stage '{}' at hook point '{hook}': {} of {} units done, {rest}",
            spent.calls, self.of.query.name, n_done, self.of.total
        ))
    }
}

fn condition(column: &str, value: &str) -> String {
    format!("{column} = {}", Parameter::Text(value.to_owned()).to_sql())
}
