//! Search over explanations: words, full text and meaning, with filters before the first k.
//!
//! `words` says what a word is; `mentions` looks for one phrase in many texts. Everything else reads an index on disk
//! (`manifest`, `index`): explanations as Arrow columns (`rows`), where each word stands (`terms`, ranked by `bm25`), and vectors
//! (`vectors`, compared by `nearest`). `build` brings it up to date with the Delta versions of its tables before every query;
//! `fill` computes vectors that are missing.

mod align;
pub(crate) mod bm25;
pub(crate) mod build;
mod disk;
pub mod error;
mod facts;
pub(crate) mod fill;
pub(crate) mod index;
mod kernels;
mod manifest;
pub(crate) mod mentions;
pub(crate) mod nearest;
pub(crate) mod rank;
pub(crate) mod rows;
mod terms;
pub(crate) mod vectors;
pub(crate) mod words;

#[cfg(test)]
mod tests;
