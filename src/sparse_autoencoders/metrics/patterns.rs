//! Neuron to Graph (Foote et al. 2023; used in arXiv 2406.04093, section 4.4): a latent as patterns of tokens.
//!
//! Each of a latent's strongest texts is cut behind its strongest token and shortened from the front while that token
//! keeps half its activation. A token matters if replacing it costs half the activation, the others become wildcards; the
//! pattern is bound to the start of a text if padding in front of it costs half the activation. Patterns are kept in a tree
//! from the last token backwards, and predict on other texts.
//!
//! Differences from the reference (`sparse_autoencoder/n2g.py` as described): suffixes are tried eight at a time, not one by
//! one, and of all patterns that fit a token the one with the largest activation counts.

use std::collections::BTreeMap;

use crate::error::Result;

#[cfg(test)]
mod tests;

/// Share of an activation that counts as kept, and saliency from which a token matters.
const HALF: f32 = 0.5;
/// Suffixes that are asked for together.
const SUFFIXES: usize = 8;

/// Activations of a latent at the last token of each sequence.
pub type LastActivations<'a> = dyn FnMut(&[Vec<u32>]) -> Result<Vec<f32>> + 'a;

/// A text and the latent's activations on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// `[n_tokens]`.
    pub activations: Vec<f32>,
}

/// Patterns of one latent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns {
    root: Node,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    tokens: BTreeMap<u32, Node>,
    /// Any token.
    wildcard: Option<Box<Node>>,
    /// Activation of a pattern that ends here, and fits anywhere.
    anywhere: Option<f32>,
    /// Activation of a pattern that ends here, and fits at the start of a text.
    at_start: Option<f32>,
}

impl Patterns {
    /// Finds the patterns of a latent's strongest texts. `padding` is a token that means little (4808 in the reference,
    /// ` _` in GPT-2's vocabulary); it replaces tokens and stands in front of them.
    ///
    /// # Errors
    /// What asking for activations says.
    pub fn find(examples: &[Example], padding: u32, activations: &mut LastActivations<'_>) -> Result<Self> {
        let mut patterns = Self::default();
        for example in examples {
            let strongest = (0..example.activations.len())
                .reduce(|best, at| if example.activations[at] > example.activations[best] { at } else { best });
            let Some(strongest) = strongest.filter(|at| example.activations[*at] > 0.0) else { continue };
            let tokens = &example.tokens[..=strongest];
            let whole = activations(&[tokens.to_vec()])?.first().copied().unwrap_or_default();
            if whole <= 0.0 {
                continue;
            }
            let (suffix, base) = shortest(tokens, whole, activations)?;
            // The padded text, and the text with each token replaced.
            let mut changed = vec![[&[padding], suffix].concat()];
            changed.extend((0..suffix.len()).map(|at| {
                let mut tokens = suffix.to_vec();
                tokens[at] = padding;
                tokens
            }));
            let after = activations(&changed)?;
            let bound = after[0] < HALF * base;
            let matters: Vec<bool> = after[1..].iter().map(|after| 1.0 - after / base >= HALF).collect();
            patterns.insert(suffix, &matters, bound, base);
        }
        Ok(patterns)
    }

    fn insert(&mut self, tokens: &[u32], matters: &[bool], bound: bool, activation: f32) {
        // Wildcards in front of the first token that matters say only that something is there, unless the start does.
        let first = if bound { 0 } else { matters.iter().position(|matters| *matters).unwrap_or(tokens.len() - 1) };
        let mut node = &mut self.root;
        for at in (first..tokens.len()).rev() {
            node = if matters[at] {
                node.tokens.entry(tokens[at]).or_default()
            } else {
                node.wildcard.get_or_insert_default()
            };
        }
        let place = if bound { &mut node.at_start } else { &mut node.anywhere };
        *place = Some(place.map_or(activation, |before| before.max(activation)));
    }

    /// Activations expected at each token: 0 where no pattern fits.
    pub fn predict(&self, tokens: &[u32]) -> Vec<f32> {
        (0..tokens.len()).map(|last| self.root.largest(&tokens[..=last]).unwrap_or(0.0)).collect()
    }
}

/// The shortest suffix whose last token keeps half the activation `whole` of the text, and what it keeps. Short ones are asked for
/// first: most latents need few tokens, and a text of n tokens has suffixes of n² / 2.
fn shortest<'t>(tokens: &'t [u32], whole: f32, activations: &mut LastActivations<'_>) -> Result<(&'t [u32], f32)> {
    for first in (1..tokens.len()).step_by(SUFFIXES) {
        let lengths = first..tokens.len().min(first + SUFFIXES);
        let suffixes: Vec<Vec<u32>> = lengths.clone().map(|n| tokens[tokens.len() - n..].to_vec()).collect();
        let kept = activations(&suffixes)?;
        if let Some((length, kept)) = lengths.zip(kept).find(|(_, kept)| *kept >= HALF * whole) {
            return Ok((&tokens[tokens.len() - length..], kept));
        }
    }
    Ok((tokens, whole))
}

impl Node {
    /// The largest activation among patterns that fit these tokens, read backwards.
    fn largest(&self, tokens: &[u32]) -> Option<f32> {
        let at_start = if tokens.is_empty() { self.at_start } else { None };
        let further = tokens.split_last().into_iter().flat_map(|(token, before)| {
            let nodes = self.tokens.get(token).into_iter().chain(self.wildcard.as_deref());
            nodes.filter_map(|node| node.largest(before)).collect::<Vec<_>>()
        });
        self.anywhere.into_iter().chain(at_start).chain(further).reduce(f32::max)
    }
}

/// How well patterns tell the tokens on which a latent fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firings {
    /// Fires, and was predicted to.
    pub true_positives: u64,
    /// Does not fire, and was predicted to.
    pub false_positives: u64,
    /// Fires, and was not predicted to.
    pub false_negatives: u64,
}

impl Firings {
    /// Adds a text: what was predicted and what was, `[n_tokens]` both. A token fires from half the largest activation
    /// of the texts the patterns are of (`threshold`).
    pub fn add(&mut self, predicted: &[f32], activations: &[f32], threshold: f32) {
        for (predicted, activation) in predicted.iter().zip(activations) {
            match (*predicted >= threshold, *activation >= threshold) {
                (true, true) => self.true_positives += 1,
                (true, false) => self.false_positives += 1,
                (false, true) => self.false_negatives += 1,
                (false, false) => {}
            }
        }
    }

    /// Share of firings that were predicted; `None` if it never fires.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.false_negatives)
    }

    /// Share of predictions that fire; `None` if none was made.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.false_positives)
    }
}

fn share(part: u64, rest: u64) -> Option<f64> {
    (part + rest > 0).then(|| part as f64 / (part + rest) as f64)
}
