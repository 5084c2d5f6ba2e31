//! A decoder on a device, as a runner of token sequences.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::attention::Part;
use super::fault;
use super::plan::{self, Group, Own, Shared};
use super::rows::{KeyValueRows, KeyValueShape, Rows};
use super::weights::{Block, Mlp, Positions, Weights};
use crate::error::Result;
use crate::models::config::ModelConfig;
use crate::models::generation::key_values::Keep;
use crate::models::generation::placement::Precision;
use crate::models::generation::runner::{self, Extension, Growing, Runner};
use crate::models::subject_model::SubjectModel;

/// Logits that are held at a time: 64 MB on the device, and as much beside it.
const MOST_LOGITS: usize = 1 << 24;

type Computed<T> = candle_core::Result<T>;

/// A language model's weights on a device.
#[derive(Debug)]
pub struct DeviceDecoder {
    config: ModelConfig,
    weights: Weights,
    device: Device,
    precision: Precision,
}

impl DeviceDecoder {
    /// Copies a model's weights to a device.
    ///
    /// # Errors
    /// [`DeviceError::Computation`](crate::error::device::DeviceError) if its memory does not hold them.
    pub fn upload(model: &SubjectModel, device: &Device, precision: Precision) -> Result<Self> {
        let weights = Weights::upload(model.decoder(), device, dtype(precision)).map_err(fault)?;
        Ok(Self { config: model.config().clone(), weights, device: device.clone(), precision })
    }

    /// The type of weights, keys and values.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Something that runs sequences; what it keeps of them is given back to the device when it is dropped.
    ///
    /// # Errors
    /// [`DeviceError::Computation`](crate::error::device::DeviceError).
    pub fn runner(&self) -> Result<DeviceRunner<'_>> {
        let shape = KeyValueShape {
            n_layers: self.config.n_layers,
            n_kv_heads: self.config.n_kv_heads,
            d_head: self.config.d_head,
            precision: dtype(self.precision),
            device: self.device.clone(),
        };
        let kept = KeyValueRows::new(&shape).map_err(fault)?;
        Ok(DeviceRunner { decoder: self, shape, kept, residual: None })
    }
}

fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    }
}

/// Runs token sequences on a device.
#[derive(Debug)]
pub struct DeviceRunner<'a> {
    decoder: &'a DeviceDecoder,
    shape: KeyValueShape,
    /// Keys and values of all sequences that go on.
    kept: KeyValueRows,
    /// The residual stream after the last call, f32 `[n_rows, d_model]`.
    residual: Option<Tensor>,
}

/// Keys and values of tokens that several sequences go on after.
#[derive(Debug)]
pub struct DeviceSegment {
    rows: Vec<Rows>,
}

/// A token sequence whose keys and values are on a device.
#[derive(Debug)]
pub struct DeviceSequence {
    past: Vec<Arc<DeviceSegment>>,
    own: Vec<Rows>,
    /// Own tokens, kept or not.
    n_own: usize,
    keep: Keep,
}

impl DeviceSegment {
    fn n_tokens(&self) -> usize {
        self.rows.iter().map(|rows| rows.n).sum()
    }
}

impl Growing for DeviceSequence {
    fn n_tokens(&self) -> usize {
        self.past.iter().map(|segment| segment.n_tokens()).sum::<usize>() + self.n_own
    }

    fn closed(&self) -> bool {
        self.keep == Keep::Nothing && self.n_own > 0
    }
}

/// What all layers of one call have in common.
struct Call {
    n_rows: usize,
    /// Cosines and sines of every row, `[n_rows, 1, d_head / 2]`, for rotary positions.
    rotation: Option<(Tensor, Tensor)>,
    groups: Vec<Group>,
    shared: Vec<Vec<Shared<DeviceSegment>>>,
    /// Where keys and values of the new tokens are kept; `None` if no later call reads them.
    kept: Option<usize>,
}

impl Runner for DeviceRunner<'_> {
    type Segment = DeviceSegment;
    type Sequence = DeviceSequence;

    fn sequence(&self, past: &[Arc<DeviceSegment>], keep: Keep) -> DeviceSequence {
        DeviceSequence { past: past.to_vec(), own: Vec::new(), n_own: 0, keep }
    }

    fn share(&self, sequence: DeviceSequence) -> Vec<Arc<DeviceSegment>> {
        let mut past = sequence.past;
        past.push(Arc::new(DeviceSegment { rows: sequence.own }));
        past
    }

    fn extend(&mut self, extensions: &mut [Extension<'_, DeviceSequence>]) -> Result<()> {
        runner::check(&self.decoder.config, extensions)?;
        self.run(extensions).map_err(fault)?;
        Ok(())
    }

    fn read<T: Send>(&self, rows: &[usize], read: impl Fn(usize, &[f32]) -> T + Sync) -> Result<Vec<T>> {
        let n_vocab = self.decoder.config.n_vocab;
        let chunk = (MOST_LOGITS / n_vocab).max(1);
        let mut found = Vec::with_capacity(rows.len());
        for (part, rows) in rows.chunks(chunk).enumerate() {
            let logits = self.logits(rows).map_err(fault)?;
            let one = |(i, logits): (usize, &[f32])| read(part * chunk + i, logits);
            found.par_extend(logits.par_chunks_exact(n_vocab).enumerate().map(one));
        }
        Ok(found)
    }
}

