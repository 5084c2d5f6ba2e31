//! `weight_links(model, hook_point, neurons, k)` and `weight_tokens(…)`: what neurons are connected to by weights alone.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::Documentation;
use futures::StreamExt;

use super::arguments::{document, table_arguments, text_argument};
use super::stream;
use crate::error::Error;
use crate::models::cache::Models;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::selection::NeuronSelection;

/// Neurons that are computed before the reader is asked whether it is still there: handing one over takes as long as computing a small one.
const AT_ONCE: usize = 32;

const ARGUMENTS: [&str; 4] = ["model", "hook_point", "neurons", "k"];

/// What is listed of a neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Other neurons: rows as those of table neuron_links.
    Links,
    /// Tokens: rows as those of table token_effects.
    Tokens,
}

pub(crate) struct WeightLists {
    listed: Listed,
    models: Arc<Models>,
}

impl fmt::Debug for WeightLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.listed.name())
    }
}

impl WeightLists {
    pub(crate) fn new(listed: Listed, models: &Arc<Models>) -> Self {
        Self { listed, models: Arc::clone(models) }
    }
}

impl Listed {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Links => "weight_links",
            Self::Tokens => "weight_tokens",
        }
    }

    fn schema(self) -> SchemaRef {
        let field = |name: &str, kind: DataType| Field::new(name, kind, false);
        let mut fields = vec![
            field("model", DataType::Utf8),
            field("hook_point", DataType::Utf8),
            Field::new("layer", DataType::Int32, true),
            field("neuron", DataType::Int32),
            field("direction", DataType::Utf8),
            field("sign", DataType::Utf8),
            field("rank", DataType::Int32),
        ];
        fields.extend(match self {
            Self::Links => [
                field("other_hook_point", DataType::Utf8),
                field("other_neuron", DataType::Int32),
                field("weight", DataType::Float32),
            ],
            Self::Tokens => [
                field("token_id", DataType::Int32),
                field("token", DataType::Utf8),
                field("strength", DataType::Float32),
            ],
        });
        Arc::new(Schema::new(fields))
    }

    /// The rows of one neuron.
    fn batch(self, model: &SubjectModel, hook: &HookPoint, neuron: u32, k: usize) -> Result<RecordBatch> {
        let (directions, ranks, strengths, others): (Vec<&str>, Vec<usize>, Vec<f32>, [ArrayRef; 2]) = match self {
            Self::Links => {
                let links = model.weight_links(hook, neuron, k)?;
                let name = |layer: usize| format!("blocks.{layer}.mlp.hook_post");
                let columns: [ArrayRef; 2] = [
                    Arc::new(StringArray::from_iter_values(links.iter().map(|link| name(link.layer)))),
                    Arc::new(Int32Array::from_iter_values(links.iter().map(|link| link.neuron.cast_signed()))),
                ];
                let direction = |downstream| if downstream { "downstream" } else { "upstream" };
                let directions = links.iter().map(|link| direction(link.downstream)).collect();
                let ranks = links.iter().map(|link| link.rank).collect();
                (directions, ranks, links.iter().map(|link| link.weight).collect(), columns)
            }
            Self::Tokens => {
                let effects = model.weight_tokens(hook, neuron, k)?;
                let tokenizer = model.tokenizer()?;
                let text = |id: u32| tokenizer.token_text(id);
                let columns: [ArrayRef; 2] = [
                    Arc::new(Int32Array::from_iter_values(effects.iter().map(|effect| effect.token_id.cast_signed()))),
                    Arc::new(StringArray::from_iter_values(effects.iter().map(|effect| text(effect.token_id)))),
                ];
                let direction = |output| if output { "output" } else { "input" };
                let directions = effects.iter().map(|effect| direction(effect.output)).collect();
                let ranks = effects.iter().map(|effect| effect.rank).collect();
                (directions, ranks, effects.iter().map(|effect| effect.strength).collect(), columns)
            }
        };
        let n = ranks.len();
        let signs = strengths.iter().map(|value| if *value > 0.0 { "positive" } else { "negative" });
        let [first, second] = others;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![model.id(); n])),
            Arc::new(StringArray::from(vec![hook.name(); n])),
            Arc::new(Int32Array::from(vec![hook.layer().map(|layer| layer as i32); n])),
            Arc::new(Int32Array::from(vec![neuron.cast_signed(); n])),
            Arc::new(StringArray::from(directions)),
            Arc::new(StringArray::from_iter_values(signs)),
            Arc::new(Int32Array::from_iter_values(ranks.into_iter().map(|rank| rank as i32))),
            first,
            second,
            Arc::new(Float32Array::from(strengths)),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

