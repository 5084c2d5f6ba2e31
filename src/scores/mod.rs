//! How well simulated activations agree with the real ones.
//!
//! [`window_sums`] reduces each window to a few sums, [`metric`] turns sums into numbers, [`bootstrap`] says how far the
//! choice of windows carries, and [`summary`] is the row that is stored. [`classification`] does the same for
//! judgements, [`ablation`] for what the subject model predicts.

pub mod window_sums;

pub mod metric;

pub mod bootstrap;

mod order;

pub mod resampling;

pub mod classification;

pub mod ablation;

pub(crate) mod leak;

pub mod summary;

#[cfg(test)]
mod tests;
