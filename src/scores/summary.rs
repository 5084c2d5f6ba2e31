//! A score as it is stored: the number or why there is none, its interval, and how much it is over.

use serde::{Deserialize, Serialize};

use crate::scores::bootstrap::Bootstrap;
use crate::scores::metric::{Metric, Reason};
use crate::scores::resampling::Resampler;
use crate::scores::window_sums::WindowSums;

/// A 95 % percentile interval, on the metric's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// 2.5th percentile of the draws.
    pub low: f64,
    /// 97.5th percentile of the draws.
    pub high: f64,
}

/// One metric over several windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The metric over the tokens of all windows together, or why it is undefined.
    pub value: Result<f64, Reason>,
    /// How far the choice of windows carries; `None` where the value or too many draws are undefined, and with fewer than two
    /// windows ([`Bootstrap::intervals`]).
    pub interval: Option<Interval>,
    /// Windows that hold at least one token.
    pub n_windows: usize,
    /// Tokens of these windows.
    pub n_tokens: u64,
}

/// One metric over the windows, with an interval from 1,000 draws.
pub fn summarize(metric: Metric, windows: &[WindowSums], seed: u64) -> Summary {
    let mut resampler = Resampler::new(Bootstrap { seed, ..Bootstrap::default() });
    let [summary] = summaries([metric], windows, Some(&mut resampler));
    summary
}

/// Several metrics over the same windows; their intervals, where wanted, come from the same draws, which cost the most.
pub fn summaries<const N: usize>(
    metrics: [Metric; N],
    windows: &[WindowSums],
    resampler: Option<&mut Resampler>,
) -> [Summary; N] {
    let windows: Vec<WindowSums> = windows.iter().copied().filter(|window| window.n() > 0).collect();
    let sums = WindowSums::merged(&windows);
    let intervals = resampler.map_or([None; N], |resampler| resampler.intervals(metrics, &windows));
    let mut intervals = intervals.into_iter();
    metrics.map(|metric| {
        let value = metric.value(&sums);
        // A number that does not exist has no interval, even where some draws have one.
        let interval = intervals.next().flatten().filter(|_| value.is_ok());
        Summary { value, interval, n_windows: windows.len(), n_tokens: sums.n() }
    })
}
