//! What becomes of a model's predictions when a neuron gets other values than its own.
//!
//! The paper's ablation score (Bills et al. 2023; specification §5.3, never released) asks how far the next-token distributions
//! move when a neuron is replaced by its simulation, against how far they move when it is replaced by its mean. This module
//! gives the distances; the score is `1 - simulated / mean` of their averages over windows.

use std::sync::Arc;

use rayon::prelude::*;
use sparse_autoencoders::autoencoder::InputNormalization;
use sparse_autoencoders::codes::Codes;

use super::decoder::{Decoder, Mlp};
use super::forward::{Entry, Scratch, Taps};
use super::hook_points::{HookKind, HookPoint};
use super::kernels::matmul::{MatmulScratch, PackedMatrix, matmul};
use super::latents::Latents;
use super::subject_model::SubjectModel;
use super::token_batch::TokenBatch;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// Tokens that go through the upper layers together on one thread, about.
const TILE_TOKENS: usize = 256;
/// Tokens whose final rows are held at once: 50 MB in a model 768 wide.
const HELD_TOKENS: usize = 1 << 14;
/// Positions that are unembedded together: their logits stay within a few megabytes.
const CHUNK_POSITIONS: usize = 16;
/// Replacements that share one unembedding of the unchanged pass.
const CHUNK_REPLACEMENTS: usize = 16;

/// Values that a neuron is given in place of its own over one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// 0-based index along the hook point's last dimension.
    pub neuron: u32,
    /// One value a token, in the neuron's own units; `None` leaves the neuron as it is there.
    pub values: Vec<Option<f32>>,
}

/// Jensen-Shannon divergence, in nats (0..=ln 2), between the model's next-token distributions with and without each
/// replacement, averaged over all positions of the window; one number a replacement, in order.
///
/// The unchanged pass runs once; the replacements are sequences of one batch that starts above the hook point, from the
/// residual stream with `(value - activation) * output row` added. Sums are in f64 and in a fixed order: the result does not
/// depend on the number of threads or on the other replacements. A window without tokens has divergence 0.
///
/// Hook points that write to the residual stream linearly can be replaced: `mlp.hook_post`, `attn.hook_z`, `attn.hook_result`,
/// `hook_attn_out`, `hook_mlp_out`, `hook_embed`, `hook_pos_embed`, the residual stream itself, and the latents of an
/// autoencoder that gives the values of one of these: a latent adds its value times its decoder row.
///
/// # Errors
/// [`Error::Argument`] for another hook point and for values that are not finite, [`Error::NeuronOutOfRange`], [`Error::LengthMismatch`] for a replacement that
/// is not as long as the window, and as [`SubjectModel::forward`].
pub fn divergences(
    model: &SubjectModel,
    hook: &HookPoint,
    token_ids: &[u32],
    replacements: &[Replacement],
) -> Result<Vec<f64>> {
    let place = Place::of(model, hook)?;
    for replacement in replacements {
        if replacement.neuron as usize >= hook.width() {
            return Err(Error::NeuronOutOfRange {
                hook_point: hook.name().to_owned(),
                neuron: replacement.neuron,
                n_neurons: hook.width(),
            });
        }
        if replacement.values.len() != token_ids.len() {
            return Err(Error::LengthMismatch { actual: token_ids.len(), expected: replacement.values.len() });
        }
        if let Some(value) = replacement.values.iter().flatten().find(|value| !value.is_finite()) {
            return Err(Error::Argument {
                argument: format!("replacement of neuron {} of '{hook}'", replacement.neuron),
                expected: "finite values".to_owned(),
                got: value.to_string(),
            });
        }
    }
    if token_ids.is_empty() {
        return Ok(vec![0.0; replacements.len()]);
    }
    let window = Window::run(model, hook, &place, token_ids)?;
    let at_least_one = |n_tokens: usize| (n_tokens / token_ids.len()).max(1);
    let mut divergences = Vec::with_capacity(replacements.len());
    for some in replacements.chunks(at_least_one(HELD_TOKENS)) {
        let tiles: Vec<Vec<f32>> = some
            .par_chunks(at_least_one(TILE_TOKENS))
            .map_init(Scratch::default, |scratch, tile| window.replaced(model, &place, tile, scratch))
            .collect::<Result<_>>()?;
        divergences.extend(window.compare(model.decoder().unembedding(), &tiles.concat(), some.len()));
    }
    Ok(divergences)
}

