//! Explanations as patterns of tokens: which token, after which left context, and how strongly; no language model.
//!
//! After N2G (Foote et al. 2023, arXiv 2305.19911), which prunes each strong excerpt to the shortest context that still
//! activates the neuron, finds out with the subject model which tokens of it matter, and keeps the rest as wildcards of a trie.
//! Differences: there is no subject model here, so what matters is learned from the records themselves, by comparing places
//! where the neuron fires with places where it does not; a pattern may have any token at its end (the rule "the word after
//! 'of'"), which the paper's may not; the start of a window means nothing; the trie's paths are written out as a list.

mod learn;
mod text;

use crate::explanations::evidence::Evidence;

#[cfg(test)]
mod tests;

/// What may stand at one place of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Any token.
    Any,
    /// One of these tokens, at least one, each exactly as the tokenizer has it.
    OneOf(Vec<String>),
}

impl Slot {
    /// Whether a token may stand here.
    pub fn fits(&self, token: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tokens) => tokens.iter().any(|wanted| wanted == token),
        }
    }
}

/// An activating token after a context.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What stands before the activating token, in reading order, up to it.
    pub context: Vec<Slot>,
    /// The activating token.
    pub last: Slot,
    /// Mean activation there, 0..10.
    pub value: f32,
}

impl Rule {
    /// Whether it fits the token at `at` with what stands before it.
    fn fits(&self, tokens: &[String], at: usize) -> bool {
        at >= self.context.len()
            && self.last.fits(&tokens[at])
            && self.context.iter().zip(&tokens[at - self.context.len()..]).all(|(slot, token)| slot.fits(token))
    }
}

/// All rules of one neuron. The first that fits decides.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Pattern {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Mean activation where none fits, 0..10.
    pub elsewhere: f32,
}

impl Pattern {
    /// The first rule that fits at a token.
    fn rule_at(&self, tokens: &[String], at: usize) -> Option<usize> {
        self.rules.iter().position(|rule| rule.fits(tokens, at))
    }
}

/// Learns the pattern of a neuron: greedily, the rule that explains most of what is left of the squared activations, then the next.
///
/// A rule starts with one token, the activating one or one of the four before it, and takes on further tokens while that makes
/// it explain clearly more; `(Σ activation)² / n` over the places it fits is what it explains. Rules that differ in one place
/// are joined. Values are means over the places where a rule is the first to fit.
///
/// # Errors
/// Why there is no pattern.
pub fn learn(evidence: &Evidence) -> Result<Pattern, String> {
    learn::pattern(evidence)
}

/// Reads a pattern's text, as its `Display` writes it: `pattern: " not" -> " all"|" any" (9.5); " of" -> * (8.0); elsewhere 0.2`.
///
/// # Errors
/// What was expected where.
pub fn parse(text: &str) -> Result<Pattern, String> {
    text::Reader::new(text).pattern()
}

/// Expected activations of a pattern at each token, shape `[seq_len]`, 0..10.
pub fn simulate(pattern: &Pattern, tokens: &[String]) -> Vec<f32> {
    let value = |at| pattern.rule_at(tokens, at).map_or(pattern.elsewhere, |rule| pattern.rules[rule].value);
    (0..tokens.len()).map(value).collect()
}
