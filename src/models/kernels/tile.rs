//! The innermost loop of a matrix product: one tile of a few rows and [`PANEL`] columns, kept in registers.

use super::isa::{Isa, multiply_add};

/// Columns of a tile, and of a panel of a packed matrix.
pub(crate) const PANEL: usize = 32;

/// Rows of the largest tile of any instruction set.
pub(crate) const MAX_ROWS: usize = 14;

impl Isa {
    /// Rows of the tile that fills the registers without spilling: 28, 12 (for half the columns at a time) and 16 sums.
    pub(crate) const fn tile_rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => 14,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => 6,
            Isa::Portable => 2,
        }
    }
}

/// One tile's operands: `out[r][c] (+)= sum over k of a[k][r] * b[k][c]`, summed over k in order.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// `[depth, tile_rows]`, the rows that do not exist being zero.
    pub(crate) a: &'a [f32],
    /// `[depth, PANEL]`.
    pub(crate) b: &'a [f32],
    /// [rows.., PANEL] with `stride` floats from row to row.
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
    /// Rows that exist: 1 to `tile_rows`.
    pub(crate) rows: usize,
}

impl Tile<'_> {
    /// Adds the product to `out`.
    pub(crate) fn accumulate(self, isa: Isa) {
        let (tile_rows, depth) = (isa.tile_rows(), self.b.len() / PANEL);
        assert!(self.a.len() == depth * tile_rows && self.b.len() == depth * PANEL, "packed operands of one depth");
        assert!((1..=tile_rows).contains(&self.rows), "1 to {tile_rows} rows, got {}", self.rows);
        assert!(self.out.len() >= (self.rows - 1) * self.stride + PANEL, "room for the tile");
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` other than Portable exists only where the processor has its instructions; the lengths of
            // all three operands were checked above.
            Isa::Avx512 => unsafe {
                match self.rows {
                    1 => avx512::<1>(self),
                    2 => avx512::<2>(self),
                    3..=4 => avx512::<4>(self),
                    5..=8 => avx512::<8>(self),
                    _ => avx512::<14>(self),
                }
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2::<6>(self) },
            Isa::Portable => portable::<2>(self),
        }
    }
}

fn portable<const ROWS: usize>(tile: Tile<'_>) {
    let mut sums = [[0.0_f32; PANEL]; ROWS];
    for (a, b) in tile.a.chunks_exact(ROWS).zip(tile.b.chunks_exact(PANEL)) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = multiply_add::<false>(*a, *b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        for (out, sum) in tile.out[row * tile.stride..].iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

/// Writes the tile function of one x86 instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! tile {
    ($name:ident, $features:literal, $lanes:literal, $vectors:literal, $tile_rows:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident) => {
        /// # Safety
        /// The processor has the features; `a`, `b` and `out` have the lengths that [`Tile::accumulate`] checks.
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(tile: Tile<'_>) {
            use std::arch::x86_64::*;
            for first_column in (0..PANEL).step_by($vectors * $lanes) {
                let mut sums = [[$zero(); $vectors]; ROWS];
                let (mut a, mut b) = (tile.a.as_ptr(), tile.b[first_column..].as_ptr());
                for _ in 0..tile.b.len() / PANEL {
                    // SAFETY: the loop runs depth times and moves `a` by tile_rows >= ROWS and `b` by PANEL each time.
                    unsafe {
                        let mut columns = [$zero(); $vectors];
                        for (vector, column) in columns.iter_mut().enumerate() {
                            *column = $load(b.add(vector * $lanes));
                        }
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let value = $splat(*a.add(row));
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = $fma(value, column, *sum);
                            }
                        }
                        a = a.add($tile_rows);
                        b = b.wrapping_add(PANEL);
                    }
                }
                for (row, sums) in sums.iter().enumerate().take(tile.rows) {
                    for (vector, sum) in sums.iter().enumerate() {
                        // SAFETY: row < tile.rows, and `out` has room for PANEL floats in each of these rows.
                        unsafe {
                            let out = tile.out.as_mut_ptr().add(row * tile.stride + first_column + vector * $lanes);
                            $store(out, $add($load(out), *sum));
                        }
                    }
                }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
tile!(
    avx512,
    "avx512f",
    16,
    2,
    14,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps
);
#[cfg(target_arch = "x86_64")]
tile!(
    avx2,
    "avx2,fma",
    8,
    2,
    6,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps
);
