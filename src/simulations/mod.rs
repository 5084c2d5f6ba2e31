//! Expected activations: what a neuron should do if its explanation were the whole truth.

pub mod simulator;

pub mod simulate;

pub mod token_lookup;

mod all_at_once;
mod distribution;
mod embedding;
mod listed_tokens;
mod log_probability_free;
mod numbered_reply;
mod one_at_a_time;
mod prompt;
mod words;

pub mod calibration;

#[cfg(test)]
mod tests;
