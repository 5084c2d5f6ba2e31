//! Training from a scan of activations.

pub mod config;
