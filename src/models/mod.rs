//! Subject models: decoders with hook points, read from the files that models are published in.
//!
//! [`source`] says where a model is; `weights` reads its tensors by name and [`config`] its shape; `decoder` packs
//! both for the `kernels`; [`forward`] runs a tile of token sequences and hands the values at [`hook_points`] to the
//! caller; [`generation`] runs the same weights as a language model; [`tokenizer`] turns text into token ids; [`ablation`] runs
//! a window again with some values replaced; [`latents`] are the sparse autoencoders of a lake, read at hook points of their own; [`splice`] replaces all values of a hook point; [`device`] says what computes; [`directions`] compares what units read and write; [`links`] tells what neurons are connected to; [`subject_model`] is all of it under one name. [`hub`] fetches models.
//! Nothing here knows tables: a caller sees slices of f32.

pub mod ablation;
pub mod cache;
pub mod chat_files;
pub mod config;
mod decoder;
pub mod device;
pub mod directions;
pub mod forward;
pub mod generation;
mod hash;
pub mod hook_points;
pub mod hub;
pub(crate) mod kernels;
pub mod latents;
pub mod links;
mod promoted;
pub mod source;
pub mod splice;
pub mod subject_model;
pub mod token_batch;
pub mod tokenizer;
pub(crate) mod weights;

#[cfg(test)]
mod tests;
