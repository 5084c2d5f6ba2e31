//! How much a score depends on which windows happened to be scored.

use serde::{Deserialize, Serialize};

use crate::random::mix;
use crate::scores::metric::Metric;
use crate::scores::order::{Middle, Neighbours};
use crate::scores::resampling::Resampler;
use crate::scores::summary::Interval;
use crate::scores::window_sums::WindowSums;

/// Draws of a [`Bootstrap`] unless said otherwise.
pub const DEFAULT_DRAWS: u32 = 1000;

/// How intervals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub n_draws: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 1,000 draws, seed 0.
    fn default() -> Self {
        Self { n_draws: DEFAULT_DRAWS, seed: 0 }
    }
}

impl Bootstrap {
    /// Intervals of several metrics over the same draws, in the order of `metrics`.
    ///
    /// Each draw takes as many windows as there are, with replacement, and merges their sums: the window is the unit, because
    /// tokens of one window depend on each other, and no token is read again. The percentile method (Efron 1979) with linear
    /// interpolation between draws. The same windows in the same order give the same interval on every machine.
    ///
    /// `None` with fewer than two windows, where no spread can be seen, and where the metric is undefined in more than half of
    /// the draws; otherwise the defined draws count alone.
    pub fn intervals<const N: usize>(&self, metrics: [Metric; N], windows: &[WindowSums]) -> [Option<Interval>; N] {
        Resampler::new(*self).intervals(metrics, windows)
    }

    /// The windows of one draw: as many as there are, with replacement.
    pub(super) fn drawn(&self, draw: u64, n_windows: usize) -> impl Iterator<Item = usize> + use<> {
        let seed = self.seed;
        (0..n_windows as u64).map(move |i| below(mix(seed, draw, i), n_windows))
    }

    /// The interval of one metric; see [`Bootstrap::intervals`].
    pub fn interval(&self, metric: Metric, windows: &[WindowSums]) -> Option<Interval> {
        let [interval] = self.intervals([metric], windows);
        interval
    }
}

/// A number below `n` from uniform bits (Lemire's multiplication).
fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// Between which two values the middle 95 % of the defined draws lie; `None` where more than half are undefined.
pub(super) fn interval(values: &[f64], n_draws: usize) -> Option<Interval> {
    let ends = ends(values, n_draws, &mut Middle::default())?;
    Some(Interval::between(ends))
}

/// What stands at both ends of [`interval`].
pub(super) fn ends(values: &[f64], n_draws: usize, middle: &mut Middle) -> Option<[Neighbours; 2]> {
    let enough = !values.is_empty() && 2 * values.len() >= n_draws;
    enough.then(|| middle.ends(values, [0.025, 0.975]))
}

impl Interval {
    pub(super) fn between([low, high]: [Neighbours; 2]) -> Self {
        Self { low: low.value(), high: high.value() }
    }
}
