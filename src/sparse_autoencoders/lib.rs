//! Sparse autoencoders: training, inference, metrics and the formats they are published in.
//!
//! A sparse autoencoder writes a vector `x` of `n_inputs` activations as a few of `n_latents` directions:
//! `h = W_enc (x − b_dec) + b_enc`, `z = activation(h)`, `x̂ = z W_dec + b_dec`. Rows of both matrices are latents.
//! [`autoencoder`] holds one and computes with it, [`training`] makes one from a scan of activations ([`source`]),
//! [`metrics`] says how good it is, [`files`] keeps it and [`formats`] reads and writes what others publish.
//!
//! The package knows nothing of tables, models or texts; it is a package of its own so that it compiles alone.

pub mod error;
pub mod kernels;
pub mod number;
pub mod random;
mod tensors;

pub mod codes;

pub mod autoencoder;

pub mod metrics;

pub mod files;

pub mod formats;

pub mod source;

pub mod training;
