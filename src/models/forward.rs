//! The forward pass of one tile of token sequences on one thread.

use std::ops::ControlFlow;

use super::config::ModelConfig;
use super::decoder::{Block, Decoder, Linear, Mlp, Positions};
use super::hook_points::{HookKind, HookPoint};
use super::kernels::activation::{add_assign, gated_silu, gelu};
use super::kernels::attention::{AttentionScratch, Head, attend};
use super::kernels::isa::Isa;
use super::kernels::matmul::{MatmulScratch, Product, Rows, matmul};
use super::token_batch::TokenBatch;

/// Buffers of a forward pass; one a thread, reused from tile to tile, so that a steady state allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream, `[n_tokens, d_model]`.
    residual: Vec<f32>,
    normalized: Vec<f32>,
    qkv: Vec<f32>,
    z: Vec<f32>,
    /// What a half block adds to the residual stream, `[n_tokens, d_model]`.
    update: Vec<f32>,
    neurons: Vec<f32>,
    linear: Vec<f32>,
    result: Vec<f32>,
    matmul: MatmulScratch,
    attention: AttentionScratch,
}

/// The buffer's first `n` values, which hold whatever was there.
fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// Hands values to the sink of the hook points that ask for them, and says when none is left.
pub(crate) struct Taps<'a> {
    hooks: &'a [HookPoint],
    sink: &'a mut dyn FnMut(usize, &[f32]),
    left: usize,
    /// Latents of one hook point, `[n_tokens, n_latents]`.
    latents: Vec<f32>,
}

impl<'a> Taps<'a> {
    pub(crate) fn new(hooks: &'a [HookPoint], sink: &'a mut dyn FnMut(usize, &[f32])) -> Self {
        Self { hooks, sink, left: hooks.len(), latents: Vec::new() }
    }

    fn wanted(&self, kind: HookKind, layer: Option<usize>) -> bool {
        self.hooks.iter().any(|hook| hook.kind() == kind && hook.layer() == layer)
    }

    fn emit(&mut self, kind: HookKind, layer: Option<usize>, values: &[f32]) -> ControlFlow<()> {
        for (i, hook) in self.hooks.iter().enumerate() {
            if hook.kind() == kind && hook.layer() == layer {
                match hook.latents() {
                    None => (self.sink)(i, values),
                    Some(latents) => {
                        let n_tokens = values.len() / latents.autoencoder.config.n_inputs;
                        let out = sized(&mut self.latents, n_tokens * hook.width());
                        latents.autoencoder.encode_dense(values, out).expect(
                            "an autoencoder is checked when it is loaded, and its width when it becomes a hook point",
                        );
                        (self.sink)(i, out);
                    }
                }
                self.left -= 1;
            }
        }
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Where a residual stream enters a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Before the attention of a layer; the layer after the last is the final norm.
    Attention(usize),
    /// Between the attention and the MLP of a layer.
    Mlp(usize),
}

/// A model and the tile that goes through it.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) decoder: &'a Decoder,
    pub(crate) batch: TokenBatch<'a>,
}