/// How a hook point's values get into the residual stream.
pub(super) struct Place<'m> {
    /// The hook point of the residual stream that the values have just been added to.
    pub(super) residual: HookPoint,
    /// Where the pass goes on from there.
    pub(super) entry: Entry,
    write: Write<'m>,
    /// Width of the values that are written.
    width_in: usize,
    /// The autoencoder, where the values are latents: they get there through its decoder.
    latents: Option<Arc<Latents>>,
}

/// What a neuron adds to a row of the residual stream for each unit of its value.
enum Direction {
    /// `[d_model]`.
    Vector(Vec<f32>),
    /// One coordinate.
    Coordinate(usize),
}

impl Direction {
    fn add(&self, delta: f32, row: &mut [f32]) {
        match self {
            Self::Vector(vector) => row.iter_mut().zip(vector).for_each(|(value, weight)| *value += delta * weight),
            Self::Coordinate(coordinate) => row[*coordinate] += delta,
        }
    }
}

enum Write<'m> {
    /// Neuron n adds its value times row n.
    Row(&'m PackedMatrix),
    /// Neuron n is added to coordinate n, modulo the width of the residual stream.
    Coordinate,
}

impl<'m> Place<'m> {
    pub(super) fn of(model: &'m SubjectModel, hook: &HookPoint) -> Result<Self> {
        if let Some(latents) = hook.latents() {
            let output = model.select_hook_points(&latents.place.output_hook_point)?;
            return Ok(Self { latents: Some(Arc::clone(latents)), ..Self::of(model, &output[0])? });
        }
        let decoder: &'m Decoder = model.decoder();
        let layer = hook.layer().unwrap_or(0);
        let block = decoder.blocks.get(layer);
        let (kind, write) = match (hook.kind(), block) {
            (HookKind::Embed | HookKind::PosEmbed | HookKind::ResidPre, _) => (HookKind::ResidPre, Write::Coordinate),
            (HookKind::AttnZ, Some(block)) => (HookKind::ResidMid, Write::Row(&block.attention_out.weight)),
            (HookKind::AttnResult | HookKind::AttnOut | HookKind::ResidMid, _) => {
                (HookKind::ResidMid, Write::Coordinate)
            }
            (HookKind::MlpPost, Some(block)) => {
                let (Mlp::Gelu { output, .. } | Mlp::SwiGlu { output, .. }) = &block.mlp;
                (HookKind::ResidPost, Write::Row(&output.weight))
            }
            (HookKind::MlpOut | HookKind::ResidPost, _) => (HookKind::ResidPost, Write::Coordinate),
            _ => {
                return Err(Error::Argument {
                    argument: "hook point".to_owned(),
                    expected: "one that writes to the residual stream, such as blocks.0.mlp.hook_post".to_owned(),
                    got: hook.name().to_owned(),
                });
            }
        };
        let entry = match kind {
            HookKind::ResidPre => Entry::Attention(layer),
            HookKind::ResidMid => Entry::Mlp(layer),
            _ => Entry::Attention(layer + 1),
        };
        Ok(Self { residual: model.hook_point(kind, Some(layer))?, entry, write, width_in: hook.width(), latents: None })
    }

    fn direction(&self, neuron: usize) -> Direction {
        match (&self.latents, &self.write) {
            (Some(latents), _) => {
                let width = latents.autoencoder.config.n_outputs;
                Direction::Vector(self.written(&latents.autoencoder.w_dec[neuron * width..(neuron + 1) * width]))
            }
            (None, Write::Row(matrix)) => Direction::Vector(matrix.row(neuron).collect()),
            (None, Write::Coordinate) => Direction::Coordinate(neuron % self.residual.width()),
        }
    }

