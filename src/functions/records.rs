//! Lists of windows among arguments: `list of struct(tokens, activations[, activating])`, one list a row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_datafusion_err};

use super::arguments::{float_list, float_values, floats, list_as, string_list};

/// Windows in SQL words.
const WINDOWS: &str = "a list of struct(tokens VARCHAR[], activations FLOAT[])";

/// What a NULL without a type is a list of.
fn nothing() -> FieldRef {
    let fields = vec![Field::new("tokens", string_list(), true), Field::new("activations", float_list(), true)];
    Arc::new(Field::new("element", DataType::Struct(fields.into()), true))
}

/// One window: a token sequence and the activations of one unit on it, equally long.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) tokens: Vec<String>,
    pub(crate) activations: Vec<f32>,
    pub(crate) activating: Option<bool>,
}

/// Windows of every row.
pub(crate) struct WindowLists {
    lists: ListArray,
    tokens: ListArray,
    activations: ListArray,
    activating: Option<BooleanArray>,
}

impl WindowLists {
    /// Reads an argument.
    ///
    /// # Errors
    /// When it is no list of structs, or a struct lacks `tokens` or `activations`.
    pub(crate) fn read(function: &str, array: &ArrayRef) -> Result<Self> {
        let fault = |got: String| exec_datafusion_err!("'{function}': expected {WINDOWS}, got {got}");
        let lists = match array.data_type() {
            DataType::List(element) if matches!(element.data_type(), DataType::Struct(_)) => {
                array.as_list::<i32>().clone()
            }
            DataType::Null => ListArray::new_null(nothing(), array.len()),
            other => return Err(fault(other.to_string())),
        };
        let structs = lists.values().as_struct();
        let column = |name: &str| structs.column_by_name(name).ok_or_else(|| fault(format!("no '{name}' in a window")));
        let activating = match structs.column_by_name("activating") {
            Some(column) => Some(cast(column, &DataType::Boolean)?.as_boolean().clone()),
            None => None,
        };
        let (tokens, activations) = (column("tokens")?, column("activations")?);
        Ok(Self {
            tokens: list_as(function, tokens, &string_list())?,
            activations: list_as(function, activations, &float_list())?,
            activating,
            lists,
        })
    }

    /// The windows of a row; `None` where the list is NULL.
    ///
    /// # Errors
    /// When a window's tokens and activations are not equally long.
    pub(crate) fn get(&self, function: &str, row: usize) -> Result<Option<Vec<Window>>> {
        if self.lists.is_null(row) {
            return Ok(None);
        }
        let range = self.lists.value_offsets()[row] as usize..self.lists.value_offsets()[row + 1] as usize;
        range.map(|index| self.window(function, index)).collect::<Result<Vec<_>>>().map(Some)
    }

    fn window(&self, function: &str, index: usize) -> Result<Window> {
        let tokens = strings_of(&self.tokens, index);
        let (from, to) = (self.activations.value_offsets()[index], self.activations.value_offsets()[index + 1]);
        let activations = floats(function, float_values(&self.activations), from, to)?.to_vec();
        if tokens.len() != activations.len() {
            return Err(exec_datafusion_err!(
                "'{function}': expected as many activations as tokens in a window, got {} and {}",
                activations.len(),
                tokens.len()
            ));
        }
        let activating = self.activating.as_ref().filter(|values| values.is_valid(index)).map(|v| v.value(index));
        Ok(Window { tokens, activations, activating })
    }
}

/// The strings of one list.
pub(crate) fn strings_of(lists: &ListArray, row: usize) -> Vec<String> {
    let values: &StringArray = lists.values().as_string();
    let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
    range.map(|i| values.value(i).to_owned()).collect()
}
