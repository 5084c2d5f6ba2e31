//! Quantiles of many neurons in bounded memory: counts in buckets of equal relative width.
//!
//! A bucket is the sign, the exponent and the top mantissa bits of an `f32`, so finding it takes three integer operations.
//! This is a DDSketch (Masson, Rim and Lee 2019, VLDB 12) with the mapping "linear between powers of two". The design named
//! P² or a t-digest; their results depend on the order in which values arrive and are merged, while counts are the same for
//! any batching, any number of threads and any merge, which is why the collection uses them.
//!
//! With `BITS` mantissa bits a quantile is off by at most `1 / (2^(BITS+1) + 1)` of its value: 1/33 for the 4 bits used for
//! activations, 1/17 for the 3 bits used for window maxima. That holds for magnitudes from 2^-16 to 2^15·(2 − 2^(1−BITS)), which
//! is 61,440 for 4 bits and 57,344 for 3. Smaller magnitudes count as 0, larger ones share the last bucket. Quantiles never leave
//! the exact minimum and maximum.

use serde::{Deserialize, Serialize};

use crate::neurons::lanes::{BLOCK, Row, widest};

/// Smallest power of two that is told from 0.
const LOWEST_EXPONENT: i32 = -16;
/// Powers of two that are told apart, for each sign.
const N_EXPONENTS: u32 = 32;

/// Sketch of a block's activations: 1,024 buckets, 4 KiB a neuron.
pub(crate) type ValueSketch = Sketch<4>;
/// Sketch of a block's window maxima: 512 buckets, 2 KiB a neuron.
pub(crate) type MaximumSketch = Sketch<3>;

/// Index of the bucket that holds 0; buckets ascend with the value, and index 0 stays empty.
const fn zero_bucket(bits: u32) -> u32 {
    N_EXPONENTS << bits
}

/// Number of buckets, the unused index 0 included.
pub(crate) const fn n_buckets(bits: u32) -> usize {
    2 * zero_bucket(bits) as usize
}

/// The bucket of a value.
#[inline(always)]
fn bucket<const BITS: u32>(value: f32) -> u32 {
    let bits = value.to_bits();
    let magnitude = (bits & 0x7FFF_FFFF) >> (23 - BITS);
    let step = magnitude.saturating_sub(below_lowest(BITS)).min(zero_bucket(BITS) - 1);
    if bits >> 31 == 0 { zero_bucket(BITS) + step } else { zero_bucket(BITS) - step }
}

/// Exponent and mantissa bits of the largest magnitude class that counts as 0.
const fn below_lowest(bits: u32) -> u32 {
    (((127 + LOWEST_EXPONENT) as u32) << bits) - 1
}

/// Magnitude at the lower end of the step-th bucket on either side of 0; step 0 is 0.
fn magnitude<const BITS: u32>(step: u32) -> f64 {
    if step == 0 { 0.0 } else { f64::from(f32::from_bits((below_lowest(BITS) + step) << (23 - BITS))) }
}

/// Lower and upper end of a bucket.
fn ends<const BITS: u32>(bucket: u32) -> (f64, f64) {
    let zero = zero_bucket(BITS);
    let ends = |step: u32| (magnitude::<BITS>(step), magnitude::<BITS>(step + 1));
    match bucket.cmp(&zero) {
        std::cmp::Ordering::Greater => ends(bucket - zero),
        std::cmp::Ordering::Equal => (-magnitude::<BITS>(1), magnitude::<BITS>(1)),
        std::cmp::Ordering::Less => {
            let (near, far) = ends(zero - bucket);
            (-far, -near)
        }
    }
}

/// The value whose relative distance to both ends of its bucket is the same.
fn representative<const BITS: u32>(bucket: u32) -> f64 {
    let (low, high) = ends::<BITS>(bucket);
    if bucket == zero_bucket(BITS) { 0.0 } else { 2.0 * low * high / (low + high) }
}

/// Neurons whose counters share a cache line.
const GROUP: usize = 16;

/// Bucket counts of one block of neurons, `[group][bucket][neuron of the group]`: the few hundred buckets that a group of
/// neurons uses stay in the first-level cache while a window is counted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sketch<const BITS: u32> {
    counts: Vec<u32>,
}

