//! What a model loses when the values of a hook point are replaced by others, such as an autoencoder's reconstruction.
//!
//! The replaced pass starts above the hook point from the residual stream with what the change of the values adds to it. Losses are
//! next-token cross entropies, and divergences are `KL(unchanged ‖ changed)` (Gao et al. 2024, section 4.1), both in nats, summed in f64.

use super::ablation::Place;
use super::forward::{Scratch, Taps};
use super::hook_points::{HookKind, HookPoint};
use super::kernels::matmul::{MatmulScratch, matmul};
use super::subject_model::SubjectModel;
use super::token_batch::TokenBatch;
use crate::error::{Error, Result};

/// Positions that are unembedded together.
const CHUNK_POSITIONS: usize = 16;

/// Values at two hook points over one window: what an autoencoder reads, and what it stands for.
#[derive(Debug, Clone)]
pub struct Read {
    /// `[n_tokens, n_inputs]`.
    pub inputs: Vec<f32>,
    /// `[n_tokens, n_outputs]`.
    pub outputs: Vec<f32>,
    /// The residual stream after the outputs were added to it, `[n_tokens, d_model]`.
    residual: Vec<f32>,
    /// What the unembedding reads, `[n_tokens, d_model]`.
    last: Vec<f32>,
}

/// Sums over positions that have a next token in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// Positions.
    pub n: u64,
    /// Cross entropy of the next token, nats.
    pub cross_entropy: f64,
    /// KL divergence from the unchanged model's prediction, nats; 0 for the unchanged model itself.
    pub divergence: f64,
}

impl Losses {
    /// Adds the sums of another window.
    pub fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.cross_entropy += other.cross_entropy;
        self.divergence += other.divergence;
    }
}

/// A hook point that can be replaced, and the one that is read for it.
pub struct Splice<'m> {
    model: &'m SubjectModel,
    input: HookPoint,
    output: HookPoint,
    place: Place<'m>,
    last: HookPoint,
}

impl std::fmt::Debug for Splice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Splice").field("input", &self.input).field("output", &self.output).finish_non_exhaustive()
    }
}

impl<'m> Splice<'m> {
    /// Replaces `output`, reading `input`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an output that does not write to the residual stream linearly.
    pub fn new(model: &'m SubjectModel, input: HookPoint, output: HookPoint) -> Result<Self> {
        let place = Place::of(model, &output)?;
        let last = model.hook_point(HookKind::LnFinalNormalized, None)?;
        Ok(Self { model, input, output, place, last })
    }

    /// Runs the unchanged model over one window.
    ///
    /// # Errors
    /// As [`SubjectModel::forward`].
    pub fn read(&self, token_ids: &[u32]) -> Result<Read> {
        let mut read = [const { Vec::new() }; 4];
        let offsets = [0, token_ids.len()];
        let hooks = [self.input.clone(), self.output.clone(), self.place.residual.clone(), self.last.clone()];
        let mut keep = |index: usize, values: &[f32]| read[index] = values.to_vec();
        self.model.forward(&TokenBatch::new(token_ids, &offsets)?, &hooks, &mut keep, &mut Scratch::default())?;
        let [inputs, outputs, residual, last] = read;
        Ok(Read { inputs, outputs, residual, last })
    }

