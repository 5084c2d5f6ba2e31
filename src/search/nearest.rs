//! The rows whose vectors are nearest to a query's, among those that pass the filters.
//!
//! Exact: a first look at the bytes gives every row's product with a bound on its error. At least k rows reach the k-th largest
//! lower end, so no row whose upper end lies below it can be among the first k; the others' products are computed from the floats.
//!
//! Approximate, past [`EXACT_ROWS`]: the rows whose signs differ least from the query's, [`OVERSAMPLING`] times as many as are wanted,
//! take the place of the first look. The program measures what this misses (`Index::recall`).

use rayon::prelude::*;

use super::index::Index;
use super::kernels::{byte_products, hamming_distances};
use super::rank::{Hit, TopHits};
use super::vectors::{QueryVector, Vectors};
use crate::error::Result;

/// Rows that are compared exactly; of more, the signs choose.
pub(crate) const EXACT_ROWS: usize = 4_000_000;

/// Rows looked at closely for each one wanted, where signs choose.
const OVERSAMPLING: usize = 200;

/// Rows looked at closely at least, where signs choose.
const LEAST_CANDIDATES: usize = 10_000;

/// Rows of one step of the first look: their results stay in the first-level cache.
const STEP: usize = 1_024;

/// How rows are chosen for the exact products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// All rows that may be among the first.
    Exact,
    /// Those whose signs agree.
    Approximate,
}

impl Search {
    /// What a search among so many rows does.
    pub(crate) fn among(n_rows: usize) -> Self {
        if n_rows > EXACT_ROWS { Self::Approximate } else { Self::Exact }
    }
}

/// Rows of each segment that pass the filters; `None` where all do.
pub(crate) type Selection = Vec<Option<Vec<bool>>>;

/// The `k` nearest rows with their exact products, nearest first; ties by key of the explanation.
pub(crate) fn nearest(
    index: &Index,
    encoder: &str,
    query: &QueryVector,
    selection: &Selection,
    k: usize,
    search: Search,
) -> Result<Vec<Hit>> {
    let vectors = index.vectors(encoder)?;
    let chosen: Vec<Vec<u32>> = match search {
        Search::Exact => by_bytes(&vectors, query, selection, k),
        Search::Approximate => by_signs(&vectors, query, selection, k),
    };
    let found: Vec<TopHits> = vectors
        .par_iter()
        .zip(&chosen)
        .enumerate()
        .map(|(segment, (vectors, rows))| {
            let mut top = TopHits::new(index, k);
            for (row, score) in rows.iter().zip(vectors.similarities(query, rows)) {
                top.offer(Hit { score, segment: segment as u32, row: *row })?;
            }
            Ok(top)
        })
        .collect::<Result<_>>()?;
    TopHits::merge(index, k, found)
}

fn by_bytes(vectors: &[&Vectors], query: &QueryVector, selection: &Selection, k: usize) -> Vec<Vec<u32>> {
    let looked: Vec<Vec<f32>> = vectors.par_iter().zip(selection).map(|(v, s)| first_look(v, query, s)).collect();
    // The k-th largest lower end of all; NaN, for rows that are out, is below every threshold.
    let lower_ends = |(vectors, looked): (&&Vectors, &Vec<f32>)| -> Vec<f32> {
        let ends = looked.iter().zip(vectors.errors.iter()).filter(|(product, _)| !product.is_nan());
        largest(ends.map(|(product, error)| product - query.bound(*error)), k)
    };
    let ends: Vec<Vec<f32>> = vectors.par_iter().zip(&looked).map(lower_ends).collect();
    let mut ends = largest(ends.into_iter().flatten(), k);
    ends.sort_unstable_by(f32::total_cmp);
    let threshold = if ends.len() < k { f32::NEG_INFINITY } else { ends.first().copied().unwrap_or(f32::NEG_INFINITY) };
    vectors
        .par_iter()
        .zip(&looked)
        .map(|(vectors, looked)| {
            let rows = looked.iter().zip(vectors.errors.iter()).enumerate();
            rows.filter(|(_, (product, error))| **product + query.bound(**error) >= threshold)
                .map(|(row, _)| row as u32)
                .collect()
        })
        .collect()
}

