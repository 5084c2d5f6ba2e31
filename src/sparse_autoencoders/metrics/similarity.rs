//! How alike the directions of two autoencoders are, or of one and the truth.

use rayon::prelude::*;

use crate::autoencoder::encode::product;
use crate::error::{Error, Result};
use crate::number::Number;
use crate::training::update::renormalize;

#[cfg(test)]
mod tests;

/// Rows compared at once.
const TILE: usize = 512;

/// The nearest direction of another set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest<T = f32> {
    /// Its row.
    pub row: u32,
    /// Its cosine, −1 to 1.
    pub cosine: T,
}

/// For each row of `from` the row of `among` with the largest cosine; of equal ones the lower. `None` for a row of zeros,
/// and for every row if `among` has none that is not.
///
/// # Errors
/// [`Error::Shape`] if either holds no whole rows of `width` values.
pub fn nearest<T: Number>(width: usize, from: &[T], among: &[T]) -> Result<Vec<Option<Nearest<T>>>> {
    for (what, rows) in [("from", from), ("among", among)] {
        if width == 0 || !rows.len().is_multiple_of(width) {
            return Err(Error::shape(what, format!("rows of {width} values"), format!("{} values", rows.len())));
        }
    }
    let unit = |rows: &[T]| {
        let mut rows = rows.to_vec();
        rows.par_chunks_mut(width).for_each(renormalize);
        rows
    };
    let is_zero = |row: &[T]| row.iter().all(|x| *x == T::ZERO);
    let (from, among) = (unit(from), unit(among));
    let silent: Vec<bool> = among.par_chunks(width).map(is_zero).collect();
    let found = from.par_chunks(TILE * width).flat_map_iter(|rows| {
        let n_rows = rows.len() / width;
        let mut best: Vec<Option<Nearest<T>>> = vec![None; n_rows];
        let mut cosines = vec![T::ZERO; n_rows * TILE];
        for (tile, others) in among.chunks(TILE * width).enumerate() {
            let n_others = others.len() / width;
            product(width, rows, others, &mut cosines);
            for (best, cosines) in best.iter_mut().zip(cosines.chunks_exact(n_others)) {
                for (other, cosine) in cosines.iter().enumerate() {
                    let row = tile * TILE + other;
                    if !silent[row] && best.is_none_or(|best| *cosine > best.cosine) {
                        *best = Some(Nearest { row: row as u32, cosine: *cosine });
                    }
                }
            }
        }
        best.into_iter()
            .zip(rows.chunks_exact(width))
            .map(|(best, row)| best.filter(|_| !is_zero(row)))
            .collect::<Vec<_>>()
    });
    Ok(found.collect())
}

/// Mean over rows of `from` of the largest cosine with a row of `among` (MMCS, Sharkey et al. 2022). Asked from the truths
/// it says how many are found, asked from the latents how many latents are true: report both. `None` without directions.
///
/// # Errors
/// As [`nearest`].
pub fn mean_max_cosine<T: Number>(width: usize, from: &[T], among: &[T]) -> Result<Option<f64>> {
    let cosines: Vec<f64> =
        nearest(width, from, among)?.into_iter().flatten().map(|nearest| nearest.cosine.wide()).collect();
    Ok((!cosines.is_empty()).then(|| cosines.iter().sum::<f64>() / cosines.len() as f64))
}

/// Distinct truths that are a latent's nearest, over the number of latents: 1 if no two latents share one. `None` without
/// directions.
///
/// # Errors
/// As [`nearest`].
pub fn uniqueness<T: Number>(width: usize, latents: &[T], truths: &[T]) -> Result<Option<f64>> {
    let mut rows: Vec<u32> =
        nearest(width, latents, truths)?.into_iter().flatten().map(|nearest| nearest.row).collect();
    let n = rows.len();
    rows.sort_unstable();
    rows.dedup();
    Ok((n > 0).then(|| rows.len() as f64 / n as f64))
}
