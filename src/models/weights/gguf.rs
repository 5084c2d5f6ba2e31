//! GGUF files of the llama and qwen2 architectures; quantised tensors are widened to f32 when loaded.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};

use super::llama2c::layer_and_name;
use super::{RotaryLayout, TensorSource, checked};
use crate::error::{Error, Result};
use crate::models::config::{Biases, Family, Head, ModelConfig, Rotary, RotaryScaling, unsupported};

/// Hugging Face names and the names in a GGUF file.
const NAMES: [(&str, &str); 13] = [
    ("embed_tokens", "token_embd"),
    ("norm", "output_norm"),
    ("lm_head", "output"),
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("rotary_factors", "rope_freqs"),
];

/// An open GGUF file whose header was read.
pub(crate) struct GgufFile {
    path: PathBuf,
    content: Content,
    reader: RefCell<BufReader<File>>,
    architecture: String,
}

impl GgufFile {
    /// Opens a file and checks that all of it is there.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if it is no GGUF file or ends early, [`Error::UnsupportedArchitecture`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fault = |source| Error::File { path: path.to_path_buf(), source };
        let format = |reason: String| Error::ModelFormat { path: path.to_path_buf(), reason };
        let file = File::open(path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader)
            .map_err(|e| format(format!("expected a whole GGUF header, got {length} bytes: {e} (half downloaded?)")))?;
        let end = |info: &candle_core::quantized::gguf_file::TensorInfo| {
            let bytes = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
            content.tensor_data_offset.saturating_add(info.offset).saturating_add(bytes as u64)
        };
        let expected = content.tensor_infos.values().map(end).max().unwrap_or(0);
        if expected > length {
            return Err(format(format!(
                "expected at least {expected} bytes, as its header says, got {length} (half downloaded?)"
            )));
        }
        let architecture = match content.metadata.get("general.architecture") {
            Some(Value::String(name)) => name.clone(),
            _ => {
                return Err(format("expected metadata 'general.architecture'".to_owned()));
            }
        };
        if architecture != "llama" && architecture != "qwen2" {
            return Err(unsupported(path, architecture, "llama or qwen2"));
        }
        Ok(Self { path: path.to_path_buf(), content, reader: RefCell::new(reader), architecture })
    }

    /// The header, for the tokenizer.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The model's dimensions, from the metadata.
    pub(crate) fn config(&self) -> Result<ModelConfig> {
        let (d_model, n_heads) = (self.count("embedding_length")?, self.count("attention.head_count")?);
        let own_head = self.content.tensor_infos.contains_key("output.weight");
        let n_vocab =
            self.content.tensor_infos.get("token_embd.weight").and_then(|info| info.shape.dims().first().copied());
        if let Some(Value::String(kind)) = self.value("rope.scaling.type")
            && kind != "none"
            && kind != "linear"
        {
            return Err(unsupported(&self.path, format!("rotary scaling {kind}"), "rotary scaling none or linear"));
        }
        if self.count("expert_count").is_ok_and(|n| n > 0) {
            return Err(unsupported(&self.path, "a mixture of experts", "one MLP a layer"));
        }
        let scaling = match self.number("rope.scaling.factor") {
            Some(factor) if factor > 0.0 => RotaryScaling::Linear(factor),
            _ => RotaryScaling::None,
        };
        let qwen = self.architecture == "qwen2";
        let config = ModelConfig {
            family: Family::Llama,
            n_vocab: n_vocab.ok_or_else(|| self.missing("token_embd.weight", &[]))?,
            n_layers: self.count("block_count")?,
            d_model,
            n_heads,
            n_kv_heads: self.count("attention.head_count_kv").unwrap_or(n_heads),
            d_head: self.count("attention.key_length").unwrap_or_else(|_| d_model.checked_div(n_heads).unwrap_or(0)),
            d_mlp: self.count("feed_forward_length")?,
            n_context: self.count("context_length")?,
            norm_epsilon: self.number("attention.layer_norm_rms_epsilon").unwrap_or(1e-5) as f32,
            rotary: Rotary { theta: self.number("rope.freq_base").unwrap_or(10_000.0), scaling },
            biases: Biases { qkv: qwen, attention_out: false, mlp: false },
            head: if own_head { Head::Own } else { Head::Tied },
            bos_token_id: self.content.metadata.get("tokenizer.ggml.bos_token_id").and_then(as_u64).map(|id| id as u32),
        };
        config.check(&self.path)?;
        let rotated = self.count("rope.dimension_count").unwrap_or(config.d_head);
        if rotated != config.d_head {
            return Err(unsupported(
                &self.path,
                format!("rotary positions on {rotated} of {} elements", config.d_head),
                "whole heads",
            ));
        }
        Ok(config)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn count(&self, key: &str) -> Result<usize> {
        self.value(key).and_then(as_u64).map(|n| n as usize).ok_or_else(|| Error::ModelFormat {
            path: self.path.clone(),
            reason: format!("expected a whole number in metadata '{}.{key}'", self.architecture),
        })
    }

    fn number(&self, key: &str) -> Option<f64> {
        match self.value(key) {
            Some(Value::F32(x)) => Some(f64::from(*x)),
            Some(Value::F64(x)) => Some(*x),
            _ => None,
        }
    }

    fn missing(&self, name: &str, shape: &[usize]) -> Error {
        Error::TensorMissing { path: self.path.clone(), name: name.to_owned(), expected: shape.to_vec() }
    }

    fn stored_name(&self, name: &str) -> String {
        let (layer, name) = layer_and_name(name);
        let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let stem = NAMES.iter().find(|(theirs, _)| *theirs == stem).map_or(stem, |(_, stored)| stored);
        match layer {
            Some(layer) => format!("blk.{layer}.{stem}.{kind}"),
            None => format!("{stem}.{kind}"),
        }
    }
}

pub(crate) fn as_u64(value: &Value) -> Option<u64> {
    match value {
        Value::U8(n) => Some(u64::from(*n)),
        Value::U16(n) => Some(u64::from(*n)),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

impl TensorSource for GgufFile {
    fn contains(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(&self.stored_name(name))
    }

    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = self.stored_name(name);
        if !self.content.tensor_infos.contains_key(&name) {
            return Err(self.missing(&name, shape));
        }
        let tensor = self
            .content
            .tensor(&mut *self.reader.borrow_mut(), &name, &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu));
        checked(tensor, &name, shape, &self.path)
    }

    fn rotary_layout(&self) -> RotaryLayout {
        if self.architecture == "llama" { RotaryLayout::Pairs } else { RotaryLayout::Halves }
    }
}

#[cfg(test)]
mod tests;
