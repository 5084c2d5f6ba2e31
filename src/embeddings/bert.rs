//! The forward pass of BERT (Devlin et al. 2018): post-norm blocks, bidirectional attention, GELU in the erf form.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::models::kernels::activation::add_assign;
use crate::models::kernels::attention::Head;
use crate::models::kernels::bidirectional_attention::{EncoderScratch, attend_to_all};
use crate::models::kernels::gelu_erf::gelu_erf;
use crate::models::kernels::matmul::{Layout, MatmulScratch, PackedMatrix, matmul};
use crate::models::kernels::norm::{Affine, layer_norm};
use crate::models::weights::TensorSource;
use crate::models::weights::safetensors::SafetensorsFiles;

/// The numbers of a `config.json` that the forward pass needs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BertConfig {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    pub(super) vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "token_types")]
    type_vocab_size: usize,
}

fn epsilon() -> f32 {
    1e-12
}

fn token_types() -> usize {
    2
}

impl BertConfig {
    /// Reads and checks a configuration file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.is_file() {
            let reason = "expected a folder with config.json, model.safetensors and tokenizer.json".to_owned();
            return Err(Error::ModelNotFound { path: path.to_path_buf(), reason });
        }
        let json = std::fs::read(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
        let format = |reason: String| Error::ModelFormat { path: path.to_path_buf(), reason };
        let kind: serde_json::Value =
            serde_json::from_slice(&json).map_err(|e| format(format!("expected a JSON configuration, got {e}")))?;
        let unsupported = |got: String| Error::UnsupportedArchitecture {
            path: path.to_path_buf(),
            got,
            supported: "a sentence encoder of type bert with activation gelu and absolute positions".to_owned(),
        };
        let model_type = kind.get("model_type").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        if model_type != "bert" {
            return Err(unsupported(model_type));
        }
        let config: Self = serde_json::from_slice(&json).map_err(|e| format(e.to_string()))?;
        if config.hidden_act != "gelu" {
            return Err(unsupported(format!("{} with activation {}", config.model_type, config.hidden_act)));
        }
        match config.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => return Err(unsupported(format!("{} with positions {other}", config.model_type))),
        }
        let sizes = [
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            config.type_vocab_size,
        ];
        if sizes.contains(&0) || config.max_position_embeddings < 3 {
            return Err(format(format!("expected sizes above 0 and at least 3 positions, got {sizes:?}")));
        }
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(format(format!(
                "expected hidden_size to be a multiple of num_attention_heads, got {} and {}",
                config.hidden_size, config.num_attention_heads
            )));
        }
        Ok(config)
    }
}

/// A linear layer, applied as x W^T + b.
#[derive(Debug)]
struct Linear {
    weight: PackedMatrix,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, rows: &[f32], out: &mut [f32]) {
        layer_norm(rows, Affine { weight: &self.weight, bias: &self.bias, epsilon: self.epsilon }, out);
    }
}

#[derive(Debug)]
struct Block {
    /// Query, key and value side by side.
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    mlp_in: Linear,
    mlp_out: Linear,
    mlp_norm: Norm,
}

/// The encoder's weights.
#[derive(Debug)]
pub(super) struct Bert {
    /// `[vocab_size, d_model]`.
    words: Vec<f32>,
    /// `[max_position_embeddings, d_model]`, the embedding of token type 0 added.
    positions: Vec<f32>,
    embedding_norm: Norm,
    blocks: Vec<Block>,
    d_model: usize,
    n_heads: usize,
    d_mlp: usize,
}

/// Buffers of a forward pass, one a thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    stream: Vec<f32>,
    update: Vec<f32>,
    qkv: Vec<f32>,
    z: Vec<f32>,
    neurons: Vec<f32>,
    matmul: MatmulScratch,
    attention: EncoderScratch,
}

/// The buffer's first `n` values, which hold whatever was there.
fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// Tensors of a folder, under the names of `BertModel`, with `bert.` before them where the file has it.
struct Tensors {
    files: SafetensorsFiles,
    prefix: &'static str,
    epsilon: f32,
}

impl Tensors {
    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.files.load(&format!("{}{name}", self.prefix), shape)
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        let weight = self.load(&format!("{name}.LayerNorm.weight"), &[width])?;
        let bias = self.load(&format!("{name}.LayerNorm.bias"), &[width])?;
        Ok(Norm { weight, bias, epsilon: self.epsilon })
    }

    /// Linear layers with the same input as one, their outputs side by side.
    fn linear(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Linear> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(self.load(&format!("{name}.weight"), &[outputs, inputs])?);
            bias.extend(self.load(&format!("{name}.bias"), &[outputs])?);
        }
        let weight = PackedMatrix::new(&weight, inputs, outputs * names.len(), Layout::ColumnsByDepth);
        Ok(Linear { weight, bias })
    }
}

