//! `judgement_summaries(activating, predicted, value, seed)`: every metric of a set of judgements, with its bootstrap interval.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};

use super::arguments::{document, signature};
use crate::scores::bootstrap::Bootstrap;
use crate::scores::classification::{ClassificationSummary, Judged, summaries};

/// Numbers that a judgement is in the state of the aggregate: activating, predicted (-1 for none), value (NaN for none).
const N_NUMBERS: usize = 3;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct JudgementSummaries {
    signature: Signature,
    documentation: Documentation,
}

impl Default for JudgementSummaries {
    fn default() -> Self {
        Self {
            signature: signature(4),
            documentation: document(
                "Scores a set of judgements of windows: a list of structs, one a metric (accuracy, balanced_accuracy, f1, hit_rate, \
                 precision, recall, roc_auc) with value, low and high (95 % bootstrap interval over windows, 1,000 seeded draws; \
                 none when the seed is NULL), reason (why value is NULL: no_windows, nothing_judged, no_positives, no_negatives, \
                 none_predicted), n_windows (that the value is read from) and n_failed (judgements with neither prediction nor \
                 value). hit_rate is the share of windows that are not activating and were found out: of the intruder scorer, the \
                 share of groups in which the intruder was named. Rows without activating are left out; the order of the rows \
                 makes no difference.",
                "judgement_summaries(activating, predicted, value, seed)",
                "SELECT s['metric'] AS metric, round(s['value'], 4) AS value, s['n_windows'] AS n_windows FROM (SELECT unnest(\
                 judgement_summaries(activating, predicted, value, 0)) AS s FROM (VALUES (true, true, 0.9), (true, false, 0.4), \
                 (false, false, 0.4), (false, false, 0.1)) AS judgements (activating, predicted, value)) ORDER BY metric",
            ),
        }
    }
}

fn summary_fields() -> Fields {
    Fields::from(vec![
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("low", DataType::Float64, true),
        Field::new("high", DataType::Float64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("n_windows", DataType::Int32, false),
        Field::new("n_failed", DataType::Int32, false),
    ])
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(summary_fields()), true))
}

fn state_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Float64, true)))
}

impl AggregateUDFImpl for JudgementSummaries {
    fn name(&self) -> &str {
        "judgement_summaries"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        for (name, found) in ["activating", "predicted"].into_iter().zip(arguments) {
            if !matches!(found, DataType::Boolean | DataType::Null) {
                return exec_err!("'judgement_summaries': {name}: expected BOOLEAN, got {found}");
            }
        }
        if !arguments[2].is_numeric() && arguments[2] != DataType::Null {
            return exec_err!("'judgement_summaries': value: expected a number, got {}", arguments[2]);
        }
        Ok(DataType::List(element()))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Judgements::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("judgements", state_type(), true)),
            Arc::new(Field::new("seed", DataType::Int64, true)),
        ])
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Debug, Default)]
struct Judgements {
    judged: Vec<Judged>,
    seed: Option<i64>,
}

impl Accumulator for Judgements {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let booleans = |array: &ArrayRef| cast(array, &DataType::Boolean);
        let (activating, predicted) = (booleans(&values[0])?, booleans(&values[1])?);
        let value = cast(&values[2], &DataType::Float64)?;
        let predictions = predicted.as_boolean().iter().zip(value.as_primitive::<Float64Type>());
        let rows = activating.as_boolean().iter().zip(predictions);
        self.judged.extend(
            rows.filter_map(|(activating, (predicted, value))| {
                Some(Judged { activating: activating?, predicted, value })
            }),
        );
        if self.seed.is_none() && !values[3].is_empty() {
            self.seed = cast(&values[3], &DataType::Int64)?.as_primitive::<Int64Type>().iter().next().flatten();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let bootstrap = self.seed.map(|seed| Bootstrap { seed: seed.cast_unsigned(), ..Bootstrap::default() });
        // Partitions are merged as they end: an order of the judgements' own makes the draws the same for any number of threads.
        self.judged.sort_by(|a, b| {
            numbers(a)
                .iter()
                .zip(&numbers(b))
                .fold(std::cmp::Ordering::Equal, |order, (a, b)| order.then(a.total_cmp(b)))
        });
        Ok(ScalarValue::List(Arc::new(list_of(&summaries(&self.judged, bootstrap))?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.judged.capacity() * size_of::<Judged>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<ScalarValue> =
            self.judged.iter().flat_map(numbers).map(|number| ScalarValue::Float64(Some(number))).collect();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Float64)),
            ScalarValue::Int64(self.seed),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            let numbers = list.as_primitive::<Float64Type>().values();
            self.judged.extend(numbers.chunks_exact(N_NUMBERS).map(|judged| Judged {
                activating: judged[0] > 0.0,
                predicted: (judged[1] >= 0.0).then_some(judged[1] > 0.0),
                value: Some(judged[2]).filter(|value| !value.is_nan()),
            }));
        }
        self.seed = self.seed.or_else(|| states[1].as_primitive::<Int64Type>().iter().flatten().next());
        Ok(())
    }
}

fn numbers(judged: &Judged) -> [f64; N_NUMBERS] {
    let flag = |flag: bool| f64::from(u8::from(flag));
    [flag(judged.activating), judged.predicted.map_or(-1.0, flag), judged.value.unwrap_or(f64::NAN)]
}

fn list_of(summaries: &[ClassificationSummary]) -> Result<ListArray> {
    let metric: StringArray = summaries.iter().map(|s| Some(s.metric.as_str())).collect();
    let value: Float64Array = summaries.iter().map(|s| s.value.ok()).collect();
    let low: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.low)).collect();
    let high: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.high)).collect();
    let reason: StringArray = summaries.iter().map(|s| s.value.err().map(|r| r.as_str())).collect();
    let n_windows: Int32Array = summaries.iter().map(|s| Some(s.n_windows as i32)).collect();
    let n_failed: Int32Array = summaries.iter().map(|s| Some(s.n_failed as i32)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metric),
        Arc::new(value),
        Arc::new(low),
        Arc::new(high),
        Arc::new(reason),
        Arc::new(n_windows),
        Arc::new(n_failed),
    ];
    let structs = StructArray::try_new(summary_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths([summaries.len()]);
    Ok(ListArray::try_new(element(), offsets, Arc::new(structs), None)?)
}
