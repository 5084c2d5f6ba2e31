//! A decoder's weights on a device.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::models::config::Family;
use crate::models::decoder;
use crate::models::kernels::matmul::PackedMatrix;

/// Everything a pass reads.
#[derive(Debug)]
pub(crate) struct Weights {
    /// `[n_vocab, d_model]`.
    pub(crate) embedding: Tensor,
    pub(crate) positions: Positions,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Norm,
    /// Without a bias; a view of the embedding where that is the unembedding.
    pub(crate) unembedding: Linear,
}

/// How a token's position enters.
#[derive(Debug)]
pub(crate) enum Positions {
    /// `[n_context, d_model]`, f32.
    Learned(Tensor),
    /// Cosines and sines, `[n_context, d_head / 2]` each, f32.
    Rotary { cos: Tensor, sin: Tensor },
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attention_norm: Norm,
    pub(crate) qkv: Linear,
    pub(crate) attention_out: Linear,
    pub(crate) mlp_norm: Norm,
    pub(crate) mlp: Mlp,
}

/// An MLP's matrices.
#[derive(Debug)]
pub(crate) enum Mlp {
    Gelu { input: Linear, output: Linear },
    SwiGlu { gate: Linear, up: Linear, output: Linear },
}

/// A matrix `[inputs, outputs]` in the precision of the model and one f32 an output, or none.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// A norm's parameters, f32.
#[derive(Debug)]
pub(crate) struct Norm {
    family: Family,
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f64,
}

impl Linear {
    /// `values` f32 `[n, inputs]` times the weights, in their precision; f32 `[n, outputs]`.
    pub(crate) fn apply(&self, values: &Tensor) -> Result<Tensor> {
        let product = values.to_dtype(self.weight.dtype())?.matmul(&self.weight)?.to_dtype(DType::F32)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

impl Norm {
    /// Normalises each row of `rows` `[n, d_model]`.
    pub(crate) fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        let centred = match self.family {
            Family::Gpt2 => rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?,
            Family::Llama => rows.clone(),
        };
        let spread = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        let scaled = centred.broadcast_div(&spread)?.broadcast_mul(&self.weight)?;
        match &self.bias {
            Some(bias) => scaled.broadcast_add(bias),
            None => Ok(scaled),
        }
    }
}

/// Copies values to a device.
struct Upload<'a> {
    device: &'a Device,
    precision: DType,
}

impl Weights {
    /// Copies a decoder's weights to a device, one matrix after another.
    pub(crate) fn upload(decoder: &decoder::Decoder, device: &Device, precision: DType) -> Result<Self> {
        let upload = Upload { device, precision };
        let embedding = upload.matrix(&decoder.embedding)?.t()?.contiguous()?;
        let unembedding = match &decoder.unembedding {
            Some(own) => upload.matrix(own)?,
            None => embedding.t()?,
        };
        let blocks = decoder.blocks.iter().map(|block| {
            Ok(Block {
                attention_norm: upload.norm(&block.attention_norm)?,
                qkv: upload.linear(&block.qkv)?,
                attention_out: upload.linear(&block.attention_out)?,
                mlp_norm: upload.norm(&block.mlp_norm)?,
                mlp: match &block.mlp {
                    decoder::Mlp::Gelu { input, output } => {
                        Mlp::Gelu { input: upload.linear(input)?, output: upload.linear(output)? }
                    }
                    decoder::Mlp::SwiGlu { gate, up, output } => Mlp::SwiGlu {
                        gate: upload.linear(gate)?,
                        up: upload.linear(up)?,
                        output: upload.linear(output)?,
                    },
                },
            })
        });
        let d_model = decoder.embedding.depth();
        Ok(Self {
            positions: match &decoder.positions {
                decoder::Positions::Learned(table) => {
                    Positions::Learned(Tensor::from_slice(table, (table.len() / d_model, d_model), device)?)
                }
                decoder::Positions::Rotary(table) => {
                    let (cos, sin, half) = table.tables();
                    let upload = |values: &[f32]| Tensor::from_slice(values, (values.len() / half, half), device);
                    Positions::Rotary { cos: upload(cos)?, sin: upload(sin)? }
                }
            },
            blocks: blocks.collect::<Result<_>>()?,
            final_norm: upload.norm(&decoder.final_norm)?,
            unembedding: Linear { weight: unembedding, bias: None },
            embedding,
        })
    }
}

impl Upload<'_> {
    /// `[depth, columns]`.
    fn matrix(&self, matrix: &PackedMatrix) -> Result<Tensor> {
        let mut values = Vec::with_capacity(matrix.depth() * matrix.columns());
        for row in 0..matrix.depth() {
            values.extend(matrix.row(row));
        }
        Tensor::from_vec(values, (matrix.depth(), matrix.columns()), self.device)?.to_dtype(self.precision)
    }

    /// `None` for an empty slice.
    fn vector(&self, values: &[f32]) -> Result<Option<Tensor>> {
        (!values.is_empty()).then(|| Tensor::from_slice(values, values.len(), self.device)).transpose()
    }

    fn linear(&self, linear: &decoder::Linear) -> Result<Linear> {
        Ok(Linear { weight: self.matrix(&linear.weight)?, bias: self.vector(&linear.bias)? })
    }

    fn norm(&self, norm: &decoder::Norm) -> Result<Norm> {
        Ok(Norm {
            family: norm.family,
            weight: Tensor::from_slice(norm.weight(), norm.weight().len(), self.device)?,
            bias: self.vector(&norm.bias)?,
            epsilon: f64::from(norm.epsilon),
        })
    }
}
