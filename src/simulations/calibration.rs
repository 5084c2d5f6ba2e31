//! From a simulation's scale to the neuron's own units.
//!
//! Source: Bills et al. 2023 (specification §4.3). To be fitted on the `calibration` split, not on what is scored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How simulated values are brought to the neuron's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Calibration {
    /// Not at all; correlations need no more.
    #[default]
    None,
    /// By a line.
    Linear,
    /// By rank.
    Percentile,
}

impl Calibration {
    /// Every calibration.
    pub const ALL: [Self; 3] = [Self::None, Self::Linear, Self::Percentile];

    /// Its name in SQL and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear => "linear",
            Self::Percentile => "percentile",
        }
    }
}

impl FromStr for Calibration {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|calibration| calibration.name() == name).ok_or_else(|| Error::Argument {
            argument: "calibration".to_owned(),
            expected: "none, linear or percentile".to_owned(),
            got: name.to_owned(),
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A calibration with what was fitted; as JSON an object whose `kind` is the calibration's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FittedCalibration {
    /// Values stay as they are, on the simulator's scale.
    None,
    /// See [`LinearCalibration`].
    Linear(LinearCalibration),
    /// See [`PercentileMatching`].
    Percentile(PercentileMatching),
}

impl FittedCalibration {
    /// Fits pairs of actual and expected activations, those without an expected value left out. `None` where there is nothing to
    /// fit: no pairs, or for a line a constant simulation.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the two are not equally long.
    pub fn fit(calibration: Calibration, actual: &[f32], expected: &[Option<f32>]) -> Result<Option<Self>> {
        if actual.len() != expected.len() {
            return Err(Error::LengthMismatch { actual: actual.len(), expected: expected.len() });
        }
        let (actual, expected): (Vec<f32>, Vec<f32>) =
            actual.iter().zip(expected).filter_map(|(actual, expected)| Some((*actual, (*expected)?))).unzip();
        Ok(match calibration {
            Calibration::None => Some(Self::None),
            Calibration::Linear => LinearCalibration::fit(&actual, &expected)?.map(Self::Linear),
            Calibration::Percentile => PercentileMatching::fit(&actual, &expected)?.map(Self::Percentile),
        })
    }

    /// An expected activation in the neuron's units; as it is for [`Self::None`].
    pub fn apply(&self, expected: f64) -> f64 {
        match self {
            Self::None => expected,
            Self::Linear(line) => line.apply(expected),
            Self::Percentile(map) => map.apply(expected),
        }
    }

    /// The scale of what [`Self::apply`] gives for values of a simulator's `scale`.
    pub fn scale(&self, scale: &'static str) -> &'static str {
        match self {
            // Upstream calls uncalibrated values neuron activations too, which they are not.
            Self::None => scale,
            Self::Linear(_) | Self::Percentile(_) => "neuron_activations",
        }
    }
}

/// The line `intercept + slope · expected` that fits actual activations best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearCalibration {
    /// Activation where the simulation says 0, in the neuron's units.
    pub intercept: f64,
    /// Units of the neuron for one unit of the simulation.
    pub slope: f64,
}

impl LinearCalibration {
    /// Least squares over pairs of actual and expected activations; `None` without pairs and for a constant simulation.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the two are not equally long.
    pub fn fit(actual: &[f32], expected: &[f32]) -> Result<Option<Self>> {
        check(actual, expected)?;
        let Some(first) = expected.first() else { return Ok(None) };
        let n = actual.len() as f64;
        let mean_actual = actual.iter().map(|r| f64::from(*r)).sum::<f64>() / n;
        // About the first value, so that a constant simulation has a spread of exactly 0.
        let mean_expected =
            f64::from(*first) + expected.iter().map(|p| f64::from(*p) - f64::from(*first)).sum::<f64>() / n;
        let (mut spread, mut together) = (0.0, 0.0);
        for (r, p) in actual.iter().zip(expected) {
            let d = f64::from(*p) - mean_expected;
            spread += d * d;
            together += d * (f64::from(*r) - mean_actual);
        }
        let slope = together / spread;
        Ok((spread > 0.0).then_some(Self { intercept: mean_actual - slope * mean_expected, slope }))
    }

    /// An expected activation in the neuron's units.
    pub fn apply(&self, expected: f64) -> f64 {
        self.intercept + self.slope * expected
    }
}

/// The monotone map that gives simulated values the distribution of the actual ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Pairs")]
pub struct PercentileMatching {
    /// Ascending simulated values.
    expected: Vec<f64>,
    /// Ascending actual values, as many.
    actual: Vec<f64>,
}

/// What a stored map holds before it is known to be one.
#[derive(Deserialize)]
struct Pairs {
    expected: Vec<f64>,
    actual: Vec<f64>,
}

impl TryFrom<Pairs> for PercentileMatching {
    type Error = String;

    fn try_from(Pairs { expected, actual }: Pairs) -> Result<Self, String> {
        if expected.is_empty() || expected.len() != actual.len() || !expected.is_sorted() || !actual.is_sorted() {
            return Err(format!(
                "expected two ascending series of one length, got {} and {} values",
                expected.len(),
                actual.len()
            ));
        }
        Ok(Self { expected, actual })
    }
}

impl PercentileMatching {
    /// Sorts both series and pairs them by rank; `None` without pairs.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the two are not equally long.
    pub fn fit(actual: &[f32], expected: &[f32]) -> Result<Option<Self>> {
        check(actual, expected)?;
        let sorted = |values: &[f32]| {
            let mut values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        Ok((!actual.is_empty()).then(|| Self { expected: sorted(expected), actual: sorted(actual) }))
    }

    /// An expected activation in the neuron's units: linear between the pairs, constant beyond the ends. Among pairs with the
    /// same simulated value the highest counts.
    pub fn apply(&self, expected: f64) -> f64 {
        let above = self.expected.partition_point(|value| *value <= expected);
        if above == 0 {
            return self.actual[0];
        }
        let (p0, r0) = (self.expected[above - 1], self.actual[above - 1]);
        match (self.expected.get(above), self.actual.get(above)) {
            (Some(p1), Some(r1)) => r0 + (r1 - r0) * (expected - p0) / (p1 - p0),
            _ => r0,
        }
    }
}

fn check(actual: &[f32], expected: &[f32]) -> Result<()> {
    if actual.len() == expected.len() {
        Ok(())
    } else {
        Err(Error::LengthMismatch { actual: actual.len(), expected: expected.len() })
    }
}
