//! The tokens that a neuron promotes: its direct effect on the logits.

use super::ablation::Place;
use super::config::Family;
use super::decoder::Mlp;
use super::hook_points::{HookKind, HookPoint};
use super::kernels::matmul::{MatmulScratch, matmul};
use super::latents::Latents;
use super::subject_model::SubjectModel;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

impl SubjectModel {
    /// The `k` tokens whose logits each neuron raises most, strongest first, by `W_out[n] · diag(final norm) · unembedding`;
    /// the norm's scale and biases are left out.
    ///
    /// Of an autoencoder's latent the decoder row stands for `W_out[n]` (or is taken through it, where the autoencoder reads MLP
    /// neurons or heads), with its mean over the stream taken off where the final norm does so (the logit lens of Joseph Bloom
    /// and Johnny Lin, "Understanding SAE features with the logit lens", 2024).
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
        let directions = match hook.latents() {
            Some(latents) => self.latent_directions(latents, neurons)?,
            None => match self.neuron_directions(hook, neurons) {
                Some(directions) => directions,
                None => return Ok(vec![Vec::new(); neurons.len()]),
            },
        };
        let effects = self.logit_effects(directions);
        Ok(effects.chunks_exact(self.decoder().unembedding().columns()).map(|row| strongest(row, k)).collect())
    }

    /// The direct effect of each latent on the logit of every token, less its mean over the vocabulary, `[n_latents, n_vocab]`.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for a latent the autoencoder does not have, [`Error::Argument`] for one that does not write to
    /// the residual stream.
    pub fn latent_logits(&self, hook: &HookPoint, latents: &[u32]) -> Result<Vec<f32>> {
        let Some(autoencoder) = hook.latents() else {
            return Err(Error::Argument {
                argument: "hook point".to_owned(),
                expected: "the latents of an autoencoder, as in blocks.0.hook_resid_post/my_sae".to_owned(),
                got: hook.name().to_owned(),
            });
        };
        let mut effects = self.logit_effects(self.latent_directions(autoencoder, latents)?);
        for row in effects.chunks_exact_mut(self.decoder().unembedding().columns()) {
            let mean = (row.iter().map(|value| f64::from(*value)).sum::<f64>() / row.len() as f64) as f32;
            row.iter_mut().for_each(|value| *value -= mean);
        }
        Ok(effects)
    }

    fn latent_directions(&self, latents: &Latents, wanted: &[u32]) -> Result<Vec<f32>> {
        let output = self.select_hook_points(&latents.place.output_hook_point)?;
        let place = Place::of(self, &output[0])?;
        let mut rows = Vec::with_capacity(wanted.len() * latents.autoencoder.config.n_outputs);
        for latent in wanted {
            rows.extend_from_slice(latents.autoencoder.decoder_row(*latent).map_err(AutoencoderError::from)?);
        }
        let mut directions = place.written(&rows);
        if self.config().family == Family::Gpt2 {
            for row in directions.chunks_exact_mut(self.config().d_model) {
                let mean = (row.iter().map(|value| f64::from(*value)).sum::<f64>() / row.len() as f64) as f32;
                row.iter_mut().for_each(|value| *value -= mean);
            }
        }
        Ok(directions)
    }

    /// `None` for a hook point that writes nothing directly.
    fn neuron_directions(&self, hook: &HookPoint, neurons: &[u32]) -> Option<Vec<f32>> {
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
            _ => return None,
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
        Some(directions)
    }

    /// `rows · diag(final norm) · unembedding`, `[n, n_vocab]`.
    pub(super) fn logit_effects(&self, mut directions: Vec<f32>) -> Vec<f32> {
        let decoder = self.decoder();
        let d_model = self.config().d_model;
        let mut scratch = MatmulScratch::default();
        for row in directions.chunks_exact_mut(d_model) {
            row.iter_mut().zip(decoder.final_norm.weight()).for_each(|(value, weight)| *value *= weight);
        }
        let unembedding = decoder.unembedding();
        let mut effects = vec![0.0; directions.len() / d_model * unembedding.columns()];
        matmul(&directions, unembedding, &[], &mut effects, &mut scratch);
        effects
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
