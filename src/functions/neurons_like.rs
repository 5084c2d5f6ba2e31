//! `neurons_like(model, hook_point, neuron, by, options)`: how similar every unit is to one.

use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Documentation;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::collection_pass::{CollectionOptions, FirstToken, SequenceReader, literal, sequence_windows};
use super::stream;
use crate::error::Error;
use crate::models::directions::Side;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::correlation::Correlation;
use crate::neurons::pass::OwnedWindow;
use crate::random::mix;

const ARGUMENTS: [&str; 5] = ["model", "hook_point", "neuron", "by", "options"];

/// What decides a comparison beside the unit; JSON in SQL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Hook points whose units are compared; those of the unit's kind in all layers when absent.
    hook_points: Option<String>,
    /// Corpus of the token sequences.
    corpus: String,
    /// Token sequences of a seeded sample; all when absent.
    sequences: Option<usize>,
    seed: u64,
    first_token: Option<FirstToken>,
}

impl Default for Options {
    fn default() -> Self {
        Self { hook_points: None, corpus: "default".to_owned(), sequences: None, seed: 0, first_token: None }
    }
}

#[derive(Debug, Clone, Copy)]
enum By {
    Weights(Side),
    Activations,
}

/// One unit, and what it is compared with.
struct Comparison {
    model: Arc<SubjectModel>,
    hook_point: HookPoint,
    neuron: u32,
    by: By,
    hooks: Vec<HookPoint>,
    options: Options,
}

pub(crate) struct NeuronsLike {
    host: Host,
}

impl std::fmt::Debug for NeuronsLike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("neurons_like")
    }
}

impl NeuronsLike {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }

    fn comparison(&self, values: &[ScalarValue]) -> Result<Comparison> {
        let text = |index: usize| text_argument("neurons_like", ARGUMENTS[index], &values[index]);
        let model = self.host.models.get(&text(0)?)?;
        let name = text(1)?;
        let hook_point = match model.select_hook_points(&name)?.as_slice() {
            [one] => one.clone(),
            several => {
                let n = several.len();
                return plan_err!("'neurons_like': hook_point: expected one hook point, got '{name}', which names {n}");
            }
        };
        let neuron = match values[2].cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(neuron)) => u32::try_from(neuron).unwrap_or(u32::MAX),
            other => return plan_err!("'neurons_like': neuron: expected a whole number, got {other}"),
        };
        let by = match text(3)?.as_str() {
            "input" => By::Weights(Side::Input),
            "output" => By::Weights(Side::Output),
            "activations" => By::Activations,
            other => return plan_err!("'neurons_like': by: expected input, output or activations, got '{other}'"),
        };
        let options = match values.get(4).map(|_| text(4)).transpose()? {
            None => Options::default(),
            Some(json) => match serde_json::from_str(&json) {
                Ok(options) => options,
                Err(error) => return plan_err!("'neurons_like': options: {error}"),
            },
        };
        let hooks = match (&options.hook_points, hook_point.layer()) {
            (Some(pattern), _) => model.select_hook_points(pattern)?,
            (None, Some(_)) if hook_point.latents().is_none() => {
                let same = |hook: &&HookPoint| hook.kind() == hook_point.kind();
                model.hook_points().iter().filter(same).cloned().collect()
            }
            (None, _) => vec![hook_point.clone()],
        };
        let side = if let By::Weights(side) = by { side } else { Side::Input };
        let weights = model.unit_weights(&hook_point, neuron, side)?;
        if matches!(by, By::Weights(_)) && weights.is_none() {
            let by = text(3)?;
            return plan_err!(
                "'neurons_like': hook_point: expected one whose units have {by} weights, got '{hook_point}'"
            );
        }
        Ok(Comparison { model, hook_point, neuron, by, hooks, options })
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hook_point", DataType::Utf8, false),
        Field::new("layer", DataType::Int32, true),
        Field::new("neuron", DataType::Int32, false),
        Field::new("similarity", DataType::Float64, true),
    ]))
}

impl TableFunctionImpl for NeuronsLike {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("neurons_like", &ARGUMENTS, 4, args.exprs())?;
        let comparison = Arc::new(self.comparison(&values)?);
        let host = self.host.clone();
        stream::table(
            "neurons_like",
            schema(),
            &[],
            Arc::new(move || match comparison.by {
                By::Weights(side) => {
                    // A hook point's rows at a time.
                    let comparison = Arc::clone(&comparison);
                    let hooks = futures::stream::iter(0..comparison.hooks.len());
                    hooks
                        .then(move |hook| {
                            let comparison = Arc::clone(&comparison);
                            on_thread(move || comparison.by_weights(hook, side))
                        })
                        .boxed()
                }
                By::Activations => {
                    let (comparison, host) = (Arc::clone(&comparison), host.clone());
                    let batches = async move {
                        let found = by_activations(comparison, host.session.context()?).await?;
                        Ok::<_, DataFusionError>(futures::stream::iter(found).map(Ok))
                    };
                    futures::stream::once(batches).try_flatten().boxed()
                }
            }),
        )
    }
}

