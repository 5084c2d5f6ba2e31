//! The ablation score (Bills et al. 2023, "ablation scoring"): what predictions lose by a simulation, against what they lose by the mean.

use crate::scores::bootstrap::{Bootstrap, interval};
use crate::scores::metric::Reason;
use crate::scores::summary::Summary;

/// How far the predictions on one window move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergences {
    /// Jensen-Shannon divergences in nats, 0..ln 2, by the simulation and by the mean; `None` where either could not be had.
    pub both: Option<(f64, f64)>,
    /// Tokens of the window.
    pub n_tokens: u64,
}

/// `1 - sum(simulated) / sum(mean)` over the windows that have both; the interval draws windows.
pub fn summary(windows: &[Divergences], bootstrap: Option<Bootstrap>) -> Summary {
    let read: Vec<(f64, f64)> = windows.iter().filter_map(|window| window.both).collect();
    let n_tokens = windows.iter().filter(|window| window.both.is_some()).map(|window| window.n_tokens).sum();
    let value = score(read.iter().copied());
    let draws = bootstrap.filter(|_| read.len() >= 2 && value.is_ok()).and_then(|bootstrap| {
        let one = |draw| score(bootstrap.drawn(draw, read.len()).map(|i| read[i])).ok();
        let values: Vec<f64> = (0..u64::from(bootstrap.n_draws)).filter_map(one).collect();
        interval(&values, bootstrap.n_draws as usize)
    });
    Summary { value, interval: draws, n_windows: read.len(), n_tokens }
}

fn score(windows: impl Iterator<Item = (f64, f64)>) -> Result<f64, Reason> {
    let (mut simulated, mut mean, mut n) = (0.0, 0.0, 0);
    for window in windows {
        simulated += window.0;
        mean += window.1;
        n += 1;
    }
    match (n, mean > 0.0) {
        (0, _) => Err(Reason::NoWindows),
        (_, false) => Err(Reason::MeanChangesNothing),
        (_, true) => Ok(1.0 - simulated / mean),
    }
}
