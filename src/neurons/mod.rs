//! Statistics of every neuron, and the one pass over activations that they and the activation records come from.
//!
//! [`collector`] takes the activations of windows in order and hands each block of neurons to its state; the state holds
//! moments, a quantile sketch, token means and the windows worth keeping, all of bounded size.

pub mod collector;
pub mod correlation;
pub mod moments;
pub mod pass;
pub mod selection;
pub mod sketch;
pub mod token_means;

mod block;
mod checkpoint;
pub(crate) mod lanes;
mod plan;
pub(crate) mod raw_bytes;

#[cfg(test)]
mod tests;
