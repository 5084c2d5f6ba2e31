//! `ev_correlation`, `explained_variance`, `rsquared_uncentred`, `absolute_dev_explained`: one score over all rows of a group.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};

use super::arguments::{document, float_list, float_values, floats, list_as, signature};
use crate::scores::metric::Metric;
use crate::scores::window_sums::{N_SUMS, WindowSums};
use std::sync::Arc;

/// A metric as an aggregate over pairs of lists, all tokens of all rows taken together.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct MetricAggregate {
    metric: Metric,
    signature: Signature,
    documentation: Documentation,
}

/// One aggregate a metric.
pub(crate) fn all() -> Vec<MetricAggregate> {
    Metric::ALL
        .map(|metric| {
            let name = metric.as_str();
            let description = match metric {
                Metric::EvCorrelation => {
                    "Pearson correlation of actual and expected activations over all tokens of all rows taken together, not a \
                     mean of rows (Bills et al. 2023, ev_correlation_score)."
                }
                Metric::ExplainedVariance => {
                    "1 - E[(s - a)²] / Var(a) after the least-squares linear calibration of the expected activations on the same \
                     tokens: the square of ev_correlation (Bills et al. 2023)."
                }
                Metric::RsquaredUncentred => {
                    "1 - mean((a - e)²) / mean(a²): the reference code's rsquared_score, whose denominator is not centred."
                }
                Metric::AbsoluteDevExplained => "1 - mean|a - e| / mean|a| (the reference code's absolute_dev_explained_score).",
            };
            let example = format!(
                "SELECT round({name}(a, e), 6) AS value FROM (VALUES ([0.0, 0.0, 1.0], [0.0, 1.0, 2.0]), ([5.0, 0.0, 0.0], \
                 [10.0, 0.0, 0.0])) AS windows (a, e)"
            );
            MetricAggregate {
                metric,
                signature: signature(2),
                documentation: document(
                    &format!(
                        "{description} Rows with a NULL list are left out. NULL when undefined: no tokens, a constant series, or a \
                         truth that is all zero; never NaN."
                    ),
                    &format!("{name}(activations, expected)"),
                    &example,
                ),
            }
        })
        .into()
}

impl AggregateUDFImpl for MetricAggregate {
    fn name(&self) -> &str {
        self.metric.as_str()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sums { metric: self.metric, sums: WindowSums::default() }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let names = std::iter::once("n").chain(WindowSums::NAMES);
        Ok(names.map(|name| Arc::new(Field::new(name, DataType::Float64, false))).collect())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Debug)]
struct Sums {
    metric: Metric,
    sums: WindowSums,
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let name = self.metric.as_str();
        let actual = list_as(name, &values[0], &float_list())?;
        let expected = list_as(name, &values[1], &float_list())?;
        let (a, e) = (actual.value_offsets(), expected.value_offsets());
        for row in 0..actual.len() {
            if actual.is_valid(row) && expected.is_valid(row) {
                let window = WindowSums::of(
                    floats(name, float_values(&actual), a[row], a[row + 1])?,
                    floats(name, float_values(&expected), e[row], e[row + 1])?,
                )?;
                self.sums = self.sums.merge(&window);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.metric.value(&self.sums).ok()))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers = std::iter::once(self.sums.n() as f64).chain(self.sums.to_array());
        Ok(numbers.map(|number| ScalarValue::Float64(Some(number))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns: Vec<&Float64Array> = states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        for row in 0..columns[0].len() {
            let sums: [f64; N_SUMS] = std::array::from_fn(|k| columns[k + 1].value(row));
            self.sums = self.sums.merge(&WindowSums::from_array(columns[0].value(row) as u64, sums));
        }
        Ok(())
    }
}
