//! `heatmap(tokens, activations)`: a window as plain text with its strong tokens marked.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_lists, float_values, floats, signature, string_lists};
use crate::activation_records::marked_text::marked_text;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Heatmap {
    signature: Signature,
    documentation: Documentation,
}

impl Default for Heatmap {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "The window as one line of text, each token above three tenths of the window's largest activation marked with its \
                 share of it from 3 to 10, like «king 9»; line breaks and control characters are shown escaped. NULL when an \
                 argument is NULL; lists of different length are an error.",
                "heatmap(tokens, activations)",
                "SELECT heatmap(['the', ' king', ' sat'], [0.0, 2.0, 0.1]) AS heatmap",
            ),
        }
    }
}

impl ScalarUDFImpl for Heatmap {
    fn name(&self) -> &str {
        "heatmap"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let tokens = string_lists("heatmap", &args.args[0], args.number_rows)?;
        let activations = float_lists("heatmap", &args.args[1], args.number_rows)?;
        let texts = tokens.values().as_string::<i32>();
        let mut result = StringBuilder::new();
        for row in 0..args.number_rows {
            if tokens.is_null(row) || activations.is_null(row) {
                result.append_null();
                continue;
            }
            let (t, a) = (tokens.value_offsets(), activations.value_offsets());
            let values = floats("heatmap", float_values(&activations), a[row], a[row + 1])?;
            let window: Vec<&str> = (t[row] as usize..t[row + 1] as usize).map(|i| texts.value(i)).collect();
            if window.len() != values.len() {
                return exec_err!(
                    "'heatmap': expected as many activations as tokens, got {} and {}",
                    values.len(),
                    window.len()
                );
            }
            result.append_value(marked_text(&window, values));
        }
        Ok(ColumnarValue::Array(Arc::new(result.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
