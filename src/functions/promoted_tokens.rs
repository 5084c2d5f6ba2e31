//! `promoted_tokens(model, hook_point, neuron)`: what a neuron makes the model say next.

use std::sync::Arc;

use arrow::array::{Array, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, integers, literal_string, signature, string_list};
use crate::models::cache::Models;

/// Tokens a list holds.
const N_TOKENS: usize = 10;
/// Neurons whose effects on the whole vocabulary are held at once.
const CHUNK: usize = 64;

#[derive(Debug)]
pub(crate) struct PromotedTokens {
    signature: Signature,
    documentation: Documentation,
    models: Arc<Models>,
}

super::same_by_name!(PromotedTokens);

impl PromotedTokens {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self {
            signature: signature(3),
            documentation: document(
                "The 10 tokens whose logits a neuron raises most by its output weights, strongest first; other layers, norms' scales \
                 and biases left out (logit lens). Empty for a hook point that writes nothing to the residual stream by itself. NULL when \
                 neuron is NULL.",
                "promoted_tokens(model, hook_point, neuron)",
                "SELECT promoted_tokens('default', 'blocks.3.mlp.hook_post', 7) AS tokens",
            ),
            models: Arc::clone(models),
        }
    }
}

impl ScalarUDFImpl for PromotedTokens {
    fn name(&self) -> &str {
        "promoted_tokens"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(string_list())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |name: &str, index: usize| literal_string("promoted_tokens", name, &args.args[index]);
        let model = self.models.get(&text("model", 0)?)?;
        let hooks = model.select_hook_points(&text("hook_point", 1)?)?;
        let neurons = integers(&args.args[2], args.number_rows)?;
        let tokenizer = model.tokenizer()?;
        let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
        let rows: Vec<Option<i64>> = neurons.iter().collect();
        for chunk in rows.chunks(CHUNK) {
            let index = |neuron: &i64| match usize::try_from(*neuron) {
                Ok(index) if index < hooks[0].width() => Ok(index as u32),
                _ => exec_err!(
                    "'promoted_tokens': expected a neuron of hook point '{}', 0 to {}, got {neuron}",
                    hooks[0].name(),
                    hooks[0].width() - 1
                ),
            };
            let wanted: Vec<u32> = chunk.iter().flatten().map(index).collect::<Result<_>>()?;
            let mut promoted = model.promoted_tokens(&hooks[0], &wanted, N_TOKENS)?.into_iter();
            for neuron in chunk {
                let tokens = neuron.and_then(|_| promoted.next());
                for token_id in tokens.iter().flatten() {
                    lists.values().append_value(tokenizer.token_text(*token_id));
                }
                lists.append(tokens.is_some());
            }
        }
        let lists = lists.finish();
        debug_assert_eq!(lists.len(), args.number_rows);
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
