//! What scorers were told of each window, and the numbers that follow from it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::RunConfig;
use crate::exchange::extra::{ActivationExtra, ScoreExtra};
use crate::exchange::loose_json;
use crate::exchange::unit::{
    ExchangedExplanation, ExchangedJudgement, ExchangedRecord, ExchangedScore, ExchangedSimulation, Window,
};
use crate::scores::classification::{self, ClassificationMetric, Judged};
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;
use crate::token_sequences::split::Split;

/// Scorers that both have: their folder, our name.
pub(super) const JUDGES: [(&str, &str); 2] = [("detection", "detection"), ("fuzz", "fuzzing")];
/// The folder of simulations.
pub(super) const SIMULATION: &str = "simulation";
/// How far a stored correlation may be from that of its own windows before it is told.
const TOLERANCE: f64 = 1e-6;

/// One window as a judge saw it.
#[derive(Debug, Deserialize)]
struct JudgedWindow {
    str_tokens: Vec<String>,
    activations: Vec<Option<f32>>,
    #[serde(default)]
    distance: Option<f64>,
    activating: bool,
    #[serde(default)]
    prediction: Option<bool>,
    #[serde(default)]
    probability: Option<f64>,
    #[serde(default)]
    neuronlake: Option<ActivationExtra>,
}

/// Windows of one quantile, or all of them.
#[derive(Debug, Deserialize)]
struct SimulatedGroup {
    distance: i64,
    #[serde(default)]
    scored_sequence_simulations: Vec<SimulatedWindow>,
    /// A number, or `"nan"`.
    #[serde(default)]
    ev_correlation_score: Value,
}

#[derive(Debug, Deserialize)]
struct SimulatedWindow {
    /// The quantile; −1 for a window that does not activate.
    distance: i64,
    simulation: Simulated,
    true_activations: Vec<f32>,
    #[serde(default)]
    neuronlake: Option<SimulationExtra>,
}

#[derive(Debug, Deserialize)]
struct Simulated {
    tokens: Vec<String>,
    expected_activations: Vec<Option<f32>>,
}

/// What our own exports add to a window of a simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SimulationExtra {
    pub(super) record: ActivationExtra,
    pub(super) simulator: String,
    pub(super) simulator_model: Option<String>,
    pub(super) scale: String,
    /// Raw values; the format itself has them in tenths of the largest.
    pub(super) actual: Vec<f32>,
    pub(super) distribution: Vec<f32>,
}

/// Windows of one unit: each is one record, however many scorers saw it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) records: Vec<ExchangedRecord>,
    places: HashMap<(i64, String), usize>,
    ranks: HashMap<String, i32>,
}

impl Records {
    /// Sample, rank and split of a window with values; it becomes a record unless it is one.
    fn place(&mut self, window: &Window, sample: &str, activations: &[f32]) -> (String, i32, Split) {
        let key = (window.sequence(), sample.to_owned());
        let held = self.places.get(&key).map(|place| &self.records[*place]);
        if let Some(record) = held.filter(|record| activations.is_empty() || record.activations == activations) {
            return (record.sample.clone(), record.rank, record.split);
        }
        let next = self.ranks.entry(sample.to_owned()).or_default();
        let rank = *next;
        *next += 1;
        if !activations.is_empty() {
            self.places.insert(key, self.records.len());
            self.records.push(ExchangedRecord {
                sample: sample.to_owned(),
                rank,
                split: Split::Valid,
                window: window.clone(),
                activations: activations.to_vec(),
            });
        }
        (sample.to_owned(), rank, Split::Valid)
    }

    /// Drops the records that were added last.
    pub(super) fn forget(&mut self, n_kept: usize) {
        self.records.truncate(n_kept);
        self.places.retain(|_, place| *place < n_kept);
    }

    /// A record whose place our own export tells.
    fn told(&mut self, window: &Window, extra: &ActivationExtra, activations: &[f32]) -> (String, i32, Split) {
        let place = (extra.sample.clone(), extra.rank, extra.split.0);
        let same =
            |record: &ExchangedRecord| (&record.sample, record.rank, record.split) == (&place.0, place.1, place.2);
        if !activations.is_empty() && !self.records.iter().any(same) {
            self.records.push(ExchangedRecord {
                sample: place.0.clone(),
                rank: place.1,
                split: place.2,
                window: window.clone(),
                activations: activations.to_vec(),
            });
        }
        place
    }
}

/// Activating windows are numbered from the strongest quantile on there, and from the weakest here.
fn sample(activating: bool, quantile: i64, n_quantiles: u32) -> String {
    if activating {
        format!("quantile_{}", (i64::from(n_quantiles) - 1 - quantile).max(0))
    } else {
        "random".to_owned()
    }
}

fn window(tokens: &[String], extra: Option<&ActivationExtra>) -> Window {
    let mut window = Window::of(tokens.iter().map(String::as_str));
    window.token_ids = extra.and_then(|extra| extra.token_ids.clone()).filter(|ids| ids.len() == window.len());
    window
}

