//! The aggregates of [`super::summaries`] for many groups at once, as a GROUP BY computes them.
//!
//! One accumulator a group would cost an allocation, a slice of every batch and a list of scalar values a group and batch; there are as
//! many groups as units, explanations and sets of windows. Here the windows of all groups stand in one column until they are asked for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::summaries::{Observed, lists_of, summarize};

/// The windows of all groups, in the order in which they came.
#[derive(Debug)]
pub(super) struct GroupedWindows<T> {
    windows: Vec<T>,
    /// The group of each window.
    groups: Vec<usize>,
    /// The seed of each group; the first that it was given counts.
    seeds: Vec<Option<i64>>,
}

impl<T> Default for GroupedWindows<T> {
    fn default() -> Self {
        Self { windows: Vec::new(), groups: Vec::new(), seeds: Vec::new() }
    }
}

/// Groups that leave the accumulator, their windows side by side.
struct Taken<T> {
    windows: Vec<T>,
    /// Where the windows of each group begin, and the end.
    offsets: Vec<usize>,
    seeds: Vec<Option<i64>>,
}

impl<T: Observed> GroupedWindows<T> {
    /// Takes the groups that are asked for; those that stay are numbered from 0 again.
    fn take(&mut self, emit_to: EmitTo) -> Taken<T> {
        let seeds = emit_to.take_needed(&mut self.seeds);
        let n_groups = seeds.len();
        let mut offsets = vec![0; n_groups + 1];
        for &group in self.groups.iter().filter(|group| **group < n_groups) {
            offsets[group + 1] += 1;
        }
        for group in 0..n_groups {
            offsets[group + 1] += offsets[group];
        }
        let n_windows = offsets[n_groups];
        let mut windows = Vec::new();
        if let Some(first) = self.windows.first().filter(|_| n_windows > 0) {
            windows.resize(n_windows, *first);
            let mut next = offsets.clone();
            for (&group, window) in self.groups.iter().zip(&self.windows).filter(|(group, _)| **group < n_groups) {
                windows[next[group]] = *window;
                next[group] += 1;
            }
        }
        match emit_to {
            EmitTo::All => *self = Self::default(),
            EmitTo::First(_) => {
                let mut groups = self.groups.iter();
                self.windows.retain(|_| groups.next().is_some_and(|group| *group >= n_groups));
                self.groups.retain(|group| *group >= n_groups);
                self.groups.iter_mut().for_each(|group| *group -= n_groups);
            }
        }
        Taken { windows, offsets, seeds }
    }
}

impl<T: Observed> GroupsAccumulator for GroupedWindows<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.seeds.resize(n_groups.max(self.seeds.len()), None);
        let batch = Batch::<T>::read(values, filter)?;
        for (row, group) in groups.iter().enumerate() {
            if let Some(window) = batch.windows[row] {
                self.windows.push(window);
                self.groups.push(*group);
            }
            self.seeds[*group] = self.seeds[*group].or(batch.seed(row));
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let Taken { mut windows, offsets, seeds } = self.take(emit_to);
        let mut resampler = None;
        let mut summaries = Vec::new();
        let mut ends = vec![0];
        for (group, seed) in offsets.windows(2).zip(seeds) {
            summarize(&mut windows[group[0]..group[1]], seed, &mut resampler, &mut summaries);
            ends.push(summaries.len());
        }
        Ok(Arc::new(lists_of(&summaries, &ends)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let Taken { windows, offsets, seeds } = self.take(emit_to);
        let lengths = offsets.windows(2).map(|group| group[1] - group[0]);
        Ok(vec![numbers_of(&windows, lengths)?, Arc::new(Int64Array::from(seeds))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], n_groups: usize) -> Result<()> {
        self.seeds.resize(n_groups.max(self.seeds.len()), None);
        let lists = states[0].as_list::<i32>();
        let numbers = lists.values().as_primitive::<Float64Type>().values();
        let seeds = states[1].as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            let list = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
            if lists.is_valid(row) {
                let windows = numbers[list].chunks_exact(T::N_NUMBERS).map(T::of_numbers);
                self.windows.extend(windows);
                self.groups.resize(self.windows.len(), *group);
            }
            if seeds.is_valid(row) {
                self.seeds[*group].get_or_insert(seeds.value(row));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let batch = Batch::<T>::read(values, filter)?;
        let seeds: Int64Array = (0..batch.windows.len()).map(|row| batch.seed(row)).collect();
        let lengths: Vec<usize> = batch.windows.iter().map(|window| usize::from(window.is_some())).collect();
        let windows: Vec<T> = batch.windows.into_iter().flatten().collect();
        Ok(vec![numbers_of(&windows, lengths.into_iter())?, Arc::new(seeds)])
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.windows.capacity() * size_of::<T>()
            + self.groups.capacity() * size_of::<usize>()
            + self.seeds.capacity() * size_of::<Option<i64>>()
    }
}

/// The arguments of one batch.
struct Batch<T> {
    /// Row by row; `None` where the row is left out.
    windows: Vec<Option<T>>,
    seeds: ArrayRef,
    /// Rows that the call's FILTER lets through.
    taken: Option<BooleanArray>,
}

impl<T: Observed> Batch<T> {
    fn read(values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Self> {
        let Some((seeds, arguments)) = values.split_last() else {
            return exec_err!("expected the arguments of an aggregate of windows, got none");
        };
        let mut windows = T::read(arguments)?;
        let batch = Self { windows: Vec::new(), seeds: cast(seeds, &DataType::Int64)?, taken: filter.cloned() };
        for (row, window) in windows.iter_mut().enumerate() {
            *window = window.filter(|_| batch.takes(row));
        }
        Ok(Self { windows, ..batch })
    }

    fn takes(&self, row: usize) -> bool {
        self.taken.as_ref().is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }

    fn seed(&self, row: usize) -> Option<i64> {
        let seeds = self.seeds.as_primitive::<Int64Type>();
        (self.takes(row) && seeds.is_valid(row)).then(|| seeds.value(row))
    }
}

/// The windows as the numbers of the state, so many in each list.
fn numbers_of<T: Observed>(windows: &[T], lengths: impl Iterator<Item = usize>) -> Result<ArrayRef> {
    let numbers: Float64Array = windows.iter().flat_map(T::numbers).map(Some).collect();
    let offsets = OffsetBuffer::from_lengths(lengths.map(|n| n * T::N_NUMBERS));
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(numbers), None)?))
}

#[cfg(test)]
mod tests;
