//! `activations_on(model, text, hook_point, first_token)`: the values of units over the tokens of a text.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::compute::{and, cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Documentation, Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::collection_pass::FirstToken;
use super::stream;
use crate::error::Error;
use crate::models::forward::Scratch;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::models::token_batch::TokenBatch;
use crate::token_sequences::windows::windows;

const ARGUMENTS: [&str; 4] = ["model", "text", "hook_point", "first_token"];
/// Columns that a unit is chosen by, before the model is run.
const UNIT_COLUMNS: [&str; 4] = ["model", "hook_point", "layer", "neuron"];
/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

pub(crate) struct ActivationsOn {
    host: Host,
}

impl std::fmt::Debug for ActivationsOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("activations_on")
    }
}

impl ActivationsOn {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl TableFunctionImpl for ActivationsOn {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("activations_on", &ARGUMENTS, 2, args.exprs())?;
        let text = |index: usize| text_argument("activations_on", ARGUMENTS[index], &values[index]);
        let model = self.host.models.get(&text(0)?)?;
        let pattern = if values.len() > 2 { text(2)? } else { "blocks.*.mlp.hook_post".to_owned() };
        let first_token = match values.get(3).map(|_| text(3)).transpose()?.as_deref() {
            None => FirstToken::default_of(&model),
            Some("keep") => FirstToken::Keep,
            Some("mask") => FirstToken::Mask,
            Some(other) => return plan_err!("'activations_on': first_token: expected keep or mask, got '{other}'"),
        };
        Ok(Arc::new(TextTable { hooks: model.select_hook_points(&pattern)?, text: text(1)?, first_token, model }))
    }
}

/// The values of some hook points over one text.
#[derive(Debug, Clone)]
struct TextTable {
    model: Arc<SubjectModel>,
    text: String,
    hooks: Vec<HookPoint>,
    first_token: FirstToken,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hook_point", DataType::Utf8, false),
        Field::new("layer", DataType::Int32, true),
        Field::new("neuron", DataType::Int32, false),
        Field::new("position", DataType::Int32, false),
        Field::new("token", DataType::Utf8, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("activation", DataType::Float32, false),
    ]))
}

/// Whether a condition is about nothing but these columns.
fn only_about(filter: &Expr, columns: &[&str]) -> bool {
    let found = filter.column_refs();
    !found.is_empty() && found.iter().all(|column| columns.contains(&column.name.as_str()))
}

#[async_trait]
impl TableProvider for TextTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let kind = |filter: &&Expr| match only_about(filter, &UNIT_COLUMNS) || only_about(filter, &["activation"]) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(kind).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = |columns: &[usize], about: &[&str]| -> Result<Vec<Arc<dyn PhysicalExpr>>> {
            let columns = DFSchema::try_from(Arc::new(schema().project(columns)?))?;
            let filters = filters.iter().filter(|filter| only_about(filter, about));
            filters.map(|filter| state.create_physical_expr(filter.clone(), &columns)).collect()
        };
        let of_units = physical(&[0, 1, 2, 3], &UNIT_COLUMNS)?;
        let mut wanted = Vec::new();
        for hook in &self.hooks {
            let units = units(&self.model, hook, &of_units)?;
            if !units.is_empty() {
                wanted.push((hook.clone(), units));
            }
        }
        let work = Arc::new(Work { table: self.clone(), wanted, of_activations: physical(&[7], &["activation"])? });
        let rows: stream::Rows = Arc::new(move || {
            let (sender, receiver) = mpsc::channel(2);
            let work = Arc::clone(&work);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = work.send(&sender) {
                    // A closed channel means that nobody listens any more.
                    let _ = sender.blocking_send(Err(error));
                }
            });
            futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|batch| (batch, receiver))
            })
            .boxed()
        });
        stream::table("activations_on", schema(), &[], rows)?.scan(state, projection, &[], limit).await
    }
}

