//! The numbers: correlation, explained variance, and the reference's two other ratios.
//!
//! Every metric is computed once over the tokens of all windows together, not averaged over windows, as the reference does
//! (Bills et al. 2023; specification §5.1). What is undefined has a [`Reason`], not a number: the reference stores NaN or 0.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::scores::window_sums::WindowSums;

/// One way to compare simulated with actual activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Pearson correlation of actual and expected activations, −1..=1; the headline number. Any scale of the simulation.
    EvCorrelation,
    /// Share of the actual variance that the simulation explains after least-squares linear calibration on the scored tokens
    /// themselves, 0..=1: the square of the correlation. Without calibration the number would mean nothing, because
    /// simulations are on a scale of 0 to 10.
    ExplainedVariance,
    /// 1 − mean((actual − expected)²) / mean(actual²), at most 1; no mean is taken off in the denominator. The reference calls
    /// it `rsquared_score`. Means something only for simulations in the neuron's own units.
    RsquaredUncentred,
    /// 1 − mean|actual − expected| / mean|actual|, at most 1; the reference's `absolute_dev_explained_score`. Means something only
    /// for simulations in the neuron's own units.
    AbsoluteDevExplained,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 4] =
        [Metric::EvCorrelation, Metric::ExplainedVariance, Metric::RsquaredUncentred, Metric::AbsoluteDevExplained];

    /// The metric's name in tables and functions.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::EvCorrelation => "ev_correlation",
            Metric::ExplainedVariance => "explained_variance",
            Metric::RsquaredUncentred => "rsquared_uncentred",
            Metric::AbsoluteDevExplained => "absolute_dev_explained",
        }
    }

    /// The metric over all tokens in `sums`.
    ///
    /// # Errors
    /// The [`Reason`] why there is no such number.
    pub fn value(self, sums: &WindowSums) -> Result<f64, Reason> {
        if sums.n() == 0 {
            return Err(Reason::NoWindows);
        }
        match self {
            Metric::EvCorrelation => correlation(sums),
            Metric::ExplainedVariance => correlation(sums).map(|rho| rho * rho),
            Metric::RsquaredUncentred => one_minus_ratio(sums.squared()),
            Metric::AbsoluteDevExplained => one_minus_ratio(sums.absolute()),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> crate::error::Result<Self> {
        let metric = Metric::ALL.into_iter().find(|metric| metric.as_str() == name);
        metric.ok_or_else(|| Error::MetricUnknown { got: name.to_owned() })
    }
}

/// Why a score is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The neuron does not vary on the scored tokens.
    ConstantActivations,
    /// The simulation does not vary on the scored tokens.
    ConstantSimulation,
    /// Putting the neuron's mean in its place moves no prediction, so there is nothing to explain by ablation.
    MeanChangesNothing,
    /// There is nothing to score.
    NoWindows,
    /// The neuron is 0 on every scored token.
    ZeroActivations,
}

impl Reason {
    /// The reason's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ConstantActivations => "constant_activations",
            Reason::ConstantSimulation => "constant_simulation",
            Reason::MeanChangesNothing => "mean_changes_nothing",
            Reason::NoWindows => "no_windows",
            Reason::ZeroActivations => "zero_activations",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn correlation(sums: &WindowSums) -> Result<f64, Reason> {
    let (m2_actual, m2_expected, co_moment) = sums.central();
    // Of two constant series the neuron's is named: no other simulation would help.
    if m2_actual <= 0.0 {
        return Err(Reason::ConstantActivations);
    }
    if m2_expected <= 0.0 {
        return Err(Reason::ConstantSimulation);
    }
    // Two roots: the product of the moments might overflow or vanish.
    Ok((co_moment / m2_actual.sqrt() / m2_expected.sqrt()).clamp(-1.0, 1.0))
}

fn one_minus_ratio((error, actual): (f64, f64)) -> Result<f64, Reason> {
    if actual > 0.0 { Ok(1.0 - error / actual) } else { Err(Reason::ZeroActivations) }
}
