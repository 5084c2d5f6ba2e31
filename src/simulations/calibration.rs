//! From a simulation's scale to the neuron's own units.
//!
//! Source: Bills et al. 2023 (specification §4.3). To be fitted on the `calibration` split, not on what is scored.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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
pub struct PercentileMatching {
    /// Ascending simulated values.
    expected: Vec<f64>,
    /// Ascending actual values, as many.
    actual: Vec<f64>,
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
