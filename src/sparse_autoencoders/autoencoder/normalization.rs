//! What is done to inputs before they are encoded.

use rayon::prelude::*;

use super::InputNormalization;
use crate::number::Number;

/// Rows that one thread takes at a time.
const ROWS: usize = 64;

/// Normalises rows in place and keeps what undoes it in `scales` and `shifts` (left empty where all rows share one scale).
pub(crate) fn normalize_rows<T: Number>(
    normalization: InputNormalization,
    width: usize,
    rows: &mut [T],
    scales: &mut Vec<T>,
    shifts: &mut Vec<T>,
) {
    scales.clear();
    shifts.clear();
    match normalization {
        InputNormalization::None => {}
        InputNormalization::Scale { inputs, .. } => {
            let factor = T::of(inputs);
            rows.par_chunks_mut(ROWS * width).for_each(|rows| rows.iter_mut().for_each(|x| *x *= factor));
        }
        _ => {
            let n_rows = rows.len() / width;
            scales.resize(n_rows, T::ONE);
            shifts.resize(n_rows, T::ZERO);
            rows.par_chunks_mut(width)
                .zip(scales.par_iter_mut())
                .zip(shifts.par_iter_mut())
                .with_min_len(ROWS)
                .for_each(|((row, scale), shift)| {
                    (*scale, *shift) = normalize_row(normalization, row);
                });
        }
    }
}

/// Takes its mean from every row; returns the means, `[n_rows]`.
pub(crate) fn remove_means<T: Number>(width: usize, rows: &mut [T]) -> Vec<T> {
    let remove = |row: &mut [T]| {
        let mean = row.iter().map(|x| x.wide()).sum::<f64>() / width as f64;
        row.iter_mut().for_each(|x| *x = T::of(x.wide() - mean));
        T::of(mean)
    };
    rows.par_chunks_mut(width).with_min_len(ROWS).map(remove).collect()
}

/// Normalises one row; returns the factor and the summand that undo it.
fn normalize_row<T: Number>(normalization: InputNormalization, row: &mut [T]) -> (T, T) {
    let n = row.len() as f64;
    // Sums in f64: a row of GPT-2 has coordinates a hundred times the others.
    let mean = row.iter().map(|x| x.wide()).sum::<f64>() / n;
    let squares = |centre: f64| row.iter().map(|x| (x.wide() - centre).powi(2)).sum::<f64>();
    let (shift, divisor) = match normalization {
        InputNormalization::LayerNorm { epsilon } => (mean, (squares(mean) / (n - 1.0).max(1.0)).sqrt() + epsilon),
        InputNormalization::UnitNorm => (mean, squares(mean).sqrt()),
        InputNormalization::ConstantNorm => (0.0, squares(0.0).sqrt() / n.sqrt()),
        InputNormalization::None | InputNormalization::Scale { .. } => (0.0, 1.0),
    };
    // A constant row has no direction: it becomes zeros, and its reconstruction is its mean.
    let divisor = if divisor > 0.0 { divisor } else { 1.0 };
    for x in row.iter_mut() {
        *x = T::of((x.wide() - shift) / divisor);
    }
    // OpenAI undoes with σ alone, although it divided by σ + epsilon.
    let scale = match normalization {
        InputNormalization::LayerNorm { epsilon } => divisor - epsilon,
        _ => divisor,
    };
    (T::of(scale), T::of(shift))
}
