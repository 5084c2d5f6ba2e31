//! The unit's own values on windows that only a simulation names.

use super::unit::{ExchangedRecord, UnitData};

/// What the sample of a record is called that only simulations refer to, before the sample its source names.
const SCORED: &str = "scored_";

/// Adds a record for every simulation with values of its own that no record of its sample and split holds, and lets the
/// simulation name it: scores can then be computed again, whatever else the source left out.
pub(crate) fn keep_truths(unit: &mut UnitData) {
    let UnitData { records, explanations, .. } = unit;
    let n_read = records.len();
    for simulation in explanations.iter_mut().flat_map(|explanation| &mut explanation.simulations) {
        if simulation.actual.is_empty() {
            continue;
        }
        let held = records[..n_read].iter().any(|record| {
            record.split == simulation.split
                && record.sample == simulation.sample
                && record.rank == simulation.rank
                && record.window == simulation.window
                && record.activations == simulation.actual
        });
        if held {
            continue;
        }
        let sample = format!("{SCORED}{}", simulation.sample);
        // A second explanation, or scale, names the same record.
        let is_it = |record: &ExchangedRecord| {
            record.sample == sample && record.window == simulation.window && record.activations == simulation.actual
        };
        if !records[n_read..].iter().any(is_it) {
            records.push(ExchangedRecord {
                sample: sample.clone(),
                rank: simulation.rank,
                split: simulation.split,
                window: simulation.window.clone(),
                activations: simulation.actual.clone(),
            });
        }
        simulation.sample = sample;
    }
}
