//! llama2.c's version 0 `.bin`: seven 32-bit integers, then every f32 weight in a fixed order.

use std::path::{Path, PathBuf};

use super::{RotaryLayout, TensorSource};
use crate::error::{Error, Result};
use crate::models::config::{Biases, Family, Head, ModelConfig, Rotary, RotaryScaling};

/// Bytes of the header.
const HEADER: usize = 28;

/// A checkpoint file, read whole.
#[derive(Debug)]
pub(crate) struct Llama2cFile {
    path: PathBuf,
    bytes: Vec<u8>,
    config: ModelConfig,
}

impl Llama2cFile {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if the file is not exactly as long as its header says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
        let format = |reason: String| Error::ModelFormat { path: path.to_path_buf(), reason };
        if bytes.len() < HEADER {
            return Err(format(format!("expected a llama2.c header of {HEADER} bytes, got {} bytes", bytes.len())));
        }
        let header: Vec<i64> =
            bytes[..HEADER].chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
        // A file that is no checkpoint at all shows here: its first bytes make absurd dimensions.
        if header.iter().enumerate().any(|(i, n)| *n == 0 || n.abs() > 1 << 24 || (*n < 0 && i != 5))
            || header[0] % header[3] != 0
        {
            return Err(format(format!("expected a llama2.c version 0 header, got {header:?}")));
        }
        let size = |i: usize| header[i].unsigned_abs() as usize;
        let config = ModelConfig {
            family: Family::Llama,
            n_vocab: size(5),
            n_layers: size(2),
            d_model: size(0),
            n_heads: size(3),
            n_kv_heads: size(4),
            d_head: size(0) / size(3),
            d_mlp: size(1),
            n_context: size(6),
            norm_epsilon: 1e-5,
            rotary: Rotary { theta: 10_000.0, scaling: RotaryScaling::None },
            biases: Biases::default(),
            head: if header[5] < 0 { Head::Own } else { Head::Tied },
            bos_token_id: Some(1),
        };
        config.check(path)?;
        let file = Self { path: path.to_path_buf(), bytes, config };
        let expected = HEADER + 4 * file.tensors().iter().map(|(_, n)| n).sum::<usize>();
        if file.bytes.len() != expected {
            return Err(format(format!(
                "expected {expected} bytes, as its header says, got {} (half downloaded?)",
                file.bytes.len()
            )));
        }
        Ok(file)
    }

    /// The model's dimensions.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Every stored group of tensors in file order: its Hugging Face name within a layer and its number of values.
    fn tensors(&self) -> Vec<(&'static str, usize)> {
        let c = &self.config;
        let (d, q, kv) = (c.d_model, c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
        let mut tensors = vec![
            ("embed_tokens.weight", c.n_vocab * d),
            ("input_layernorm.weight", c.n_layers * d),
            ("self_attn.q_proj.weight", c.n_layers * d * q),
            ("self_attn.k_proj.weight", c.n_layers * d * kv),
            ("self_attn.v_proj.weight", c.n_layers * d * kv),
            ("self_attn.o_proj.weight", c.n_layers * d * q),
            ("post_attention_layernorm.weight", c.n_layers * d),
            ("mlp.gate_proj.weight", c.n_layers * d * c.d_mlp),
            ("mlp.down_proj.weight", c.n_layers * d * c.d_mlp),
            ("mlp.up_proj.weight", c.n_layers * d * c.d_mlp),
            ("norm.weight", d),
            ("the table of rotary angles", c.n_context * c.d_head),
        ];
        if c.head == Head::Own {
            tensors.push(("lm_head.weight", c.n_vocab * d));
        }
        tensors
    }
}

/// Splits `layers.3.self_attn.q_proj.weight` into 3 and the name within the layer.
pub(super) fn layer_and_name(name: &str) -> (Option<usize>, &str) {
    name.strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, rest)| Some((Some(layer.parse().ok()?), rest)))
        .unwrap_or((None, name))
}

impl TensorSource for Llama2cFile {
    fn contains(&self, name: &str) -> bool {
        let (_, name) = layer_and_name(name);
        self.tensors().iter().any(|(stored, _)| *stored == name)
    }

    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (layer, stored) = layer_and_name(name);
        let n: usize = shape.iter().product();
        let mut at = 0;
        for (group, size) in self.tensors() {
            if group == stored {
                let start = HEADER + 4 * (at + layer.unwrap_or(0) * n);
                let values = self.bytes[start..start + 4 * n].chunks_exact(4);
                return Ok(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
            }
            at += size;
        }
        Err(Error::TensorMissing { path: self.path.clone(), name: name.to_owned(), expected: shape.to_vec() })
    }

    fn rotary_layout(&self) -> RotaryLayout {
        RotaryLayout::Pairs
    }
}