impl Pass<'_> {
    /// Runs until the last hook point was read; the batch has been checked against the model.
    pub(crate) fn run(self, taps: &mut Taps<'_>, scratch: &mut Scratch) -> ControlFlow<()> {
        if taps.left == 0 {
            return ControlFlow::Break(());
        }
        self.embed(taps, scratch)?;
        self.blocks(Entry::Attention(0), taps, scratch)
    }

    /// Runs the rest of a pass from `entry` with the caller's residual stream `[n_tokens, d_model]`.
    pub(crate) fn resume(
        self,
        entry: Entry,
        residual: &[f32],
        taps: &mut Taps<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<()> {
        scratch.residual.clear();
        scratch.residual.extend_from_slice(residual);
        self.blocks(entry, taps, scratch)
    }

    fn blocks(self, entry: Entry, taps: &mut Taps<'_>, scratch: &mut Scratch) -> ControlFlow<()> {
        let first = match entry {
            Entry::Attention(layer) => layer,
            Entry::Mlp(layer) => {
                self.mlp(layer, &self.decoder.blocks[layer], taps, scratch)?;
                layer + 1
            }
        };
        for (layer, block) in self.decoder.blocks.iter().enumerate().skip(first) {
            self.attention(layer, block, taps, scratch)?;
            self.mlp(layer, block, taps, scratch)?;
        }
        let Scratch { residual, normalized, .. } = scratch;
        let normalized = sized(normalized, residual.len());
        self.decoder.final_norm.apply(residual, normalized);
        taps.emit(HookKind::LnFinalNormalized, None, normalized)
    }

    fn n_tokens(self) -> usize {
        self.batch.token_ids().len()
    }

    fn embed(self, taps: &mut Taps<'_>, scratch: &mut Scratch) -> ControlFlow<()> {
        let d = self.config.d_model;
        let Scratch { residual, update, .. } = scratch;
        residual.resize(self.n_tokens() * d, 0.0);
        for (row, token_id) in residual.chunks_exact_mut(d).zip(self.batch.token_ids()) {
            for (value, embedding) in row.iter_mut().zip(self.decoder.embedding.column(*token_id as usize)) {
                *value = embedding;
            }
        }
        taps.emit(HookKind::Embed, None, residual)?;
        if let Positions::Learned(table) = &self.decoder.positions {
            let positions = sized(update, residual.len());
            for sequence in self.batch.sequences() {
                positions[sequence.start * d..sequence.end * d].copy_from_slice(&table[..sequence.len() * d]);
            }
            taps.emit(HookKind::PosEmbed, None, positions)?;
            add_assign(residual, positions);
        }
        ControlFlow::Continue(())
    }

    fn attention(self, layer: usize, block: &Block, taps: &mut Taps<'_>, scratch: &mut Scratch) -> ControlFlow<()> {
        taps.emit(HookKind::ResidPre, Some(layer), &scratch.residual)?;
        self.attention_inputs(block, scratch);
        self.attention_heads(&mut |_, _| (), scratch);
        let z = &scratch.z[..self.n_tokens() * self.config.n_heads * self.config.d_head];
        taps.emit(HookKind::AttnZ, Some(layer), z)?;
        if taps.wanted(HookKind::AttnResult, Some(layer)) {
            let result = self.head_results(&block.attention_out, z, &mut scratch.result, &mut scratch.matmul);
            taps.emit(HookKind::AttnResult, Some(layer), result)?;
        }
        let update = sized(&mut scratch.update, scratch.residual.len());
        matmul(z, &block.attention_out.weight, &block.attention_out.bias, update, &mut scratch.matmul);
        taps.emit(HookKind::AttnOut, Some(layer), update)?;
        add_assign(&mut scratch.residual, update);
        taps.emit(HookKind::ResidMid, Some(layer), &scratch.residual)
    }

    /// Fills `scratch.qkv` with rotated queries and keys and with values.
    fn attention_inputs(self, block: &Block, scratch: &mut Scratch) {
        let ModelConfig { n_heads, n_kv_heads, .. } = *self.config;
        let width = block.qkv.weight.columns();
        let Scratch { residual, normalized, qkv, matmul: matmul_scratch, .. } = scratch;
        let normalized = sized(normalized, residual.len());
        block.attention_norm.apply(residual, normalized);
        let qkv = sized(qkv, self.n_tokens() * width);
        matmul(normalized, &block.qkv.weight, &block.qkv.bias, qkv, matmul_scratch);
        if let Positions::Rotary(table) = &self.decoder.positions {
            for sequence in self.batch.sequences() {
                for (position, row) in
                    qkv[sequence.start * width..sequence.end * width].chunks_exact_mut(width).enumerate()
                {
                    // Keys follow queries, so one call rotates both.
                    table.rotate(row, n_heads + n_kv_heads, position);
                }
            }
        }
    }

    /// Fills `scratch.z` with every head's output; `after_head` sees each head's pattern.
    fn attention_heads(self, after_head: &mut dyn FnMut(usize, &AttentionScratch), scratch: &mut Scratch) {
        let ModelConfig { n_heads, n_kv_heads, d_head, .. } = *self.config;
        let stride = (n_heads + 2 * n_kv_heads) * d_head;
        let out_stride = n_heads * d_head;
        let z = sized(&mut scratch.z, self.n_tokens() * out_stride);
        for sequence in self.batch.sequences().filter(|sequence| !sequence.is_empty()) {
            let qkv = &scratch.qkv[sequence.start * stride..sequence.end * stride];
            for head in 0..n_heads {
                let key_head = n_heads + head / (n_heads / n_kv_heads);
                let mut inputs = Head {
                    queries: &qkv[head * d_head..],
                    keys: &qkv[key_head * d_head..],
                    values: &qkv[(key_head + n_kv_heads) * d_head..],
                    stride,
                    out: &mut z[sequence.start * out_stride + head * d_head..],
                    out_stride,
                    n_tokens: sequence.len(),
                    d_head,
                };
                attend(&mut inputs, &mut scratch.attention);
                after_head(head, &scratch.attention);
            }
        }
    }

    /// Each head's part of the attention output, `[n_tokens, n_heads, d_model]`.
    fn head_results<'s>(
        self,
        out: &Linear,
        z: &[f32],
        result: &'s mut Vec<f32>,
        scratch: &mut MatmulScratch,
    ) -> &'s [f32] {
        let ModelConfig { n_heads, d_head, d_model, .. } = *self.config;
        let (n, stride) = (self.n_tokens(), n_heads * d_model);
        let result = sized(result, n * stride);
        if n == 0 {
            return result;
        }
        for head in 0..n_heads {
            let depth = head * d_head..(head + 1) * d_head;
            let rows = Rows { values: &z[depth.start..], stride: n_heads * d_head, n };
            let product = Product { rows, weights: &out.weight, depth, bias: &[] };
            product.write(Isa::detected(), &mut result[head * d_model..], stride, scratch);
        }
        result
    }

    fn mlp(self, layer: usize, block: &Block, taps: &mut Taps<'_>, scratch: &mut Scratch) -> ControlFlow<()> {
        let layer = Some(layer);
        let Scratch { residual, normalized, update, neurons, linear, matmul: matmul_scratch, .. } = scratch;
        let normalized = sized(normalized, residual.len());
        block.mlp_norm.apply(residual, normalized);
        let neurons = sized(neurons, self.n_tokens() * self.config.d_mlp);
        let output = match &block.mlp {
            Mlp::Gelu { input, output } => {
                matmul(normalized, &input.weight, &input.bias, neurons, matmul_scratch);
                taps.emit(HookKind::MlpPre, layer, neurons)?;
                gelu(neurons);
                output
            }
            Mlp::SwiGlu { gate, up, output } => {
                matmul(normalized, &gate.weight, &gate.bias, neurons, matmul_scratch);
                taps.emit(HookKind::MlpPre, layer, neurons)?;
                let linear = sized(linear, neurons.len());
                matmul(normalized, &up.weight, &up.bias, linear, matmul_scratch);
                taps.emit(HookKind::MlpPreLinear, layer, linear)?;
                gated_silu(neurons, linear);
                output
            }
        };
        taps.emit(HookKind::MlpPost, layer, neurons)?;
        let update = sized(update, residual.len());
        matmul(neurons, &output.weight, &output.bias, update, matmul_scratch);
        taps.emit(HookKind::MlpOut, layer, update)?;
        add_assign(residual, update);
        taps.emit(HookKind::ResidPost, layer, residual)
    }

    /// The attention pattern `[n_heads, query, key]` of the layer that `resid_pre` stands before, for a batch of one
    /// sequence.
    pub(crate) fn attention_pattern(self, resid_pre: &HookPoint, block: &Block, scratch: &mut Scratch) -> Vec<f32> {
        let n = self.n_tokens();
        let mut pattern = vec![0.0; self.config.n_heads * n * n];
        // The pass stops at this hook point, with the residual stream in the scratch.
        let _ = self.run(&mut Taps::new(std::slice::from_ref(resid_pre), &mut |_, _| ()), scratch);
        self.attention_inputs(block, scratch);
        let mut copy = |head: usize, attention: &AttentionScratch| {
            for (i, out) in pattern[head * n * n..(head + 1) * n * n].iter_mut().enumerate() {
                *out = attention.weight(i / n, i % n, n);
            }
        };
        self.attention_heads(&mut copy, scratch);
        pattern
    }
}
