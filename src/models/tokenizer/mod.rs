//! Tokenizers: text to token ids with byte offsets, and token ids to the text they stand for.

mod byte_level;
mod hugging_face;
mod llama2c;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;

use self::hugging_face::HuggingFace;
use self::llama2c::Llama2c;
use crate::error::{Error, Result};

/// A text as tokens; no special token is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids in order.
    pub token_ids: Vec<u32>,
    /// The bytes of the text each token covers; tokens that share one character cover the same bytes.
    pub offsets: Vec<Range<usize>>,
}

/// A model's tokenizer.
pub struct Tokenizer {
    kind: Kind,
    bos_token_id: Option<u32>,
    hash: String,
}

enum Kind {
    HuggingFace(Box<HuggingFace>),
    Llama2c(Llama2c),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("n_tokens", &self.n_tokens())
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a folder, or `vocab.json` and `merges.txt` (GPT-2's byte-pair encoding).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if neither is there or a file is damaged.
    pub fn from_folder(folder: &Path, bos_token_id: Option<u32>) -> Result<Self> {
        let (inner, hash) = hugging_face::from_folder(folder)?;
        Ok(Self { kind: Kind::HuggingFace(Box::new(inner)), bos_token_id, hash })
    }

    /// Parses the text of a `tokenizer.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is damaged.
    pub fn from_json(json: &[u8], path: &Path, bos_token_id: Option<u32>) -> Result<Self> {
        let (inner, hash) = hugging_face::from_json(json, path)?;
        Ok(Self { kind: Kind::HuggingFace(Box::new(inner)), bos_token_id, hash })
    }

    /// Builds the tokenizer that a GGUF file's metadata describes; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is none of the byte-level byte-pair encodings.
    pub(crate) fn from_gguf(content: &Content, path: &Path, bos_token_id: Option<u32>) -> Result<Self> {
        let (inner, hash) = hugging_face::from_gguf(content, path)?;
        Ok(Self { kind: Kind::HuggingFace(Box::new(inner)), bos_token_id, hash })
    }

    /// Reads a llama2.c tokenizer (`tok512.bin`) of `n_tokens` pieces.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is missing or not as long as that.
    pub fn from_llama2c(path: &Path, n_tokens: usize) -> Result<Self> {
        let (inner, hash) = Llama2c::open(path, n_tokens)?;
        Ok(Self { kind: Kind::Llama2c(inner), bos_token_id: Some(llama2c::BOS), hash })
    }

    /// Splits a text into tokens, without a token that starts the sequence.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.encode(text),
            Kind::Llama2c(inner) => Ok(inner.encode(text)),
        }
    }

    /// Splits a text into tokens without recognising special tokens: `<|im_end|>` in it is text like any other.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot encode it.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.encode_plain(text),
            Kind::Llama2c(inner) => Ok(inner.encode(text).token_ids),
        }
    }

    /// The tokens that [`Tokenizer::encode`] recognises in a text and [`Tokenizer::encode_plain`] does not, by name.
    pub fn special_tokens(&self) -> Vec<(String, u32)> {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.special_tokens(),
            Kind::Llama2c(_) => Vec::new(),
        }
    }

    /// The id of a token by its name in the vocabulary.
    pub fn token_id(&self, name: &str) -> Option<u32> {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.token_id(name),
            Kind::Llama2c(_) => None,
        }
    }

    /// The bytes a token stands for; none for an id the tokenizer does not have.
    pub fn token_bytes(&self, token_id: u32) -> &[u8] {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.token_bytes(token_id),
            Kind::Llama2c(inner) => inner.token_bytes(token_id),
        }
    }

    /// The text of one token for display; bytes that are no UTF-8 by themselves become U+FFFD.
    pub fn token_text(&self, token_id: u32) -> String {
        String::from_utf8_lossy(self.token_bytes(token_id)).into_owned()
    }

    /// The text of a run of tokens.
    pub fn decode(&self, token_ids: &[u32]) -> String {
        let bytes: Vec<u8> = token_ids.iter().flat_map(|token_id| self.token_bytes(*token_id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The token that starts a sequence, where the model has one.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// One more than the largest token id.
    pub fn n_tokens(&self) -> usize {
        match &self.kind {
            Kind::HuggingFace(inner) => inner.n_tokens(),
            Kind::Llama2c(inner) => inner.n_tokens(),
        }
    }

    /// SHA-256 of what defines the tokenizer, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Checks that a model with `n_vocab` embeddings embeds every token.
    ///
    /// Models may have up to 1,024 embeddings more than tokens: published ones are filled up to a round number.
    pub(crate) fn check_vocabulary(&self, n_vocab: usize, path: &Path) -> Result<()> {
        let n_tokens = self.n_tokens();
        if n_tokens > n_vocab || n_tokens + 1024 < n_vocab {
            return Err(Error::VocabularySize { path: path.to_path_buf(), expected: n_vocab, got: n_tokens });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