/// A hook point's units that all conditions allow.
fn units(model: &SubjectModel, hook: &HookPoint, conditions: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<usize>> {
    let n = hook.width();
    let batch = RecordBatch::try_new(
        Arc::new(schema().project(&[0, 1, 2, 3])?),
        vec![
            Arc::new(StringArray::from(vec![model.id(); n])),
            Arc::new(StringArray::from(vec![hook.name(); n])),
            Arc::new(Int32Array::from(vec![hook.layer().map(|layer| layer as i32); n])),
            Arc::new(Int32Array::from_iter_values(0..n as i32)),
        ],
    )?;
    allowed(&batch, conditions)
}

/// Rows for which every condition is true.
fn allowed(batch: &RecordBatch, conditions: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<usize>> {
    let mut all = None;
    for condition in conditions {
        let found = cast(&condition.evaluate(batch)?.into_array(batch.num_rows())?, &DataType::Boolean)?;
        // An unknown condition is no reason to leave a row in.
        let found = match found.null_count() {
            0 => found.as_boolean().clone(),
            _ => prep_null_mask_filter(found.as_boolean()),
        };
        all = Some(match all {
            None => found,
            Some(others) => and(&others, &found)?,
        });
    }
    Ok(match all {
        None => (0..batch.num_rows()).collect(),
        Some(all) => (0..batch.num_rows()).filter(|row| all.value(*row)).collect(),
    })
}

struct Work {
    table: TextTable,
    wanted: Vec<(HookPoint, Vec<usize>)>,
    of_activations: Vec<Arc<dyn PhysicalExpr>>,
}

impl Work {
    /// Runs the text window by window and sends the rows of each hook point as it is computed.
    fn send(&self, sender: &mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        let TextTable { model, text, first_token, .. } = &self.table;
        let token_ids = model.tokenizer()?.encode(text)?.token_ids;
        let first_counted = if *first_token == FirstToken::Mask { 1 } else { 0 };
        let hooks: Vec<HookPoint> = self.wanted.iter().map(|(hook, _)| hook.clone()).collect();
        let mut scratch = Scratch::default();
        for window in windows(token_ids.len(), model.config().n_context, 1) {
            let ids = &token_ids[window.clone()];
            let offsets = [0, ids.len()];
            let mut fault = None;
            let mut read = |hook: usize, values: &[f32]| {
                if fault.is_none() {
                    let counted = Counted { ids, start: window.start, first: first_counted };
                    fault = self.send_values(hook, &counted, values, sender).err();
                }
            };
            model.forward(&TokenBatch::new(ids, &offsets)?, &hooks, &mut read, &mut scratch)?;
            match fault {
                Some(Stop::Fault(error)) => return Err(error),
                Some(Stop::NobodyListens) => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    fn send_values(
        &self,
        hook: usize,
        window: &Counted<'_>,
        values: &[f32],
        sender: &mpsc::Sender<Result<RecordBatch>>,
    ) -> Result<(), Stop> {
        let (hook, units) = &self.wanted[hook];
        let step = (BATCH_ROWS / units.len()).max(1);
        for first in (window.first..window.ids.len()).step_by(step) {
            let places = first..window.ids.len().min(first + step);
            let activations: Vec<f32> = places
                .clone()
                .flat_map(|place| units.iter().map(move |unit| values[place * hook.width() + unit]))
                .collect();
            let activations = Float32Array::from(activations);
            let column = RecordBatch::try_new(
                Arc::new(schema().project(&[7]).map_err(DataFusionError::from)?),
                vec![Arc::new(activations.clone())],
            );
            let rows = allowed(&column.map_err(DataFusionError::from)?, &self.of_activations)?;
            if rows.is_empty() {
                continue;
            }
            let batch = self.batch(hook, units, places.start, window, &activations, &rows)?;
            sender.blocking_send(Ok(batch)).map_err(|_| Stop::NobodyListens)?;
        }
        Ok(())
    }

    /// Row r of `rows` is place `first + r / units` and unit `r % units`.
    fn batch(
        &self,
        hook: &HookPoint,
        units: &[usize],
        first: usize,
        window: &Counted<'_>,
        activations: &Float32Array,
        rows: &[usize],
    ) -> Result<RecordBatch> {
        let TextTable { model, .. } = &self.table;
        let tokenizer = model.tokenizer()?;
        let place = |row: &usize| first + row / units.len();
        let texts: Vec<String> = window.ids[first..]
            .iter()
            .take(rows.last().map_or(0, place) - first + 1)
            .map(|id| tokenizer.token_text(*id))
            .collect();
        let n = rows.len();
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from(vec![model.id(); n])),
                Arc::new(StringArray::from(vec![hook.name(); n])),
                Arc::new(Int32Array::from(vec![hook.layer().map(|layer| layer as i32); n])),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| units[row % units.len()] as i32))),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| (window.start + place(row)) as i32))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &texts[place(row) - first]))),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| window.ids[place(row)] as i32))),
                Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| activations.value(*row)))),
            ],
        )?)
    }
}

/// Tokens of a window, where it starts in the text, and its first token that counts.
struct Counted<'a> {
    ids: &'a [u32],
    start: usize,
    first: usize,
}

/// Why no more rows are made.
enum Stop {
    Fault(DataFusionError),
    NobodyListens,
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Self {
        Self::Fault(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Runs the subject model over a text and streams one row a unit and token: model, hook_point, layer, neuron, position \
         (0-based, in tokens of the whole text), token, token_id, activation. hook_point is a pattern, 'blocks.*.mlp.hook_post' when \
         left out. A text longer than the model's context is cut into windows of that length. The first token of a window is \
         left out for Llama-family models, as in a collection; first_token 'keep' or 'mask' decides otherwise. Conditions on \
         hook_point, layer and neuron choose units before the model runs (it stops after the last hook point needed), \
         conditions on activation before rows are made; without any there is a row for every unit and token.",
        "activations_on(model, text [, hook_point [, first_token]])",
        "SELECT neuron, position, token, round(activation, 2) AS rounded \
         FROM activations_on('default', 'The king rode to the castle.') WHERE layer = 3 AND activation > 1 \
         ORDER BY activation DESC, neuron LIMIT 5",
    )
}

#[cfg(test)]
mod tests;
