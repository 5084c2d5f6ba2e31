//! Tokenizers of the `tokenizers` crate, from a folder, from bytes or from GGUF metadata.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::{Encoding, byte_level};
use crate::error::{Error, Result};
use crate::models::hash;

/// How a token's name in the vocabulary spells its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// One stand-in character a byte.
    ByteLevel,
    /// U+2581 for a space, `<0x0A>` for a byte.
    Metaspace,
    /// The name is the text.
    Plain,
}

/// A tokenizer with what surrounds encoding switched off: added tokens at the ends, truncation, padding.
pub(super) struct HuggingFace {
    inner: tokenizers::Tokenizer,
    /// The bytes each token stands for.
    bytes: Vec<Box<[u8]>>,
    path: PathBuf,
    /// A copy that takes special tokens for text, made when it is first wanted.
    plain: OnceLock<Box<tokenizers::Tokenizer>>,
}

fn fault(path: &Path, reason: impl ToString) -> Error {
    Error::Tokenizer { path: path.to_path_buf(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}

pub(super) fn from_folder(folder: &Path) -> Result<(HuggingFace, String)> {
    let (json, vocab, merges) = (folder.join("tokenizer.json"), folder.join("vocab.json"), folder.join("merges.txt"));
    if json.is_file() {
        return from_json(&read(&json)?, &json);
    }
    if !vocab.is_file() || !merges.is_file() {
        return Err(fault(folder, "expected tokenizer.json, or vocab.json and merges.txt, in the folder, got neither"));
    }
    let bpe =
        BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build().map_err(|e| fault(&vocab, e))?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    inner.with_decoder(Some(tokenizers::decoders::byte_level::ByteLevel::default()));
    // The vocabulary file holds the end-of-text token without saying that it is never split.
    let end = tokenizers::AddedToken::from("<|endoftext|>".to_owned(), true);
    if inner.token_to_id(&end.content).is_some() {
        inner.add_special_tokens([end]).map_err(|e| fault(&vocab, e))?;
    }
    let hash = hash::of_files(&[vocab.clone(), merges])?;
    Ok((HuggingFace::new(inner, &vocab)?, hash))
}

pub(super) fn from_json(json: &[u8], path: &Path) -> Result<(HuggingFace, String)> {
    let inner = tokenizers::Tokenizer::from_bytes(json)
        .map_err(|e| fault(path, format!("expected a tokenizer.json, got {e}")))?;
    Ok((HuggingFace::new(inner, path)?, hash::of_bytes(&[json])))
}

pub(super) fn from_gguf(content: &Content, path: &Path) -> Result<(HuggingFace, String)> {
    let mut inner = tokenizers::Tokenizer::from_gguf(content).map_err(|e| fault(path, e))?;
    let name = match content.metadata.get("tokenizer.ggml.pre") {
        Some(Value::String(name)) => name.as_str(),
        _ => "gpt-2",
    };
    // candle knows qwen2 and llama3; for any other name it takes GPT-2's splitting with a space put before the text,
    // which GPT-2 itself does not do, so those are set here.
    let gpt2 = ByteLevel::new(false, false, true);
    match name {
        "qwen2" | "llama3" | "smaug-bpe" | "lfm2" => {}
        "gpt-2" | "gpt2" | "default" => {
            inner.with_pre_tokenizer(Some(gpt2));
        }
        "smollm" | "starcoder" | "refact" | "command-r" => {
            let parts: Vec<PreTokenizerWrapper> = vec![Digits::new(true).into(), gpt2.into()];
            inner.with_pre_tokenizer(Some(Sequence::new(parts)));
        }
        other => {
            return Err(fault(
                path,
                format!("expected a known pre-tokenizer (gpt-2, smollm, qwen2, llama3), got '{other}'"),
            ));
        }
    }
    let text = inner.to_string(false).map_err(|e| fault(path, e))?;
    Ok((HuggingFace::new(inner, path)?, hash::of_bytes(&[text.as_bytes()])))
}

impl HuggingFace {
    fn new(mut inner: tokenizers::Tokenizer, path: &Path) -> Result<Self> {
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| fault(path, e))?;
        let decoder = serde_json::to_string(&inner.get_decoder()).map_err(|e| fault(path, e))?;
        let spelling = if decoder.contains("ByteLevel") {
            Spelling::ByteLevel
        } else if decoder.contains("Metaspace") || decoder.contains('\u{2581}') {
            Spelling::Metaspace
        } else {
            Spelling::Plain
        };
        let bytes = bytes_of_tokens(&inner, spelling);
        Ok(Self { inner, bytes, path: path.to_path_buf(), plain: OnceLock::new() })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Encoding> {
        let encoding = self.inner.encode(text, false).map_err(|e| fault(&self.path, e))?;
        let offsets = encoding.get_offsets().iter().map(|(start, end)| *start..*end).collect();
        Ok(Encoding { token_ids: encoding.get_ids().to_vec(), offsets })
    }

    pub(super) fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            Box::new(plain)
        });
        let encoding = plain.encode(text, false).map_err(|e| fault(&self.path, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(super) fn special_tokens(&self) -> Vec<(String, u32)> {
        let added = self.inner.get_added_tokens_decoder();
        let special = added.into_iter().filter(|(_, token)| token.special);
        let mut special: Vec<(String, u32)> = special.map(|(id, token)| (token.content, id)).collect();
        special.sort();
        special
    }

    pub(super) fn token_id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    pub(super) fn token_bytes(&self, token_id: u32) -> &[u8] {
        self.bytes.get(token_id as usize).map_or(&[], |bytes| bytes)
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes each token stands for, by id; ids without a token stand for none.
fn bytes_of_tokens(inner: &tokenizers::Tokenizer, spelling: Spelling) -> Vec<Box<[u8]>> {
    let vocabulary = inner.get_vocab(true);
    let n_tokens = vocabulary.values().max().map_or(0, |largest| *largest as usize + 1);
    let added = inner.get_added_tokens_decoder();
    let mut bytes = vec![Box::default(); n_tokens];
    for (token, token_id) in vocabulary {
        let spelling = if added.contains_key(&token_id) { Spelling::Plain } else { spelling };
        bytes[token_id as usize] = spelling.bytes_of(&token).into_boxed_slice();
    }
    bytes
}

impl Spelling {
    fn bytes_of(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => byte_level::bytes_of(token),
            Self::Metaspace => match byte_name(token) {
                Some(byte) => vec![byte],
                None => token.replace('\u{2581}', " ").into_bytes(),
            },
            Self::Plain => token.as_bytes().to_vec(),
        }
    }
}

/// The byte that `<0x0A>` names.
pub(super) fn byte_name(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}
