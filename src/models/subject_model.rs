//! A subject model: the weights whose neurons are studied, with its tokenizer and its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Biases, Family, Head, ModelConfig, Rotary, RotaryScaling};
use super::decoder::Decoder;
use super::forward::{Pass, Scratch, Taps};
use super::hash;
use super::hook_points::{self, HookKind, HookPoint};
use super::kernels::matmul::matmul;
use super::latents::Autoencoders;
use super::source::ModelSource;
use super::token_batch::TokenBatch;
use super::tokenizer::Tokenizer;
use super::weights::TensorSource;
use super::weights::gguf::GgufFile;
use super::weights::llama2c::Llama2cFile;
use super::weights::random::RandomTensors;
use super::weights::safetensors::SafetensorsFiles;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// The id of the embedded model.
const EMBEDDED_ID: &str = "neuronlake-default";

/// The embedded model's files, as a Hugging Face folder would hold them.
mod embedded {
    pub(super) static CONFIG: &[u8] = include_bytes!("embedded/config.json");
    pub(super) static WEIGHTS: &[u8] = include_bytes!("embedded/model.safetensors");
    pub(super) static TOKENIZER: &[u8] = include_bytes!("embedded/tokenizer.json");
}

/// A model ready to run; shared between threads, each with its own [`Scratch`].
#[derive(Debug)]
pub struct SubjectModel {
    id: String,
    config: ModelConfig,
    decoder: Decoder,
    hook_points: Vec<HookPoint>,
    tokenizer: Option<Tokenizer>,
    weights_hash: String,
    /// Those of the lake, whose latents are hook points too.
    autoencoders: Option<Arc<Autoencoders>>,
}

