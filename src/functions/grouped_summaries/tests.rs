use datafusion::logical_expr::Accumulator;
use proptest::prelude::*;

use super::super::summaries::{MetricSummary, Windows};
use super::*;
use crate::scores::resampling::Resampler;
use crate::scores::summary::Interval;

/// A window that is one number; its only metric says which windows it was given and what for.
#[derive(Clone, Copy, Debug)]
struct One(f64);

impl Observed for One {
    const N_NUMBERS: usize = 1;

    fn read(arguments: &[ArrayRef]) -> Result<Vec<Option<Self>>> {
        Ok(arguments[0].as_primitive::<Float64Type>().iter().map(|number| number.map(Self)).collect())
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        std::iter::once(self.0)
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        Self(numbers[0])
    }

    fn summaries(windows: &[Self], resampler: Option<&mut Resampler>) -> Vec<MetricSummary> {
        let digits = windows.iter().fold(0.0, |digits, window| 10.0 * digits + window.0);
        vec![MetricSummary {
            metric: "digits",
            value: Ok(digits),
            interval: resampler.map(|r| Interval { low: r.bootstrap().seed as f64, high: 0.0 }),
            n_windows: windows.len(),
            n_tokens: None,
            n_failed: 0,
        }]
    }
}

/// A row: its group, its window, its seed, and what a FILTER says of it.
type Row = (usize, Option<u8>, Option<i64>, Option<bool>);

fn arguments(rows: &[Row]) -> [ArrayRef; 2] {
    let windows: Float64Array = rows.iter().map(|row| row.1.map(f64::from)).collect();
    let seeds: Int64Array = rows.iter().map(|row| row.2).collect();
    [Arc::new(windows), Arc::new(seeds)]
}

/// Every group by an accumulator of its own.
fn one_by_one(rows: &[Row], n_groups: usize) -> ArrayRef {
    let lists = (0..n_groups).map(|group| {
        let of_group: Vec<Row> = rows.iter().filter(|row| row.0 == group && row.3 == Some(true)).copied().collect();
        let mut windows = Windows::<One>::default();
        for row in &of_group {
            windows.update_batch(&arguments(&[*row])).unwrap();
        }
        windows.evaluate().unwrap().to_array().unwrap()
    });
    let lists: Vec<ArrayRef> = lists.collect();
    arrow::compute::concat(&lists.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()
}

fn update(grouped: &mut GroupedWindows<One>, rows: &[Row], n_groups: usize) {
    let groups: Vec<usize> = rows.iter().map(|row| row.0).collect();
    let filter: BooleanArray = rows.iter().map(|row| row.3).collect();
    grouped.update_batch(&arguments(rows), &groups, Some(&filter), n_groups).unwrap();
}

fn both(first: &ArrayRef, second: &ArrayRef) -> ArrayRef {
    arrow::compute::concat(&[first.as_ref(), second.as_ref()]).unwrap()
}

const N_GROUPS: usize = 4;

proptest! {
    #[test]
    fn many_groups_at_once_give_what_each_gives_alone(
        rows in prop::collection::vec(
            (0..N_GROUPS, prop::option::of(0u8..10), prop::option::of(0i64..3), prop::option::of(any::<bool>())), 0..40),
        cut in any::<prop::sample::Index>(),
        first in 0..=N_GROUPS,
    ) {
        let expected = one_by_one(&rows, N_GROUPS);
        let (before, after) = rows.split_at(cut.index(rows.len() + 1));

        let mut whole = GroupedWindows::<One>::default();
        update(&mut whole, before, N_GROUPS);
        update(&mut whole, after, N_GROUPS);
        let some = whole.evaluate(EmitTo::First(first)).unwrap();
        let rest = whole.evaluate(EmitTo::All).unwrap();
        prop_assert_eq!(&both(&some, &rest), &expected);

        // By states: those of an accumulator, emitted in two parts, and those of rows that were passed on as they came.
        let mut partial = GroupedWindows::<One>::default();
        update(&mut partial, before, N_GROUPS);
        let mut last = GroupedWindows::<One>::default();
        let states = partial.state(EmitTo::First(first)).unwrap();
        last.merge_batch(&states, &(0..first).collect::<Vec<_>>(), N_GROUPS).unwrap();
        let states = partial.state(EmitTo::All).unwrap();
        last.merge_batch(&states, &(first..N_GROUPS).collect::<Vec<_>>(), N_GROUPS).unwrap();
        let filter: BooleanArray = after.iter().map(|row| row.3).collect();
        let states = last.convert_to_state(&arguments(after), Some(&filter)).unwrap();
        last.merge_batch(&states, &after.iter().map(|row| row.0).collect::<Vec<_>>(), N_GROUPS).unwrap();
        prop_assert_eq!(&last.evaluate(EmitTo::All).unwrap(), &expected);
        prop_assert_eq!(last.evaluate(EmitTo::All).unwrap().len(), 0);
    }
}
