//! A sentence encoder that runs in this process: BERT, the mean over its outputs, length 1.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rayon::prelude::*;

use super::TextEncoder;
use super::bert::{Bert, BertConfig, Scratch};
use crate::error::{Error, Result};
use crate::models::hub::{self, Hub};
use crate::models::tokenizer::Tokenizer;

/// Longest text in tokens, the two at its ends included; what is beyond is left out. The limit that all-MiniLM-L6-v2 was
/// published with (`max_seq_length`).
const MAX_TOKENS: usize = 256;

/// Short texts whose vectors are kept, at most: words come again and again. 20,000 vectors of 384 numbers are 31 MB.
const MAX_KEPT: usize = 20_000;

/// Longest text, in bytes, whose vector is kept.
const MAX_KEPT_BYTES: usize = 32;

/// Tokens of one forward pass: enough for full tiles of the matrix product, few enough for the second-level cache.
const TILE_TOKENS: usize = 256;

/// A sentence encoder from a Hugging Face folder, such as all-MiniLM-L6-v2.
///
/// Source: Reimers and Gurevych 2019 (arXiv 1908.10084), the pooling of sentence-transformers: the mean over all tokens of
/// the last layer, `[CLS]` and `[SEP]` included, divided by its length.
pub struct SentenceEncoder {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    bert: Bert,
    tokenizer: Tokenizer,
    cls: u32,
    sep: u32,
    max_tokens: usize,
    /// Vectors of short texts seen before.
    kept: Mutex<HashMap<String, Arc<[f32]>>>,
}

impl fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentenceEncoder")
            .field("name", &self.inner.name)
            .field("width", &self.width())
            .finish_non_exhaustive()
    }
}

impl SentenceEncoder {
    /// Reads `config.json`, `model.safetensors` and `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] for a folder without them, [`Error::UnsupportedArchitecture`] for anything but a BERT
    /// encoder with absolute positions and GELU, [`Error::TensorMissing`], [`Error::TensorShape`] and [`Error::Tokenizer`]
    /// for damaged files.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = BertConfig::read(&folder.join("config.json"))?;
        let bert = Bert::load(folder, &config)?;
        let tokenizer = Tokenizer::from_folder(folder, None)?;
        let path = folder.join("tokenizer.json");
        if tokenizer.n_tokens() > config.vocab_size {
            return Err(Error::VocabularySize { path, expected: config.vocab_size, got: tokenizer.n_tokens() });
        }
        let special = |text: &str| match tokenizer.encode(text)?.token_ids[..] {
            [id] => Ok(id),
            _ => Err(Error::Tokenizer { path: path.clone(), reason: format!("expected a token '{text}', got none") }),
        };
        let (cls, sep) = (special("[CLS]")?, special("[SEP]")?);
        let name = folder_name(folder);
        let max_tokens = MAX_TOKENS.min(config.max_position_embeddings);
        let inner = Inner { name, bert, tokenizer, cls, sep, max_tokens, kept: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The encoder that is used when none is named (see [`Self::default_folder`]).
    ///
    /// # Errors
    /// As [`Self::default_folder`] and [`Self::load`].
    pub fn load_default() -> Result<Self> {
        let models = std::env::var_os("NEURONLAKE_MODELS").filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::load(&Self::default_folder(models.as_deref(), &Hub::from_env())?)
    }

    /// Where an encoder is looked for when none is named: `all-MiniLM-L6-v2` in the folder `models` (what
    /// `NEURONLAKE_MODELS` names), else the hub's cache after `neuronlake pull minilm`.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], which says how to get one.
    pub fn default_folder(models: Option<&Path>, hub: &Hub) -> Result<PathBuf> {
        const NAME: &str = "all-MiniLM-L6-v2";
        let local = models.map(|folder| folder.join(NAME));
        if let Some(folder) = local.as_ref().filter(|folder| folder.join("config.json").is_file()) {
            return Ok(folder.clone());
        }
        if let Some(folder) = cached(hub, "minilm")? {
            return Ok(folder);
        }
        let looked = match &local {
            Some(folder) => format!("'{}'", folder.display()),
            None => "$NEURONLAKE_MODELS (not set)".to_owned(),
        };
        let reason = format!(
            "expected a sentence encoder in {looked} or in the hub's cache '{}', got neither; run 'neuronlake pull minilm', \
             or set NEURONLAKE_MODELS to a folder that holds {NAME}",
            hub.cache.display()
        );
        Err(Error::ModelNotFound { path: PathBuf::from(NAME), reason })
    }

    /// Length of a vector.
    pub fn width(&self) -> usize {
        self.inner.bert.width()
    }

    /// One vector of length 1 a text, in the order of the texts; on all threads of rayon's pool, without giving way to
    /// other tasks. A text's vector does not depend on the texts beside it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for a text the tokenizer cannot cut.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.inner.embed(texts)
    }
}