impl<const BITS: u32> Sketch<BITS> {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; n_buckets(BITS) * BLOCK] }
    }

    /// Whether the counts have the right number of buckets (after reading a checkpoint).
    pub(crate) fn is_whole(&self) -> bool {
        self.counts.len() == n_buckets(BITS) * BLOCK
    }

    /// Counts one value for each neuron of the block.
    pub(crate) fn add(&mut self, values: &Row) {
        for (lane, value) in values.iter().enumerate() {
            let group = lane / GROUP * n_buckets(BITS);
            self.counts[(group + bucket::<BITS>(*value) as usize) * GROUP + lane % GROUP] += 1;
        }
    }

    /// Values at ascending `quantiles` of the lane's neuron, in its own units.
    ///
    /// The value at quantile q of n values is the one of 0-based rank ⌊q·(n − 1)⌋; `min` and `max` are exact and bound it.
    pub(crate) fn quantiles(&self, lane: usize, quantiles: &[f64], n: u64, (min, max): (f32, f32)) -> Vec<f64> {
        let mut values = Vec::with_capacity(quantiles.len());
        if n == 0 {
            return values;
        }
        let mut buckets = self.column(lane);
        let (mut covered, mut current) = (0, zero_bucket(BITS));
        for q in quantiles {
            let rank = (q * (n - 1) as f64).floor() as u64;
            while covered <= rank {
                let Some((bucket, count)) = buckets.next() else { break };
                covered += u64::from(count);
                current = bucket;
            }
            let value = match rank {
                0 => f64::from(min),
                rank if rank == n - 1 => f64::from(max),
                _ => representative::<BITS>(current),
            };
            values.push(value.clamp(f64::from(min), f64::from(max)));
        }
        values
    }

    /// Ascending boundaries below which the given shares of values lie, interpolated inside buckets.
    ///
    /// Interpolation keeps the shares close to what was asked when a narrow distribution lies in few buckets; the error of
    /// the value is up to twice that of [`Sketch::quantiles`].
    pub(crate) fn boundaries<const N: usize>(
        &self,
        lane: usize,
        shares: [f64; N],
        n: u64,
        (min, max): (f32, f32),
    ) -> [f32; N] {
        let mut buckets = self.column(lane);
        let (mut before, mut count, mut current) = (0.0, 0.0, zero_bucket(BITS));
        shares.map(|share| {
            let wanted = share * n as f64;
            while before + count < wanted {
                let Some((bucket, n_values)) = buckets.next() else { break };
                before += count;
                count = f64::from(n_values);
                current = bucket;
            }
            let (low, high) = ends::<BITS>(current);
            // The last bucket on either side also holds everything beyond it.
            let low = if current == 1 { f64::from(min) } else { low.max(f64::from(min)) };
            let high = if current as usize == n_buckets(BITS) - 1 { f64::from(max) } else { high.min(f64::from(max)) };
            let inside = if count > 0.0 { ((wanted - before) / count).clamp(0.0, 1.0) } else { 0.0 };
            (low + (high - low) * inside) as f32
        })
    }

    /// The lane's buckets that are not empty, ascending.
    fn column(&self, lane: usize) -> impl Iterator<Item = (u32, u32)> {
        let first = lane / GROUP * n_buckets(BITS) * GROUP + lane % GROUP;
        let column = self.counts[first..].iter().step_by(GROUP).take(n_buckets(BITS));
        (0u32..).zip(column.copied()).filter(|(_, count)| *count > 0)
    }
}

impl ValueSketch {
    /// Counts the values of several tokens; `scratch` holds bucket numbers between the two steps.
    pub(crate) fn add_rows(&mut self, rows: &[Row], scratch: &mut [[u16; BLOCK]]) {
        let scratch = &mut scratch[..rows.len()];
        buckets_of(rows, scratch);
        for (group, counts) in self.counts.chunks_exact_mut(n_buckets(4) * GROUP).enumerate() {
            let Ok(counts) = <&mut [u32; n_buckets(4) * GROUP]>::try_from(counts) else { return };
            // Tokens outside, neurons inside: neighbouring increments touch different counters and do not wait for each other.
            for buckets in scratch.iter() {
                for (lane, bucket) in buckets.as_chunks::<GROUP>().0[group].iter().enumerate() {
                    // The mask changes nothing and lets the compiler see that the index is in bounds.
                    counts[(usize::from(*bucket) & (n_buckets(4) - 1)) * GROUP + lane] += 1;
                }
            }
        }
    }
}

widest! {
    fn buckets_of(rows: &[Row], out: &mut [[u16; BLOCK]]) = buckets_of_in_lanes
}

#[inline(always)]
fn buckets_of_in_lanes<const LANES: usize>(rows: &[Row], out: &mut [[u16; BLOCK]]) {
    for (row, out) in rows.iter().zip(out) {
        for lane in 0..BLOCK {
            out[lane] = bucket::<4>(row[lane]) as u16;
        }
    }
}
