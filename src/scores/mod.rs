//! How well simulated activations agree with the real ones.
//!
//! [`window_sums`] reduces each window to a few sums, [`metric`] turns sums into numbers, [`bootstrap`] says how far the
//! choice of windows carries, and [`summary`] is the row that is stored. [`classification`] does the same for judgements.

pub mod window_sums;

pub mod metric;

pub mod bootstrap;

pub mod classification;

pub(crate) mod leak;

pub mod summary;

#[cfg(test)]
mod tests;