impl DeviceRunner<'_> {
    fn run(&mut self, extensions: &mut [Extension<'_, DeviceSequence>]) -> Computed<()> {
        let mut residual = self.embed(extensions)?;
        let lengths: Vec<usize> = extensions.iter().map(|extension| extension.token_ids.len()).collect();
        let n_rows: usize = lengths.iter().sum();
        let kept = if extensions.iter().any(|extension| extension.sequence.keep == Keep::All) {
            Some(self.kept.take(&self.shape, n_rows)?)
        } else {
            None
        };
        let call = self.call(extensions, kept.as_ref())?;
        for (layer, block) in self.decoder.weights.blocks.iter().enumerate() {
            residual = self.layer(layer, block, &residual, &call)?;
        }
        self.residual = Some(residual);
        let rows = kept.map(|kept| kept.split(lengths.iter().copied())).unwrap_or_default();
        let mut rows = rows.into_iter();
        for (extension, n) in extensions.iter_mut().zip(lengths) {
            let Extension { sequence, .. } = extension;
            sequence.n_own += n;
            let rows = rows.next().filter(|_| sequence.keep == Keep::All);
            sequence.own.extend(rows);
        }
        Ok(())
    }

    /// The new tokens' embeddings, f32 `[n_rows, d_model]`.
    fn embed(&self, extensions: &[Extension<'_, DeviceSequence>]) -> Computed<Tensor> {
        let weights = &self.decoder.weights;
        let token_ids: Vec<u32> = extensions.iter().flat_map(|extension| extension.token_ids).copied().collect();
        let token_ids = self.indices(token_ids)?;
        let residual = weights.embedding.index_select(&token_ids, 0)?.to_dtype(DType::F32)?;
        match &weights.positions {
            Positions::Learned(table) => residual + table.index_select(&self.positions(extensions)?, 0)?,
            Positions::Rotary { .. } => Ok(residual),
        }
    }

    /// Each row's position in its sequence.
    fn positions(&self, extensions: &[Extension<'_, DeviceSequence>]) -> Computed<Tensor> {
        let range = |extension: &Extension<'_, DeviceSequence>| {
            let start = extension.sequence.n_tokens() as u32;
            start..start + extension.token_ids.len() as u32
        };
        self.indices(extensions.iter().flat_map(range).collect())
    }

    fn indices(&self, values: Vec<u32>) -> Computed<Tensor> {
        let n = values.len();
        Tensor::from_vec(values, n, &self.decoder.device)
    }

    /// What the layers of a call have in common; `kept` are the rows for the new tokens' keys and values.
    fn call(&self, extensions: &[Extension<'_, DeviceSequence>], kept: Option<&Rows>) -> Computed<Call> {
        let n_heads = self.decoder.config.n_heads;
        let mut n_rows = 0;
        let mut own = Vec::with_capacity(extensions.len());
        for Extension { sequence, token_ids } in extensions {
            let n_new = token_ids.len();
            let new = kept.map_or(0, |kept| kept.start) + n_rows;
            let earlier = sequence.own.iter().flat_map(|rows| rows.start..rows.start + rows.n);
            let keys = earlier.chain(new..new + n_new).map(|key| key as u32).collect();
            own.push(Own { n_new, keys });
            n_rows += n_new;
        }
        let rotation = match &self.decoder.weights.positions {
            Positions::Learned(_) => None,
            Positions::Rotary { cos, sin } => {
                let positions = self.positions(extensions)?;
                let of = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
                Some((of(cos)?, of(sin)?))
            }
        };
        let pasts: Vec<(&[Arc<DeviceSegment>], usize)> = extensions
            .iter()
            .map(|extension| (extension.sequence.past.as_slice(), extension.token_ids.len()))
            .collect();
        Ok(Call {
            n_rows,
            rotation,
            groups: plan::groups(&own, n_heads, &self.decoder.device)?,
            shared: plan::shared(&pasts, DeviceSegment::n_tokens, n_heads),
            kept: kept.map(|kept| kept.start),
        })
    }

    fn layer(&self, layer: usize, block: &Block, residual: &Tensor, call: &Call) -> Computed<Tensor> {
        let ModelConfig { n_heads, n_kv_heads, d_head, .. } = self.decoder.config;
        let qkv = block.qkv.apply(&block.attention_norm.apply(residual)?)?;
        let mut rotated = qkv.narrow(1, 0, (n_heads + n_kv_heads) * d_head)?;
        rotated = rotated.reshape((call.n_rows, n_heads + n_kv_heads, d_head))?;
        if let Some((cos, sin)) = &call.rotation {
            let (first, second) = (rotated.narrow(2, 0, d_head / 2)?, rotated.narrow(2, d_head / 2, d_head / 2)?);
            rotated = Tensor::cat(
                &[
                    (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?,
                    (second.broadcast_mul(cos)? + first.broadcast_mul(sin)?)?,
                ],
                2,
            )?;
        }
        let precision = self.shape.precision;
        let queries = (rotated.narrow(1, 0, n_heads)? / (d_head as f64).sqrt())?
            .reshape((call.n_rows, n_kv_heads, n_heads / n_kv_heads, d_head))?
            .transpose(0, 1)?
            .to_dtype(precision)?
            .contiguous()?;
        let by_head = |rows: Tensor| rows.transpose(0, 1)?.to_dtype(precision)?.contiguous();
        let keys = by_head(rotated.narrow(1, n_heads, n_kv_heads)?)?;
        let values = qkv.narrow(1, (n_heads + n_kv_heads) * d_head, n_kv_heads * d_head)?;
        let values = by_head(values.reshape((call.n_rows, n_kv_heads, d_head))?)?;
        let attended = self.attend(layer, &queries, [keys, values], call)?;
        let residual = (residual + block.attention_out.apply(&attended)?)?;
        let normalized = block.mlp_norm.apply(&residual)?;
        let update = match &block.mlp {
            Mlp::Gelu { input, output } => output.apply(&input.apply(&normalized)?.gelu()?)?,
            Mlp::SwiGlu { gate, up, output } => {
                output.apply(&(gate.apply(&normalized)?.silu()? * up.apply(&normalized)?)?)?
            }
        };
        residual + update
    }

    /// The heads' outputs `[n_rows, n_heads * d_head]`; `new` are keys and values of the new tokens, by key head.
    fn attend(&self, layer: usize, queries: &Tensor, new: [Tensor; 2], call: &Call) -> Computed<Tensor> {
        let kept = self.kept.layer(layer);
        let places = match call.kept {
            Some(start) => {
                kept[0].slice_set(&new[0], 1, start)?;
                kept[1].slice_set(&new[1], 1, start)?;
                kept
            }
            None => &new,
        };
        let own = call.groups.iter().map(|group| Part::own(queries, &places[0], &places[1], group));
        let mut part = Part::rows(own.collect::<Computed<_>>()?)?;
        for level in &call.shared {
            let found = level.iter().map(|Shared { rows, segment }| {
                let queries = queries.narrow(1, rows.start, rows.len())?;
                match segment {
                    Some(segment) => Part::shared(&queries, &run(&kept[0], segment)?, &run(&kept[1], segment)?),
                    None => Part::nothing(&queries),
                }
            });
            part = part.with(&Part::rows(found.collect::<Computed<_>>()?)?)?;
        }
        part.finish()
    }

    /// Logits `[rows.len() * n_vocab]` of the next token after rows of the last call.
    fn logits(&self, rows: &[usize]) -> Computed<Vec<f32>> {
        let Some(residual) = &self.residual else { return Ok(Vec::new()) };
        let rows = self.indices(rows.iter().map(|row| *row as u32).collect())?;
        let weights = &self.decoder.weights;
        let normalized = weights.final_norm.apply(&residual.index_select(&rows, 0)?)?;
        weights.unembedding.apply(&normalized)?.flatten_all()?.to_vec1()
    }
}

/// A segment's keys or values `[n_kv_heads, n_tokens, d_head]` in one layer: a view where its rows stand together.
fn run(places: &Tensor, segment: &DeviceSegment) -> Computed<Tensor> {
    let mut runs: Vec<Range<usize>> = Vec::with_capacity(segment.rows.len());
    for rows in &segment.rows {
        match runs.last_mut() {
            Some(last) if last.end == rows.start => last.end += rows.n,
            _ => runs.push(rows.start..rows.start + rows.n),
        }
    }
    let parts = runs.iter().map(|run| places.narrow(1, run.start, run.len())).collect::<Computed<Vec<_>>>()?;
    if let [one] = parts.as_slice() { Ok(one.clone()) } else { Tensor::cat(&parts, 1) }
}
