//! A decoder's weights, in the layout the kernels read.

use std::path::Path;

use super::config::{Biases, Family, Head, ModelConfig};
use super::kernels::matmul::{Layout, PackedMatrix};
use super::kernels::norm::{Affine, layer_norm, rms_norm};
use super::kernels::rope::RotaryTable;
use super::weights::{RotaryLayout, TensorSource};
use crate::error::Result;

/// Everything a forward pass reads.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// `[d_model, n_vocab]`: column t is token t's embedding.
    pub(crate) embedding: PackedMatrix,
    pub(crate) positions: Positions,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Norm,
    /// `[d_model, n_vocab]`, unless it is the embedding.
    pub(crate) unembedding: Option<PackedMatrix>,
}

/// How a token's position enters.
#[derive(Debug)]
pub(crate) enum Positions {
    /// `[n_context, d_model]`, added to the token embedding.
    Learned(Vec<f32>),
    /// Queries and keys are rotated.
    Rotary(RotaryTable),
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attention_norm: Norm,
    /// [d_model, (n_heads + 2 n_kv_heads) * d_head]: queries, then keys, then values.
    pub(crate) qkv: Linear,
    /// `[n_heads * d_head, d_model]`.
    pub(crate) attention_out: Linear,
    pub(crate) mlp_norm: Norm,
    pub(crate) mlp: Mlp,
}

/// An MLP's matrices.
#[derive(Debug)]
pub(crate) enum Mlp {
    /// GELU: `[d_model, d_mlp]` and `[d_mlp, d_model]`.
    Gelu { input: Linear, output: Linear },
    /// SwiGLU: two of `[d_model, d_mlp]` and `[d_mlp, d_model]`.
    SwiGlu { gate: Linear, up: Linear, output: Linear },
}

/// A matrix and one number a column, or none.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: PackedMatrix,
    pub(crate) bias: Vec<f32>,
}

/// A norm's parameters.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) family: Family,
    weight: Vec<f32>,
    /// Empty where the family has none.
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl Norm {
    /// What each coordinate is multiplied by after normalising, `[d_model]`.
    pub(crate) fn weight(&self) -> &[f32] {
        &self.weight
    }

    /// Normalises each row of `rows` `[n, d_model]` into `out`.
    pub(crate) fn apply(&self, rows: &[f32], out: &mut [f32]) {
        let affine = Affine { weight: &self.weight, bias: &self.bias, epsilon: self.epsilon };
        match self.family {
            Family::Gpt2 => layer_norm(rows, affine, out),
            Family::Llama => rms_norm(rows, affine, out),
        }
    }
}

/// Reads and packs weights by name.
struct Loader<'a> {
    config: &'a ModelConfig,
    source: &'a dyn TensorSource,
}

impl Decoder {
    /// Loads every weight that `config` calls for; `path` is for messages.
    pub(crate) fn load(config: &ModelConfig, source: &dyn TensorSource, path: &Path) -> Result<Self> {
        config.check(path)?;
        let loader = Loader { config, source };
        match config.family {
            Family::Gpt2 => loader.gpt2(),
            Family::Llama => loader.llama(),
        }
    }

    /// The matrix whose columns give the logits.
    pub(crate) fn unembedding(&self) -> &PackedMatrix {
        self.unembedding.as_ref().unwrap_or(&self.embedding)
    }
}

