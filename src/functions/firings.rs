//! `firings(model, corpus, hook_point, neurons, options, above)`: every activation above a quantile of its unit.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, AsArray, Float32Builder, Int32Array, Int32Builder, Int64Builder, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::arguments::{document, table_arguments};
use super::collect_activations::{ARGUMENTS, Host, Request};
use super::collection_pass::{Collection, SequenceReader, literal, sequence_windows};
use super::stream;
use crate::error::Error;
use crate::models::hook_points::HookPoint;
use crate::neurons::pass::{ForwardPass, OwnedWindow};

pub(crate) struct Firings {
    host: Host,
}

impl std::fmt::Debug for Firings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("firings")
    }
}

impl Firings {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl TableFunctionImpl for Firings {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let names: Vec<&str> = ARGUMENTS.into_iter().chain(["above"]).collect();
        let values = table_arguments("firings", &names, names.len(), args.exprs())?;
        let above = match values[5].cast_to(&DataType::Float64)? {
            ScalarValue::Float64(Some(level)) if (0.0..1.0).contains(&level) => level,
            other => return plan_err!("'firings': above: expected a quantile from 0 to 1, got {other}"),
        };
        let request = Arc::new(Request::parse("firings", &values[..5], &self.host)?);
        stream::table(
            "firings",
            schema(),
            &[],
            Arc::new(move || {
                let request = Arc::clone(&request);
                let (sender, receiver) = mpsc::channel(2);
                tokio::spawn(async move {
                    if let Err(error) = send(&request.collection, &request.hook_point, above, &sender).await {
                        // A closed channel means that nobody listens any more.
                        let _ = sender.send(Err(DataFusionError::from(error))).await;
                    }
                });
                futures::stream::unfold(receiver, |mut receiver| async {
                    receiver.recv().await.map(|batch| (batch, receiver))
                })
                .boxed()
            }),
        )
    }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hook_point", DataType::Utf8, false),
        Field::new("layer", DataType::Int32, true),
        Field::new("neuron", DataType::Int32, false),
        Field::new("corpus", DataType::Utf8, false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("position", DataType::Int32, false),
        Field::new("activation", DataType::Float32, false),
    ]))
}

async fn send(
    collection: &Collection,
    hook_point: &HookPoint,
    above: f64,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<(), Error> {
    let thresholds = Arc::new(thresholds(collection, hook_point, above).await?);
    let reader = SequenceReader::new(&collection.context, collection.model.id(), &collection.corpus);
    let mut rows = reader.after(None).await?;
    while let Some(batch) = rows.next().await {
        let windows = sequence_windows(&batch?)?;
        let (collection, hook_point) = (collection.clone(), hook_point.clone());
        let thresholds = Arc::clone(&thresholds);
        let found = tokio::task::spawn_blocking(move || scan(&collection, &hook_point, &thresholds, &windows))
            .await
            .map_err(|e| Error::internal(format!("the scanning thread died: {e}")))??;
        for batch in found {
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The threshold of each selected unit: its stored quantile at the level.
async fn thresholds(collection: &Collection, hook_point: &HookPoint, above: f64) -> Result<HashMap<usize, f32>, Error> {
    let sql = format!(
        "SELECT neuron, quantiles[CAST(array_position(quantile_levels, {above}) AS BIGINT)] FROM neurons \
         WHERE model = {} AND corpus = {} AND hook_point = {} AND array_has(quantile_levels, {above})",
        literal(collection.model.id()),
        literal(&collection.corpus),
        literal(hook_point.name())
    );
    let selected = collection.neurons.units(hook_point)?;
    let mut found = HashMap::new();
    for batch in collection.context.sql(&sql).await?.collect().await? {
        let neurons = batch.column(0).as_primitive::<Int32Type>();
        let values = batch.column(1).as_primitive::<Float64Type>();
        for row in (0..batch.num_rows()).filter(|&row| values.is_valid(row)) {
            let neuron = neurons.value(row).cast_unsigned();
            if selected.units().binary_search(&neuron).is_ok() {
                found.insert(neuron as usize, values.value(row) as f32);
            }
        }
    }
    if found.is_empty() {
        return Err(Error::Argument {
            argument: "firings".to_owned(),
            expected: "a quantile that table 'neurons' holds for the hook point, such as 0.99".to_owned(),
            got: above.to_string(),
        });
    }
    Ok(found)
}

fn scan(
    collection: &Collection,
    hook_point: &HookPoint,
    thresholds: &HashMap<usize, f32>,
    windows: &[OwnedWindow],
) -> Result<Vec<RecordBatch>, Error> {
    let first_counted = collection.options.first_counted(&collection.model);
    let mut pass = ForwardPass::new(&collection.model, vec![hook_point.clone()]);
    let mut units: Vec<(usize, f32)> = thresholds.iter().map(|(unit, threshold)| (*unit, *threshold)).collect();
    units.sort_by_key(|(unit, _)| *unit);
    let width = hook_point.width();
    let mut batches = Vec::new();
    let longest = windows.iter().map(|window| window.token_ids.len()).max().unwrap_or_default();
    for some in windows.chunks(pass.batch_windows(longest)) {
        let tiles = pass.run(some)?;
        let mut rows = Rows::default();
        let mut at = 0;
        for window in some {
            for position in 0..window.token_ids.len() {
                let activations = &tiles[0][at * width..(at + 1) * width];
                at += 1;
                if position < first_counted {
                    continue;
                }
                for &(unit, threshold) in &units {
                    if activations[unit] > threshold {
                        rows.push(unit, window.sequence, position, activations[unit]);
                    }
                }
            }
        }
        batches.push(rows.finish(collection, hook_point)?);
    }
    Ok(batches)
}

/// Firings on their way into a batch.
#[derive(Default)]
pub(super) struct Rows {
    neuron: Int32Builder,
    sequence: Int64Builder,
    position: Int32Builder,
    activation: Float32Builder,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        ArrayBuilder::len(&self.neuron)
    }

    pub(super) fn push(&mut self, unit: usize, sequence: i64, position: usize, activation: f32) {
        self.neuron.append_value(unit as i32);
        self.sequence.append_value(sequence);
        self.position.append_value(position as i32);
        self.activation.append_value(activation);
    }

    pub(super) fn finish(mut self, collection: &Collection, hook_point: &HookPoint) -> Result<RecordBatch, Error> {
        let neuron = self.neuron.finish();
        let n = neuron.len();
        let layer = hook_point.layer().map(|layer| layer as i32);
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from(vec![collection.model.id(); n])),
                Arc::new(StringArray::from(vec![hook_point.name(); n])),
                Arc::new(Int32Array::from(vec![layer; n])),
                Arc::new(neuron),
                Arc::new(StringArray::from(vec![collection.corpus.as_str(); n])),
                Arc::new(self.sequence.finish()),
                Arc::new(self.position.finish()),
                Arc::new(self.activation.finish()),
            ],
        )?)
    }
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Streams every activation above a stored quantile of its unit (table neurons must hold that level): model, hook_point, \
         layer, neuron, corpus, sequence, position, activation, in order of sequence. It is a second pass of the model, so \
         that the thresholds are those of the whole corpus. The other arguments are those of collect_activations.",
        "firings(model, corpus, hook_point, neurons, options, above)",
        "SELECT neuron, count(*) AS n FROM firings('default', 'default', 'blocks.0.mlp.hook_post', '0-1', '{}', 0.99) \
         GROUP BY neuron ORDER BY neuron",
    )
}
