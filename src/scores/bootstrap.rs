//! How much a score depends on which windows happened to be scored.

use serde::{Deserialize, Serialize};

use crate::random::mix;
use crate::scores::metric::Metric;
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
    pub fn intervals(&self, metrics: &[Metric], windows: &[WindowSums]) -> Vec<Option<Interval>> {
        if windows.len() < 2 {
            return vec![None; metrics.len()];
        }
        let mut values = vec![Vec::with_capacity(self.n_draws as usize); metrics.len()];
        for draw in 0..u64::from(self.n_draws) {
            let sums = self
                .drawn(draw, windows.len())
                .map(|i| &windows[i])
                .fold(WindowSums::default(), |sums, window| sums.merge(window));
            for (metric, values) in metrics.iter().zip(&mut values) {
                values.extend(metric.value(&sums));
            }
        }
        values.into_iter().map(|values| interval(values, self.n_draws as usize)).collect()
    }

    /// The windows of one draw: as many as there are, with replacement.
    pub(super) fn drawn(&self, draw: u64, n_windows: usize) -> impl Iterator<Item = usize> + use<> {
        let seed = self.seed;
        (0..n_windows as u64).map(move |i| below(mix(seed, draw, i), n_windows))
    }

    /// The interval of one metric; see [`Bootstrap::intervals`].
    pub fn interval(&self, metric: Metric, windows: &[WindowSums]) -> Option<Interval> {
        self.intervals(&[metric], windows).into_iter().next().flatten()
    }
}

/// A number below `n` from uniform bits (Lemire's multiplication).
fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// Between which two values the middle 95 % of the defined draws lie; `None` where more than half are undefined.
pub(super) fn interval(mut values: Vec<f64>, n_draws: usize) -> Option<Interval> {
    if values.is_empty() || 2 * values.len() < n_draws {
        return None;
    }
    Some(Interval { low: percentile(&mut values, 0.025), high: percentile(&mut values, 0.975) })
}

/// The value at a share of the way through the values in order, between neighbours in proportion.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    let place = share * (values.len() - 1) as f64;
    // Two places are wanted, not an order of all.
    let (_, &mut below, rest) = values.select_nth_unstable_by(place.floor() as usize, f64::total_cmp);
    let above = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(below);
    below + (above - below) * place.fract()
}
