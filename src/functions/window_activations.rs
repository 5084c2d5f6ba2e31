//! `window_activations(model, hook_points, token_ids)`: what a model computes over one window.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_list, list_as, literal_string, signature, string_lists};
use crate::models::cache::Models;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::pass::{ForwardPass, OwnedWindow};
use crate::token_sequences::split::Split;

const NAME: &str = "window_activations";

#[derive(Debug)]
pub(crate) struct WindowActivations {
    signature: Signature,
    documentation: Documentation,
    models: Arc<Models>,
}

super::same_by_name!(WindowActivations);

impl WindowActivations {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self {
            signature: signature(3),
            documentation: document(
                "Runs the subject model over a window: a list for each hook point, in their order, of the activations of all its units at \
                 all tokens, shape [seq_len, width] row by row, in the model's own units. The same bits for any batch and any number of \
                 threads. NULL when token_ids is NULL. A pass of collect_activations calls it where queries run on workers.",
                "window_activations(model, hook_points, token_ids)",
                "SELECT array_length(w) AS hook_points, array_length(w[1]) AS numbers FROM (SELECT window_activations('default', \
                 ['blocks.0.mlp.hook_post', 'blocks.1.mlp.hook_post'], [10, 20, 30]) AS w)",
            ),
            models: Arc::clone(models),
        }
    }
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("element", float_list(), true))
}

impl ScalarUDFImpl for WindowActivations {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(element()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n = args.number_rows;
        let model = self.models.get(&literal_string(NAME, "model", &args.args[0])?)?;
        let hooks = hook_points(&model, &args.args[1], n)?;
        let ints = DataType::List(Arc::new(Field::new("element", DataType::Int32, true)));
        let token_ids = list_as(NAME, &args.args[2].to_array(n)?, &ints)?;
        let windows = windows(&token_ids)?;
        let width: usize = hooks.iter().map(HookPoint::width).sum();
        let n_tokens: usize = windows.iter().map(|window| window.token_ids.len()).sum();
        if i32::try_from(n_tokens.saturating_mul(width)).is_err() {
            return exec_err!(
                "'{NAME}': expected a batch of fewer than 2^31 activations, got {n_tokens} tokens of {width} units: \
                 choose fewer rows or hook points"
            );
        }
        let mut values = Vec::with_capacity(n_tokens * width);
        let mut lengths = Vec::with_capacity(windows.len() * hooks.len());
        let mut pass = ForwardPass::new(&model, hooks.clone());
        let longest = windows.iter().map(|window| window.token_ids.len()).max().unwrap_or_default();
        for some in windows.chunks(pass.batch_windows(longest).max(1)) {
            let tiles = pass.run(some)?;
            let mut before = 0;
            for window in some {
                let rows = before..before + window.token_ids.len();
                for (hook, tile) in hooks.iter().zip(&tiles) {
                    values.extend_from_slice(&tile[rows.start * hook.width()..rows.end * hook.width()]);
                    lengths.push(rows.len() * hook.width());
                }
                before = rows.end;
            }
        }
        let DataType::List(float) = float_list() else { return exec_err!("'{NAME}': a list type is a list type") };
        let inner = ListArray::try_new(float, OffsetBuffer::from_lengths(lengths), floats(values), None)?;
        let nulls = token_ids.nulls().cloned();
        let per_row = (0..n).map(|row| if token_ids.is_null(row) { 0 } else { hooks.len() });
        let outer = ListArray::try_new(element(), OffsetBuffer::from_lengths(per_row), Arc::new(inner), nulls)?;
        Ok(ColumnarValue::Array(Arc::new(outer)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn floats(values: Vec<f32>) -> ArrayRef {
    Arc::new(Float32Array::new(ScalarBuffer::from(values), None))
}

/// The hook points, the same for all rows.
fn hook_points(model: &SubjectModel, argument: &ColumnarValue, n_rows: usize) -> Result<Vec<HookPoint>> {
    let lists = string_lists(NAME, argument, n_rows)?;
    let mut rows = lists.iter();
    let Some(Some(first)) = rows.next() else {
        return match n_rows {
            0 => Ok(Vec::new()),
            _ => exec_err!("'{NAME}': hook_points: expected a list of names, got NULL"),
        };
    };
    if rows.any(|list| list.as_ref() != Some(&first)) {
        return exec_err!("'{NAME}': hook_points: expected one list for all rows");
    }
    let mut hooks = Vec::new();
    for name in first.as_string::<i32>() {
        let Some(name) = name else { return exec_err!("'{NAME}': hook_points: expected names, got a NULL among them") };
        hooks.extend(model.select_hook_points(name)?);
    }
    Ok(hooks)
}

/// The rows that have tokens, as a pass takes them.
fn windows(token_ids: &ListArray) -> Result<Vec<OwnedWindow>> {
    let mut windows = Vec::new();
    for (row, ids) in token_ids.iter().enumerate() {
        let Some(ids) = ids else { continue };
        let mut token_ids = Vec::with_capacity(ids.len());
        for id in ids.as_primitive::<Int32Type>() {
            match id.map(u32::try_from) {
                Some(Ok(id)) => token_ids.push(id),
                Some(Err(_)) => {
                    return exec_err!("'{NAME}': token_ids: expected 0 or more, got {}", id.unwrap_or_default());
                }
                None => return exec_err!("'{NAME}': token_ids: expected whole numbers, got a NULL among them"),
            }
        }
        // A forward pass looks at the tokens alone.
        windows.push(OwnedWindow {
            sequence: row as i64,
            document: 0,
            split: Split::Train,
            token_ids,
            recordable: true,
        });
    }
    Ok(windows)
}
