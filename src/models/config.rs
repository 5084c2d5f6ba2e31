//! The shape of a model, as its files describe it.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Families that differ in norm, positions and MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// LayerNorm, learned positions, an MLP with the tanh form of GELU, biases everywhere (Radford et al. 2019).
    Gpt2,
    /// RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al. 2023); Qwen2 is this with biases.
    Llama,
}

/// Dimensions and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which decoder runs it.
    pub family: Family,
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads of a layer.
    pub n_heads: usize,
    /// Key and value heads of a layer; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Neurons of a layer's MLP.
    pub d_mlp: usize,
    /// Longest sequence, in tokens.
    pub n_context: usize,
    /// Added to the variance (or mean square) in a norm.
    pub norm_epsilon: f32,
    /// Rotary positions; unused by GPT-2.
    pub rotary: Rotary,
    /// Which of Llama's linear layers have a bias.
    pub biases: Biases,
    /// Whether the unembedding is the embedding.
    pub head: Head,
    /// The token that starts a sequence, where the files name one.
    pub bos_token_id: Option<u32>,
}

/// Frequencies of rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Base of the geometric row of frequencies.
    pub theta: f64,
    /// How they are stretched for longer contexts.
    pub scaling: RotaryScaling,
}

/// How rotary frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    None,
    /// All of them divided by one factor.
    Linear(f64),
    /// Llama 3.1's: low frequencies divided by a factor, high ones kept, those between interpolated.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Wavelengths above original_context / this are low frequencies.
        low: f64,
        /// Wavelengths below original_context / this are high frequencies.
        high: f64,
        /// Context length before stretching, in tokens.
        original_context: f64,
    },
}

/// Which of Llama's linear layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Biases {
    /// Query, key and value.
    pub qkv: bool,
    /// Attention output.
    pub attention_out: bool,
    /// Gate, up and down of the MLP.
    pub mlp: bool,
}

/// Where the unembedding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is the embedding.
    Tied,
    /// It has weights of its own.
    Own,
}

impl Rotary {
    /// Inverse frequencies of a head's d_head / 2 pairs, in radians a token.
    pub(crate) fn inverse_frequencies(&self, d_head: usize) -> Vec<f32> {
        let stretch = |frequency: f64| match self.scaling {
            RotaryScaling::None => frequency,
            RotaryScaling::Linear(factor) => frequency / factor,
            RotaryScaling::Llama3 { factor, low, high, original_context } => {
                let turns = original_context * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        };
        (0..d_head / 2).map(|i| stretch(self.theta.powf(-2.0 * i as f64 / d_head as f64)) as f32).collect()
    }
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if it is not JSON or lacks a number, [`Error::UnsupportedArchitecture`] if it asks for a
    /// computation the decoders do not have.
    pub fn from_hugging_face(json: &[u8], path: &Path) -> Result<Self> {
        let format = |reason: String| Error::ModelFormat { path: path.to_path_buf(), reason };
        let kind: Kind =
            serde_json::from_slice(json).map_err(|e| format(format!("expected a JSON configuration, got {e}")))?;
        let config = match kind.model_type.as_str() {
            "gpt2" => serde_json::from_slice::<Gpt2Json>(json).map_err(|e| format(e.to_string()))?.into_config(path)?,
            "llama" | "qwen2" => {
                let qwen = kind.model_type == "qwen2";
                serde_json::from_slice::<LlamaJson>(json).map_err(|e| format(e.to_string()))?.into_config(qwen, path)?
            }
            other => return Err(unsupported(path, other, "gpt2, llama or qwen2")),
        };
        config.check(path)?;
        Ok(config)
    }

    /// Refuses dimensions that fit no decoder.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let bad = |reason: String| Err(Error::ModelFormat { path: path.to_path_buf(), reason });
        let dimensions = [
            self.n_vocab,
            self.n_layers,
            self.d_model,
            self.n_heads,
            self.n_kv_heads,
            self.d_head,
            self.d_mlp,
            self.n_context,
        ];
        if dimensions.contains(&0) {
            return bad(format!(
                "expected dimensions above 0, got {dimensions:?} (vocabulary, layers, width, heads, key heads, head width, neurons, context)"
            ));
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return bad(format!(
                "expected heads to be a multiple of key heads, got {} and {}",
                self.n_heads, self.n_kv_heads
            ));
        }
        if self.family == Family::Llama && !self.d_head.is_multiple_of(2) {
            return bad(format!("expected an even head width for rotary positions, got {}", self.d_head));
        }
        Ok(())
    }
}

/// An error for a computation no decoder has.
pub(crate) fn unsupported(path: &Path, got: impl Into<String>, supported: &str) -> Error {
    Error::UnsupportedArchitecture { path: path.to_path_buf(), got: got.into(), supported: supported.to_owned() }
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    model_type: String,
}

#[derive(Deserialize)]
struct Gpt2Json {
    vocab_size: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    n_positions: usize,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f32,
    activation_function: Option<String>,
    tie_word_embeddings: Option<bool>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    bos_token_id: Option<TokenIds>,
}

