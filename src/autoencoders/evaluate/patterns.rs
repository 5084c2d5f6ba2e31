//! How well patterns of tokens, found on one half of the windows, tell where latents fire on the other (N2G; arXiv 2406.04093,
//! section 4.4).

use rayon::prelude::*;
use serde_json::{Value, json};
use sparse_autoencoders::autoencoder::Activation;
use sparse_autoencoders::codes::Codes;
use sparse_autoencoders::metrics::patterns::{Example, Firings, Patterns};

use super::{Fired, Work};
use crate::autoencoders::rows::Metric;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::models::forward::Scratch;
use crate::models::hook_points::HookPoint;
use crate::models::token_batch::TokenBatch;
use crate::models::tokenizer::Tokenizer;
use crate::random::mix;

/// Strongest windows of a latent that its patterns are of.
const EXAMPLES: usize = 10;
/// Share of the largest activation of the examples from which a token counts as a firing.
const THRESHOLD: f32 = 0.5;
/// Which draws these are.
const DRAW: u64 = 2;
/// What may stand for any token, the first that the vocabulary has as one: the reference implementation takes ` _` of GPT-2's.
const PADDINGS: [&str; 3] = [" _", "_", " "];

/// How many latents are looked at, and the seed of their choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatternSettings {
    pub(super) n_latents: usize,
    pub(super) seed: u64,
}

/// The token that replaces others, and stands in front of them.
fn padding(tokenizer: &Tokenizer) -> Option<u32> {
    let of = |text: &&str| (0..tokenizer.n_tokens() as u32).find(|id| tokenizer.token_bytes(*id) == text.as_bytes());
    PADDINGS.iter().find_map(of)
}

