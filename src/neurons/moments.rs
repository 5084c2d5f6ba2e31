//! Mean, variance, skewness and kurtosis of many neurons in one pass.
//!
//! Each window is summed about its own first value, which bounds what cancellation can cost (no value is further from the
//! shift than the window's range, and the second central moment of a window is at least half the squared range), and
//! merged into the running moments with the pairwise formulas of Chan, Golub and LeVeque (1979) and Pébay (2008,
//! SAND2008-6212), in window order.

use serde::{Deserialize, Serialize};

use crate::neurons::lanes::{BLOCK, Row, widest};
use crate::neurons::raw_bytes;

/// Moments of one neuron over all counted tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Number of counted tokens.
    pub n_tokens: u64,
    /// Mean activation, in the neuron's units; `None` without tokens.
    pub mean: Option<f64>,
    /// Population variance (divisor `n_tokens`), in squared units; `None` without tokens.
    pub variance: Option<f64>,
    /// Third standardised moment m3 / m2^1.5; `None` when the variance is 0.
    pub skewness: Option<f64>,
    /// Fourth standardised moment m4 / m2², **not** excess: 3 for a normal distribution; `None` when the variance is 0.
    /// Which of the two the published GPT-2 records hold is not known (specification §1.2).
    pub kurtosis: Option<f64>,
    /// Smallest activation; `None` without tokens.
    pub min: Option<f32>,
    /// Largest activation; `None` without tokens.
    pub max: Option<f32>,
    /// Share of counted tokens with an activation above 0, in 0..=1; `None` without tokens.
    pub density: Option<f64>,
}

/// Sums of one window about each neuron's first value, plus its extremes.
#[derive(Debug, PartialEq)]
pub(crate) struct WindowSums {
    pub(crate) shift: Row,
    pub(crate) sums: [[f64; BLOCK]; 4],
    pub(crate) min: Row,
    pub(crate) max: Row,
    pub(crate) n_positive: [u32; BLOCK],
}

impl WindowSums {
    pub(crate) fn zero() -> Self {
        Self {
            shift: [0.0; BLOCK],
            sums: [[0.0; BLOCK]; 4],
            min: [0.0; BLOCK],
            max: [0.0; BLOCK],
            n_positive: [0; BLOCK],
        }
    }
}

widest! {
    /// Sums the counted tokens `rows` of one window, of which there is at least one.
    pub(crate) fn sum_window(rows: &[Row], out: &mut WindowSums) = sum_window_in_lanes
}

#[inline(always)]
pub(in crate::neurons) fn sum_window_in_lanes<const LANES: usize>(rows: &[Row], out: &mut WindowSums) {
    let Some(first) = rows.first() else { return };
    out.shift = *first;
    for group in 0..BLOCK / LANES {
        let shift = first.as_chunks::<LANES>().0[group];
        let (mut min, mut max) = (shift, shift);
        let mut n_positive = [0u32; LANES];
        let [mut s1, mut s2, mut s3, mut s4] = [[0f64; LANES]; 4];
        for row in rows {
            let values = &row.as_chunks::<LANES>().0[group];
            for lane in 0..LANES {
                let value = values[lane];
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                n_positive[lane] += u32::from(value > 0.0);
                let d = f64::from(value) - f64::from(shift[lane]);
                let d2 = d * d;
                s1[lane] += d;
                s2[lane] += d2;
                s3[lane] += d2 * d;
                s4[lane] += d2 * d2;
            }
        }
        out.min.as_chunks_mut::<LANES>().0[group] = min;
        out.max.as_chunks_mut::<LANES>().0[group] = max;
        out.n_positive.as_chunks_mut::<LANES>().0[group] = n_positive;
        for (sums, sum) in out.sums.iter_mut().zip([s1, s2, s3, s4]) {
            sums.as_chunks_mut::<LANES>().0[group] = sum;
        }
    }
}

/// Running moments of one block of neurons; the number of tokens is the same for all and kept by the collector.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BlockMoments {
    #[serde(with = "raw_bytes")]
    mean: [f64; BLOCK],
    #[serde(with = "raw_bytes")]
    m2: [f64; BLOCK],
    #[serde(with = "raw_bytes")]
    m3: [f64; BLOCK],
    #[serde(with = "raw_bytes")]
    m4: [f64; BLOCK],
    #[serde(with = "raw_bytes")]
    min: Row,
    #[serde(with = "raw_bytes")]
    max: Row,
    #[serde(with = "raw_bytes")]
    n_positive: [u64; BLOCK],
}

