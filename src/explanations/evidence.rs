//! What an explainer is shown of a neuron: windows of the train split, and what goes with them.

use crate::activation_records::normalize::normalize;

#[cfg(test)]
mod tests;

/// One neuron on one window of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceRecord {
    /// Texts of the tokens, shape `[seq_len]`; joined, they are the window's text.
    pub tokens: Vec<String>,
    /// Activations in the neuron's units, shape `[seq_len]`.
    pub activations: Vec<f32>,
}

impl EvidenceRecord {
    /// The largest activation above 0; 0 where there is none.
    pub fn max(&self) -> f32 {
        self.activations.iter().copied().fold(0.0, f32::max)
    }
}

/// What is known of one neuron when it is explained. Nothing of it may come from windows that are scored later.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Evidence {
    /// Windows of the train split in which it fires, highest first.
    pub records: Vec<EvidenceRecord>,
    /// Windows of the train split in which it does not fire: the nearest misses, for explainers that contrast.
    pub quiet: Vec<EvidenceRecord>,
    /// Tokens that the neuron makes likelier to come next, strongest first; empty where that is not known.
    pub promoted: Vec<String>,
}

impl Evidence {
    /// Why nothing can be learned from it; `None` for evidence that is sound.
    pub fn fault(&self) -> Option<String> {
        if self.records.is_empty() {
            return Some("expected at least one window of split train, got none".to_owned());
        }
        let uneven =
            self.records.iter().chain(&self.quiet).find(|record| record.tokens.len() != record.activations.len());
        if let Some(record) = uneven {
            let (tokens, activations) = (record.tokens.len(), record.activations.len());
            return Some(format!("expected as many activations as tokens, got {activations} and {tokens}"));
        }
        (block_max(&self.records) <= 0.0).then(|| "it fires on none of the windows shown".to_owned())
    }
}

/// The largest activation above 0 of all records shown together, in the neuron's units; 0 where there is none.
pub fn block_max(records: &[EvidenceRecord]) -> f32 {
    records.iter().map(EvidenceRecord::max).fold(0.0, f32::max)
}

/// The activations of records shown together, on the scale 0..=10 of the largest of them: for each record, shape `[seq_len]`.
///
/// Source: Bills et al. 2023 as its code has it (specification §3.1): the maximum is that of the block shown, not of the corpus.
pub fn normalized(records: &[EvidenceRecord]) -> Vec<Vec<i8>> {
    let max = block_max(records);
    records.iter().map(|record| normalize(&record.activations, max)).collect()
}