    /// What rows of changes `[n, width]` of the hook point's values change in the residual stream, `[n, d_model]`.
    pub(super) fn written(&self, changes: &[f32]) -> Vec<f32> {
        let d_model = self.residual.width();
        match self.write {
            Write::Row(matrix) => {
                let mut out = vec![0.0; changes.len() / matrix.depth() * d_model];
                matmul(changes, matrix, &[], &mut out, &mut MatmulScratch::default());
                out
            }
            // The values of all heads go into one stream.
            Write::Coordinate if self.width_in != d_model => changes
                .chunks_exact(self.width_in)
                .flat_map(|row| {
                    let mut sum = vec![0.0; d_model];
                    row.iter().enumerate().for_each(|(i, value)| sum[i % d_model] += value);
                    sum
                })
                .collect(),
            Write::Coordinate => changes.to_vec(),
        }
    }
}

/// The unchanged pass over one window.
struct Window<'a> {
    token_ids: &'a [u32],
    /// Values at the hook point, `[n_tokens, width]`.
    values: Vec<f32>,
    width: usize,
    /// What a change of a latent is multiplied by at each token, `[n_tokens]`; empty where that is 1.
    scales: Vec<f32>,
    /// The residual stream at the place, `[n_tokens, d_model]`.
    residual: Vec<f32>,
    /// What the unembedding reads, `[n_tokens, d_model]`.
    last: Vec<f32>,
}

impl<'a> Window<'a> {
    fn run(model: &SubjectModel, hook: &HookPoint, place: &Place<'_>, token_ids: &'a [u32]) -> Result<Self> {
        let last = model.hook_point(HookKind::LnFinalNormalized, None)?;
        let mut read = [const { Vec::new() }; 3];
        let offsets = [0, token_ids.len()];
        // Of an autoencoder the inputs are read, because its rows may have scales of their own.
        let base = if hook.latents().is_some() { model.hook_point(hook.kind(), hook.layer())? } else { hook.clone() };
        let hooks = [base, place.residual.clone(), last];
        let mut keep = |index: usize, values: &[f32]| read[index] = values.to_vec();
        model.forward(&TokenBatch::new(token_ids, &offsets)?, &hooks, &mut keep, &mut Scratch::default())?;
        let [mut values, residual, last] = read;
        let mut scales = Vec::new();
        if let Some(latents) = hook.latents() {
            let mut codes = Codes::default();
            latents.autoencoder.encode(&values, &mut codes).map_err(AutoencoderError::from)?;
            let mut dense = vec![0.0; token_ids.len() * hook.width()];
            for (row, dense) in dense.chunks_exact_mut(hook.width()).enumerate() {
                let (latents, values) = codes.row(row);
                latents.iter().zip(values).for_each(|(latent, value)| dense[*latent as usize] = *value);
            }
            values = dense;
            scales = match latents.autoencoder.config.input_normalization {
                InputNormalization::None => Vec::new(),
                InputNormalization::Scale { outputs, .. } => vec![(1.0 / outputs) as f32; token_ids.len()],
                _ => codes.row_scales,
            };
        }
        Ok(Self { token_ids, values, width: hook.width(), scales, residual, last })
    }