impl SubjectModel {
    /// Loads a model and its tokenizer.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::ModelFormat`], [`Error::UnsupportedArchitecture`], [`Error::TensorMissing`],
    /// [`Error::TensorShape`], [`Error::Tokenizer`], [`Error::VocabularySize`] or [`Error::File`].
    pub fn load(source: &ModelSource) -> Result<Self> {
        match source {
            ModelSource::Embedded => Self::load_embedded(),
            ModelSource::Path(path) if path.is_dir() => Self::load_folder(path),
            ModelSource::Path(path) if path.is_file() => {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("gguf") => Self::load_gguf(path),
                    Some("bin") => Self::load_llama2c(path),
                    _ => Err(not_found(path, "expected a folder, a .gguf file or a llama2.c .bin file")),
                }
            }
            ModelSource::Path(path) => Err(not_found(path, "no such folder or file")),
        }
    }

    fn load_embedded() -> Result<Self> {
        let path = |name: &str| PathBuf::from(format!("{EMBEDDED_ID}/{name}"));
        let config = ModelConfig::from_hugging_face(embedded::CONFIG, &path("config.json"))?;
        let weights = SafetensorsFiles::embedded(embedded::WEIGHTS, path("model.safetensors"))?;
        let tokenizer = Tokenizer::from_json(embedded::TOKENIZER, &path("tokenizer.json"), config.bos_token_id)?;
        let hash = hash::of_bytes(&[embedded::WEIGHTS]);
        Self::assemble(EMBEDDED_ID.to_owned(), config, &weights, tokenizer, hash, Path::new(EMBEDDED_ID))
    }

    fn load_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.is_file() {
            return Err(not_found(folder, "expected config.json in the folder"));
        }
        let json = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let config = ModelConfig::from_hugging_face(&json, &path)?;
        let weights = SafetensorsFiles::open(folder)?;
        let tokenizer = Tokenizer::from_folder(folder, config.bos_token_id)?;
        let hash = hash::of_files(&SafetensorsFiles::list(folder)?)?;
        Self::assemble(folder_name(folder), config, &weights, tokenizer, hash, folder)
    }

    fn load_gguf(path: &Path) -> Result<Self> {
        let weights = GgufFile::open(path)?;
        let config = weights.config()?;
        let tokenizer = Tokenizer::from_gguf(weights.content(), path, config.bos_token_id)?;
        let hash = hash::of_files(&[path.to_path_buf()])?;
        Self::assemble(stem(path), config, &weights, tokenizer, hash, path)
    }

    /// The tokenizer of a llama2.c checkpoint is `tok<vocabulary>.bin` or `tokenizer.bin` in the same folder.
    fn load_llama2c(path: &Path) -> Result<Self> {
        let weights = Llama2cFile::open(path)?;
        let config = weights.config().clone();
        let sized = path.with_file_name(format!("tok{}.bin", config.n_vocab));
        let tokenizer_path = if sized.is_file() { sized } else { path.with_file_name("tokenizer.bin") };
        let tokenizer = Tokenizer::from_llama2c(&tokenizer_path, config.n_vocab)?;
        let hash = hash::of_files(&[path.to_path_buf()])?;
        Self::assemble(stem(path), config, &weights, tokenizer, hash, path)
    }

    /// A GPT-2 with random weights and no tokenizer, for benchmarks.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if the dimensions fit no decoder.
    pub fn random_gpt2(shape: Gpt2Shape, seed: u64) -> Result<Self> {
        let config = ModelConfig {
            family: Family::Gpt2,
            n_vocab: shape.n_vocab,
            n_layers: shape.n_layers,
            d_model: shape.d_model,
            n_heads: shape.n_heads,
            n_kv_heads: shape.n_heads,
            d_head: shape.d_model.checked_div(shape.n_heads).unwrap_or(0),
            d_mlp: 4 * shape.d_model,
            n_context: shape.n_context,
            norm_epsilon: 1e-5,
            rotary: Rotary { theta: 10_000.0, scaling: RotaryScaling::None },
            biases: Biases { qkv: true, attention_out: true, mlp: true },
            head: Head::Tied,
            bos_token_id: None,
        };
        let id = format!("random-gpt2-{seed}");
        let decoder = Decoder::load(&config, &RandomTensors { seed }, Path::new(&id))?;
        Ok(Self {
            hook_points: hook_points::all(&config),
            weights_hash: id.clone(),
            id,
            config,
            decoder,
            tokenizer: None,
            autoencoders: None,
        })
    }

    fn assemble(
        id: String,
        config: ModelConfig,
        weights: &dyn TensorSource,
        tokenizer: Tokenizer,
        weights_hash: String,
        path: &Path,
    ) -> Result<Self> {
        tokenizer.check_vocabulary(config.n_vocab, path)?;
        let mut model = Self::without_tokenizer(id, config, weights, weights_hash, path)?;
        model.tokenizer = Some(tokenizer);
        Ok(model)
    }

    pub(super) fn without_tokenizer(
        id: String,
        config: ModelConfig,
        weights: &dyn TensorSource,
        weights_hash: String,
        path: &Path,
    ) -> Result<Self> {
        let decoder = Decoder::load(&config, weights, path)?;
        Ok(Self {
            id,
            hook_points: hook_points::all(&config),
            config,
            decoder,
            tokenizer: None,
            weights_hash,
            autoencoders: None,
        })
    }

    /// The model's name: of its folder or file, without extension.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Dimensions and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// SHA-256 of the weight files, one after another in name order, in hexadecimal.
    pub fn weights_hash(&self) -> &str {
        &self.weights_hash
    }

    /// SHA-256 of what defines the tokenizer, in hexadecimal.
    ///
    /// # Errors
    /// As [`SubjectModel::tokenizer`].
    pub fn tokenizer_hash(&self) -> Result<&str> {
        self.tokenizer().map(Tokenizer::hash)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for a model with random weights, which has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| Error::Tokenizer {
            path: PathBuf::from(&self.id),
            reason: "a model with random weights has none".to_owned(),
        })
    }

    /// The same model with the autoencoders of a lake.
    pub(crate) fn with_autoencoders(self, autoencoders: Arc<Autoencoders>) -> Self {
        Self { autoencoders: Some(autoencoders), ..self }
    }

    /// The autoencoders of the lake; `None` outside a lake.
    pub fn autoencoders(&self) -> Option<&Arc<Autoencoders>> {
        self.autoencoders.as_ref()
    }

    /// Every hook point of the model itself, in order of computation.
    pub fn hook_points(&self) -> &[HookPoint] {
        &self.hook_points
    }

    /// The hook points that match a pattern in which `*` stands for any text, in order of computation.
    ///
    /// `blocks.8.hook_resid_post/my_sae` names the latents of an autoencoder; before and behind the slash may stand patterns. A
    /// pattern without a slash names hook points of the model itself only.
    ///
    /// # Errors
    /// [`Error::HookPointUnknown`] with the most similar name if none matches, [`AutoencoderError::Unknown`] if no autoencoder
    /// does.
    pub fn select_hook_points(&self, pattern: &str) -> Result<Vec<HookPoint>> {
        let Some((base, id)) = pattern.split_once('/') else { return hook_points::select(&self.hook_points, pattern) };
        let bases = hook_points::select(&self.hook_points, base)?;
        let Some(autoencoders) = &self.autoencoders else {
            return Err(AutoencoderError::Unknown { id: id.to_owned(), known: Vec::new() }.into());
        };
        let found = autoencoders.hook_points(&self.id, &bases, |other| hook_points::matches(id, other))?;
        if found.is_empty() {
            // One that was asked for by its id alone is told of by ids.
            let by_id = base == "*";
            let mut known = Vec::new();
            for id in autoencoders.ids()? {
                let place = autoencoders.place(&id)?;
                if place.model == self.id {
                    known.push(if by_id { id } else { format!("{}/{id}", place.input_hook_point) });
                }
            }
            let id = if by_id { id } else { pattern }.to_owned();
            return Err(AutoencoderError::Unknown { id, known }.into());
        }
        Ok(found)
    }

    /// Runs token sequences through the model on this thread and hands `sink` the values at each hook point.
    ///
    /// `sink` gets the index into `hooks` and the values `[n_tokens, width]`, row-major, in the units of the model, once for
    /// each hook point in order of computation; the pass stops after the last. Positions restart at 0 in each sequence and
    /// attention stays inside it. The values of a sequence are the same bits whatever else is in the batch.
    ///
    /// # Errors
    /// [`Error::HookPointUnknown`] for another model's hook point, [`Error::SequenceTooLong`], [`Error::TokenOutOfRange`].
    pub fn forward(
        &self,
        batch: &TokenBatch<'_>,
        hooks: &[HookPoint],
        sink: &mut dyn FnMut(usize, &[f32]),
        scratch: &mut Scratch,
    ) -> Result<()> {
        for hook in hooks {
            if !self.hook_points.iter().any(|own| hook.is_read_at(own)) {
                hook_points::select(&self.hook_points, hook.name())?;
                let reason = format!("hook point '{hook}' is another model's: it has {} values a token", hook.width());
                return Err(Error::Internal { reason });
            }
        }
        // A finished pass and a stopped one have both read everything that was asked for.
        let _ = self.pass(batch)?.run(&mut Taps::new(hooks, sink), scratch);
        Ok(())
    }

    /// Logits `[n_tokens, n_vocab]` of one sequence.
    ///
    /// # Errors
    /// As [`SubjectModel::forward`].
    pub fn logits(&self, token_ids: &[u32]) -> Result<Vec<f32>> {
        let offsets = [0, token_ids.len()];
        let unembedding = self.decoder.unembedding();
        let mut logits = vec![0.0; token_ids.len() * unembedding.columns()];
        let last = self.hook_point(HookKind::LnFinalNormalized, None)?;
        let mut unembed = |_, values: &[f32]| matmul(values, unembedding, &[], &mut logits, &mut Default::default());
        self.forward(&TokenBatch::new(token_ids, &offsets)?, &[last], &mut unembed, &mut Scratch::default())?;
        Ok(logits)
    }

    /// The attention pattern of one layer over one sequence, `[n_heads, query, key]`; each query's weights sum to 1.
    ///
    /// This is TransformerLens's `attn.hook_pattern`, which has no fixed number of values a token and so no neurons.
    ///
    /// # Errors
    /// [`Error::HookPointUnknown`] for a layer the model does not have, and as [`SubjectModel::forward`].
    pub fn attention_pattern(&self, token_ids: &[u32], layer: usize) -> Result<Vec<f32>> {
        let offsets = [0, token_ids.len()];
        let batch = TokenBatch::new(token_ids, &offsets)?;
        let before = self.hook_point(HookKind::ResidPre, Some(layer))?;
        Ok(self.pass(&batch)?.attention_pattern(&before, &self.decoder.blocks[layer], &mut Scratch::default()))
    }

    /// The weights.
    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The hook point of a kind, in a layer or outside the layers.
    pub(super) fn hook_point(&self, kind: HookKind, layer: Option<usize>) -> Result<HookPoint> {
        let found = self.hook_points.iter().find(|hook| hook.kind() == kind && hook.layer() == layer);
        found.cloned().ok_or_else(|| Error::HookPointUnknown {
            name: format!("{kind:?} of layer {layer:?}"),
            nearest: self.hook_points.last().map(|hook| hook.name().to_owned()),
        })
    }

    /// Checks a batch against the model.
    pub(super) fn pass<'a>(&'a self, batch: &TokenBatch<'a>) -> Result<Pass<'a>> {
        let ModelConfig { n_context, n_vocab, .. } = self.config;
        if let Some(long) = batch.sequences().find(|sequence| sequence.len() > n_context) {
            return Err(Error::SequenceTooLong { expected: n_context, got: long.len() });
        }
        if let Some(token_id) = batch.token_ids().iter().find(|token_id| **token_id as usize >= n_vocab) {
            return Err(Error::TokenOutOfRange { token_id: *token_id, n_vocab });
        }
        Ok(Pass { config: &self.config, decoder: &self.decoder, batch: *batch })
    }
}

/// Dimensions of a random GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpt2Shape {
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream; the MLP is four times as wide.
    pub d_model: usize,
    /// Heads of a layer.
    pub n_heads: usize,
    /// Longest sequence, in tokens.
    pub n_context: usize,
}

impl Gpt2Shape {
    /// GPT-2 small: 124 million parameters.
    pub const SMALL: Self = Self { n_vocab: 50_257, n_layers: 12, d_model: 768, n_heads: 12, n_context: 1024 };
}

fn not_found(path: &Path, reason: &str) -> Error {
    Error::ModelNotFound { path: path.to_path_buf(), reason: reason.to_owned() }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// A folder's own name, also where the path ends in `.` or `..`.
///
/// A snapshot in the hub's cache is named by a commit; its model's name is two folders up, as `models--owner--name`.
fn folder_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let repository =
        folder.parent().filter(|parent| parent.ends_with("snapshots")).and_then(Path::parent).and_then(Path::file_name);
    if let Some(repository) = repository.and_then(|name| name.to_str()?.strip_prefix("models--")) {
        return repository.rsplit("--").next().unwrap_or(repository).to_owned();
    }
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}