impl Loader<'_> {
    fn gpt2(&self) -> Result<Decoder> {
        let ModelConfig { n_layers, d_model: d, d_mlp, n_context, .. } = *self.config;
        let block = |n: usize| {
            Ok(Block {
                attention_norm: self.norm(&format!("h.{n}.ln_1"))?,
                qkv: self.conv1d(&format!("h.{n}.attn.c_attn"), d, 3 * d)?,
                attention_out: self.conv1d(&format!("h.{n}.attn.c_proj"), d, d)?,
                mlp_norm: self.norm(&format!("h.{n}.ln_2"))?,
                mlp: Mlp::Gelu {
                    input: self.conv1d(&format!("h.{n}.mlp.c_fc"), d, d_mlp)?,
                    output: self.conv1d(&format!("h.{n}.mlp.c_proj"), d_mlp, d)?,
                },
            })
        };
        Ok(Decoder {
            embedding: self.embedding("wte.weight")?,
            positions: Positions::Learned(self.source.load("wpe.weight", &[n_context, d])?),
            blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
            final_norm: self.norm("ln_f")?,
            unembedding: self.unembedding()?,
        })
    }

    fn llama(&self) -> Result<Decoder> {
        let ModelConfig { n_layers, d_model: d, d_mlp, d_head, n_heads, biases, .. } = *self.config;
        let block = |n: usize| {
            let linear = |name: &str, inputs, outputs| self.linear(&format!("layers.{n}.{name}"), inputs, outputs);
            Ok(Block {
                attention_norm: self.norm(&format!("layers.{n}.input_layernorm"))?,
                qkv: self.query_key_value(n, biases)?,
                attention_out: linear("self_attn.o_proj", n_heads * d_head, d)?,
                mlp_norm: self.norm(&format!("layers.{n}.post_attention_layernorm"))?,
                mlp: Mlp::SwiGlu {
                    gate: linear("mlp.gate_proj", d, d_mlp)?,
                    up: linear("mlp.up_proj", d, d_mlp)?,
                    output: linear("mlp.down_proj", d_mlp, d)?,
                },
            })
        };
        Ok(Decoder {
            embedding: self.embedding("embed_tokens.weight")?,
            positions: self.rotary()?,
            blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
            final_norm: self.norm("norm")?,
            unembedding: self.unembedding()?,
        })
    }

    fn rotary(&self) -> Result<Positions> {
        let mut frequencies = self.config.rotary.inverse_frequencies(self.config.d_head);
        // GGUF files carry the stretching of Llama 3.1 as one divisor a frequency.
        if self.source.contains("rotary_factors.weight") {
            let factors = self.source.load("rotary_factors.weight", &[frequencies.len()])?;
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        }
        Ok(Positions::Rotary(RotaryTable::new(&frequencies, self.config.n_context)))
    }

    fn embedding(&self, name: &str) -> Result<PackedMatrix> {
        let (n, d) = (self.config.n_vocab, self.config.d_model);
        Ok(PackedMatrix::new(&self.source.load(name, &[n, d])?, d, n, Layout::ColumnsByDepth))
    }

    fn unembedding(&self) -> Result<Option<PackedMatrix>> {
        match self.config.head {
            Head::Tied => Ok(None),
            Head::Own => self.embedding("lm_head.weight").map(Some),
        }
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let ModelConfig { family, d_model, norm_epsilon: epsilon, .. } = *self.config;
        let weight = self.source.load(&format!("{name}.weight"), &[d_model])?;
        let bias = match family {
            Family::Gpt2 => self.source.load(&format!("{name}.bias"), &[d_model])?,
            Family::Llama => Vec::new(),
        };
        Ok(Norm { family, weight, bias, epsilon })
    }

    /// GPT-2's linear layer, whose weight is `[inputs, outputs]`.
    fn conv1d(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.source.load(&format!("{name}.weight"), &[inputs, outputs])?;
        let bias = self.source.load(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear { weight: PackedMatrix::new(&weight, inputs, outputs, Layout::DepthByColumns), bias })
    }

    /// A linear layer whose weight is `[outputs, inputs]`, with a bias where the configuration says so.
    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let biases = self.config.biases;
        let biased = if name.contains(".mlp.") { biases.mlp } else { biases.attention_out };
        let weight = self.source.load(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = if biased { self.source.load(&format!("{name}.bias"), &[outputs])? } else { Vec::new() };
        Ok(Linear { weight: PackedMatrix::new(&weight, inputs, outputs, Layout::ColumnsByDepth), bias })
    }

    /// Llama's query, key and value layers as one.
    fn query_key_value(&self, layer: usize, biases: Biases) -> Result<Linear> {
        let ModelConfig { d_model, d_head, n_heads, n_kv_heads, .. } = *self.config;
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for (name, heads) in [("q", n_heads), ("k", n_kv_heads), ("v", n_kv_heads)] {
            let pairs = name != "v" && self.source.rotary_layout() == RotaryLayout::Pairs;
            let append = |kind: &str, width: usize, target: &mut Vec<f32>| -> Result<()> {
                let full = format!("layers.{layer}.self_attn.{name}_proj.{kind}");
                let outputs = heads * d_head;
                let shape: &[usize] = if kind == "bias" { &[outputs] } else { &[outputs, d_model] };
                let values = self.source.load(&full, shape)?;
                let row = |i: usize| &values[i * width..(i + 1) * width];
                for i in 0..outputs {
                    target.extend_from_slice(row(if pairs { pair_row(i, d_head) } else { i }));
                }
                Ok(())
            };
            append("weight", d_model, &mut weight)?;
            if biases.qkv {
                append("bias", 1, &mut bias)?;
            }
        }
        let outputs = (n_heads + 2 * n_kv_heads) * d_head;
        Ok(Linear { weight: PackedMatrix::new(&weight, d_model, outputs, Layout::ColumnsByDepth), bias })
    }
}

/// Where row `i` of a layer in the order of halves is in the order of pairs.
///
/// Attention sees dot products of queries and keys only, so reordering both in the same way changes nothing else.
fn pair_row(i: usize, d_head: usize) -> usize {
    let (head, within) = (i / d_head, i % d_head);
    head * d_head + if within < d_head / 2 { 2 * within } else { 2 * (within - d_head / 2) + 1 }
}