impl TableFunctionImpl for WeightLists {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let (listed, name) = (self.listed, self.listed.name());
        let values = table_arguments(name, &ARGUMENTS, 3, args.exprs())?;
        let text = |index: usize| text_argument(name, ARGUMENTS[index], &values[index]);
        let model = self.models.get(&text(0)?)?;
        let named = text(1)?;
        let hook = match model.select_hook_points(&named)?.as_slice() {
            [one] => one.clone(),
            several => {
                let n = several.len();
                return plan_err!("'{name}': hook_point: expected one hook point, got '{named}', which names {n}");
            }
        };
        let k = match values.get(3).map(|value| value.cast_to(&DataType::Int64)).transpose()? {
            None => 10,
            Some(ScalarValue::Int64(Some(k))) if k > 0 => k as usize,
            Some(other) => return plan_err!("'{name}': k: expected a whole number above 0, got {other}"),
        };
        let units = Arc::new(NeuronSelection::parse(&text(2)?)?.units(&hook)?.units().to_vec());
        let rows: stream::Rows = Arc::new(move || {
            let (model, hook, units) = (Arc::clone(&model), hook.clone(), Arc::clone(&units));
            futures::stream::iter((0..units.len()).step_by(AT_ONCE))
                .then(move |first| {
                    let (model, hook, units) = (Arc::clone(&model), hook.clone(), Arc::clone(&units));
                    async move {
                        let compute = move || {
                            let units = units[first..].iter().take(AT_ONCE);
                            let batches = units.map(|unit| listed.batch(&model, &hook, *unit, k));
                            let batches = batches.collect::<Result<Vec<_>>>()?;
                            Ok(concat_batches(&listed.schema(), &batches)?)
                        };
                        let done = tokio::task::spawn_blocking(compute).await;
                        done.map_err(|error| Error::internal(format!("the computing thread died: {error}")))?
                    }
                })
                .boxed()
        });
        stream::table(name, listed.schema(), &["neuron"], rows)
    }
}

pub(crate) fn links_documentation() -> Documentation {
    document(
        "The strongest connections of MLP neurons to those of other blocks by weights alone, with the columns of table neuron_links: \
         direction ('upstream': the other writes what this one reads, or 'downstream'), sign, rank (from 0, strongest first), \
         other_hook_point, other_neuron, weight. The weight is W_out · diag(the reading norm's gains) · W_in; scales of norms, biases and \
         attention are left out. neurons is 'all' or a list such as '0-9,12'; k of each direction and sign, 10 when left out. No rows for \
         units that are no MLP neurons.",
        "weight_links(model, hook_point, neurons [, k])",
        "SELECT other_hook_point, other_neuron FROM weight_links('default', 'blocks.1.mlp.hook_post', '7', 2) \
         WHERE direction = 'downstream' AND sign = 'positive' ORDER BY rank",
    )
}

pub(crate) fn tokens_documentation() -> Documentation {
    document(
        "The tokens that MLP neurons act on, or that act on them, by weights alone, with the columns of table token_effects: direction \
         ('input': embedding · diag(the norm's gains) · W_in, or 'output': W_out · diag(the final norm's gains) · unembedding), sign, rank (from \
         0, strongest first), token_id, token, strength. neurons is 'all' or a list such as '0-9,12'; k of each direction and sign, 10 when \
         left out. No rows for units that are no MLP neurons.",
        "weight_tokens(model, hook_point, neurons [, k])",
        "SELECT sign, rank, token FROM weight_tokens('default', 'blocks.3.mlp.hook_post', '7', 2) \
         WHERE direction = 'output' ORDER BY sign, rank",
    )
}