/// The products by bytes; NaN for rows that have no vector or do not pass.
fn first_look(vectors: &Vectors, query: &QueryVector, selected: &Option<Vec<bool>>) -> Vec<f32> {
    let n_rows = vectors.scales.len();
    let mut looked = vec![f32::NAN; n_rows];
    let mut products = [0i32; STEP];
    for (step, out) in looked.chunks_mut(STEP).enumerate() {
        let first = step * STEP;
        let products = &mut products[..out.len()];
        let passes = selected.as_ref().map(|selected| &selected[first..first + out.len()]);
        match passes {
            Some(passes) if !passes.contains(&true) => continue,
            _ => {}
        }
        let bytes = &vectors.bytes[first * vectors.width..(first + out.len()) * vectors.width];
        byte_products(bytes, &query.bytes, products);
        let scales = &vectors.scales[first..first + out.len()];
        for (i, (out, product)) in out.iter_mut().zip(products).enumerate() {
            if passes.is_none_or(|passes| passes[i]) {
                *out = *product as f32 * scales[i] * query.scale;
            }
        }
    }
    looked
}

/// The `k` largest numbers, in no order.
fn largest(numbers: impl Iterator<Item = f32>, k: usize) -> Vec<f32> {
    let mut kept: Vec<f32> = Vec::with_capacity(4 * k + 1_024);
    let room = kept.capacity();
    let mut threshold = f32::NEG_INFINITY;
    let shrink = |kept: &mut Vec<f32>| {
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            kept.truncate(k);
            return kept.last().copied().unwrap_or(f32::NEG_INFINITY);
        }
        f32::NEG_INFINITY
    };
    if k == 0 {
        return kept;
    }
    for number in numbers {
        if number >= threshold {
            kept.push(number);
            if kept.len() == room {
                threshold = shrink(&mut kept);
            }
        }
    }
    shrink(&mut kept);
    kept
}

fn by_signs(vectors: &[&Vectors], query: &QueryVector, selection: &Selection, k: usize) -> Vec<Vec<u32>> {
    let wanted = (k * OVERSAMPLING).max(LEAST_CANDIDATES);
    let n_bits = query.signs.len() * 64;
    let looked: Vec<Vec<u16>> = vectors.par_iter().zip(selection).map(|(v, s)| sign_look(v, query, s)).collect();
    let counts: Vec<Vec<usize>> = looked
        .par_iter()
        .map(|looked| {
            let mut counts = vec![0; n_bits + 1];
            for distance in looked.iter().filter(|distance| **distance != u16::MAX) {
                counts[usize::from(*distance)] += 1;
            }
            counts
        })
        .collect();
    let mut n_within = 0;
    let threshold = (0..=n_bits)
        .find(|distance| {
            n_within += counts.iter().map(|counts| counts[*distance]).sum::<usize>();
            n_within >= wanted
        })
        .unwrap_or(n_bits);
    looked
        .par_iter()
        .map(|looked| {
            let rows = looked.iter().enumerate().filter(|(_, distance)| usize::from(**distance) <= threshold);
            rows.map(|(row, _)| row as u32).collect()
        })
        .collect()
}

/// In how many signs the rows differ from the query; the largest number for rows that have no vector or do not pass.
fn sign_look(vectors: &Vectors, query: &QueryVector, selected: &Option<Vec<bool>>) -> Vec<u16> {
    let mut looked = vec![u16::MAX; vectors.scales.len()];
    hamming_distances(&vectors.signs, &query.signs, &mut looked);
    for (row, out) in looked.iter_mut().enumerate() {
        let passes = selected.as_ref().is_none_or(|selected| selected[row]);
        if !passes || vectors.scales[row].is_nan() {
            *out = u16::MAX;
        }
    }
    looked
}

#[cfg(test)]
mod tests;
