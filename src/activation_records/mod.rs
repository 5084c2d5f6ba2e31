//! The few windows that are kept of each neuron: strongest, random, and one sample from each range of strength.

pub(crate) mod marked_text;
pub mod normalize;
pub mod record;

pub(crate) mod quantile_samples;
pub(crate) mod samples;
pub(crate) mod slots;
pub(crate) mod top;

#[cfg(test)]
mod tests;