impl BlockMoments {
    pub(crate) fn new() -> Self {
        Self {
            mean: [0.0; BLOCK],
            m2: [0.0; BLOCK],
            m3: [0.0; BLOCK],
            m4: [0.0; BLOCK],
            min: [f32::INFINITY; BLOCK],
            max: [f32::NEG_INFINITY; BLOCK],
            n_positive: [0; BLOCK],
        }
    }

    /// Adds a window of `n` tokens to moments that cover `n_before` tokens.
    pub(crate) fn merge(&mut self, n_before: u64, n: u64, window: &WindowSums) {
        merge(self, n_before as f64, n as f64, window);
    }

    /// Smallest and largest activation of the lane's neuron.
    pub(crate) fn extremes(&self, lane: usize) -> (f32, f32) {
        (self.min[lane], self.max[lane])
    }

    /// The lane's moments after `n_tokens` tokens.
    pub(crate) fn summary(&self, lane: usize, n_tokens: u64) -> Moments {
        let n = n_tokens as f64;
        let some = |value: f64| (n_tokens > 0).then_some(value);
        let m2 = self.m2[lane] / n;
        let varies = n_tokens > 0 && m2 > 0.0;
        Moments {
            n_tokens,
            mean: some(self.mean[lane]),
            variance: some(m2),
            skewness: varies.then(|| self.m3[lane] / n / (m2 * m2.sqrt())).filter(|value| value.is_finite()),
            kurtosis: varies.then(|| self.m4[lane] / n / (m2 * m2)).filter(|value| value.is_finite()),
            min: (n_tokens > 0).then_some(self.min[lane]),
            max: (n_tokens > 0).then_some(self.max[lane]),
            density: some(self.n_positive[lane] as f64 / n),
        }
    }
}

widest! {
    fn merge(moments: &mut BlockMoments, n_a: f64, n_b: f64, window: &WindowSums) = merge_in_lanes
}

#[inline(always)]
fn merge_in_lanes<const LANES: usize>(moments: &mut BlockMoments, n_a: f64, n_b: f64, window: &WindowSums) {
    let n = n_a + n_b;
    // The factors of the merge depend on the counts alone, so the divisions are done once for the block.
    let share_b = n_b / n;
    let ab_n = n_a * n_b / n;
    let skew = ab_n * (n_a - n_b) / n;
    let quartic = ab_n * (n_a * n_a - n_a * n_b + n_b * n_b) / (n * n);
    let (a_n, b_n) = (n_a / n, n_b / n);
    let inverse = 1.0 / n_b;
    let [s1, s2, s3, s4] = &window.sums;
    for lane in 0..BLOCK {
        // Central moments of the window from its sums about the shift; m is the window's mean about the shift.
        let m = s1[lane] * inverse;
        let b2 = (s2[lane] - m * s1[lane]).max(0.0);
        let b3 = s3[lane] - 3.0 * m * s2[lane] + 2.0 * m * m * s1[lane];
        let b4 = (s4[lane] - 4.0 * m * s3[lane] + 6.0 * m * m * s2[lane] - 3.0 * m * m * m * s1[lane]).max(0.0);
        let (a2, a3, a4) = (moments.m2[lane], moments.m3[lane], moments.m4[lane]);
        // Before the first window the running mean is no mean: it starts at the window's, so that a constant stays exact.
        let window_mean = f64::from(window.shift[lane]) + m;
        let mean = if n_a > 0.0 { moments.mean[lane] } else { window_mean };
        let d = window_mean - mean;
        let d2 = d * d;
        moments.mean[lane] = mean + d * share_b;
        moments.m2[lane] = a2 + b2 + d2 * ab_n;
        moments.m3[lane] = a3 + b3 + d2 * d * skew + 3.0 * d * (a_n * b2 - b_n * a2);
        moments.m4[lane] = a4
            + b4
            + d2 * d2 * quartic
            + 6.0 * d2 * (a_n * a_n * b2 + b_n * b_n * a2)
            + 4.0 * d * (a_n * b3 - b_n * a3);
        let (min, max) = (window.min[lane], window.max[lane]);
        moments.min[lane] = if min < moments.min[lane] { min } else { moments.min[lane] };
        moments.max[lane] = if max > moments.max[lane] { max } else { moments.max[lane] };
        moments.n_positive[lane] += u64::from(window.n_positive[lane]);
    }
}
