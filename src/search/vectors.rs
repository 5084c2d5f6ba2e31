//! The vectors of a segment's rows: exact, as bytes for a first look with a known error, and as signs for a rough one.
//!
//! An index of more rows than are compared exactly lets go of the floats, seven tenths of its size: the table has them. A product with bytes is off by some
//! ten-thousandths, and of ten million rows as many lie nearer to each other than that as to lose the order of the first (.935 of the nearest twenty were
//! found), so what bytes leave is kept in four bits more, which are read of the rows looked at closely.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use arrow::buffer::ScalarBuffer;
use rayon::prelude::*;

use super::disk::{numbers, write_numbers};
use super::kernels::products;
use crate::error::Result;

/// Rows quantised by one task.
const ROWS_AT_ONCE: usize = 1_024;

/// Steps of what is left beside a byte, in scales: 16 levels from -1/2 to 1/2.
const REST: f32 = 1.0 / 15.0;

/// Added to every bound: the rounding of the sums, at most 2^-24 a step.
const ROUNDING: f32 = 1e-4;

/// Vectors of length 1 (as encoders give them), one a row; a row without one is marked.
pub(super) struct Vectors {
    pub(super) width: usize,
    /// All numbers, row after row; `None` where they were let go.
    pub(super) exact: Option<ScalarBuffer<f32>>,
    /// The same as `bytes * scale`.
    pub(super) bytes: ScalarBuffer<i8>,
    /// Two to a byte, the lower bits first: what `bytes` leave of each number, in steps of [`REST`] from half a scale below. `None` in an index of before.
    rests: Option<ScalarBuffer<u8>>,
    /// NaN for a row without a vector.
    pub(super) scales: ScalarBuffer<f32>,
    /// Length of the difference between a vector and its bytes.
    pub(super) errors: ScalarBuffer<f32>,
    /// The signs, 64 in a word.
    pub(super) signs: ScalarBuffer<u64>,
}

/// A vector ready to be compared with many.
#[derive(Debug, Clone)]
pub(crate) struct QueryVector {
    pub(super) exact: Vec<f32>,
    pub(super) bytes: Vec<i16>,
    pub(super) scale: f32,
    error: f32,
    length: f32,
    pub(super) signs: Vec<u64>,
}

impl QueryVector {
    pub(crate) fn new(vector: &[f32]) -> Self {
        let quantised = Quantised::of(vector);
        Self {
            exact: vector.to_vec(),
            bytes: quantised.bytes.iter().map(|byte| i16::from(*byte)).collect(),
            scale: quantised.scale,
            error: quantised.error,
            length: vector.iter().map(|x| x * x).sum::<f32>().sqrt(),
            signs: signs(vector),
        }
    }

    /// How far the product of the bytes may be from the exact one, for a row of length 1 whose bytes are off by `error`:
    /// x·q − x̂·q̂ = (x − x̂)·q + x̂·(q − q̂).
    pub(super) fn bound(&self, error: f32) -> f32 {
        error * self.length + (1.0 + error) * self.error + ROUNDING
    }
}

struct Quantised {
    bytes: Vec<i8>,
    rests: Vec<u8>,
    scale: f32,
    error: f32,
}

impl Quantised {
    fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let bytes: Vec<i8> = vector.iter().map(|x| (x / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let rest =
            |(x, byte): (&f32, &i8)| ((x / scale - f32::from(*byte) + 0.5) / REST).round().clamp(0.0, 15.0) as u8;
        let pairs = vector.chunks(2).zip(bytes.chunks(2));
        let rests = pairs.map(|(x, byte)| {
            x.iter().zip(byte).map(rest).enumerate().fold(0, |both, (i, level)| both | level << (4 * i))
        });
        let rests = rests.collect();
        let squares: f32 = vector.iter().zip(&bytes).map(|(x, byte)| (x - f32::from(*byte) * scale).powi(2)).sum();
        Self { bytes, rests, scale, error: squares.sqrt() }
    }
}

fn signs(vector: &[f32]) -> Vec<u64> {
    let word = |part: &[f32]| part.iter().enumerate().fold(0, |word, (i, x)| word | u64::from(*x > 0.0) << i);
    vector.chunks(64).map(word).collect()
}

impl Vectors {
    pub(super) fn open(folder: &Path, number: u64, width: usize, n_rows: usize) -> Result<Self> {
        let path = |ending: &str| file(folder, number, ending);
        let (floats, rests) = (path("floats"), path("rests"));
        Ok(Self {
            width,
            exact: floats.exists().then(|| numbers(&floats, n_rows * width)).transpose()?,
            bytes: numbers(&path("bytes"), n_rows * width)?,
            rests: rests.exists().then(|| numbers(&rests, n_rows * width.div_ceil(2))).transpose()?,
            scales: numbers(&path("scales"), n_rows)?,
            errors: numbers(&path("errors"), n_rows)?,
            signs: numbers(&path("signs"), n_rows * width.div_ceil(64))?,
        })
    }

