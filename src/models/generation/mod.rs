//! Decoders as language models: a cache of keys and values that sequences share, and tokens drawn from distributions.
//!
//! [`key_values`] holds what later tokens read of earlier ones; [`extension`] runs new tokens of many sequences through a model
//! at once; [`prefix_tree`] runs token sequences with common beginnings, each beginning once; [`sampling`] picks tokens.

pub mod extension;
pub mod key_values;
pub mod prefix_tree;
pub mod sampling;

#[cfg(test)]
mod tests;
