//! Evidence as each prompt shows it.

use super::LEAD_IN;
use crate::activation_records::normalize::MAX_NORMALIZED;
use crate::explanations::escape::{marked, shown};
use crate::explanations::evidence::{Evidence, EvidenceRecord, normalized};
use crate::explanations::explainer::Explainer;

/// Below this share of values above 0 the lines above 0 are repeated by themselves (Bills et al. 2023).
const REPEAT_BELOW: f64 = 0.2;
/// Smallest normalised activation that is marked in plain text.
const MARK_FROM: i8 = 3;
/// Tokens shown before the strongest one of a window, and after it.
const CONTEXT: (usize, usize) = (10, 5);
/// Promoted tokens shown at most.
const N_PROMOTED: usize = 20;

/// The user's turn about one neuron.
pub(super) fn target(explainer: Explainer, evidence: &Evidence) -> String {
    let body = match explainer {
        Explainer::TokenLookup | Explainer::N2g => String::new(),
        Explainer::TokenActivation => pairs(&evidence.records),
        Explainer::Summary => format!("Texts:\n{}", marked_texts(&evidence.records)),
        Explainer::MaxActivation => strongest(&evidence.records),
        Explainer::Logits => {
            let promoted: Vec<String> =
                evidence.promoted.iter().take(N_PROMOTED).map(|token| format!("\"{}\"", shown(token))).collect();
            format!(
                "{}\nTokens it makes likelier to come next: {}\n",
                strongest(&evidence.records),
                promoted.join(", ")
            )
        }
        Explainer::Contrastive => {
            let quiet: Vec<String> =
                evidence.quiet.iter().enumerate().map(|(i, record)| plain_text(i, record)).collect();
            format!("It fires in:\n{}\nIt is silent in:\n{}", marked_texts(&evidence.records), quiet.concat())
        }
    };
    format!("{body}\n{LEAD_IN}")
}

/// Records as `token TAB value` lines between markers, and once more without the zeros where those are many.
fn pairs(records: &[EvidenceRecord]) -> String {
    let values = normalized(records);
    let n_tokens: usize = values.iter().map(Vec::len).sum();
    let n_firing = values.iter().flatten().filter(|value| **value > 0).count();
    let mut text = format!("Activations:{}", block(records, &values, 0));
    if (n_firing as f64) < REPEAT_BELOW * n_tokens as f64 {
        text.push_str("The same without the zeros:");
        text.push_str(&block(records, &values, 1));
    }
    text
}

/// Records whose values reach `least`, each between `<start>` and `<end>`.
pub(super) fn block(records: &[EvidenceRecord], values: &[Vec<i8>], least: i8) -> String {
    let lines = |(record, values): (&EvidenceRecord, &Vec<i8>)| {
        let kept = record.tokens.iter().zip(values).filter(|(_, value)| **value >= least);
        let lines: Vec<String> = kept.map(|(token, value)| format!("{}\t{value}", shown(token))).collect();
        lines.join("\n")
    };
    let records: Vec<String> = records.iter().zip(values).map(lines).collect();
    format!("\n<start>\n{}\n<end>\n", records.join("\n<end>\n<start>\n"))
}

/// Records as numbered lines of plain text, strong tokens marked with their values.
fn marked_texts(records: &[EvidenceRecord]) -> String {
    let line = |(i, (record, values)): (usize, (&EvidenceRecord, Vec<i8>))| {
        let tokens = record.tokens.iter().zip(values);
        let marks = tokens.map(|(token, value)| (token.as_str(), (value >= MARK_FROM).then(|| value.to_string())));
        format!("{}. {}\n", i + 1, marked(marks).trim())
    };
    records.iter().zip(normalized(records)).enumerate().map(line).collect()
}

/// A record as a numbered line without marks.
fn plain_text(i: usize, record: &EvidenceRecord) -> String {
    format!("{}. {}\n", i + 1, marked(record.tokens.iter().map(|token| (token.as_str(), None))).trim())
}

/// The strongest token of each record that fires, with its neighbours.
fn strongest(records: &[EvidenceRecord]) -> String {
    let mut lines = String::from("Strongest tokens:\n");
    for (record, values) in records.iter().zip(normalized(records)) {
        let Some(at) = (0..values.len()).rev().max_by(|a, b| record.activations[*a].total_cmp(&record.activations[*b]))
        else {
            continue;
        };
        if values[at] < 1 {
            continue;
        }
        let from = at.saturating_sub(CONTEXT.0);
        let until = (at + 1 + CONTEXT.1).min(values.len());
        let around = record.tokens[from..until].iter().zip(from..);
        let text = marked(around.map(|(token, i)| (token.as_str(), (i == at).then(String::new))));
        lines.push_str(&format!(
            "- \"{}\" ({} of {MAX_NORMALIZED}) in: {}\n",
            shown(&record.tokens[at]),
            values[at],
            text.trim()
        ));
    }
    lines
}
