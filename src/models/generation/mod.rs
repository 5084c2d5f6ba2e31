//! Decoders as language models: a cache of keys and values that sequences share, and tokens drawn from distributions.
//!
//! [`runner`] says what the rest needs of a decoder. On the processor, [`key_values`] holds what later tokens read of earlier
//! ones and [`extension`] runs new tokens of many sequences through a model at once; `device` does both on a GPU, where
//! [`placement`] says so. [`prefix_tree`] runs token sequences with common beginnings, each beginning once; [`sampling`] picks
//! tokens.

pub mod device;
pub mod extension;
pub mod key_values;
pub mod placement;
pub mod prefix_tree;
pub mod runner;
pub mod sampling;

#[cfg(test)]
mod tests;
