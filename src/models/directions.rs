//! What a unit reads of the residual stream and what it writes there, compared by cosine.

use rayon::prelude::*;

use super::decoder::{Block, Mlp};
use super::hook_points::{HookKind, HookPoint};
use super::kernels::cosine::{COLUMNS, with_columns, with_rows};
use super::kernels::matmul::PackedMatrix;
use super::subject_model::SubjectModel;
use crate::error::{Error, Result};

/// Rows that one thread compares at a time.
const ROWS: usize = 256;

/// The cosine of two vectors, with sums in f64; `None` where one of them is zero.
pub fn cosine_of(a: &[f32], b: &[f32]) -> Option<f64> {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let length = (product(a, a) * product(b, b)).sqrt();
    (length > 0.0).then(|| (product(a, b) / length).clamp(-1.0, 1.0))
}

/// Which of a unit's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those it reads the normalised residual stream with: of an MLP neuron its column of the input matrix (in a SwiGLU MLP of the gate,
    /// for `hook_pre_linear` of what the gate is multiplied with), of an attention output its column of the value matrix, of an
    /// autoencoder's latent its encoder row.
    Input,
    /// Those it writes to the residual stream with: its row of the MLP's or the attention's output matrix, of a latent its decoder row.
    Output,
}

/// A unit's weights inside a matrix.
enum Weights<'a> {
    /// Unit n is column `first + n`.
    Columns(&'a PackedMatrix, usize),
    /// Unit n is column `first + n / group / d_head * d_head + n % d_head`: heads that share a value head.
    Values { matrix: &'a PackedMatrix, first: usize, d_head: usize, group: usize },
    /// Unit n is row n.
    Rows(&'a PackedMatrix),
    /// Unit n is row n of a matrix of that many columns, as an autoencoder has it.
    Latents(&'a [f32], usize),
}

impl Weights<'_> {
    fn column(&self, neuron: usize) -> usize {
        match self {
            Self::Columns(_, first) => first + neuron,
            Self::Values { first, d_head, group, .. } => first + neuron / d_head / group * d_head + neuron % d_head,
            Self::Rows(_) | Self::Latents(..) => neuron,
        }
    }

    fn vector(&self, neuron: usize) -> Vec<f32> {
        match self {
            Self::Columns(matrix, _) | Self::Values { matrix, .. } => matrix.column(self.column(neuron)).collect(),
            Self::Rows(matrix) => matrix.row(neuron).collect(),
            Self::Latents(rows, width) => rows[neuron * width..(neuron + 1) * width].to_vec(),
        }
    }
}

impl SubjectModel {
    fn weights<'a>(&'a self, hook: &'a HookPoint, side: Side) -> Option<Weights<'a>> {
        if let Some(latents) = hook.latents() {
            let autoencoder = &latents.autoencoder;
            return Some(match side {
                Side::Input => Weights::Latents(&autoencoder.w_enc, autoencoder.config.n_inputs),
                Side::Output => Weights::Latents(&autoencoder.w_dec, autoencoder.config.n_outputs),
            });
        }
        let config = self.config();
        let Block { qkv, attention_out, mlp, .. } = &self.decoder().blocks[hook.layer()?];
        Some(match (side, hook.kind(), mlp) {
            (Side::Input, HookKind::MlpPre | HookKind::MlpPost, Mlp::Gelu { input, .. }) => {
                Weights::Columns(&input.weight, 0)
            }
            (Side::Input, HookKind::MlpPre | HookKind::MlpPost, Mlp::SwiGlu { gate, .. }) => {
                Weights::Columns(&gate.weight, 0)
            }
            (Side::Input, HookKind::MlpPreLinear, Mlp::SwiGlu { up, .. }) => Weights::Columns(&up.weight, 0),
            (Side::Input, HookKind::AttnZ, _) => Weights::Values {
                matrix: &qkv.weight,
                first: (config.n_heads + config.n_kv_heads) * config.d_head,
                d_head: config.d_head,
                group: config.n_heads / config.n_kv_heads,
            },
            (Side::Output, HookKind::MlpPost, Mlp::Gelu { output, .. } | Mlp::SwiGlu { output, .. }) => {
                Weights::Rows(&output.weight)
            }
            (Side::Output, HookKind::AttnZ, _) => Weights::Rows(&attention_out.weight),
            _ => return None,
        })
    }

    /// A unit's input or output weights, `[d_model]`, as the files have them: norms' gains are not folded in. `None` for a hook
    /// point without such weights, such as the residual stream.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`].
    pub fn unit_weights(&self, hook: &HookPoint, neuron: u32, side: Side) -> Result<Option<Vec<f32>>> {
        if neuron as usize >= hook.width() {
            let hook_point = hook.name().to_owned();
            return Err(Error::NeuronOutOfRange { hook_point, neuron, n_neurons: hook.width() });
        }
        Ok(self.weights(hook, side).map(|weights| weights.vector(neuron as usize)))
    }

    /// The cosine of `vector` `[d_model]` with the input or output weights of every unit of a hook point, -1..1, on all threads;
    /// `None` for a unit without such weights, or with zeros only.
    pub fn cosines(&self, hook: &HookPoint, vector: &[f32], side: Side) -> Vec<Option<f64>> {
        let Some(weights) = self.weights(hook, side) else { return vec![None; hook.width()] };
        match &weights {
            Weights::Columns(matrix, _) | Weights::Values { matrix, .. } => {
                let first = weights.column(0) / COLUMNS;
                let last = weights.column(hook.width() - 1) / COLUMNS;
                let panels: Vec<Vec<Option<f64>>> =
                    (first..=last).into_par_iter().map(|panel| with_columns(matrix, panel, vector)).collect();
                let found = panels.concat();
                (0..hook.width()).map(|neuron| found[weights.column(neuron) - first * COLUMNS]).collect()
            }
            Weights::Rows(matrix) => {
                let n_chunks = matrix.depth().div_ceil(ROWS);
                let rows = |chunk: usize| chunk * ROWS..matrix.depth().min((chunk + 1) * ROWS);
                let chunks: Vec<Vec<Option<f64>>> =
                    (0..n_chunks).into_par_iter().map(|chunk| with_rows(matrix, rows(chunk), vector)).collect();
                chunks.concat()
            }
            // Of another width than the vector, they are not of the same space.
            Weights::Latents(_, width) if *width != vector.len() => vec![None; hook.width()],
            Weights::Latents(rows, width) => rows.par_chunks_exact(*width).map(|row| cosine_of(row, vector)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
