//! `normalize_activations(activations, max)`: the 0..10 integers of the paper's prompts.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Builder, ListBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_lists, float_values, floats, signature};
use crate::activation_records::normalize::normalized;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NormalizeActivations {
    signature: Signature,
    documentation: Documentation,
}

impl Default for NormalizeActivations {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "Activations as whole numbers from 0 to 10: min(10, floor(10 * max(0, a) / max)), all 0 when max is not \
                 above 0 (Bills et al. 2023). NULL when an argument is NULL.",
                "normalize_activations(activations, max)",
                "SELECT normalize_activations([-1.0, 0.1, 0.5, 0.99, 2.0], 1.0) AS normalized",
            ),
        }
    }
}

impl ScalarUDFImpl for NormalizeActivations {
    fn name(&self) -> &str {
        "normalize_activations"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new("element", DataType::Int32, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lists = float_lists("normalize_activations", &args.args[0], args.number_rows)?;
        let max = cast(&args.args[1].to_array(args.number_rows)?, &DataType::Float64)?;
        let max = max.as_primitive::<Float64Type>();
        let offsets = lists.value_offsets();
        let mut result = ListBuilder::new(Int32Builder::new()).with_field(Field::new("element", DataType::Int32, true));
        for row in 0..lists.len() {
            let valid = lists.is_valid(row) && max.is_valid(row);
            if valid {
                let values = floats("normalize_activations", float_values(&lists), offsets[row], offsets[row + 1])?;
                for &value in values {
                    result.values().append_value(i32::from(normalized(f64::from(value), max.value(row))));
                }
            }
            result.append(valid);
        }
        Ok(ColumnarValue::Array(Arc::new(result.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
