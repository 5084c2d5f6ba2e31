//! Stored scores computed again from stored simulations.

use std::fmt;

use futures::StreamExt;

use super::read_unit::METRICS;
use crate::error::Result;
use crate::exchange::lake_reader;
use crate::exchange::unit::{ExchangedExplanation, ExchangedScore, ExchangedSimulation, UnitKey};
use crate::pipeline::queries::Parameter;
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;
use crate::session::Session;

/// A difference from which on a score counts as different: simulations are kept in 32 bits, where their source has 64.
pub const TOLERANCE: f64 = 1e-4;

/// What came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verification {
    /// Scores computed again: numbers on both sides.
    pub n_compared: u64,
    /// … that differ by more than [`TOLERANCE`].
    pub n_different: u64,
    /// Undefined on both sides.
    pub n_undefined: u64,
    /// NULL in the lake, a number now.
    pub n_only_computed: u64,
    /// A number in the lake, undefined now.
    pub n_only_stored: u64,
    /// Scores whose simulations are not in the lake.
    pub n_without_simulation: u64,
    /// The largest difference of each metric.
    pub largest: Vec<Difference>,
}

/// One score, stored and computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Whose explanation.
    pub unit: UnitKey,
    /// Which of its explanations.
    pub explanation: String,
    /// Metric.
    pub metric: String,
    /// Windows: all, or one.
    pub sample_set: String,
    /// In the lake.
    pub stored: f64,
    /// From the simulations.
    pub computed: f64,
}

impl Difference {
    /// |stored − computed|, as a share of the stored number where that is beyond 1.
    pub fn size(&self) -> f64 {
        (self.stored - self.computed).abs() / self.stored.abs().max(1.0)
    }
}

/// Computes again every score of this model and corpus that comes from simulations.
///
/// # Errors
/// When a table cannot be read.
pub async fn verify(session: &Session, model: &str, corpus: &str) -> Result<Verification> {
    let text = |value: &str| Parameter::Text(value.to_owned()).to_sql();
    let condition = format!("model = {} AND corpus = {}", text(model), text(corpus));
    let keys = lake_reader::selected(session, Some(&condition)).await?;
    let mut found = Verification::default();
    let units = lake_reader::units(session, keys);
    futures::pin_mut!(units);
    while let Some(unit) = units.next().await {
        let unit = unit?;
        for explanation in &unit.explanations {
            for score in &explanation.scores {
                found.score(&unit.unit, explanation, score);
            }
        }
    }
    Ok(found)
}

impl Verification {
    fn score(&mut self, unit: &UnitKey, explanation: &ExchangedExplanation, score: &ExchangedScore) {
        let Some(metric) = METRICS.iter().find(|metric| **metric == score.metric) else { return };
        let Ok(metric) = metric.parse::<Metric>() else { return };
        let simulations = simulations_of(explanation, score);
        if simulations.is_empty() {
            self.n_without_simulation += 1;
            return;
        }
        let computed = compute(metric, &simulations);
        match (score.value, computed) {
            (None, None) => self.n_undefined += 1,
            (None, Some(_)) => self.n_only_computed += 1,
            (Some(_), None) => self.n_only_stored += 1,
            (Some(stored), Some(computed)) => {
                let difference = Difference {
                    unit: unit.clone(),
                    explanation: explanation.text.clone(),
                    metric: score.metric.clone(),
                    sample_set: score.sample_set.clone(),
                    stored,
                    computed,
                };
                self.n_compared += 1;
                self.n_different += u64::from(difference.size() > TOLERANCE);
                match self.largest.iter_mut().find(|largest| largest.metric == difference.metric) {
                    Some(largest) if largest.size() >= difference.size() => {}
                    Some(largest) => *largest = difference,
                    None => self.largest.push(difference),
                }
            }
        }
    }
}

/// The simulations that a score is about, in the scale that was scored.
pub(crate) fn simulations_of<'a>(
    explanation: &'a ExchangedExplanation,
    score: &ExchangedScore,
) -> Vec<&'a ExchangedSimulation> {
    let of_method = |simulation: &&ExchangedSimulation| {
        simulation.simulator == score.scorer
            && simulation.simulator_model == score.scorer_model
            && simulation.split == score.split
    };
    let wanted = |simulation: &&ExchangedSimulation| {
        let sample = simulation.sample.strip_prefix("scored_").unwrap_or(&simulation.sample);
        match score.sample_set.as_str() {
            "top_and_random" => true,
            "top_only" => sample == "top",
            "random_only" => sample == "random",
            window => {
                window.strip_prefix(sample).and_then(|rest| rest.strip_prefix('_'))
                    == Some(&simulation.rank.to_string())
            }
        }
    };
    // Where values were calibrated, the calibrated ones were scored.
    let calibrated = |simulation: &&ExchangedSimulation| simulation.scale == "neuron_activations";
    let of_method: Vec<&ExchangedSimulation> = explanation.simulations.iter().filter(of_method).collect();
    let any_calibrated = of_method.iter().any(calibrated);
    of_method.into_iter().filter(wanted).filter(|simulation| !any_calibrated || calibrated(simulation)).collect()
}

/// A metric over the tokens of all windows together; `None` where it is undefined.
pub(crate) fn compute(metric: Metric, simulations: &[&ExchangedSimulation]) -> Option<f64> {
    let sums: Vec<WindowSums> = simulations
        .iter()
        .map(|simulation| {
            // Tokens without an expected value say nothing about it.
            let pairs = simulation.actual.iter().zip(&simulation.expected);
            let (actual, expected): (Vec<f32>, Vec<f32>) =
                pairs.filter_map(|(actual, expected)| Some((*actual, (*expected)?))).unzip();
            WindowSums::of(&actual, &expected).unwrap_or_default()
        })
        .collect();
    metric.value(&WindowSums::merged(&sums)).ok()
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scores computed again: {}", self.n_compared)?;
        writeln!(f, "  different by more than {TOLERANCE:e}: {}", self.n_different)?;
        writeln!(f, "  undefined, stored and computed: {}", self.n_undefined)?;
        writeln!(f, "  NULL in the source, a number now: {}", self.n_only_computed)?;
        writeln!(f, "  a number in the source, undefined now: {}", self.n_only_stored)?;
        writeln!(f, "  without their simulations: {}", self.n_without_simulation)?;
        for difference in &self.largest {
            let Difference { unit, metric, sample_set, stored, computed, .. } = difference;
            writeln!(
                f,
                "  largest difference of {metric}: {:e} at {} neuron {}, {sample_set}: stored {stored}, computed {computed}",
                difference.size(),
                unit.hook_point,
                unit.neuron,
            )?;
        }
        Ok(())
    }
}
