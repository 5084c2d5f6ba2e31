//! Texts of the token lookup; and what the tests of the other explainers share.

pub(crate) mod scripted;

use super::evidence::{Evidence, EvidenceRecord};
use super::token_lookup::explain;
use crate::neurons::token_means::{TokenLookup, TokenMean};

/// A record from tokens that end at `|`, with activations after `#`.
pub(crate) fn record(written: &str) -> EvidenceRecord {
    let pairs = written.split('|').map(|token| match token.split_once('#') {
        Some((token, activation)) => (token.to_owned(), activation.parse().unwrap()),
        None => (token.to_owned(), 0.0),
    });
    let (tokens, activations) = pairs.unzip();
    EvidenceRecord { tokens, activations }
}

/// Evidence of windows in which a neuron fires, and of windows in which it does not.
pub(crate) fn evidence(firing: &[&str], quiet: &[&str]) -> Evidence {
    let records = |written: &[&str]| written.iter().map(|text| record(text)).collect();
    Evidence { records: records(firing), quiet: records(quiet), promoted: Vec::new() }
}

/// The text for tokens given as (text, mean, occurrences), a base and a standard deviation.
fn text(tokens: &[(&str, f32, u64)], base: f32, deviation: f64) -> String {
    let means = (0..).zip(tokens).map(|(token_id, (_, mean_activation, n_occurrences))| TokenMean {
        token_id,
        mean_activation: *mean_activation,
        n_occurrences: *n_occurrences,
    });
    let lookup = TokenLookup { tokens: means.collect(), base, n_base: 1000 };
    explain(&lookup, deviation, |token_id| tokens[token_id as usize].0.to_owned())
}

#[test]
fn tokens_are_named_strongest_first_on_a_scale_of_ten() {
    let got = text(&[(" kings", 2.9, 40), (" king", 3.6, 90), (" the", -0.05, 9000), (" queen", 0.8, 30)], 0.04, 0.3);
    assert_eq!(got, r#"tokens " king" (10.0), " kings" (8.1), " queen" (2.2); elsewhere about 0.1"#);
}

#[test]
fn weak_and_chance_tokens_are_left_out() {
    // 0.5 is below a fifth of the first; 3.0 was seen once and lies within three standard errors.
    let got = text(&[(" a", 3.6, 90), (" b", 0.5, 90), (" c", 3.0, 1)], -0.1, 1.2);
    assert_eq!(got, r#"tokens " a" (10.0); elsewhere about 0.0"#);
}

#[test]
fn at_most_twelve_tokens_are_named() {
    let tokens: Vec<(&str, f32, u64)> = (0..30).map(|i| ("x", 5.0 - 0.01 * i as f32, 100)).collect();
    assert_eq!(text(&tokens, 0.0, 0.5).matches("\"x\"").count(), 12);
}

#[test]
fn invisible_characters_are_escaped() {
    let got = text(&[("\n\t", 4.0, 50), ("\u{200b}", 3.0, 50), ("\"\\", 2.0, 50), ("\u{fffd}é", 1.0, 50)], 0.0, 0.2);
    assert_eq!(
        got,
        "tokens \"\\n\\t\" (10.0), \"\\u{200b}\" (7.5), \"\\\"\\\\\" (5.0), \"\u{fffd}é\" (2.5); elsewhere about 0.0"
    );
}

#[test]
fn neurons_without_telling_tokens_have_a_text_too() {
    let check = |tokens: &[(&str, f32, u64)], base, deviation, expected: &str| {
        assert_eq!(text(tokens, base, deviation), expected)
    };
    check(
        &[(" a", 0.1, 900)],
        0.0,
        1.0,
        "no token stands out: whether it fires depends on more than the current token",
    );
    check(&[], 2.0, 0.5, "no token stands out: it is active nearly everywhere");
    check(&[], -2.0, 0.5, "no token stands out: it is negative nearly everywhere");
    check(&[(" a", 0.3, 5)], 0.3, 0.0, "no token stands out: it has the same activation everywhere");
}

#[test]
fn negative_neurons_are_described_in_their_own_units() {
    let got = text(&[(" a", -0.25, 500), (" b", -0.5, 500)], -1.0, 0.2);
    assert_eq!(
        got,
        r#"negative on every token, least on " a" (-0.250), " b" (-0.500); elsewhere about -1.00 (in units of the neuron)"#
    );
}
