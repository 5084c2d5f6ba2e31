//! Texts that say what a neuron responds to.

pub mod token_lookup;

#[cfg(test)]
mod tests;
