//! `score_summaries(sums, seed)`: every metric of a set of windows, with its bootstrap interval.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};

use super::arguments::{document, signature};
use super::window_sums::{read_sums, sums_type};
use crate::scores::bootstrap::Bootstrap;
use crate::scores::metric::Metric;
use crate::scores::summary::{Summary, summaries};
use crate::scores::window_sums::{N_SUMS, WindowSums};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScoreSummaries {
    signature: Signature,
    documentation: Documentation,
}

impl Default for ScoreSummaries {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "Scores a set of windows, given the window_sums of each: a list of structs, one a metric (ev_correlation, \
                 explained_variance, rsquared_uncentred, absolute_dev_explained) with value, low and high (95 % bootstrap \
                 interval over windows, 1,000 seeded draws; none when the seed is NULL), reason (why value is NULL), n_windows \
                 and n_tokens. Failed windows (NULL) are left out. The order of the windows makes no difference.",
                "score_summaries(sums, seed)",
                "SELECT s['metric'] AS metric, round(s['value'], 4) AS value FROM (SELECT unnest(score_summaries(window_sums(\
                 a, e), 0)) AS s FROM (VALUES ([0.0, 0.0, 1.0], [0.0, 1.0, 2.0])) AS windows (a, e)) ORDER BY metric",
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
        Field::new("n_tokens", DataType::Int64, false),
    ])
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(summary_fields()), true))
}

fn state_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Float64, true)))
}

impl AggregateUDFImpl for ScoreSummaries {
    fn name(&self) -> &str {
        "score_summaries"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if arguments[0] != sums_type() {
            return exec_err!("'score_summaries': expected the result of window_sums, got {}", arguments[0]);
        }
        Ok(DataType::List(element()))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Windows::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("windows", state_type(), true)),
            Arc::new(Field::new("seed", DataType::Int64, true)),
        ])
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Debug, Default)]
struct Windows {
    windows: Vec<WindowSums>,
    seed: Option<i64>,
}

impl Accumulator for Windows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.windows.extend(read_sums(&values[0])?.into_iter().flatten());
        if self.seed.is_none() && !values[1].is_empty() {
            let seeds = arrow::compute::cast(&values[1], &DataType::Int64)?;
            self.seed = seeds.as_primitive::<Int64Type>().iter().next().flatten();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let bootstrap = self.seed.map(|seed| Bootstrap { seed: seed.cast_unsigned(), ..Bootstrap::default() });
        // Partitions are merged as they end, whatever the ORDER BY of the call: an order of the values' own makes the sums and
        // the draws the same for any number of threads.
        let order = |window: &WindowSums| (window.n(), window.to_array());
        self.windows.sort_by(|a, b| {
            let ((n, sums), (other_n, other_sums)) = (order(a), order(b));
            let sums = sums.iter().zip(&other_sums).map(|(sum, other)| sum.total_cmp(other));
            n.cmp(&other_n).then_with(|| sums.fold(Ordering::Equal, Ordering::then))
        });
        let summaries = summaries(Metric::ALL, &self.windows, bootstrap);
        Ok(ScalarValue::List(Arc::new(list_of(&summaries)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.windows.capacity() * size_of::<WindowSums>()
    }

    /// The windows as numbers, `n` and the sums of each in turn.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<ScalarValue> = self
            .windows
            .iter()
            .flat_map(|window| std::iter::once(window.n() as f64).chain(window.to_array()))
            .map(|number| ScalarValue::Float64(Some(number)))
            .collect();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Float64)),
            ScalarValue::Int64(self.seed),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            let numbers = list.as_primitive::<Float64Type>().values();
            for window in numbers.chunks_exact(N_SUMS + 1) {
                let sums = std::array::from_fn(|k| window[k + 1]);
                self.windows.push(WindowSums::from_array(window[0] as u64, sums));
            }
        }
        self.seed = self.seed.or_else(|| states[1].as_primitive::<Int64Type>().iter().flatten().next());
        Ok(())
    }
}

fn list_of(summaries: &[Summary]) -> Result<ListArray> {
    let metric: StringArray = Metric::ALL.iter().map(|metric| Some(metric.as_str())).collect();
    let value: Float64Array = summaries.iter().map(|s| s.value.as_ref().ok().copied()).collect();
    let low: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.low)).collect();
    let high: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.high)).collect();
    let reason: StringArray = summaries.iter().map(|s| s.value.as_ref().err().map(|r| r.as_str())).collect();
    let n_windows: Int32Array = summaries.iter().map(|s| Some(s.n_windows as i32)).collect();
    let n_tokens: Int64Array = summaries.iter().map(|s| Some(s.n_tokens as i64)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metric),
        Arc::new(value),
        Arc::new(low),
        Arc::new(high),
        Arc::new(reason),
        Arc::new(n_windows),
        Arc::new(n_tokens),
    ];
    let structs = StructArray::try_new(summary_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths([summaries.len()]);
    Ok(ListArray::try_new(element(), offsets, Arc::new(structs), None)?)
}
