//! Which pre-activations take part in a step, found without sorting whole rows.

use candle_core::{D, Result, Tensor, WithDType};

use crate::number::Number;

/// Columns that are sorted at once, at most: what the shared memory of a block holds.
pub(super) const MOST_SORTED: usize = 8192;
/// The most that are chosen from rows that are longer.
pub(super) const MOST_CHOSEN: usize = MOST_SORTED / 2;

/// The k-th largest value of each row of `values`, `[n_rows, n_columns]`: `[n_rows, 1]`.
///
/// The k groups of columns with the largest maxima hold the k largest values, so only these groups are looked at again,
/// until few enough are left to be sorted.
pub(super) fn kth_largest(values: &Tensor, k: usize) -> Result<Tensor> {
    let most = (4 * k).next_power_of_two().clamp(256, MOST_SORTED);
    let mut left = values.clone();
    loop {
        let (n_rows, n_columns) = left.dims2()?;
        if n_columns <= most {
            return left.contiguous()?.sort_last_dim(false)?.0.narrow(1, k - 1, 1);
        }
        let size = n_columns.div_ceil(most);
        let n_groups = n_columns.div_ceil(size);
        let missing = n_groups * size - n_columns;
        if missing > 0 {
            let filler = Tensor::full(f64::NEG_INFINITY, (n_rows, missing), left.device())?.to_dtype(left.dtype())?;
            left = Tensor::cat(&[&left, &filler], 1)?;
        }
        let groups = left.reshape((n_rows, n_groups, size))?;
        let best = groups.max(D::Minus1)?.arg_sort_last_dim(false)?.narrow(1, 0, k)?;
        let members = best.unsqueeze(2)?.broadcast_as((n_rows, k, size))?.contiguous()?;
        left = groups.gather(&members, 1)?.reshape((n_rows, k * size))?;
    }
}

/// The value that the `wanted` largest positive ones of all rows are not below, the smallest positive one where there are not as
/// many; `None` where none is positive.
///
/// By halving: values are counted, never moved.
pub(super) fn nth_largest_of_all<T: Number + WithDType>(values: &Tensor, wanted: usize) -> Result<Option<T>> {
    let above = |limit: T| -> Result<f64> {
        let counts = values.gt(limit.wide())?.to_dtype(T::DTYPE)?;
        super::arrays::total::<T>(&counts)
    };
    let mut low = T::ZERO;
    let mut high = values.max(D::Minus1)?.to_vec1::<T>()?.into_iter().fold(T::ZERO, |a, b| if b > a { b } else { a });
    let wanted = wanted as f64;
    // More than `wanted` are above `low`, fewer above `high`.
    let mut enough = above(low)? <= wanted;
    while !enough {
        let middle = T::of((low.wide() + high.wide()) / 2.0);
        if middle <= low || middle >= high {
            break;
        }
        let count = above(middle)?;
        if count >= wanted {
            low = middle;
            enough = count == wanted;
        } else {
            high = middle;
        }
    }
    let others = values.gt(low.wide())?;
    let infinite = (values.zeros_like()? + f64::INFINITY)?;
    let smallest = others.where_cond(values, &infinite)?.min(D::Minus1)?.to_vec1::<T>()?;
    let smallest = smallest.into_iter().fold(T::INFINITY, |a, b| if b < a { b } else { a });
    Ok((smallest < T::INFINITY).then_some(smallest))
}
