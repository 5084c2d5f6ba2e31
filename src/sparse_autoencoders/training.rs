//! Training from a scan of activations, with gradients written by hand.
//!
//! All but the encoder's product is sparse: a step costs `2 n_inputs n_latents + 8 L0 n_inputs` operations a row where
//! automatic differentiation of dense codes takes `12 n_inputs n_latents` (Gao et al. 2024, appendix D). One pass over
//! the latents computes each latent's gradient from the rows on which it fired, projects it, takes Adam's step and
//! renormalises, so that gradients are never written (module `update`).

pub mod config;

pub mod geometric_median;
mod initialize;

pub mod parameters;

mod columns;
mod losses;
mod select;
pub(crate) mod update;

pub mod trainer;

pub mod device;
pub mod placed;

pub mod checkpoint;
pub mod feed;