impl Bert {
    /// Reads the weights of a folder.
    pub(super) fn load(folder: &Path, config: &BertConfig) -> Result<Self> {
        let files = SafetensorsFiles::open(folder)?;
        let prefix = if files.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let tensors = Tensors { files, prefix, epsilon: config.layer_norm_eps };
        let (d, d_mlp) = (config.hidden_size, config.intermediate_size);
        let words = tensors.load("embeddings.word_embeddings.weight", &[config.vocab_size, d])?;
        let mut positions =
            tensors.load("embeddings.position_embeddings.weight", &[config.max_position_embeddings, d])?;
        let types = tensors.load("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, d])?;
        positions.chunks_exact_mut(d).for_each(|row| add_assign(row, &types[..d]));
        let block = |layer: usize| -> Result<Block> {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
            Ok(Block {
                qkv: tensors.linear(&qkv, d, d)?,
                attention_out: tensors.linear(&[name("attention.output.dense")], d, d)?,
                attention_norm: tensors.norm(&name("attention.output"), d)?,
                mlp_in: tensors.linear(&[name("intermediate.dense")], d, d_mlp)?,
                mlp_out: tensors.linear(&[name("output.dense")], d_mlp, d)?,
                mlp_norm: tensors.norm(&name("output"), d)?,
            })
        };
        Ok(Self {
            words,
            positions,
            embedding_norm: tensors.norm("embeddings", d)?,
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?,
            d_model: d,
            n_heads: config.num_attention_heads,
            d_mlp,
        })
    }

    /// Width of the residual stream, and so of a vector.
    pub(super) fn width(&self) -> usize {
        self.d_model
    }

    /// The mean over each sequence's last outputs, divided by its length: `[n sequences, d_model]`.
    pub(super) fn sentence_vectors(&self, sequences: &[&[u32]], scratch: &mut Scratch) -> Vec<f32> {
        self.forward(sequences, scratch);
        let d = self.d_model;
        let mut vectors = vec![0.0_f32; sequences.len() * d];
        let mut rows = scratch.stream.chunks_exact(d);
        for (sequence, vector) in sequences.iter().zip(vectors.chunks_exact_mut(d)) {
            for row in rows.by_ref().take(sequence.len()) {
                add_assign(vector, row);
            }
            let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            // The mean's divisor cancels against the length. Layer norms make a length of 0 impossible in practice.
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
        }
        vectors
    }

    /// Leaves the last layer's outputs of all sequences, one after another, in `scratch.stream`.
    fn forward(&self, sequences: &[&[u32]], scratch: &mut Scratch) {
        let d = self.d_model;
        let n: usize = sequences.iter().map(|sequence| sequence.len()).sum();
        let Scratch { stream, update, qkv, z, neurons, matmul: matmul_scratch, attention } = scratch;
        let update = sized(update, n * d);
        let tokens = sequences.iter().flat_map(|sequence| sequence.iter().enumerate());
        for (row, (position, token_id)) in update.chunks_exact_mut(d).zip(tokens) {
            row.copy_from_slice(&self.words[*token_id as usize * d..][..d]);
            add_assign(row, &self.positions[position * d..][..d]);
        }
        stream.resize(n * d, 0.0);
        self.embedding_norm.apply(update, stream);
        for block in &self.blocks {
            let qkv = sized(qkv, n * 3 * d);
            matmul(stream, &block.qkv.weight, &block.qkv.bias, qkv, matmul_scratch);
            let z = sized(z, n * d);
            self.attention(sequences, qkv, z, attention);
            matmul(z, &block.attention_out.weight, &block.attention_out.bias, update, matmul_scratch);
            add_assign(update, stream);
            block.attention_norm.apply(update, stream);
            let neurons = sized(neurons, n * self.d_mlp);
            matmul(stream, &block.mlp_in.weight, &block.mlp_in.bias, neurons, matmul_scratch);
            gelu_erf(neurons);
            matmul(neurons, &block.mlp_out.weight, &block.mlp_out.bias, update, matmul_scratch);
            add_assign(update, stream);
            block.mlp_norm.apply(update, stream);
        }
    }

    fn attention(&self, sequences: &[&[u32]], qkv: &[f32], z: &mut [f32], scratch: &mut EncoderScratch) {
        let (d, d_head) = (self.d_model, self.d_model / self.n_heads);
        let mut start = 0;
        for sequence in sequences {
            let qkv = &qkv[start * 3 * d..(start + sequence.len()) * 3 * d];
            for head in 0..self.n_heads {
                let mut inputs = Head {
                    queries: &qkv[head * d_head..],
                    keys: &qkv[d + head * d_head..],
                    values: &qkv[2 * d + head * d_head..],
                    stride: 3 * d,
                    out: &mut z[start * d + head * d_head..],
                    out_stride: d,
                    n_tokens: sequence.len(),
                    d_head,
                };
                attend_to_all(&mut inputs, scratch);
            }
            start += sequence.len();
        }
    }
}
