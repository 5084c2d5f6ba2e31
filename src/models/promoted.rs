//! The tokens that a neuron promotes: its direct effect on the logits.

use super::decoder::Mlp;
use super::hook_points::{HookKind, HookPoint};
use super::kernels::matmul::{MatmulScratch, matmul};
use super::subject_model::SubjectModel;
use crate::error::{Error, Result};

impl SubjectModel {
    /// The `k` tokens whose logits each neuron raises most, strongest first, by `W_out[n] · diag(final norm) · unembedding`;
    /// the norm's scale and biases are left out.
    ///
    /// Source: Bills et al. 2023, connection weights (specification §1.5). Of hook points in the residual stream a neuron is a
    /// coordinate and writes itself; of those that write nothing directly (queries, pre-activations) the lists are empty.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for a neuron the hook point does not have.
    pub fn promoted_tokens(&self, hook: &HookPoint, neurons: &[u32], k: usize) -> Result<Vec<Vec<u32>>> {
        if let Some(neuron) = neurons.iter().find(|neuron| **neuron as usize >= hook.width()) {
            return Err(Error::NeuronOutOfRange {
                hook_point: hook.name().to_owned(),
                neuron: *neuron,
                n_neurons: hook.width(),
            });
        }
        let decoder = self.decoder();
        let d_model = self.config().d_model;
        let block = hook.layer().map(|layer| &decoder.blocks[layer]);
        let output = match (hook.kind(), block) {
            (HookKind::MlpPost, Some(block)) => match &block.mlp {
                Mlp::Gelu { output, .. } | Mlp::SwiGlu { output, .. } => Some(output),
            },
            (HookKind::AttnZ, Some(block)) => Some(&block.attention_out),
            (
                HookKind::Embed
                | HookKind::PosEmbed
                | HookKind::ResidPre
                | HookKind::ResidMid
                | HookKind::ResidPost
                | HookKind::AttnOut
                | HookKind::MlpOut,
                _,
            ) => None,
            _ => return Ok(vec![Vec::new(); neurons.len()]),
        };
        let mut scratch = MatmulScratch::default();
        let mut units = vec![0.0; neurons.len() * hook.width()];
        for (row, neuron) in units.chunks_exact_mut(hook.width()).zip(neurons) {
            row[*neuron as usize] = 1.0;
        }
        let mut directions = vec![0.0; neurons.len() * d_model];
        match output {
            Some(output) => matmul(&units, &output.weight, &[], &mut directions, &mut scratch),
            None => directions = units,
        }
        for row in directions.chunks_exact_mut(d_model) {
            row.iter_mut().zip(decoder.final_norm.weight()).for_each(|(value, weight)| *value *= weight);
        }
        let unembedding = decoder.unembedding();
        let mut effects = vec![0.0; neurons.len() * unembedding.columns()];
        matmul(&directions, unembedding, &[], &mut effects, &mut scratch);
        Ok(effects.chunks_exact(unembedding.columns()).map(|row| strongest(row, k)).collect())
    }
}

/// Indices of the `k` largest values, largest first; of equal ones the lower index.
fn strongest(values: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    let by_value = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    let k = k.min(order.len());
    if k < order.len() {
        order.select_nth_unstable_by(k, by_value);
        order.truncate(k);
    }
    order.sort_unstable_by(by_value);
    order
}
