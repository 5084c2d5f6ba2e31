//! Sparse autoencoders of a lake: trained on its activation stores or imported, evaluated, and found by their ids.
//!
//! The mathematics and the formats of others are the package `sparse_autoencoders`; here they meet the tables. Weights lie in
//! `_sparse_autoencoders/<id>/` inside the lake ([`publish`]), with a row of table `sparse_autoencoders` for each; that the latents of
//! each are units like neurons is done in [`crate::models::latents`].

pub mod crosscoders;
pub mod evaluate;
pub mod example;
pub mod import;
mod pairs;
pub mod publish;
pub mod rows;
pub mod train;
