//! What the tables have and other programs' files have no field for: under a key `neuronlake`, in our exports only.
//!
//! Their readers look fields up by name and pass over others, so these change nothing there.

use serde::{Deserialize, Serialize};

use crate::exchange::unit::{ExchangedScore, Statistics};
use crate::token_sequences::split::Split;

/// Of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceExtra {
    /// Hook point of its units.
    pub(crate) hook_point: String,
}

/// Of a feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureExtra {
    n_tokens: Option<i64>,
    mean: Option<Exact>,
    variance: Option<Exact>,
    skewness: Option<Exact>,
    kurtosis: Option<Exact>,
    min: Option<f32>,
    max: Option<f32>,
    density: Option<Exact>,
    quantile_levels: Vec<Exact>,
    quantiles: Vec<Exact>,
}

impl FeatureExtra {
    pub(crate) fn of(statistics: &Statistics) -> Self {
        let exact = |value: Option<f64>| value.map(Exact);
        let all = |values: &[f64]| values.iter().copied().map(Exact).collect();
        Self {
            n_tokens: statistics.n_tokens,
            mean: exact(statistics.mean),
            variance: exact(statistics.variance),
            skewness: exact(statistics.skewness),
            kurtosis: exact(statistics.kurtosis),
            min: statistics.min,
            max: statistics.max,
            density: exact(statistics.density),
            quantile_levels: all(&statistics.quantile_levels),
            quantiles: all(&statistics.quantiles),
        }
    }

    pub(crate) fn into_statistics(self) -> Statistics {
        let exact = |value: Option<Exact>| value.map(|Exact(value)| value);
        let all = |values: Vec<Exact>| values.into_iter().map(|Exact(value)| value).collect();
        Statistics {
            n_tokens: self.n_tokens,
            mean: exact(self.mean),
            variance: exact(self.variance),
            skewness: exact(self.skewness),
            kurtosis: exact(self.kurtosis),
            min: self.min,
            max: self.max,
            density: exact(self.density),
            quantile_levels: all(self.quantile_levels),
            quantiles: all(self.quantiles),
        }
    }
}

/// Of an activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActivationExtra {
    pub(crate) sample: String,
    pub(crate) rank: i32,
    pub(crate) split: Name<Split>,
    pub(crate) token_ids: Option<Vec<i32>>,
}

/// Of an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExplanationExtra {
    pub(crate) explainer: String,
    pub(crate) explainer_model: Option<String>,
    pub(crate) sample_no: i32,
}

/// Of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScoreExtra {
    scorer: String,
    scorer_model: Option<String>,
    calibration: String,
    metric: String,
    sample_set: String,
    split: Name<Split>,
    value: Option<Exact>,
    control: Option<Exact>,
    low: Option<Exact>,
    high: Option<Exact>,
    reason: Option<String>,
    n_windows: i32,
    n_tokens: i64,
    n_failed: i32,
}

impl ScoreExtra {
    pub(crate) fn of(score: &ExchangedScore) -> Self {
        Self {
            scorer: score.scorer.clone(),
            scorer_model: score.scorer_model.clone(),
            calibration: score.calibration.clone(),
            metric: score.metric.clone(),
            sample_set: score.sample_set.clone(),
            split: Name(score.split),
            value: score.value.map(Exact),
            control: score.control.map(Exact),
            low: score.low.map(Exact),
            high: score.high.map(Exact),
            reason: score.reason.clone(),
            n_windows: score.n_windows,
            n_tokens: score.n_tokens,
            n_failed: score.n_failed,
        }
    }

    pub(crate) fn into_score(self) -> ExchangedScore {
        ExchangedScore {
            scorer: self.scorer,
            scorer_model: self.scorer_model,
            calibration: self.calibration,
            metric: self.metric,
            sample_set: self.sample_set,
            split: self.split.0,
            value: self.value.map(|Exact(value)| value),
            control: self.control.map(|Exact(value)| value),
            low: self.low.map(|Exact(value)| value),
            high: self.high.map(|Exact(value)| value),
            reason: self.reason,
            n_windows: self.n_windows,
            n_tokens: self.n_tokens,
            n_failed: self.n_failed,
        }
    }
}

/// A value that is stored by its name in the tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Name<T>(pub(crate) T);

impl Serialize for Name<Split> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Name<Split> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A number that is read back to the last bit: written as text, because the parser of numbers in JSON rounds the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exact(f64);

impl Serialize for Exact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number: f64 = text.parse().map_err(serde::de::Error::custom)?;
        if number.is_finite() { Ok(Self(number)) } else { Err(serde::de::Error::custom("expected a finite number")) }
    }
}
