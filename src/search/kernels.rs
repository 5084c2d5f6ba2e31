//! Inner products and Hamming distances of one query with many rows.

use crate::models::kernels::isa::{multiply_add, multiversion};

/// Lanes of the sums: a fixed order of additions, whatever the instruction set.
const LANES: usize = 16;

multiversion! {
    /// Inner products of the query with rows of bytes, one behind the other.
    pub(super) fn byte_products(rows: &[i8], query: &[i16], out: &mut [i32]) = byte_products_body
}

#[inline(always)]
fn byte_products_body<const FUSED: bool>(rows: &[i8], query: &[i16], out: &mut [i32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        let mut sum = 0i32;
        for (x, q) in row.iter().zip(query) {
            sum += i32::from(i16::from(*x)) * i32::from(*q);
        }
        *out = sum;
    }
}

multiversion! {
    /// Bits in which rows of words differ from the query.
    pub(super) fn hamming_distances(rows: &[u64], query: &[u64], out: &mut [u16]) = hamming_distances_body
}

#[inline(always)]
fn hamming_distances_body<const FUSED: bool>(rows: &[u64], query: &[u64], out: &mut [u16]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        let mut sum = 0;
        for (x, q) in row.iter().zip(query) {
            sum += (x ^ q).count_ones();
        }
        *out = sum as u16;
    }
}

multiversion! {
    /// Inner products of the query with rows of floats, one behind the other.
    pub(super) fn products(rows: &[f32], query: &[f32], out: &mut [f32]) = products_body
}

#[inline(always)]
fn products_body<const FUSED: bool>(rows: &[f32], query: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        let mut sums = [0.0f32; LANES];
        let (xs, rest_x) = row.as_chunks::<LANES>();
        let (qs, rest_q) = query.as_chunks::<LANES>();
        for (x, q) in xs.iter().zip(qs) {
            for lane in 0..LANES {
                sums[lane] = multiply_add::<FUSED>(x[lane], q[lane], sums[lane]);
            }
        }
        let mut sum: f32 = sums.iter().sum();
        for (x, q) in rest_x.iter().zip(rest_q) {
            sum = multiply_add::<FUSED>(*x, *q, sum);
        }
        *out = sum;
    }
}

#[cfg(test)]
#[path = "kernels/tests.rs"]
mod tests;
