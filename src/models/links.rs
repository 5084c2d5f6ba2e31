//! What a neuron is connected to by weights alone: other neurons, and tokens.
//!
//! Source: Bills et al. 2023, connection weights (specification §1.5). The scales of norms, biases, attention and positions are left
//! out, as there; gains of norms are taken in. Difference from the source: of a SwiGLU MLP the gate's weights are those that are read
//! with, and all tokens of the vocabulary compete, where the published lists leave rare ones out.

use rayon::prelude::*;

use super::decoder::{Block, Linear, Mlp};
use super::hook_points::{HookKind, HookPoint};
use super::kernels::cosine::row_dots;
use super::kernels::matmul::{MatmulScratch, matmul};
use super::subject_model::SubjectModel;
use crate::error::{Error, Result};

/// A connection to another neuron of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Whether the other neuron reads what this one writes; else this one reads what the other writes.
    pub downstream: bool,
    /// Place among the links of its direction and sign, strongest first.
    pub rank: usize,
    /// Block of the other neuron.
    pub layer: usize,
    /// Index of the other neuron.
    pub neuron: u32,
    /// Signed weight.
    pub weight: f32,
}

/// An effect between a neuron and a token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEffect {
    /// Whether the neuron acts on the token's logit; else the token's embedding acts on the neuron.
    pub output: bool,
    /// Place among the effects of its direction and sign, strongest first.
    pub rank: usize,
    /// Vocabulary index.
    pub token_id: u32,
    /// Signed effect.
    pub strength: f32,
}

fn input(block: &Block) -> &Linear {
    match &block.mlp {
        Mlp::Gelu { input, .. } => input,
        Mlp::SwiGlu { gate, .. } => gate,
    }
}

fn output(block: &Block) -> &Linear {
    match &block.mlp {
        Mlp::Gelu { output, .. } | Mlp::SwiGlu { output, .. } => output,
    }
}

/// `vector · matrix`, on this thread.
fn times(vector: &[f32], matrix: &Linear) -> Vec<f32> {
    let mut products = vec![0.0; matrix.weight.columns()];
    matmul(vector, &matrix.weight, &[], &mut products, &mut MatmulScratch::default());
    products
}

fn scaled(mut vector: Vec<f32>, gains: &[f32]) -> Vec<f32> {
    vector.iter_mut().zip(gains).for_each(|(value, gain)| *value *= gain);
    vector
}

impl SubjectModel {
    /// The block and index of an MLP neuron; `None` for units of other kinds, which these weights do not tell of.
    fn mlp_neuron(&self, hook: &HookPoint, neuron: u32) -> Result<Option<(usize, usize)>> {
        if neuron as usize >= hook.width() {
            let hook_point = hook.name().to_owned();
            return Err(Error::NeuronOutOfRange { hook_point, neuron, n_neurons: hook.width() });
        }
        let is_mlp = hook.latents().is_none() && hook.kind() == HookKind::MlpPost;
        Ok(hook.layer().filter(|_| is_mlp).map(|layer| (layer, neuron as usize)))
    }

    /// What a neuron reads the stream of its block with: its input weights times the norm's gains, `[d_model]`.
    fn reading(&self, layer: usize, neuron: usize) -> Vec<f32> {
        let block = &self.decoder().blocks[layer];
        scaled(input(block).weight.column(neuron).collect(), block.mlp_norm.weight())
    }

    /// The `k` strongest connections of each direction and sign between an MLP neuron and those of other blocks. Weight:
    /// `W_out[l1][n1] · diag(norm of l2) · W_in[l2][:, n2]`, l1 < l2. Empty for units that are no MLP neurons.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for a neuron the hook point does not have.
    pub fn weight_links(&self, hook: &HookPoint, neuron: u32, k: usize) -> Result<Vec<Link>> {
        let Some((layer, neuron)) = self.mlp_neuron(hook, neuron)? else { return Ok(Vec::new()) };
        let blocks = &self.decoder().blocks;
        let written: Vec<f32> = output(&blocks[layer]).weight.row(neuron).collect();
        let downstream: Vec<Vec<f32>> = blocks[layer + 1..]
            .par_iter()
            .map(|block| times(&scaled(written.clone(), block.mlp_norm.weight()), input(block)))
            .collect();
        let reading = self.reading(layer, neuron);
        let upstream: Vec<Vec<f32>> =
            blocks[..layer].par_iter().map(|block| row_dots(&output(block).weight, &reading)).collect();
        let links = |downstream: bool, first_layer: usize, weights: &[Vec<f32>]| -> Vec<Link> {
            let places: Vec<(usize, u32, f32)> = weights
                .iter()
                .enumerate()
                .flat_map(|(i, weights)| {
                    weights.iter().enumerate().map(move |(n, weight)| (first_layer + i, n as u32, *weight))
                })
                .collect();
            let all: Vec<f32> = places.iter().map(|(.., weight)| *weight).collect();
            let chosen = strongest_of_signs(&all, k);
            let link = |(rank, index): (usize, usize)| {
                let (layer, neuron, weight) = places[index];
                Link { downstream, rank, layer, neuron, weight }
            };
            chosen.into_iter().map(link).collect()
        };
        Ok([links(false, 0, &upstream), links(true, layer + 1, &downstream)].concat())
    }

    /// The `k` strongest effects of each direction and sign between an MLP neuron and the tokens: of a token on the neuron
    /// `embedding[t] · diag(norm) · W_in[:, n]`, of the neuron on a token's logit `W_out[n] · diag(final norm) · unembedding[t]`. Empty
    /// for units that are no MLP neurons.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for a neuron the hook point does not have.
    pub fn weight_tokens(&self, hook: &HookPoint, neuron: u32, k: usize) -> Result<Vec<TokenEffect>> {
        let Some((layer, index)) = self.mlp_neuron(hook, neuron)? else { return Ok(Vec::new()) };
        let reading = self.reading(layer, index);
        let mut on_neuron = vec![0.0; self.decoder().embedding.columns()];
        matmul(&reading, &self.decoder().embedding, &[], &mut on_neuron, &mut MatmulScratch::default());
        let written: Vec<f32> = output(&self.decoder().blocks[layer]).weight.row(index).collect();
        let on_logits = self.logit_effects(written);
        let effects = |output: bool, strengths: &[f32]| -> Vec<TokenEffect> {
            let effect =
                |(rank, id): (usize, usize)| TokenEffect { output, rank, token_id: id as u32, strength: strengths[id] };
            strongest_of_signs(strengths, k).into_iter().map(effect).collect()
        };
        Ok([effects(false, &on_neuron), effects(true, &on_logits)].concat())
    }
}

/// Rank and index of the `k` largest values above 0, then of the `k` smallest below it; of equal ones the lower index is first.
fn strongest_of_signs(values: &[f32], k: usize) -> Vec<(usize, usize)> {
    let of_sign = |sign: f32| -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..values.len()).filter(|index| values[*index] * sign > 0.0).collect();
        let by_value = |a: &usize, b: &usize| (values[*b] * sign).total_cmp(&(values[*a] * sign)).then(a.cmp(b));
        if k < order.len() {
            order.select_nth_unstable_by(k, by_value);
            order.truncate(k);
        }
        order.sort_unstable_by(by_value);
        order.into_iter().enumerate().collect()
    };
    [of_sign(1.0), of_sign(-1.0)].concat()
}

#[cfg(test)]
mod tests;
