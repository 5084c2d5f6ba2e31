//! Texts that say what a neuron responds to: with a language model, from patterns, or from the token lookup table.
//!
//! [`evidence`] is what an explainer may see; [`explainer`] names the ways of writing; [`explain`] asks a language model and
//! [`n2g`] needs none; [`revision`] lets a model correct a text by what its neuron really does.

pub mod evidence;
pub mod explainer;

mod escape;
mod prompt;

mod answer;

pub mod explain;
pub mod n2g;
pub mod revision;
pub mod token_lookup;

#[cfg(test)]
mod tests;