impl Work {
    /// Recall and precision, each the mean over the latents that have one, and how they came to be.
    pub(super) fn pattern_metrics(&self, fired: &[Fired]) -> Result<(Vec<Metric>, Value)> {
        let padding = self.model.tokenizer().ok().and_then(padding);
        let undefined = |reason: &'static str| {
            let metrics = ["n2g_recall", "n2g_precision"].map(|metric| Metric { metric, value: Err(reason) });
            Ok((metrics.to_vec(), json!({ "undefined": reason })))
        };
        let (second, padding) = match (self.patterns.n_latents, self.second_half, padding) {
            (0, _, _) => return undefined("no latent was looked at"),
            (_, None, _) => return undefined("all windows are of one document: none is held out"),
            (_, _, None) => return undefined("the vocabulary has no token that may stand for any"),
            (_, Some(second), Some(padding)) => (second, padding),
        };
        let latents = self.pattern_latents(&fired[..second]);
        let found: Vec<Firings> =
            latents.par_iter().map(|latent| self.predicted(*latent, fired, second, padding)).collect::<Result<_>>()?;
        let mean = |metric: &'static str, of: fn(&Firings) -> Option<f64>, reason: &'static str| {
            let values: Vec<f64> = found.iter().filter_map(of).collect();
            let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            (Metric { metric, value: mean.ok_or(reason) }, values.len())
        };
        let (recall, n_recall) =
            mean("n2g_recall", Firings::recall, "no latent looked at fires on the held-out windows");
        let (precision, n_precision) =
            mean("n2g_precision", Firings::precision, "no pattern fits on the held-out windows");
        let how = json!({
            "n_latents": latents.len(),
            "chosen": "at random among the latents that fire on the windows before",
            "n_with_recall": n_recall,
            "n_with_precision": n_precision,
            "n_examples": EXAMPLES,
            "fires_from_share_of_maximum": THRESHOLD,
            "padding_token": padding,
        });
        Ok((vec![recall, precision], how))
    }

    /// Latents that fire on some windows, in a random order, as many as wanted.
    fn pattern_latents(&self, fired: &[Fired]) -> Vec<u32> {
        let mut fires = vec![false; self.latents.n_latents()];
        fired.iter().flat_map(|window| &window.codes.latents).for_each(|latent| fires[*latent as usize] = true);
        let mut latents: Vec<u32> = (0..).zip(&fires).filter(|(_, fires)| **fires).map(|(latent, _)| latent).collect();
        latents.sort_by_key(|latent| mix(self.patterns.seed, u64::from(*latent), DRAW));
        latents.truncate(self.patterns.n_latents);
        latents
    }

    /// Finds the patterns of a latent on the windows before `second`, and compares what they say with what it does on the others.
    fn predicted(&self, latent: u32, fired: &[Fired], second: usize, padding: u32) -> Result<Firings> {
        let mut examples: Vec<Example> = Vec::new();
        for (window, fired) in self.windows[..second].iter().zip(fired) {
            let activations = dense(latent, fired, window.token_ids.len());
            if activations.iter().any(|value| *value > 0.0) {
                examples.push(Example { tokens: window.token_ids.clone(), activations });
            }
        }
        let largest = |example: &Example| example.activations.iter().copied().fold(0.0, f32::max);
        // The sort is stable: of equal ones the earlier window comes first.
        examples.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
        examples.truncate(EXAMPLES);
        let input = self.model.select_hook_points(&self.latents.place.input_hook_point)?;
        let mut fault = None;
        let mut ask = |texts: &[Vec<u32>]| {
            self.last_activations(latent, &input, padding, texts).map_err(|error| {
                let reason = std::io::Error::other(error.to_string());
                fault = Some(error);
                sparse_autoencoders::error::Error::Io { path: std::path::PathBuf::new(), source: reason }
            })
        };
        let found = Patterns::find(&examples, padding, &mut ask);
        let patterns = match (found, fault) {
            (Ok(patterns), _) => patterns,
            (Err(_), Some(fault)) => return Err(fault),
            (Err(error), None) => return Err(AutoencoderError::from(error).into()),
        };
        let threshold = THRESHOLD * examples.iter().map(largest).fold(0.0, f32::max);
        let mut firings = Firings::default();
        for (window, fired) in self.windows[second..].iter().zip(&fired[second..]) {
            let predicted = patterns.predict(&window.token_ids);
            let activations = dense(latent, fired, window.token_ids.len());
            let counted = |values: &[f32]| fired.positions.iter().map(|position| values[*position]).collect::<Vec<_>>();
            firings.add(&counted(&predicted), &counted(&activations), threshold);
        }
        Ok(firings)
    }

    /// Activations of a latent at the last token of each text.
    fn last_activations(&self, latent: u32, input: &[HookPoint], padding: u32, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let n_context = self.model.config().n_context;
        let (mut token_ids, mut offsets) = (Vec::new(), vec![0]);
        for text in texts {
            // Where the first token of a window does not count, no token of a pattern may stand there.
            let before = vec![padding; self.first_counted];
            let room = n_context.saturating_sub(before.len());
            token_ids.extend(before);
            token_ids.extend_from_slice(&text[text.len().saturating_sub(room)..]);
            offsets.push(token_ids.len());
        }
        let autoencoder = &self.latents.autoencoder;
        let width = autoencoder.config.n_inputs;
        let mut rows = Vec::with_capacity(texts.len() * width);
        let mut keep = |_: usize, values: &[f32]| {
            for end in &offsets[1..] {
                rows.extend_from_slice(&values[(end - 1) * width..end * width]);
            }
        };
        self.model.forward(&TokenBatch::new(&token_ids, &offsets)?, input, &mut keep, &mut Scratch::default())?;
        let mut found = vec![0.0; texts.len()];
        if let Activation::TopK { .. } = autoencoder.config.activation {
            let mut codes = Codes::default();
            autoencoder.encode(&rows, &mut codes).map_err(AutoencoderError::from)?;
            for (row, found) in found.iter_mut().enumerate() {
                let (latents, values) = codes.row(row);
                *found = latents.binary_search(&latent).map_or(0.0, |at| values[at]);
            }
        } else {
            autoencoder.encode_latent(latent, &rows, &mut found).map_err(AutoencoderError::from)?;
        }
        if found.iter().all(|value| value.is_finite()) {
            return Ok(found);
        }
        Err(Error::internal(format!("latent {latent} is not finite on a text of the evaluation")))
    }
}

/// A latent's activations over a window, `[n_tokens]`; 0 where the token does not count.
fn dense(latent: u32, fired: &Fired, n_tokens: usize) -> Vec<f32> {
    let mut activations = vec![0.0; n_tokens];
    for (row, position) in fired.positions.iter().enumerate() {
        let (latents, values) = fired.codes.row(row);
        if let Ok(at) = latents.binary_search(&latent) {
            activations[*position] = values[at];
        }
    }
    activations
}