    /// The same vectors without their floats.
    pub(super) fn without_floats(&self) -> Self {
        let Self { width, bytes, rests, scales, errors, signs, .. } = self;
        let (bytes, rests, scales, errors) = (bytes.clone(), rests.clone(), scales.clone(), errors.clone());
        Self { width: *width, exact: None, bytes, rests, scales, errors, signs: signs.clone() }
    }

    /// The vector of a row, as exactly as it is kept; shape `[width]`.
    pub(super) fn row(&self, row: usize) -> Cow<'_, [f32]> {
        let place = row * self.width..(row + 1) * self.width;
        match &self.exact {
            Some(exact) => Cow::Borrowed(&exact[place]),
            None => {
                let (bytes, scale) = (&self.bytes[place], self.scales[row]);
                let halves = self.width.div_ceil(2);
                let Some(rests) = self.rests.as_ref().map(|rests| &rests[row * halves..(row + 1) * halves]) else {
                    return Cow::Owned(bytes.iter().map(|byte| f32::from(*byte) * scale).collect());
                };
                let rest = |i: usize| f32::from(rests[i / 2] >> (4 * (i % 2)) & 15) * REST - 0.5;
                Cow::Owned(bytes.iter().enumerate().map(|(i, byte)| (f32::from(*byte) + rest(i)) * scale).collect())
            }
        }
    }

    /// The products of the query with some rows of the segment: exact, or by bytes where there are no floats.
    pub(super) fn similarities(&self, query: &QueryVector, rows: &[u32]) -> Vec<f32> {
        let mut similarities = vec![0.0; rows.len()];
        for (row, similarity) in rows.iter().zip(&mut similarities) {
            products(&self.row(*row as usize), &query.exact, std::slice::from_mut(similarity));
        }
        similarities
    }
}

/// Writes the files of a segment's vectors beside the floats: a vector or zeros a row, `present` says which.
pub(super) fn write_quantised(
    folder: &Path,
    number: u64,
    width: usize,
    floats: &[f32],
    present: &[bool],
) -> Result<()> {
    let (words, halves) = (width.div_ceil(64), width.div_ceil(2));
    let mut bytes = vec![0i8; floats.len()];
    let mut rests = vec![0u8; present.len() * halves];
    let mut all_signs = vec![0u64; present.len() * words];
    let mut scales = vec![f32::NAN; present.len()];
    let mut errors = vec![0.0f32; present.len()];
    bytes
        .par_chunks_mut(width * ROWS_AT_ONCE)
        .zip(rests.par_chunks_mut(halves * ROWS_AT_ONCE).zip(all_signs.par_chunks_mut(words * ROWS_AT_ONCE)))
        .zip(scales.par_chunks_mut(ROWS_AT_ONCE).zip(errors.par_chunks_mut(ROWS_AT_ONCE)))
        .zip(floats.par_chunks(width * ROWS_AT_ONCE).zip(present.par_chunks(ROWS_AT_ONCE)))
        .for_each(|(((bytes, (rests, all_signs)), (scales, errors)), (floats, present))| {
            let rows = floats.chunks_exact(width).zip(present).enumerate().filter(|(_, (_, present))| **present);
            for (row, (vector, _)) in rows {
                let quantised = Quantised::of(vector);
                bytes[row * width..(row + 1) * width].copy_from_slice(&quantised.bytes);
                rests[row * halves..(row + 1) * halves].copy_from_slice(&quantised.rests);
                all_signs[row * words..(row + 1) * words].copy_from_slice(&signs(vector));
                scales[row] = quantised.scale;
                errors[row] = quantised.error;
            }
        });
    write_numbers(&file(folder, number, "bytes"), &bytes)?;
    write_numbers(&file(folder, number, "rests"), &rests)?;
    write_numbers(&file(folder, number, "scales"), &scales)?;
    write_numbers(&file(folder, number, "errors"), &errors)?;
    write_numbers(&file(folder, number, "signs"), &all_signs)
}

/// Files of one lot of vectors.
pub(super) fn file(folder: &Path, number: u64, ending: &str) -> PathBuf {
    folder.join(format!("vectors-{number}.{ending}"))
}
