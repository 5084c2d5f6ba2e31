//! How good an autoencoder is. Sums run in f64; what is undefined is `None`, never 0 or NaN.

pub mod ablation;
pub mod patterns;
pub mod probe;
pub mod reconstruction;
pub mod similarity;
pub mod spliced;