#[derive(Deserialize)]
struct LlamaJson {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    rms_norm_eps: f32,
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeJson>,
    rope_parameters: Option<RopeJson>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    use_sliding_window: bool,
    bos_token_id: Option<TokenIds>,
}

/// transformers 4 calls the object `rope_scaling` and keeps theta beside it; transformers 5 has it inside `rope_parameters`.
#[derive(Deserialize, Default)]
struct RopeJson {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

/// Some configurations list several tokens; the first is meant.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Several(Vec<u32>),
}

impl TokenIds {
    fn first(self) -> Option<u32> {
        match self {
            Self::One(id) => Some(id),
            Self::Several(ids) => ids.first().copied(),
        }
    }
}

fn epsilon() -> f32 {
    1e-5
}

impl Gpt2Json {
    fn into_config(self, path: &Path) -> Result<ModelConfig> {
        let activation = self.activation_function.unwrap_or_else(|| "gelu_new".to_owned());
        if !["gelu_new", "gelu_pytorch_tanh", "gelu_fast"].contains(&activation.as_str()) {
            return Err(unsupported(
                path,
                format!("gpt2 with activation {activation}"),
                "gpt2 with activation gelu_new",
            ));
        }
        if self.scale_attn_weights == Some(false) || self.scale_attn_by_inverse_layer_idx == Some(true) {
            return Err(unsupported(
                path,
                "gpt2 with another attention scale",
                "gpt2 with attention scaled by its head width alone",
            ));
        }
        if self.n_head == 0 || !self.n_embd.is_multiple_of(self.n_head) {
            let reason = format!("expected n_embd to be a multiple of n_head, got {} and {}", self.n_embd, self.n_head);
            return Err(Error::ModelFormat { path: path.to_path_buf(), reason });
        }
        Ok(ModelConfig {
            family: Family::Gpt2,
            n_vocab: self.vocab_size,
            n_layers: self.n_layer,
            d_model: self.n_embd,
            n_heads: self.n_head,
            n_kv_heads: self.n_head,
            d_head: self.n_embd / self.n_head,
            d_mlp: self.n_inner.unwrap_or(4 * self.n_embd),
            n_context: self.n_positions,
            norm_epsilon: self.layer_norm_epsilon,
            rotary: Rotary { theta: 10_000.0, scaling: RotaryScaling::None },
            biases: Biases { qkv: true, attention_out: true, mlp: true },
            head: if self.tie_word_embeddings == Some(false) { Head::Own } else { Head::Tied },
            bos_token_id: self.bos_token_id.and_then(TokenIds::first),
        })
    }
}

impl LlamaJson {
    fn into_config(self, qwen: bool, path: &Path) -> Result<ModelConfig> {
        let activation = self.hidden_act.as_deref().unwrap_or("silu");
        if activation != "silu" {
            return Err(unsupported(path, format!("llama with activation {activation}"), "llama with activation silu"));
        }
        if self.use_sliding_window {
            return Err(unsupported(path, "sliding-window attention", "full causal attention"));
        }
        let rope = self.rope_parameters.or(self.rope_scaling).unwrap_or_default();
        let theta = self.rope_theta.or(rope.rope_theta).unwrap_or(10_000.0);
        let d_head = match self.head_dim {
            Some(d_head) => d_head,
            None => self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0),
        };
        Ok(ModelConfig {
            family: Family::Llama,
            n_vocab: self.vocab_size,
            n_layers: self.num_hidden_layers,
            d_model: self.hidden_size,
            n_heads: self.num_attention_heads,
            n_kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            d_head,
            d_mlp: self.intermediate_size,
            n_context: self.max_position_embeddings,
            norm_epsilon: self.rms_norm_eps,
            rotary: Rotary { theta, scaling: rope.scaling(path)? },
            biases: Biases {
                qkv: qwen || self.attention_bias,
                attention_out: self.attention_bias && !qwen,
                mlp: self.mlp_bias,
            },
            head: if self.tie_word_embeddings { Head::Tied } else { Head::Own },
            bos_token_id: self.bos_token_id.and_then(TokenIds::first),
        })
    }
}

impl RopeJson {
    fn scaling(&self, path: &Path) -> Result<RotaryScaling> {
        let need = |value: Option<f64>, name: &str| {
            value.ok_or_else(|| Error::ModelFormat {
                path: path.to_path_buf(),
                reason: format!("rotary scaling lacks '{name}'"),
            })
        };
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(RotaryScaling::None),
            Some("linear") => Ok(RotaryScaling::Linear(need(self.factor, "factor")?)),
            Some("llama3") => Ok(RotaryScaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low: need(self.low_freq_factor, "low_freq_factor")?,
                high: need(self.high_freq_factor, "high_freq_factor")?,
                original_context: need(self.original_max_position_embeddings, "original_max_position_embeddings")?,
            }),
            Some(other) => {
                Err(unsupported(path, format!("rotary scaling {other}"), "rotary scaling default, linear or llama3"))
            }
        }
    }
}