/// Computes off the threads that wait.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("the comparing thread died: {error}")))?
}

impl Comparison {
    fn by_weights(&self, hook: usize, side: Side) -> Result<RecordBatch> {
        let vector = self.model.unit_weights(&self.hook_point, self.neuron, side)?.unwrap_or_default();
        self.batch(hook, self.model.cosines(&self.hooks[hook], &vector, side))
    }

    fn batch(&self, hook: usize, similarities: Vec<Option<f64>>) -> Result<RecordBatch> {
        let hook = &self.hooks[hook];
        let n = similarities.len();
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from(vec![self.model.id(); n])),
                Arc::new(StringArray::from(vec![hook.name(); n])),
                Arc::new(Int32Array::from(vec![hook.layer().map(|layer| layer as i32); n])),
                Arc::new(Int32Array::from_iter_values(0..n as i32)),
                Arc::new(Float64Array::from(similarities)),
            ],
        )?)
    }

    fn first_counted(&self) -> usize {
        let options = CollectionOptions { first_token: self.options.first_token, ..CollectionOptions::default() };
        options.first_counted(&self.model)
    }
}

/// One pass over the token sequences, all of them or a sample.
async fn by_activations(comparison: Arc<Comparison>, context: SessionContext) -> Result<Vec<RecordBatch>> {
    let Options { corpus, sequences, seed, .. } = comparison.options.clone();
    let reader = SequenceReader::new(&context, comparison.model.id(), &corpus);
    // Says what is missing.
    reader.longest().await?;
    let last = match sequences {
        Some(n) => last_drawn(&context, comparison.model.id(), &corpus, n, seed).await?,
        None => u64::MAX,
    };
    let mut rows = reader.after(None).await?;
    let target = (comparison.hook_point.clone(), comparison.neuron as usize);
    let mut correlation =
        Correlation::new(Arc::clone(&comparison.model), target, comparison.hooks.clone(), comparison.first_counted());
    while let Some(batch) = rows.next().await {
        let drawn = |window: &OwnedWindow| mix(seed, window.sequence.cast_unsigned(), 0) <= last;
        let windows: Vec<OwnedWindow> = sequence_windows(&batch?)?.into_iter().filter(drawn).collect();
        correlation = on_thread(move || {
            correlation.observe(&windows)?;
            Ok(correlation)
        })
        .await?;
    }
    (0..comparison.hooks.len()).map(|hook| comparison.batch(hook, correlation.finish(hook))).collect()
}

/// The largest hash among the `n` smallest of the sequences' hashes: those up to it are the sample.
async fn last_drawn(context: &SessionContext, model: &str, corpus: &str, n: usize, seed: u64) -> Result<u64> {
    let sql = format!(
        "SELECT sequence FROM token_sequences WHERE model = {} AND corpus = {}",
        literal(model),
        literal(corpus)
    );
    let mut rows = context.sql(&sql).await?.execute_stream().await?;
    let mut smallest = BinaryHeap::with_capacity(n.min(1 << 20) + 1);
    while let Some(batch) = rows.next().await {
        for sequence in batch?.column(0).as_primitive::<Int64Type>().values() {
            smallest.push(mix(seed, sequence.cast_unsigned(), 0));
            if smallest.len() > n {
                smallest.pop();
            }
        }
    }
    Ok(smallest.peek().copied().unwrap_or(0))
}

pub(crate) fn documentation() -> Documentation {
    document(
        "How similar every unit is to one unit: model, hook_point, layer, neuron, similarity (-1..1), the unit itself among them. \
         by is 'input' (cosine of the weights that read the residual stream; of a SwiGLU MLP the gate's), 'output' (cosine of \
         the weights that write to it) or 'activations' (Pearson correlation over the token sequences of a corpus of the \
         lake, in one pass with sums in f64). Units are those of the same kind of hook point in all layers, or of the same autoencoder; options is a JSON \
         object: hook_points (a pattern), and for activations corpus, sequences (a seeded sample of so many), seed, first_token \
         (keep or mask, as in a collection). NULL where a unit has no such weights, only zeros, or a constant activation.",
        "neurons_like(model, hook_point, neuron, by [, options])",
        "SELECT layer, neuron, round(similarity, 3) AS rounded \
         FROM neurons_like('default', 'blocks.3.mlp.hook_post', 7, 'output') ORDER BY similarity DESC LIMIT 3",
    )
}
