//! `logit_lens(model, autoencoder, neurons, k)`: the tokens whose logits a latent raises and lowers most.

use std::sync::Arc;

use arrow::array::{Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::Documentation;
use futures::StreamExt;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::stream;
use crate::error::Error;
use crate::models::cache::Models;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::selection::NeuronSelection;

const ARGUMENTS: [&str; 4] = ["model", "autoencoder", "neurons", "k"];
/// Latents whose effects on the whole vocabulary are held at once.
const CHUNK: usize = 64;

pub(crate) struct LogitLens {
    models: Arc<Models>,
}

impl std::fmt::Debug for LogitLens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("logit_lens")
    }
}

impl LogitLens {
    pub(crate) fn new(host: &Host) -> Self {
        Self { models: Arc::clone(&host.models) }
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hook_point", DataType::Utf8, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("sign", DataType::Utf8, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("token", DataType::Utf8, false),
        Field::new("effect", DataType::Float32, false),
    ]))
}

impl TableFunctionImpl for LogitLens {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("logit_lens", &ARGUMENTS, 2, args.exprs())?;
        let text = |index: usize| text_argument("logit_lens", ARGUMENTS[index], &values[index]);
        let model = self.models.get(&text(0)?)?;
        let named = text(1)?;
        let pattern = if named.contains('/') { named.clone() } else { format!("*/{named}") };
        let hook = match model.select_hook_points(&pattern)?.as_slice() {
            [one] if one.latents().is_some() => one.clone(),
            several => {
                let n = several.len();
                return plan_err!(
                    "'logit_lens': autoencoder: expected one autoencoder, got '{named}', which names {n}"
                );
            }
        };
        let neurons = if values.len() > 2 { NeuronSelection::parse(&text(2)?)? } else { NeuronSelection::All };
        let k = match values.get(3).map(|value| value.cast_to(&DataType::Int64)).transpose()? {
            None => 10,
            Some(ScalarValue::Int64(Some(k))) if k > 0 => k as usize,
            Some(other) => return plan_err!("'logit_lens': k: expected a whole number above 0, got {other}"),
        };
        let units = Arc::new(neurons.units(&hook)?.units().to_vec());
        let rows: stream::Rows = Arc::new(move || {
            let (model, hook, units) = (Arc::clone(&model), hook.clone(), Arc::clone(&units));
            let starts = futures::stream::iter((0..units.len()).step_by(CHUNK));
            starts
                .then(move |start| {
                    let (model, hook, units) = (Arc::clone(&model), hook.clone(), Arc::clone(&units));
                    async move {
                        let some = units[start..units.len().min(start + CHUNK)].to_vec();
                        let done = tokio::task::spawn_blocking(move || batch(&model, &hook, &some, k)).await;
                        done.map_err(|error| Error::internal(format!("the computing thread died: {error}")))?
                    }
                })
                .boxed()
        });
        stream::table("logit_lens", schema(), &["neuron"], rows)
    }
}

fn batch(model: &SubjectModel, hook: &HookPoint, latents: &[u32], k: usize) -> Result<RecordBatch> {
    let tokenizer = model.tokenizer()?;
    let effects = model.latent_logits(hook, latents)?;
    let n_vocab = effects.len() / latents.len().max(1);
    let (mut neurons, mut signs, mut ranks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ids, mut tokens, mut strengths) = (Vec::new(), Vec::new(), Vec::new());
    for (latent, effects) in latents.iter().zip(effects.chunks_exact(n_vocab)) {
        let mut order: Vec<usize> = (0..effects.len()).collect();
        order.sort_by(|a, b| effects[*b].total_cmp(&effects[*a]).then(a.cmp(b)));
        let k = k.min(order.len());
        let raised = order[..k].iter().enumerate().map(|(rank, id)| ("positive", rank, *id));
        let lowered = order.iter().rev().take(k).enumerate().map(|(rank, id)| ("negative", rank, *id));
        for (sign, rank, id) in raised.chain(lowered) {
            neurons.push(*latent as i32);
            signs.push(sign);
            ranks.push(rank as i32);
            ids.push(id as i32);
            tokens.push(tokenizer.token_text(id as u32));
            strengths.push(effects[id]);
        }
    }
    let n = neurons.len();
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from(vec![model.id(); n])),
            Arc::new(StringArray::from(vec![hook.name(); n])),
            Arc::new(Int32Array::from(neurons)),
            Arc::new(StringArray::from(signs)),
            Arc::new(Int32Array::from(ranks)),
            Arc::new(Int32Array::from(ids)),
            Arc::new(StringArray::from(tokens)),
            Arc::new(Float32Array::from(strengths)),
        ],
    )?)
}

pub(crate) fn documentation() -> Documentation {
    document(
        "The tokens whose logits the latents of a sparse autoencoder raise and lower most by themselves: model, hook_point, neuron, sign \
         ('positive' or 'negative'), rank (from 0, strongest first), token_id, token, effect. The effect is that of the decoder row less its mean \
         (where the final norm takes it off), times the final norm's weights, on each token, less the mean over the vocabulary; the norm's scale \
         is left out. neurons is 'all' or a list such as '0-9,12'; k tokens of each sign, 10 when left out.",
        "logit_lens(model, autoencoder [, neurons [, k]])",
        "SELECT neuron, sign, rank, token FROM logit_lens('default', 'example_sae', '0', 2) ORDER BY sign, rank",
    )
}
