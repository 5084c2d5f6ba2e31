//! The token lookup table as a simulator: the strongest cheap baseline, and the only one that needs no language model.

use crate::neurons::token_means::TokenLookup;

/// Expected activations of a neuron at each token, in its own units; shape `[seq_len]`, as long as `token_ids`.
///
/// A token of the table has its mean activation, every other the base. Source: Bills et al. 2023, "token lookup table".
pub fn simulate(lookup: &TokenLookup, token_ids: &[u32]) -> Vec<f32> {
    let mut means: Vec<(u32, f32)> =
        lookup.tokens.iter().map(|token| (token.token_id, token.mean_activation)).collect();
    means.sort_unstable_by_key(|(token_id, _)| *token_id);
    let mean = |token_id: &u32| {
        means.binary_search_by_key(token_id, |(token_id, _)| *token_id).map_or(lookup.base, |i| means[i].1)
    };
    token_ids.iter().map(mean).collect()
}
