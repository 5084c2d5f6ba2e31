//! Cosines between one vector and every column or row of a packed matrix, which is read once.

use std::ops::Range;

use super::isa::{multiply_add, multiversion};
use super::matmul::PackedMatrix;
use super::tile::PANEL;

/// Columns of a panel: the unit in which columns are divided among threads.
pub(crate) const COLUMNS: usize = PANEL;

#[inline(always)]
fn column_sums_body<const FUSED: bool>(
    panel: &[f32],
    vector: &[f32],
    dots: &mut [f32; PANEL],
    squares: &mut [f32; PANEL],
) {
    for (row, value) in panel.chunks_exact(PANEL).zip(vector) {
        for lane in 0..PANEL {
            dots[lane] = multiply_add::<FUSED>(row[lane], *value, dots[lane]);
            squares[lane] = multiply_add::<FUSED>(row[lane], row[lane], squares[lane]);
        }
    }
}

multiversion! {
    /// Adds the products of a panel's columns with a vector, and with themselves.
    fn column_sums(panel: &[f32], vector: &[f32], dots: &mut [f32; PANEL], squares: &mut [f32; PANEL]) = column_sums_body
}

#[inline(always)]
fn row_sums_body<const FUSED: bool>(rows: &[f32], vector: &[f32; PANEL], dots: &mut [f64], squares: &mut [f64]) {
    for ((row, dot), square) in rows.chunks_exact(PANEL).zip(dots).zip(squares) {
        let (mut products, mut own) = ([0.0_f32; PANEL], [0.0_f32; PANEL]);
        for lane in 0..PANEL {
            products[lane] = row[lane] * vector[lane];
            own[lane] = row[lane] * row[lane];
        }
        let mut width = PANEL / 2;
        while width > 0 {
            for lane in 0..width {
                products[lane] += products[lane + width];
                own[lane] += own[lane + width];
            }
            width /= 2;
        }
        *dot += f64::from(products[0]);
        *square += f64::from(own[0]);
    }
}

multiversion! {
    /// Adds the products of rows' parts inside one panel with the vector's part, and with themselves.
    fn row_sums(rows: &[f32], vector: &[f32; PANEL], dots: &mut [f64], squares: &mut [f64]) = row_sums_body
}

/// `None` where one of the two is zero everywhere.
fn cosine(dot: f64, square: f64, vector: &[f32]) -> Option<f64> {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() * square.sqrt();
    (length > 0.0).then(|| (dot / length).clamp(-1.0, 1.0))
}

/// Cosines of `vector` `[depth]` with the columns of one panel; `None` where one of the two is zero.
pub(crate) fn with_columns(matrix: &PackedMatrix, panel: usize, vector: &[f32]) -> Vec<Option<f64>> {
    let (mut dots, mut squares) = ([0.0; PANEL], [0.0; PANEL]);
    if let Some(values) = matrix.panels().nth(panel) {
        column_sums(values, vector, &mut dots, &mut squares);
    }
    let n = matrix.columns().saturating_sub(panel * PANEL).min(PANEL);
    (0..n).map(|i| cosine(f64::from(dots[i]), f64::from(squares[i]), vector)).collect()
}

/// Products of `vector` `[columns]` with some rows, and of these rows with themselves.
fn sums_of_rows(matrix: &PackedMatrix, rows: Range<usize>, vector: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut dots, mut squares) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
    for (panel, part) in matrix.panels().zip(vector.chunks(PANEL)) {
        let mut padded = [0.0; PANEL];
        padded[..part.len()].copy_from_slice(part);
        row_sums(&panel[rows.start * PANEL..rows.end * PANEL], &padded, &mut dots, &mut squares);
    }
    (dots, squares)
}

/// Cosines of `vector` `[columns]` with some rows; `None` where one of the two is zero.
pub(crate) fn with_rows(matrix: &PackedMatrix, rows: Range<usize>, vector: &[f32]) -> Vec<Option<f64>> {
    let (dots, squares) = sums_of_rows(matrix, rows, vector);
    dots.into_iter().zip(squares).map(|(dot, square)| cosine(dot, square, vector)).collect()
}

/// Products of `vector` `[columns]` with every row.
pub(crate) fn row_dots(matrix: &PackedMatrix, vector: &[f32]) -> Vec<f32> {
    sums_of_rows(matrix, 0..matrix.depth(), vector).0.into_iter().map(|dot| dot as f32).collect()
}
