//! `window_sums(activations, expected)`: everything a score needs of one window, so that no token is read twice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder, Int64Builder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_lists, float_values, floats, signature};
use crate::scores::window_sums::{N_SUMS, WindowSums};

/// Names of the struct's fields after `n`, in the order of [`WindowSums::to_array`].
pub(crate) const SUM_NAMES: [&str; N_SUMS] = WindowSums::NAMES;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowSumsFunction {
    signature: Signature,
    documentation: Documentation,
}

impl Default for WindowSumsFunction {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "Sufficient statistics of one window for every score: token count, means, centred second moments, and \
                 sums of absolute and squared deviations, in f64. NULL when a list is NULL (a simulation that failed); tokens whose \
                 expected activation is NULL are left out; lists of different length are an error. Feed it to score_summaries.",
                "window_sums(activations, expected)",
                "SELECT window_sums([0.0, 0.0, 1.0], [0.0, 1.0, 2.0])['n'] AS n",
            ),
        }
    }
}

pub(crate) fn sums_type() -> DataType {
    DataType::Struct(sums_fields())
}

fn sums_fields() -> Fields {
    let floats = SUM_NAMES.iter().map(|name| Field::new(*name, DataType::Float64, false));
    std::iter::once(Field::new("n", DataType::Int64, false)).chain(floats).collect()
}

impl ScalarUDFImpl for WindowSumsFunction {
    fn name(&self) -> &str {
        "window_sums"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(sums_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let actual = float_lists("window_sums", &args.args[0], args.number_rows)?;
        let expected = float_lists("window_sums", &args.args[1], args.number_rows)?;
        let (actual_values, expected_values) = (float_values(&actual), float_values(&expected));
        let mut n = Int64Builder::with_capacity(args.number_rows);
        let mut sums: Vec<Float64Builder> =
            (0..N_SUMS).map(|_| Float64Builder::with_capacity(args.number_rows)).collect();
        let nulls = NullBuffer::union(actual.nulls(), expected.nulls());
        for row in 0..args.number_rows {
            let window = if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                WindowSums::default()
            } else {
                let (a, e) = (actual.value_offsets(), expected.value_offsets());
                let actual = floats("window_sums", actual_values, a[row], a[row + 1])?;
                let expected = expected_values.slice(e[row] as usize, (e[row + 1] - e[row]) as usize);
                if expected.null_count() == 0 || expected.len() != actual.len() {
                    WindowSums::of(actual, expected.values())?
                } else {
                    // Tokens without a value are left out, as if they were not there.
                    let read = || actual.iter().zip(&expected).filter_map(|(a, e)| Some((*a, e?)));
                    let (actual, expected): (Vec<f32>, Vec<f32>) = read().unzip();
                    WindowSums::of(&actual, &expected)?
                }
            };
            n.append_value(window.n() as i64);
            for (builder, value) in sums.iter_mut().zip(window.to_array()) {
                builder.append_value(value);
            }
        }
        let columns: Vec<ArrayRef> = std::iter::once(Arc::new(n.finish()) as ArrayRef)
            .chain(sums.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(sums_fields(), columns, nulls)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The windows of an array made by [`WindowSumsFunction`]; `None` for a failed simulation.
pub(crate) fn read_sums(array: &ArrayRef) -> Result<Vec<Option<WindowSums>>> {
    if array.data_type() != &sums_type() {
        return exec_err!("expected the result of window_sums, got {}", array.data_type());
    }
    let structs = array.as_struct();
    let n = structs.column(0).as_primitive::<Int64Type>();
    let columns: Vec<_> = structs.columns()[1..].iter().map(|c| c.as_primitive::<Float64Type>()).collect();
    Ok((0..structs.len())
        .map(|row| {
            structs.is_valid(row).then(|| {
                let values = std::array::from_fn(|k| columns[k].value(row));
                WindowSums::from_array(n.value(row) as u64, values)
            })
        })
        .collect())
}
