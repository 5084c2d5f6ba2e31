//! Runs new tokens of many sequences through a model at once, on all threads.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::key_values::{Keep, Segment, Sequence};
use super::runner::{self, Growing, Runner};
use crate::error::Result;
use crate::models::config::ModelConfig;
use crate::models::decoder::{Block, Decoder, Linear, Mlp, Positions};
use crate::models::kernels::activation::{add_assign, gated_silu, gelu};
use crate::models::kernels::cached_attention::{
    CachedAttentionScratch, CachedHeads, KeyValues, attend_cached, block_tokens,
};
use crate::models::kernels::matmul::{MatmulScratch, matmul};
use crate::models::subject_model::SubjectModel;

/// Rows that one thread takes through a half layer at a time, at most.
const CHUNK_ROWS: usize = 168;

/// Rows of logits that one thread holds at a time.
const LOGIT_ROWS: usize = 28;

/// New tokens of one sequence.
type Extension<'a> = runner::Extension<'a, Sequence>;

/// Buffers of one thread.
#[derive(Debug, Default)]
struct ThreadScratch {
    normalized: Vec<f32>,
    update: Vec<f32>,
    neurons: Vec<f32>,
    linear: Vec<f32>,
    logits: Vec<f32>,
    matmul: MatmulScratch,
    attention: CachedAttentionScratch,
}

/// Runs tokens through one model; holds buffers, so that a steady state allocates little.
#[derive(Debug)]
pub struct Extender<'a> {
    model: &'a SubjectModel,
    threads: Vec<Mutex<ThreadScratch>>,
    /// The residual stream, `[n_rows, d_model]`.
    residual: Vec<f32>,
    /// Queries, keys and values, `[n_rows, (n_heads + 2 n_kv_heads) * d_head]`.
    qkv: Vec<f32>,
    /// The heads' outputs, `[n_rows, n_heads * d_head]`.
    z: Vec<f32>,
    /// Each row's position in its sequence.
    positions: Vec<usize>,
}

/// The buffer's first `n` values, which hold whatever was there.
fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// New rows of a sequence that one thread attends for.
struct AttentionBlock<'a> {
    sequence: &'a Sequence,
    /// The block's first new token, counted from the sequence's new tokens.
    first: usize,
    /// The row of the sequence's first new token.
    row: usize,
    z: &'a mut [f32],
}

/// A row's values depend on its own sequence and on how that was cut into shared segments and calls, which moves the
/// last bits of sums only; they do not depend on the other sequences or the number of threads.
impl Runner for Extender<'_> {
    type Segment = Segment;
    type Sequence = Sequence;

    fn sequence(&self, past: &[Arc<Segment>], keep: Keep) -> Sequence {
        Sequence::new(self.model.config(), past, keep)
    }

    fn share(&self, sequence: Sequence) -> Vec<Arc<Segment>> {
        sequence.into_shared()
    }

    fn extend(&mut self, extensions: &mut [Extension<'_>]) -> Result<()> {
        let config = self.model.config();
        runner::check(config, extensions)?;
        let n_rows: usize = extensions.iter().map(|extension| extension.token_ids.len()).sum();
        self.positions.clear();
        for extension in extensions.iter() {
            let start = extension.sequence.n_tokens();
            self.positions.extend(start..start + extension.token_ids.len());
        }
        self.embed(extensions, n_rows);
        let width = (config.n_heads + 2 * config.n_kv_heads) * config.d_head;
        let z_width = config.n_heads * config.d_head;
        // Not more rows a task than there are threads for, but whole tiles where there are many.
        let chunk = n_rows.div_ceil(self.threads.len()).next_multiple_of(14).min(CHUNK_ROWS);
        sized(&mut self.qkv, n_rows * width);
        sized(&mut self.z, n_rows * z_width);
        for (layer, block) in self.model.decoder().blocks.iter().enumerate() {
            self.queries_keys_values(block, chunk, n_rows);
            self.attend(layer, extensions, n_rows);
            self.finish_layer(block, chunk, n_rows);
        }
        for extension in extensions.iter_mut() {
            extension.sequence.advance(extension.token_ids.len());
        }
        Ok(())
    }

    fn read<T: Send>(&self, rows: &[usize], read: impl Fn(usize, &[f32]) -> T + Sync) -> Result<Vec<T>> {
        let d = self.model.config().d_model;
        let Decoder { final_norm, .. } = self.model.decoder();
        let unembedding = self.model.decoder().unembedding();
        let n_vocab = unembedding.columns();
        let chunk = rows.len().div_ceil(self.threads.len()).clamp(1, LOGIT_ROWS);
        let parts: Vec<Vec<T>> = rows
            .par_chunks(chunk)
            .enumerate()
            .map(|(part, rows)| {
                let mut scratch = self.scratch();
                let ThreadScratch { normalized, update, logits, matmul: matmul_scratch, .. } = &mut *scratch;
                let (gathered, normalized) = (sized(update, rows.len() * d), sized(normalized, rows.len() * d));
                for (target, row) in gathered.chunks_exact_mut(d).zip(rows) {
                    target.copy_from_slice(&self.residual[row * d..(row + 1) * d]);
                }
                final_norm.apply(gathered, normalized);
                let logits = sized(logits, rows.len() * n_vocab);
                matmul(normalized, unembedding, &[], logits, matmul_scratch);
                logits.chunks_exact(n_vocab).enumerate().map(|(i, logits)| read(part * chunk + i, logits)).collect()
            })
            .collect();
        Ok(parts.into_iter().flatten().collect())
    }
}

