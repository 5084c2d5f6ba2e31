//! What the aggregates that score windows share: rows are held, put in an order of their own and summarised once.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use crate::scores::bootstrap::Bootstrap;
use crate::scores::resampling::Resampler;
use crate::scores::summary::Interval;

/// What is scored of one window.
pub(super) trait Observed: Copy + fmt::Debug + Send + Sync + 'static {
    /// How many numbers it is in the state of the aggregate.
    const N_NUMBERS: usize;

    /// The windows of a batch of arguments, the seed left out; `None` for a row that is left out.
    fn read(arguments: &[ArrayRef]) -> Result<Vec<Option<Self>>>;

    /// The window as numbers.
    fn numbers(&self) -> impl Iterator<Item = f64>;

    /// The window of [`Observed::numbers`].
    fn of_numbers(numbers: &[f64]) -> Self;

    /// Every metric over the windows; intervals where there is something to draw them with.
    fn summaries(windows: &[Self], resampler: Option<&mut Resampler>) -> Vec<MetricSummary>;
}

/// One metric over several windows, as it leaves an aggregate.
pub(super) struct MetricSummary {
    pub(super) metric: &'static str,
    pub(super) value: Result<f64, &'static str>,
    pub(super) interval: Option<Interval>,
    pub(super) n_windows: usize,
    /// Where the windows tell their tokens.
    pub(super) n_tokens: Option<u64>,
    pub(super) n_failed: usize,
}

/// The list that an aggregate returns.
pub(super) fn summaries_type() -> DataType {
    DataType::List(element())
}

/// The fields of the state.
pub(super) fn state_fields() -> Vec<FieldRef> {
    let numbers = DataType::List(Arc::new(Field::new("item", DataType::Float64, true)));
    vec![Arc::new(Field::new("windows", numbers, true)), Arc::new(Field::new("seed", DataType::Int64, true))]
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("low", DataType::Float64, true),
        Field::new("high", DataType::Float64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("n_windows", DataType::Int32, false),
        Field::new("n_tokens", DataType::Int64, true),
        Field::new("n_failed", DataType::Int32, false),
    ])
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(fields()), true))
}

/// The windows of one group; the last argument is the seed of the intervals.
#[derive(Debug)]
pub(super) struct Windows<T> {
    windows: Vec<T>,
    seed: Option<i64>,
}

impl<T> Default for Windows<T> {
    fn default() -> Self {
        Self { windows: Vec::new(), seed: None }
    }
}

impl<T: Observed> Accumulator for Windows<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some((seeds, arguments)) = values.split_last() else { return Ok(()) };
        self.windows.extend(T::read(arguments)?.into_iter().flatten());
        if self.seed.is_none() && !seeds.is_empty() {
            self.seed = cast(seeds, &DataType::Int64)?.as_primitive::<Int64Type>().iter().next().flatten();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut offsets = vec![0];
        let mut summaries = Vec::new();
        summarize(&mut self.windows, self.seed, &mut None, &mut summaries);
        offsets.push(summaries.len());
        Ok(ScalarValue::List(Arc::new(lists_of(&summaries, &offsets)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.windows.capacity() * size_of::<T>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<ScalarValue> =
            self.windows.iter().flat_map(T::numbers).map(|number| ScalarValue::Float64(Some(number))).collect();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Float64)),
            ScalarValue::Int64(self.seed),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            let numbers = list.as_primitive::<Float64Type>().values();
            self.windows.extend(numbers.chunks_exact(T::N_NUMBERS).map(T::of_numbers));
        }
        self.seed = self.seed.or_else(|| states[1].as_primitive::<Int64Type>().iter().flatten().next());
        Ok(())
    }
}

/// Adds every metric over one group's windows. The resampler of the group before serves again where the seed is the same.
pub(super) fn summarize<T: Observed>(
    windows: &mut [T],
    seed: Option<i64>,
    resampler: &mut Option<Resampler>,
    summaries: &mut Vec<MetricSummary>,
) {
    // Partitions are merged as they end, whatever the ORDER BY of the call: an order of the windows' own makes the sums and
    // the draws the same for any number of threads.
    windows.sort_by(|a, b| {
        let numbers = a.numbers().zip(b.numbers());
        numbers.fold(Ordering::Equal, |order, (a, b)| order.then_with(|| a.total_cmp(&b)))
    });
    let bootstrap = seed.map(|seed| Bootstrap { seed: seed.cast_unsigned(), ..Bootstrap::default() });
    let Some(bootstrap) = bootstrap else {
        summaries.extend(T::summaries(windows, None));
        return;
    };
    let resampler = match resampler {
        Some(same) if same.bootstrap() == bootstrap => same,
        other => other.insert(Resampler::new(bootstrap)),
    };
    summaries.extend(T::summaries(windows, Some(resampler)));
}

/// One list a group, the summaries of group `i` being those from `offsets[i]` to `offsets[i + 1]`.
pub(super) fn lists_of(summaries: &[MetricSummary], offsets: &[usize]) -> Result<ListArray> {
    let metric: StringArray = summaries.iter().map(|s| Some(s.metric)).collect();
    let value: Float64Array = summaries.iter().map(|s| s.value.as_ref().ok().copied()).collect();
    let low: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.low)).collect();
    let high: Float64Array = summaries.iter().map(|s| s.interval.map(|i| i.high)).collect();
    let reason: StringArray = summaries.iter().map(|s| s.value.as_ref().err().copied()).collect();
    let n_windows: Int32Array = summaries.iter().map(|s| Some(s.n_windows as i32)).collect();
    let n_tokens: Int64Array = summaries.iter().map(|s| s.n_tokens.map(u64::cast_signed)).collect();
    let n_failed: Int32Array = summaries.iter().map(|s| Some(s.n_failed as i32)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(metric),
        Arc::new(value),
        Arc::new(low),
        Arc::new(high),
        Arc::new(reason),
        Arc::new(n_windows),
        Arc::new(n_tokens),
        Arc::new(n_failed),
    ];
    let structs = StructArray::try_new(fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(offsets.windows(2).map(|pair| pair[1] - pair[0]));
    Ok(ListArray::try_new(element(), offsets, Arc::new(structs), None)?)
}
