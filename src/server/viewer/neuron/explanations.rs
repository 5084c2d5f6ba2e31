//! Explanations with all that was measured of them.

use serde_json::{Map, Value, json};

use super::{Rows, float, text};
use crate::server::viewer::charts;

/// An explanation that was simulated, and by what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Simulated {
    pub(super) explanation: String,
    pub(super) simulator: String,
    /// Empty for a simulator without a model.
    pub(super) simulator_model: String,
}

impl Simulated {
    fn of(row: &Map<String, Value>, simulator: &str, model: &str) -> Self {
        Self {
            explanation: text(row, "explanation"),
            simulator: text(row, simulator),
            simulator_model: text(row, model),
        }
    }

    /// What stands for it in an address.
    fn key(&self) -> String {
        [&self.explanation, &self.simulator, &self.simulator_model]
            .map(String::as_str)
            .join("|")
            .trim_end_matches('|')
            .to_owned()
    }
}

/// Every explanation with its scores and judgements, the best scored first; and the best one's text.
pub(super) fn joined(explanations: Rows, scores: &Rows, judges: &Rows) -> (Rows, Option<String>) {
    // Scores come best first. Calibration chooses among samples: its scores are of windows that were looked at.
    let counts = |score: &&Map<String, Value>| float(score, "value").is_some() && text(score, "split") != "calibration";
    let order: Vec<String> = scores.iter().filter(counts).map(|score| text(score, "explanation")).collect();
    let place = |row: &Map<String, Value>| {
        let id = text(row, "explanation");
        order.iter().position(|scored| *scored == id).unwrap_or(usize::MAX)
    };
    let mut rows = explanations;
    rows.sort_by_key(place);
    for row in &mut rows {
        let id = text(row, "explanation");
        let of = |rows: &Rows| -> Vec<Value> {
            rows.iter().filter(|score| text(score, "explanation") == id).map(with_line).collect()
        };
        let (scores, judges) = (of(scores), of(judges));
        row.insert("scores".to_owned(), scores.into());
        row.insert("judges".to_owned(), judges.into());
    }
    let best = rows.iter().map(|row| text(row, "text")).find(|text| !text.is_empty());
    (rows, best)
}

/// A score with what its picture needs.
pub(super) fn with_line(score: &Map<String, Value>) -> Value {
    let line =
        charts::interval(float(score, "value"), float(score, "low"), float(score, "high"), float(score, "control"));
    let mut score = score.clone();
    score.insert("line".to_owned(), json!(line));
    Value::Object(score)
}

/// What can be chosen for the heat maps, and what is: what the address says, else the best scored.
pub(super) fn simulations(
    simulators: Rows,
    scores: &Rows,
    explanations: &Rows,
    wanted: Option<&str>,
) -> (Vec<Value>, Option<Simulated>) {
    let options: Vec<Simulated> =
        simulators.iter().map(|row| Simulated::of(row, "simulator", "simulator_model")).collect();
    let best = || {
        let mut scored = scores.iter().map(|score| Simulated::of(score, "scorer", "scorer_model"));
        scored.find(|scored| options.contains(scored))
    };
    let chosen = options.iter().find(|option| Some(option.key().as_str()) == wanted).cloned();
    let chosen = chosen.or_else(best).or_else(|| options.first().cloned());
    let shown = options
        .iter()
        .map(|option| {
            let row = explanations.iter().find(|row| text(row, "explanation") == option.explanation);
            let words: String = row.map(|row| text(row, "text")).unwrap_or_default().chars().take(60).collect();
            let model =
                if option.simulator_model.is_empty() { String::new() } else { format!("@{}", option.simulator_model) };
            json!({
                "key": option.key(),
                "name": format!("{}{model}: {words}", option.simulator),
                "chosen": Some(option) == chosen.as_ref(),
            })
        })
        .collect();
    (shown, chosen)
}