impl<'a> Extender<'a> {
    /// Nothing was run yet.
    pub fn new(model: &'a SubjectModel) -> Self {
        let threads = (0..rayon::current_num_threads().max(1)).map(|_| Mutex::default()).collect();
        Self { model, threads, residual: Vec::new(), qkv: Vec::new(), z: Vec::new(), positions: Vec::new() }
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, ThreadScratch> {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.threads.len();
        self.threads[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn embed(&mut self, extensions: &[Extension<'_>], n_rows: usize) {
        let decoder = self.model.decoder();
        let d = self.model.config().d_model;
        let residual = sized(&mut self.residual, n_rows * d);
        let token_ids = extensions.iter().flat_map(|extension| extension.token_ids);
        for ((row, token_id), position) in residual.chunks_exact_mut(d).zip(token_ids).zip(&self.positions) {
            for (value, embedding) in row.iter_mut().zip(decoder.embedding.column(*token_id as usize)) {
                *value = embedding;
            }
            if let Positions::Learned(table) = &decoder.positions {
                add_assign(row, &table[position * d..(position + 1) * d]);
            }
        }
    }

    fn queries_keys_values(&mut self, block: &Block, chunk: usize, n_rows: usize) {
        let ModelConfig { n_heads, n_kv_heads, d_model: d, .. } = *self.model.config();
        let width = block.qkv.weight.columns();
        let mut qkv = std::mem::take(&mut self.qkv);
        let rows = self.residual[..n_rows * d].par_chunks(chunk * d);
        rows.zip(qkv[..n_rows * width].par_chunks_mut(chunk * width)).zip(self.positions.par_chunks(chunk)).for_each(
            |((residual, qkv), positions)| {
                let mut scratch = self.scratch();
                let ThreadScratch { normalized, matmul: matmul_scratch, .. } = &mut *scratch;
                let normalized = sized(normalized, residual.len());
                block.attention_norm.apply(residual, normalized);
                matmul(normalized, &block.qkv.weight, &block.qkv.bias, qkv, matmul_scratch);
                if let Positions::Rotary(table) = &self.model.decoder().positions {
                    for (row, position) in qkv.chunks_exact_mut(width).zip(positions) {
                        // Keys follow queries, so one call rotates both.
                        table.rotate(row, n_heads + n_kv_heads, *position);
                    }
                }
            },
        );
        self.qkv = qkv;
    }

    fn attend(&mut self, layer: usize, extensions: &mut [Extension<'_>], n_rows: usize) {
        let config = self.model.config();
        let width = (config.n_heads + 2 * config.n_kv_heads) * config.d_head;
        let z_width = config.n_heads * config.d_head;
        let mut row = 0;
        let mut starts = Vec::with_capacity(extensions.len());
        for extension in extensions.iter() {
            starts.push(row);
            row += extension.token_ids.len();
        }
        let qkv = &self.qkv[..n_rows * width];
        extensions.par_iter_mut().zip(&starts).for_each(|(extension, start)| {
            let rows = &qkv[start * width..(start + extension.token_ids.len()) * width];
            extension.sequence.push_layer(layer, rows, config);
        });
        let mut z = std::mem::take(&mut self.z);
        let mut blocks = Vec::new();
        let mut rest = &mut z[..n_rows * z_width];
        let step = block_tokens(config.n_heads / config.n_kv_heads);
        for (extension, row) in extensions.iter().zip(&starts) {
            for first in (0..extension.token_ids.len()).step_by(step) {
                let n = step.min(extension.token_ids.len() - first);
                let (z, after) = rest.split_at_mut(n * z_width);
                rest = after;
                blocks.push(AttentionBlock { sequence: &*extension.sequence, first, row: *row, z });
            }
        }
        blocks.into_par_iter().for_each(|block| self.attend_block(layer, block));
        self.z = z;
    }

    fn attend_block(&self, layer: usize, block: AttentionBlock<'_>) {
        let ModelConfig { n_heads, n_kv_heads, d_head, .. } = *self.model.config();
        let (width, z_width, group) = ((n_heads + 2 * n_kv_heads) * d_head, n_heads * d_head, n_heads / n_kv_heads);
        let AttentionBlock { sequence, first, row, z } = block;
        let mut scratch = self.scratch();
        let mut past: Vec<&KeyValues> = Vec::with_capacity(sequence.past().len());
        for head in 0..n_kv_heads {
            past.clear();
            past.extend(sequence.past().iter().map(|segment| &segment.layer(layer)[head]));
            let mut heads = CachedHeads {
                past: &past,
                own: &sequence.own().layer(layer)[head],
                first: sequence.own().n_tokens() + first,
                queries: &self.qkv[(row + first) * width + head * group * d_head..],
                stride: width,
                n_tokens: z.len() / z_width,
                n_heads: group,
                out: &mut z[head * group * d_head..],
                out_stride: z_width,
            };
            attend_cached(&mut heads, &mut scratch.attention);
        }
    }

    /// Adds the heads' outputs and the MLP's to the residual stream.
    fn finish_layer(&mut self, block: &Block, chunk: usize, n_rows: usize) {
        let ModelConfig { n_heads, d_head, d_model: d, d_mlp, .. } = *self.model.config();
        let z_width = n_heads * d_head;
        let mut residual = std::mem::take(&mut self.residual);
        let rows = residual[..n_rows * d].par_chunks_mut(chunk * d);
        rows.zip(self.z[..n_rows * z_width].par_chunks(chunk * z_width)).for_each(|(residual, z)| {
            let mut scratch = self.scratch();
            let ThreadScratch { normalized, update, neurons, linear, matmul: scratch, .. } = &mut *scratch;
            let (normalized, update) = (sized(normalized, residual.len()), sized(update, residual.len()));
            let apply = |layer: &Linear, values: &[f32], out: &mut [f32], scratch: &mut MatmulScratch| {
                matmul(values, &layer.weight, &layer.bias, out, scratch);
            };
            apply(&block.attention_out, z, update, scratch);
            add_assign(residual, update);
            block.mlp_norm.apply(residual, normalized);
            let neurons = sized(neurons, residual.len() / d * d_mlp);
            let output = match &block.mlp {
                Mlp::Gelu { input, output } => {
                    apply(input, normalized, neurons, scratch);
                    gelu(neurons);
                    output
                }
                Mlp::SwiGlu { gate, up, output } => {
                    let linear = sized(linear, neurons.len());
                    apply(gate, normalized, neurons, scratch);
                    apply(up, normalized, linear, scratch);
                    gated_silu(neurons, linear);
                    output
                }
            };
            apply(output, neurons, update, scratch);
            add_assign(residual, update);
        });
        self.residual = residual;
    }
}