    /// The losses of the unchanged model at positions from `first` on, and with each of the replacements `[n_tokens, n_outputs]`.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] for a replacement of another size.
    pub fn losses(
        &self,
        token_ids: &[u32],
        read: &Read,
        replacements: &[&[f32]],
        first: usize,
    ) -> Result<(Losses, Vec<Losses>)> {
        let mut changed = Vec::with_capacity(replacements.len());
        for replacement in replacements {
            changed.push(self.replaced(token_ids, read, replacement)?);
        }
        let unembedding = self.model.decoder().unembedding();
        let (d_model, n_vocab) = (self.model.config().d_model, unembedding.columns());
        let mut scratch = MatmulScratch::default();
        let mut clean = Losses::default();
        let mut losses = vec![Losses::default(); replacements.len()];
        let end = token_ids.len().saturating_sub(1);
        for start in (first..end).step_by(CHUNK_POSITIONS) {
            let positions = start..end.min(start + CHUNK_POSITIONS);
            let rows = positions.start * d_model..positions.end * d_model;
            let mut base = vec![0.0; positions.len() * n_vocab];
            matmul(&read.last[rows.clone()], unembedding, &[], &mut base, &mut scratch);
            let mut logits = vec![0.0; base.len()];
            let norms: Vec<f64> = base.chunks_exact(n_vocab).map(log_sum_exp).collect();
            for (row, position) in positions.clone().enumerate() {
                let next = token_ids[position + 1] as usize;
                clean.n += 1;
                clean.cross_entropy += norms[row] - f64::from(base[row * n_vocab + next]);
            }
            for (changed, losses) in changed.iter().zip(&mut losses) {
                matmul(&changed[rows.clone()], unembedding, &[], &mut logits, &mut scratch);
                for (row, position) in positions.clone().enumerate() {
                    let (p, q) = (&base[row * n_vocab..][..n_vocab], &logits[row * n_vocab..][..n_vocab]);
                    let norm = log_sum_exp(q);
                    losses.n += 1;
                    losses.cross_entropy += norm - f64::from(q[token_ids[position + 1] as usize]);
                    losses.divergence += divergence(p, norms[row], q, norm);
                }
            }
        }
        Ok((clean, losses))
    }

    /// Logits `[n_tokens, n_vocab]` from position `first` on, unchanged and with a replacement.
    ///
    /// # Errors
    /// As [`Splice::losses`].
    pub fn logits(&self, token_ids: &[u32], read: &Read, replacement: &[f32], first: usize) -> Result<[Vec<f32>; 2]> {
        let changed = self.replaced(token_ids, read, replacement)?;
        let unembedding = self.model.decoder().unembedding();
        let d_model = self.model.config().d_model;
        Ok([&read.last, &changed].map(|rows| {
            let rows = &rows[first * d_model..];
            let mut logits = vec![0.0; rows.len() / d_model * unembedding.columns()];
            matmul(rows, unembedding, &[], &mut logits, &mut MatmulScratch::default());
            logits
        }))
    }

    /// What the unembedding reads with a replacement, `[n_tokens, d_model]`.
    fn replaced(&self, token_ids: &[u32], read: &Read, replacement: &[f32]) -> Result<Vec<f32>> {
        if replacement.len() != read.outputs.len() {
            return Err(Error::LengthMismatch { actual: read.outputs.len(), expected: replacement.len() });
        }
        let changes: Vec<f32> = replacement.iter().zip(&read.outputs).map(|(new, old)| new - old).collect();
        let mut residual = read.residual.clone();
        residual.iter_mut().zip(self.place.written(&changes)).for_each(|(value, change)| *value += change);
        let offsets = [0, token_ids.len()];
        let batch = TokenBatch::new(token_ids, &offsets)?;
        let hooks = [self.last.clone()];
        let mut last = Vec::new();
        let mut keep = |_: usize, values: &[f32]| last = values.to_vec();
        let mut taps = Taps::new(&hooks, &mut keep);
        // A pass that was read to its end has nothing more to tell.
        let _ = self.model.pass(&batch)?.resume(self.place.entry, &residual, &mut taps, &mut Scratch::default());
        Ok(last)
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum::<f64>().ln()
}

fn divergence(p: &[f32], p_norm: f64, q: &[f32], q_norm: f64) -> f64 {
    let terms = p.iter().zip(q).map(|(p, q)| {
        let (p, q) = (f64::from(*p) - p_norm, f64::from(*q) - q_norm);
        p.exp() * (p - q)
    });
    // Rounding may leave equal distributions a little below 0.
    terms.sum::<f64>().max(0.0)
}
