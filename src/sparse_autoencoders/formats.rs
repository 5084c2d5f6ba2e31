//! Formats in which others publish sparse autoencoders.
//!
//! Every reader says in its documentation how the format computes. Where a file leaves that open (a missing field, an
//! unknown tensor, a normalisation whose factor is not stored) it is refused with what is missing: an autoencoder that
//! is read and computes something else than its authors' is worse than none.

use std::path::Path;

use crate::autoencoder::SparseAutoencoder;
use crate::error::{Error, Result};

pub mod crosscoder;
pub mod dictionary_learning;
pub mod gemma_scope;
pub mod openai;
pub mod saelens;
pub mod sparsify;

mod json;
mod npy;
mod torch_file;
mod zip;

#[cfg(test)]
mod tests;

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A `.pt` file of OpenAI's `sparse_autoencoder`.
    OpenAi,
    /// A folder with `sae_weights.safetensors` and `cfg.json`.
    SaeLens,
    /// A folder with `ae.pt` and `config.json`.
    DictionaryLearning,
    /// A folder with `sae.safetensors` and `cfg.json`.
    Sparsify,
    /// A `.npz` file of Gemma Scope, or the folder with its `params.npz`.
    GemmaScope,
}

impl Format {
    /// The format's name, as `sae import --format` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::SaeLens => "saelens",
            Self::DictionaryLearning => "dictionary_learning",
            Self::Sparsify => "sparsify",
            Self::GemmaScope => "gemma_scope",
        }
    }

    /// Every format.
    pub const ALL: [Self; 5] =
        [Self::OpenAi, Self::SaeLens, Self::DictionaryLearning, Self::Sparsify, Self::GemmaScope];

    /// What a path holds, by the names of its files.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is none of the formats.
    pub fn of(path: &Path) -> Result<Self> {
        let has = |name: &str| path.join(name).is_file();
        let ends = |ending: &str| path.is_file() && path.extension().is_some_and(|found| found == ending);
        if has(saelens::WEIGHTS) && has(saelens::CONFIG) {
            Ok(Self::SaeLens)
        } else if has(sparsify::WEIGHTS) && has(sparsify::CONFIG) {
            Ok(Self::Sparsify)
        } else if has(dictionary_learning::WEIGHTS) && has(dictionary_learning::CONFIG) {
            Ok(Self::DictionaryLearning)
        } else if has(gemma_scope::WEIGHTS) || ends("npz") {
            Ok(Self::GemmaScope)
        } else if ends("pt") {
            Ok(Self::OpenAi)
        } else {
            let reason = "expected a folder with 'sae_weights.safetensors' and 'cfg.json' (SAELens), 'sae.safetensors' and \
                          'cfg.json' (sparsify), 'ae.pt' and 'config.json' (dictionary_learning) or 'params.npz' (Gemma \
                          Scope), or a .pt (OpenAI) or .npz (Gemma Scope) file";
            Err(Error::Refused { path: path.to_owned(), reason: reason.to_owned() })
        }
    }
}

/// What was done to the subject model's weights that write to its residual stream before the autoencoder's inputs were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritingWeights {
    /// Nothing.
    AsTheyAre,
    /// Their mean was taken out (TransformerLens' `center_writing_weights`), and with it the mean of what they write.
    Centred,
    /// The files leave it open.
    Unsaid,
}

/// An autoencoder that was read, and what its files say of where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Configuration and weights.
    pub autoencoder: SparseAutoencoder,
    /// The format it was read from.
    pub format: Format,
    /// The subject model, as the files call it.
    pub model: Option<String>,
    /// The hook point, as the files call it.
    pub hook_point: Option<String>,
    /// The model it was trained on, which decides whether rows of the unprocessed one are to lose their mean.
    pub writing_weights: WritingWeights,
}

/// Reads whatever a path holds.
///
/// # Errors
/// What [`Format::of`] and the format's own reader say.
pub fn read(path: &Path) -> Result<Imported> {
    if crosscoder::is_one(path) {
        let reason = "a crosscoder, which reads several models at once: 'sae import-crosscoder' reads it";
        return Err(refused(path, reason));
    }
    match Format::of(path)? {
        Format::OpenAi => openai::read(path),
        Format::SaeLens => saelens::read(path),
        Format::DictionaryLearning => dictionary_learning::read(path),
        Format::Sparsify => sparsify::read(path),
        Format::GemmaScope => gemma_scope::read(path),
    }
}

/// The error of an autoencoder that is not read.
fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::Refused { path: path.to_owned(), reason: reason.into() }
}
