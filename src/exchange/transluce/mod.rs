//! The folders of Transluce's observatory: explanations of both signs with simulations and scores, and exemplars.
//!
//! `explanations/<layer>/<neuron>.json` beside `explanation_config.json`; exemplars as
//! `<split>/layer<n>/{max,min}_{seq_acts,seq_ids}.npy`. docs/exchange-transluce.md has every field. Source: TransluceAI/observatory
//! `lib/explanations/explanations/{explanations,explanations_wrapper,scoring_utils}.py`,
//! `lib/activations/activations/{exemplars,exemplars_wrapper}.py`, as of 2024-11.

mod exemplars;
mod npy;
mod rows;

pub mod read;

#[cfg(test)]
mod tests;