    /// What the unembedding reads with each replacement, `[n_replacements, n_tokens, d_model]`.
    fn replaced(
        &self,
        model: &SubjectModel,
        place: &Place<'_>,
        replacements: &[Replacement],
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>> {
        let d_model = model.config().d_model;
        let mut residual = self.residual.repeat(replacements.len());
        for (replacement, rows) in replacements.iter().zip(residual.chunks_exact_mut(self.residual.len())) {
            let neuron = replacement.neuron as usize;
            let direction = place.direction(neuron);
            let activations = self.values.iter().skip(neuron).step_by(self.width);
            let changes = activations.zip(&replacement.values).enumerate();
            for (row, (token, (activation, value))) in rows.chunks_exact_mut(d_model).zip(changes) {
                if let Some(value) = value {
                    let scale = self.scales.get(token).copied().unwrap_or(1.0);
                    direction.add((value - activation) * scale, row);
                }
            }
        }
        let token_ids = self.token_ids.repeat(replacements.len());
        let offsets: Vec<usize> = (0..=replacements.len()).map(|i| i * self.token_ids.len()).collect();
        let batch = TokenBatch::new(&token_ids, &offsets)?;
        let last = [model.hook_point(HookKind::LnFinalNormalized, None)?];
        let mut read = Vec::new();
        let mut keep = |_, values: &[f32]| read.extend_from_slice(values);
        // A pass that was read to its end has nothing more to tell.
        let _ = model.pass(&batch)?.resume(place.entry, &residual, &mut Taps::new(&last, &mut keep), scratch);
        Ok(read)
    }

    /// The mean divergence of each of `n` replacements, whose final rows are `changed` `[n, n_tokens, d_model]`.
    fn compare(&self, unembedding: &PackedMatrix, changed: &[f32], n: usize) -> Vec<f64> {
        let n_tokens = self.token_ids.len();
        let d_model = self.last.len() / n_tokens;
        let chunks = |length: usize, size: usize| {
            (0..length).step_by(size).map(move |start| start..length.min(start + size)).collect::<Vec<_>>()
        };
        let jobs: Vec<_> = chunks(n, CHUNK_REPLACEMENTS)
            .into_iter()
            .flat_map(|some| chunks(n_tokens, CHUNK_POSITIONS).into_iter().map(move |rows| (some.clone(), rows)))
            .collect();
        let sums: Vec<Vec<f64>> = jobs
            .par_iter()
            .map_init(Unembedding::default, |scratch, (some, rows)| {
                let values = rows.start * d_model..rows.end * d_model;
                scratch.set_base(&self.last[values.clone()], unembedding);
                let sequence = |i: usize| &changed[i * self.last.len()..][values.clone()];
                some.clone().map(|i| scratch.divergence(sequence(i), unembedding)).collect()
            })
            .collect();
        let mut totals = vec![0.0; n];
        for ((some, _), sums) in jobs.iter().zip(sums) {
            some.clone().zip(sums).for_each(|(i, sum)| totals[i] += sum);
        }
        totals.into_iter().map(|total| total / n_tokens as f64).collect()
    }
}

/// Logits of a few positions of the unchanged pass, and buffers to compare others with them.
#[derive(Default)]
struct Unembedding {
    base: Vec<f32>,
    changed: Vec<f32>,
    matmul: MatmulScratch,
}

impl Unembedding {
    fn set_base(&mut self, rows: &[f32], unembedding: &PackedMatrix) {
        self.base.resize(rows.len() / unembedding.depth() * unembedding.columns(), 0.0);
        matmul(rows, unembedding, &[], &mut self.base, &mut self.matmul);
    }

    /// The sum over the positions of the divergence from the unchanged pass.
    fn divergence(&mut self, rows: &[f32], unembedding: &PackedMatrix) -> f64 {
        self.changed.resize(self.base.len(), 0.0);
        matmul(rows, unembedding, &[], &mut self.changed, &mut self.matmul);
        let n_vocab = unembedding.columns();
        let positions = self.base.chunks_exact(n_vocab).zip(self.changed.chunks_exact(n_vocab));
        positions.map(|(base, changed)| jensen_shannon(base, changed)).sum()
    }
}

/// The Jensen-Shannon divergence, in nats, of the distributions that two rows of logits stand for.
fn jensen_shannon(left: &[f32], right: &[f32]) -> f64 {
    let (left_norm, right_norm) = (log_sum_exp(left), log_sum_exp(right));
    let mut sum = 0.0;
    for (l, r) in left.iter().zip(right) {
        let (p, q) = ((f64::from(*l) - left_norm).exp(), (f64::from(*r) - right_norm).exp());
        let mean = 0.5 * (p + q);
        // A probability too small for a float adds nothing.
        if p > 0.0 {
            sum += p * (p / mean).ln();
        }
        if q > 0.0 {
            sum += q * (q / mean).ln();
        }
    }
    // Rounding may leave equal distributions a little below 0.
    (0.5 * sum).max(0.0)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    max + logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum::<f64>().ln()
}
