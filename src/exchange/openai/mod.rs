//! OpenAI's public dataset of neuron explanations (Bills et al. 2023): records, explanations with their simulations and scores, related
//! neurons and tokens, a JSON file each.
//!
//! Source of the layout: specification §1.1 to §1.3; the class and key names are those of `automated-interpretability` and
//! `transformer-debugger`, both spellings of every key that changed.

pub(crate) mod lists;

pub(crate) mod files;

pub(crate) mod exact;

pub(crate) mod read_unit;

pub(crate) mod read_part;

pub mod interleave;

pub mod dataset;

pub mod verify;

pub mod write;

#[cfg(test)]
mod tests;
