//! One neuron's file: explanations of either sign, each with simulations and scores by split.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::exchange::unit::{ExchangedExplanation, ExchangedScore, ExchangedSimulation, Window};
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;
use crate::token_sequences::split::Split;

/// How far a stored correlation may be from that of its own windows before it is told.
const TOLERANCE: f64 = 1e-6;

/// `explanation_config.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Config {
    pub(super) explainer_model_name: Option<String>,
    pub(super) simulator_model_name: Option<String>,
    pub(super) exemplar_config: Option<ExemplarConfig>,
}

/// `exemplar_config.json`, and a part of the file above.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ExemplarConfig {
    pub(super) hf_model_id: Option<String>,
    #[serde(default)]
    pub(super) hf_dataset_configs: Vec<DatasetConfig>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DatasetConfig {
    pub(super) hf_dataset_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct NeuronFile {
    pub(super) neuron_id: NeuronId,
    pub(super) explanations: BTreeMap<Sign, Option<Vec<Explanation>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NeuronId {
    pub(super) layer_index: i32,
    pub(super) neuron_index: i32,
}

/// Which end of a neuron's range an explanation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sign {
    Positive,
    Negative,
}

impl Sign {
    /// The explainer's name: the unit is one and the same, the texts are about either end of it.
    pub(super) fn explainer(self) -> &'static str {
        match self {
            Self::Positive => "observatory",
            Self::Negative => "observatory_negative",
        }
    }

    /// The sample of its strongest windows.
    pub(super) fn sample(self) -> &'static str {
        match self {
            Self::Positive => "top",
            Self::Negative => "bottom",
        }
    }

    /// Raw units of the model: the files have the size of negative values.
    fn raw(self, value: f32) -> f32 {
        match self {
            Self::Positive => value,
            Self::Negative => -value,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Explanation {
    explanation: String,
    simulations: Option<BTreeMap<ExemplarSplit, Simulations>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExemplarSplit {
    Train,
    Valid,
    Test,
    RandomTrain,
    RandomValid,
    RandomTest,
}

impl ExemplarSplit {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Train, "train"),
        (Self::Valid, "valid"),
        (Self::Test, "test"),
        (Self::RandomTrain, "random_train"),
        (Self::RandomValid, "random_valid"),
        (Self::RandomTest, "random_test"),
    ];

    pub(super) fn split(self) -> Split {
        match self {
            Self::Train | Self::RandomTrain => Split::Train,
            Self::Valid | Self::RandomValid => Split::Valid,
            Self::Test | Self::RandomTest => Split::Test,
        }
    }

    pub(super) fn is_random(self) -> bool {
        matches!(self, Self::RandomTrain | Self::RandomValid | Self::RandomTest)
    }
}

#[derive(Debug, Deserialize)]
struct Simulations {
    /// By the rank of the exemplar.
    simulation_data: BTreeMap<String, ScoredWindow>,
    ev_correlation_score: Option<f64>,
    rsquared_score: Option<f64>,
    absolute_dev_explained_score: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct ScoredWindow {
    simulation: Simulation,
    true_activations: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Simulation {
    tokens: Vec<String>,
    expected_activations: Vec<Option<f32>>,
    activation_scale: String,
    uncalibrated_simulation: Option<Box<Simulation>>,
}

/// What stands in one explanation, and how many of its scores are not what their windows give.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn explanation(
    row: Explanation,
    sign: Sign,
    sample_no: usize,
    explainer_model: Option<&str>,
    simulator_model: Option<&str>,
) -> Result<(ExchangedExplanation, Vec<&'static str>), String> {
    let mut found = ExchangedExplanation::new(
        sign.explainer().to_owned(),
        explainer_model.map(str::to_owned),
        i32::try_from(sample_no).unwrap_or(i32::MAX),
        row.explanation,
    );
    let mut notes = Vec::new();
    let mut overall: BTreeMap<Split, (WindowSums, i32, u8)> = BTreeMap::new();
    for (exemplars, simulations) in row.simulations.unwrap_or_default() {
        let split = exemplars.split();
        let sample = if exemplars.is_random() { "random" } else { sign.sample() };
        let mut sums = WindowSums::default();
        let (mut n_windows, mut n_failed) = (0, 0);
        let (mean_sums, n_all, kinds) = overall.entry(split).or_default();
        *kinds |= if exemplars.is_random() { 1 } else { 2 };
        for (rank, window) in simulations.simulation_data {
            let rank = rank.parse().map_err(|_| format!("expected the rank of an exemplar, got '{rank}'"))?;
            let ScoredWindow { simulation, true_activations } = window;
            let uncalibrated = simulation.uncalibrated_simulation.as_deref();
            // Calibration moves and stretches: the correlation over all windows of both kinds needs what was before it.
            let before = uncalibrated.unwrap_or(&simulation);
            let whole: Option<Vec<f32>> = before.expected_activations.iter().copied().collect();
            let calibrated: Option<Vec<f32>> = simulation.expected_activations.iter().copied().collect();
            match whole.zip(calibrated) {
                Some((whole, calibrated)) => {
                    let fault = |error: crate::error::Error| format!("window {rank} of {sample}: {error}");
                    sums = sums.merge(&WindowSums::of(&true_activations, &calibrated).map_err(fault)?);
                    *mean_sums = mean_sums.merge(&WindowSums::of(&true_activations, &whole).map_err(fault)?);
                    n_windows += 1;
                    *n_all += 1;
                }
                None => n_failed += 1,
            }
            if split == Split::Train {
                notes.push("simulation on a window that the explainer saw");
                continue;
            }
            for simulation in [Some(&simulation), uncalibrated].into_iter().flatten() {
                // Of the negative end, numbers from 0 to 10 rise as the neuron falls: they have no place beside raw values.
                let raw = simulation.activation_scale == "neuron_activations";
                if sign == Sign::Negative && !raw {
                    notes.push("uncalibrated simulation of the negative end");
                    continue;
                }
                let expected = simulation.expected_activations.iter();
                found.simulations.push(ExchangedSimulation {
                    simulator: "all_at_once".to_owned(),
                    simulator_model: simulator_model.map(str::to_owned),
                    scale: simulation.activation_scale.clone(),
                    sample: sample.to_owned(),
                    rank,
                    split,
                    window: Window::of(simulation.tokens.iter().map(String::as_str)),
                    actual: true_activations.iter().map(|value| sign.raw(*value)).collect(),
                    expected: expected.map(|value| value.map(|value| sign.raw(value))).collect(),
                    distribution: Vec::new(),
                });
            }
        }
        let set = if exemplars.is_random() { "random_only" } else { "top_only" };
        let computed = Metric::EvCorrelation.value(&sums).ok();
        let differs = match (simulations.ev_correlation_score, computed) {
            (Some(stored), Some(computed)) => (stored - computed).abs() > TOLERANCE,
            (stored, computed) => stored.is_some() != computed.is_some(),
        };
        if differs {
            notes.push("difference: a stored correlation is not that of its own windows");
        }
        for (metric, value) in [
            ("ev_correlation", simulations.ev_correlation_score),
            // Fitted on the windows themselves, so that it is the square of the correlation.
            ("explained_variance", simulations.rsquared_score),
            ("d2_absolute_error", simulations.absolute_dev_explained_score),
        ] {
            found.scores.push(score(metric, set, split, value, &sums, (n_windows, n_failed), simulator_model));
        }
    }
    for (split, (sums, n_windows, kinds)) in overall {
        if kinds == 3 {
            // A line fitted to the windows turns the simulation round where that is better.
            let value = Metric::EvCorrelation.value(&sums).ok().map(f64::abs);
            let counts = (n_windows, 0);
            found.scores.push(score("ev_correlation", "top_and_random", split, value, &sums, counts, simulator_model));
        }
    }
    Ok((found, notes))
}

fn score(
    metric: &str,
    sample_set: &str,
    split: Split,
    value: Option<f64>,
    sums: &WindowSums,
    (n_windows, n_failed): (i32, i32),
    simulator_model: Option<&str>,
) -> ExchangedScore {
    let value = value.filter(|value| value.is_finite());
    ExchangedScore {
        calibration: "linear".to_owned(),
        sample_set: sample_set.to_owned(),
        split,
        value,
        reason: value.is_none().then(|| match Metric::EvCorrelation.value(sums) {
            Err(reason) => reason.as_str().to_owned(),
            Ok(_) => "undefined_at_source".to_owned(),
        }),
        n_windows,
        n_tokens: i64::try_from(sums.n()).unwrap_or(i64::MAX),
        n_failed,
        ..ExchangedScore::empty("all_at_once", simulator_model, metric)
    }
}
