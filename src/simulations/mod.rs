//! Expected activations: what a neuron should do if its explanation were the whole truth.

pub mod simulator;

pub mod simulate;

pub mod token_lookup;

pub mod calibration;

#[cfg(test)]
mod tests;