#[async_trait]
impl TextEncoder for SentenceEncoder {
    fn name(&self) -> &str {
        &self.inner.name
    }

    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let inner = Arc::clone(&self.inner);
        let texts = texts.to_vec();
        let joined = tokio::task::spawn_blocking(move || inner.embed(&texts)).await;
        joined.map_err(|e| Error::internal(format!("the sentence encoder stopped: {e}")))?
    }
}

impl Inner {
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut vectors: Vec<Vec<f32>> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            texts.iter().map(|text| kept.get(text).map_or_else(Vec::new, |vector| vector.to_vec())).collect()
        };
        let new: Vec<usize> = (0..texts.len()).filter(|i| vectors[*i].is_empty()).collect();
        for (i, vector) in new.iter().zip(self.embed_new(&new, texts)?) {
            vectors[*i] = vector;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for i in new.into_iter().filter(|i| texts[*i].len() <= MAX_KEPT_BYTES) {
            if kept.len() >= MAX_KEPT {
                break;
            }
            kept.insert(texts[i].clone(), vectors[i].as_slice().into());
        }
        Ok(vectors)
    }

    /// The vectors of the texts with these numbers.
    fn embed_new(&self, numbers: &[usize], texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let encoded: Vec<Vec<u32>> = numbers.par_iter().map(|i| self.token_ids(&texts[*i])).collect::<Result<_>>()?;
        // Texts of like length side by side: threads then have tiles of like cost.
        let mut order: Vec<usize> = (0..encoded.len()).collect();
        order.sort_by_key(|i| (encoded[*i].len(), *i));
        let tiles = tiles(&order, &encoded);
        let embedded: Vec<Vec<f32>> = tiles
            .par_iter()
            .map_init(Scratch::default, |scratch, tile| {
                let sequences: Vec<&[u32]> = tile.iter().map(|i| encoded[*i].as_slice()).collect();
                self.bert.sentence_vectors(&sequences, scratch)
            })
            .collect();
        let mut vectors = vec![Vec::new(); encoded.len()];
        for (tile, rows) in tiles.iter().zip(&embedded) {
            for (i, row) in tile.iter().zip(rows.chunks_exact(self.bert.width())) {
                vectors[*i] = row.to_vec();
            }
        }
        Ok(vectors)
    }

    fn token_ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut token_ids = self.tokenizer.encode(text)?.token_ids;
        token_ids.truncate(self.max_tokens - 2);
        token_ids.insert(0, self.cls);
        token_ids.push(self.sep);
        Ok(token_ids)
    }
}

/// Cuts an order of texts into runs of at most [`TILE_TOKENS`] tokens, at least one text each.
fn tiles<'a>(order: &'a [usize], encoded: &[Vec<u32>]) -> Vec<&'a [usize]> {
    let mut tiles = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (end, i) in order.iter().enumerate() {
        if end > start && tokens + encoded[*i].len() > TILE_TOKENS {
            tiles.push(&order[start..end]);
            (start, tokens) = (end, 0);
        }
        tokens += encoded[*i].len();
    }
    if start < order.len() {
        tiles.push(&order[start..]);
    }
    tiles
}

/// The snapshot of a repository that the hub's cache holds of its main branch.
fn cached(hub: &Hub, name: &str) -> Result<Option<PathBuf>> {
    let repository = hub::repository(name)?.replace('/', "--");
    let folder = hub.cache.join(format!("models--{repository}"));
    let Ok(commit) = std::fs::read_to_string(folder.join("refs").join("main")) else { return Ok(None) };
    let snapshot = folder.join("snapshots").join(commit.trim());
    Ok(snapshot.join("config.json").is_file().then_some(snapshot))
}

fn folder_name(folder: &Path) -> String {
    // A snapshot of the hub is named by its commit; the repository's name stands two folders above.
    let repository = folder.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    match repository.and_then(|name| name.strip_prefix("models--")) {
        Some(name) => name.rsplit("--").next().unwrap_or(name).to_owned(),
        None => folder.file_name().map_or_else(|| "encoder".to_owned(), |name| name.to_string_lossy().into_owned()),
    }
}