/// Adds a judge's windows and the metrics over them.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn judged(
    json: &[u8],
    scorer: &str,
    config: &RunConfig,
    explanation: &mut ExchangedExplanation,
    records: &mut Records,
) -> Result<(), String> {
    let windows: Vec<JudgedWindow> = loose_json::parse(json).map_err(|error| error.to_string())?;
    let scorer_model = config.judge();
    let first = explanation.judgements.len();
    for (number, judged) in windows.into_iter().enumerate() {
        let extra = judged.neuronlake.as_ref();
        let window = window(&judged.str_tokens, extra);
        let activations: Option<Vec<f32>> =
            judged.activations.iter().map(|value| value.filter(|value| value.is_finite())).collect();
        let activations =
            activations.ok_or_else(|| format!("expected finite activations in window {number}, got NaN or null"))?;
        if activations.len() != window.len() || activations.is_empty() {
            let (tokens, values) = (window.len(), activations.len());
            return Err(format!("expected an activation for each of {tokens} tokens in window {number}, got {values}"));
        }
        let quantile = judged.distance.unwrap_or_default() as i64;
        let (sample, rank, split) = match extra {
            Some(extra) => records.told(&window, extra, &activations),
            None => records.place(&window, &sample(judged.activating, quantile, config.n_quantiles()), &activations),
        };
        explanation.judgements.push(ExchangedJudgement {
            scorer: scorer.to_owned(),
            scorer_model: scorer_model.clone(),
            sample,
            rank,
            split,
            window,
            activating: judged.activating,
            predicted: judged.prediction,
            value: judged.probability.filter(|value| value.is_finite()),
        });
    }
    let judged: Vec<Judged> = explanation.judgements[first..]
        .iter()
        .map(|judgement| Judged {
            activating: judgement.activating,
            predicted: judgement.predicted,
            value: judgement.value,
        })
        .collect();
    let kept = classification::summaries(&judged, None);
    for summary in kept.into_iter().filter(|summary| summary.metric != ClassificationMetric::HitRate) {
        explanation.scores.push(ExchangedScore {
            value: summary.value.ok(),
            reason: summary.value.err().map(|reason| reason.as_str().to_owned()),
            // Tokens are 0 as of our own judges, who see windows.
            n_windows: number(summary.n_windows),
            n_failed: number(summary.n_failed),
            ..ExchangedScore::empty(scorer, scorer_model.as_deref(), summary.metric.as_str())
        });
    }
    Ok(())
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Adds the windows of a simulation and the correlation over all of them, as stored; whether that is what its windows give.
///
/// The group with distance 0 holds every window; without windows that do not activate there is none, and the quantiles' groups are
/// read together.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn simulated(
    json: &[u8],
    config: &RunConfig,
    explanation: &mut ExchangedExplanation,
    records: &mut Records,
) -> Result<bool, String> {
    let groups: Vec<SimulatedGroup> = loose_json::parse(json).map_err(|error| error.to_string())?;
    let stored = groups.iter().find(|group| group.distance == 0).map(|group| group.ev_correlation_score.as_f64());
    let all = stored.is_some();
    let (simulator, model) = (config.simulator(), config.judge());
    let (mut sums, mut n_windows, mut n_failed) = (WindowSums::default(), 0, 0);
    let windows = groups.into_iter().filter(|group| !all || group.distance == 0);
    for (number, scored) in windows.flat_map(|group| group.scored_sequence_simulations).enumerate() {
        let extra = scored.neuronlake.as_ref();
        let window = window(&scored.simulation.tokens, extra.map(|extra| &extra.record));
        let expected = scored.simulation.expected_activations;
        if scored.true_activations.len() != window.len() || (!expected.is_empty() && expected.len() != window.len()) {
            let (tokens, values, simulated) = (window.len(), scored.true_activations.len(), expected.len());
            return Err(format!(
                "expected {tokens} values of either kind in window {number}, got {values} and {simulated}"
            ));
        }
        let whole: Option<Vec<f32>> = expected.iter().copied().collect();
        match whole.filter(|whole| !whole.is_empty()) {
            Some(whole) => {
                let own = WindowSums::of(&scored.true_activations, &whole).map_err(|error| error.to_string())?;
                sums = sums.merge(&own);
                n_windows += 1;
            }
            None => n_failed += 1,
        }
        let actual = extra.map(|extra| extra.actual.clone()).unwrap_or_default();
        let (sample, rank, split) = match extra {
            Some(extra) => records.told(&window, &extra.record, &actual),
            None => {
                let sample = sample(scored.distance >= 0, scored.distance, config.n_quantiles());
                records.place(&window, &sample, &[])
            }
        };
        let (scale, distribution) = extra
            .map(|extra| (extra.scale.clone(), extra.distribution.clone()))
            .unwrap_or_else(|| ("simulated_normalized_activations".to_owned(), Vec::new()));
        explanation.simulations.push(ExchangedSimulation {
            simulator: extra.map_or_else(|| simulator.to_owned(), |extra| extra.simulator.clone()),
            simulator_model: extra.map_or_else(|| model.clone(), |extra| extra.simulator_model.clone()),
            scale,
            sample,
            rank,
            split,
            window,
            // The true values here are tenths of the unit's largest, which is no raw value.
            actual,
            expected,
            distribution,
        });
    }
    let computed = Metric::EvCorrelation.value(&sums);
    let value = stored.unwrap_or(computed.ok());
    let same = match (value, computed) {
        (Some(stored), Ok(computed)) => (stored - computed).abs() <= TOLERANCE,
        (None, Err(_)) => true,
        _ => false,
    };
    explanation.scores.push(ExchangedScore {
        value,
        reason: value.is_none().then(|| match computed {
            Err(reason) => reason.as_str().to_owned(),
            Ok(_) => "undefined_at_source".to_owned(),
        }),
        n_windows,
        n_tokens: i64::try_from(sums.n()).unwrap_or(i64::MAX),
        n_failed,
        ..ExchangedScore::empty(simulator, model.as_deref(), Metric::EvCorrelation.as_str())
    });
    Ok(same)
}

/// What our own exports say of an explanation beside the files of the format: every score, as the tables have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UnitExtra {
    pub(super) scores: Vec<ScoreExtra>,
}
