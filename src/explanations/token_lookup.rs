//! The token lookup table as a sentence: the explanation that needs no language model.

use std::fmt::Write as _;

use crate::neurons::token_means::{TokenLookup, TokenMean};

/// Name of the explainer and of the simulator that reads the same table.
pub const TOKEN_LOOKUP: &str = "token_lookup";

/// Tokens named at most.
const MAX_TOKENS: usize = 12;
/// A token is named when its mean exceeds the base by at least this share of what the first token's does.
const SHARE_OF_FIRST: f64 = 0.2;
/// … and by at least this many standard deviations of the neuron, so that the token decides much of its activation,
const MIN_DEVIATIONS: f64 = 0.5;
/// … and by this many standard errors of the token's mean, so that chance did not make it.
const MIN_STANDARD_ERRORS: f64 = 3.0;
/// Top of the scale in the text.
const SCALE: f64 = 10.0;

/// Says which tokens a neuron fires on, strongest first, on a scale of 0 to 10.
///
/// `deviation` is the standard deviation of the neuron's activation, in its own units; `text_of` gives a token id's text.
/// The scale puts the largest mean at 10 and 0 at 0; what is below 0 reads as 0. A neuron whose means are all negative has no
/// such scale: its tokens are given in its own units. Invisible characters are written as escapes. The text is a phrase
/// without a full stop, such as `tokens " king" (10.0), " kings" (8.1); elsewhere about 0.1`.
pub fn explain(lookup: &TokenLookup, deviation: f64, text_of: impl Fn(u32) -> String) -> String {
    let base = f64::from(lookup.base);
    let named = standing_out(lookup, deviation);
    let Some(first) = named.first() else {
        return format!("no token stands out: {}", without_tokens(base, deviation));
    };
    let max = f64::from(first.mean_activation);
    let list = |value: &dyn Fn(f64) -> String| {
        let mut list = String::new();
        for (i, token) in named.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            // The debug form of a string quotes it and escapes what cannot be seen.
            let _ =
                write!(list, "{separator}{:?} ({})", text_of(token.token_id), value(f64::from(token.mean_activation)));
        }
        list
    };
    if max > 0.0 {
        let scaled = |mean: f64| format!("{:.1}", (SCALE * mean / max).clamp(0.0, SCALE));
        format!("tokens {}; elsewhere about {}", list(&scaled), scaled(base))
    } else {
        format!(
            "negative on every token, least on {}; elsewhere about {} (in units of the neuron)",
            list(&digits),
            digits(base)
        )
    }
}

/// The tokens that are clearly above the base, strongest first.
fn standing_out(lookup: &TokenLookup, deviation: f64) -> Vec<&TokenMean> {
    let base = f64::from(lookup.base);
    let excess = |token: &TokenMean| f64::from(token.mean_activation) - base;
    let clearly = |token: &&TokenMean| {
        let by_chance = MIN_STANDARD_ERRORS * deviation / (token.n_occurrences as f64).sqrt();
        excess(token) > 0.0 && excess(token) >= by_chance.max(MIN_DEVIATIONS * deviation)
    };
    let mut tokens: Vec<&TokenMean> = lookup.tokens.iter().filter(clearly).collect();
    tokens.sort_by(|a, b| b.mean_activation.total_cmp(&a.mean_activation).then(a.token_id.cmp(&b.token_id)));
    let least = tokens.first().map_or(0.0, |first| SHARE_OF_FIRST * excess(first));
    tokens.retain(|token| excess(token) >= least);
    tokens.truncate(MAX_TOKENS);
    tokens
}

/// What can be said of a neuron that the current token says little about.
fn without_tokens(base: f64, deviation: f64) -> &'static str {
    if deviation == 0.0 {
        "it has the same activation everywhere"
    } else if base.abs() < deviation {
        "whether it fires depends on more than the current token"
    } else if base > 0.0 {
        "it is active nearly everywhere"
    } else {
        "it is negative nearly everywhere"
    }
}

/// Three digits that matter, whatever the size.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let places = (2.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}")
}
