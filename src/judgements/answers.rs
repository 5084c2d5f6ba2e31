//! Reading what a judge answered.

use std::ops::Range;

use crate::completions::reply::{GeneratedToken, Reply};

/// Answers of a list of ones and zeros.
pub(super) struct BinaryAnswers {
    /// One a text.
    pub(super) predicted: Vec<bool>,
    /// P(1) / (P(0) + P(1)) at each answer, where the reply's tokens tell.
    pub(super) values: Vec<Option<f64>>,
}

/// The `n` ones and zeros of a reply: of its last list in brackets, or of the reply as a whole if it has none.
///
/// # Errors
/// What was expected and what was there.
pub(super) fn binary(reply: &Reply, n: usize) -> Result<BinaryAnswers, String> {
    let text = &reply.text;
    let lists = brackets(text);
    let whole = 0..text.len();
    let candidates = if lists.is_empty() { vec![whole] } else { lists };
    let found = candidates.into_iter().rev().find_map(|range| Some((bits(&text[range.clone()])?, range)));
    let Some((predicted, range)) = found else {
        return Err(format!("expected a list of {n} ones and zeros, got '{}'", shortened(text)));
    };
    if predicted.len() != n {
        return Err(format!("expected {n} answers, got {}", predicted.len()));
    }
    let read: Vec<f64> = tokens_in(&reply.tokens, &range).filter_map(|token| share(token, "1", &["0", "1"])).collect();
    // Tokens that hold several answers, or none that can be told apart: no probabilities rather than shifted ones.
    let values = if read.len() == n { read.into_iter().map(Some).collect() } else { vec![None; n] };
    Ok(BinaryAnswers { predicted, values })
}

/// The one number from 1 to `n` that a reply names, 0-based, and the probability of `wanted` (0-based) there among all.
///
/// # Errors
/// What was expected and what was there.
pub(super) fn choice(reply: &Reply, n: usize, wanted: usize) -> Result<(usize, Option<f64>), String> {
    let fault = || format!("expected one number from 1 to {n}, got '{}'", shortened(&reply.text));
    let mut named = reply.text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let first = named.next().ok_or_else(fault)?;
    let number: usize = first.parse().map_err(|_| fault())?;
    if !(1..=n).contains(&number) || named.any(|other| other != first) {
        return Err(fault());
    }
    let names: Vec<String> = (1..=n).map(|i| i.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let probability = reply.tokens.iter().find_map(|token| share(token, names[wanted], &names));
    Ok((number - 1, probability))
}

/// What stands inside each pair of brackets.
fn brackets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = None;
    for (i, c) in text.char_indices() {
        match (c, open) {
            ('[', _) => open = Some(i + 1),
            (']', Some(start)) => {
                found.push(start..i);
                open = None;
            }
            _ => {}
        }
    }
    found
}

fn bits(list: &str) -> Option<Vec<bool>> {
    let items = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
    let bits: Option<Vec<bool>> = items
        .map(|item| match item {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })
        .collect();
    bits.filter(|bits| !bits.is_empty())
}

/// The tokens that overlap a part of the reply's text.
fn tokens_in<'a>(tokens: &'a [GeneratedToken], range: &'a Range<usize>) -> impl Iterator<Item = &'a GeneratedToken> {
    let mut end = 0;
    tokens.iter().filter(move |token| {
        let start = end;
        end += token.text.len();
        end > range.start && start < range.end
    })
}

/// The probability of `wanted` among `names` at a token that is one of them; `None` at any other token.
fn share(token: &GeneratedToken, wanted: &str, names: &[&str]) -> Option<f64> {
    let name = |text: &'_ str| {
        let digits = text.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
        names.contains(&digits.as_str()).then_some(digits)
    };
    name(&token.text)?;
    let (mut of_wanted, mut of_all) = (0.0, 0.0);
    for (text, log_probability) in &token.alternatives {
        if let Some(found) = name(text) {
            of_all += log_probability.exp();
            if found == wanted {
                of_wanted += log_probability.exp();
            }
        }
    }
    (of_all > 0.0).then(|| of_wanted / of_all)
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let line: String = text.trim().chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.trim().chars().count() > LONGEST { format!("{line}…") } else { line }
}
