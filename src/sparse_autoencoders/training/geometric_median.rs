//! The point with the smallest sum of distances: where `b_dec` begins.

use rayon::prelude::*;

use crate::number::Number;

/// Rows whose sums are added up by one thread; the order of all sums follows from it.
const ROWS: usize = 256;

/// How a search for the median ended.
#[derive(Clone, Debug, PartialEq)]
pub struct GeometricMedian {
    /// `[width]`.
    pub point: Vec<f64>,
    /// Moves made.
    pub iterations: usize,
}

/// The geometric median of `[n_rows, width]` values by Weiszfeld's iteration from the mean, until it moves by less than
/// 1e-5 or 100 times (`train.py` of the reference implementation). A row at the point itself weighs as one 1e-12 away.
///
/// The point is the origin without rows.
pub fn geometric_median<T: Number>(width: usize, rows: &[T]) -> GeometricMedian {
    let n_rows = rows.len() / width;
    if n_rows == 0 {
        return GeometricMedian { point: vec![0.0; width], iterations: 0 };
    }
    let mut point = weighted_mean(width, rows, |_| 1.0);
    for iterations in 1..=100 {
        let next = weighted_mean(width, rows, |row| {
            let squares: f64 = row.iter().zip(&point).map(|(x, p)| (x.wide() - p).powi(2)).sum();
            1.0 / squares.sqrt().max(1e-12)
        });
        let moved: f64 = next.iter().zip(&point).map(|(a, b)| (a - b).powi(2)).sum();
        point = next;
        if moved.sqrt() < 1e-5 {
            return GeometricMedian { point, iterations };
        }
    }
    GeometricMedian { point, iterations: 100 }
}

fn weighted_mean<T: Number>(width: usize, rows: &[T], weight: impl Fn(&[T]) -> f64 + Sync) -> Vec<f64> {
    let blocks: Vec<(Vec<f64>, f64)> = rows
        .par_chunks(ROWS * width)
        .map(|rows| {
            let (mut sums, mut total) = (vec![0.0; width], 0.0);
            for row in rows.chunks_exact(width) {
                let weight = weight(row);
                total += weight;
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x.wide());
            }
            (sums, total)
        })
        .collect();
    let total: f64 = blocks.iter().map(|(_, total)| total).sum();
    let mut mean = vec![0.0; width];
    for (sums, _) in &blocks {
        mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / total);
    }
    mean
}
