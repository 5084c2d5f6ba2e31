//! The cosine between each word of a window and the explanation: the simulator that needs no language model.
//!
//! Ours; no counterpart upstream. A sentence encoder turns words and explanation into vectors. All vectors of a model point
//! somewhat the same way (mean cosine .3 between any two words of all-MiniLM-L6-v2), so the mean of a fixed list of words is
//! subtracted first. The value of a word, and of every token in it, is 10 · max(0, c)³: a monotone map, 10 where word and
//! explanation are the same and 0 where they have nothing to do with each other. c is the mean of the cosine with the whole
//! explanation and the highest cosine with a part of it ("look, seem or sound" has three parts), so that neither drowns the other.
//! docs/simulators.md has the variants that were measured.

use std::collections::HashMap;

use super::listed_tokens::{Listed, listed};
use super::prompt::one_line;
use super::simulate::{Outcome, Simulation, Task};
use super::words::{Word, words};
use crate::completions::reply::Failure;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};

/// What the cosine is raised to. Most words have a small one; to the third power they add up to little.
const POWER: i32 = 3;

/// Words whose mean vector is what all words have in common: frequent ones, ordinary ones of many topics, and punctuation.
const COMMON: &str = "the of and to in was for with from it he they we this that not but have will could one only there after \
    because very always time year man people child house city country water food money book school work hand life war law \
    animal tree river road car music red small walk hear think know make give come london john monday good old first government \
    church letter window doctor soldier horse ship fire gold paper bread voice dream anger hope power question number story \
    science winter morning north heart blood dog bird , . \" (";

/// Words that part an explanation.
const PARTING: [&str; 10] = ["and", "or", "such", "as", "like", "including", "of", "about", "e.g", "eg"];

/// Words that are no part by themselves.
const EMPTY: [&str; 30] = [
    "a",
    "an",
    "the",
    "in",
    "on",
    "to",
    "is",
    "are",
    "that",
    "this",
    "for",
    "with",
    "from",
    "by",
    "at",
    "it",
    "its",
    "their",
    "word",
    "words",
    "token",
    "tokens",
    "kind",
    "type",
    "sort",
    "neuron",
    "related",
    "references",
    "mentions",
    "something",
];

/// What decides values beside the encoder, for the method's hash.
pub(super) fn definition() -> String {
    format!("{POWER}\n{COMMON}\n{PARTING:?}\n{EMPTY:?}")
}

/// What an explanation is compared by.
enum Target {
    /// The whole text, then its parts.
    Phrase(Vec<String>),
    /// Tokens with their weights.
    Tokens(Vec<Listed>),
}

/// Simulates windows; see [`super::simulate::simulate_all`]. Every text is embedded once, however often it stands in the tasks.
pub(super) async fn simulate(encoder: &dyn TextEncoder, tasks: &[Task]) -> Result<Vec<Outcome>> {
    let targets: Vec<Result<Target, String>> = tasks.iter().map(|task| target(&task.explanation)).collect();
    let windows: Vec<Vec<Word>> = tasks.iter().map(|task| words(&task.tokens)).collect();
    let vectors = {
        let mut texts: Vec<&str> = COMMON.split_whitespace().collect();
        for target in targets.iter().flatten() {
            match target {
                Target::Phrase(parts) => texts.extend(parts.iter().map(String::as_str)),
                Target::Tokens(tokens) => texts.extend(tokens.iter().map(|listed| listed.token.trim())),
            }
        }
        texts.extend(windows.iter().flatten().map(|word| word.text.as_str()));
        Vectors::embed(encoder, texts).await?
    };
    let simulate = |((target, window), task): ((&Result<Target, String>, &Vec<Word>), &Task)| {
        let target = target.as_ref().map_err(|reason| Failure::from(reason.clone()))?;
        let mut expected = vec![Some(0.0); task.tokens.len()];
        for word in window {
            for token in word.tokens.clone() {
                expected[token] = Some(vectors.value(target, word, &task.tokens[token]));
            }
        }
        Ok(Simulation { expected, number_mass: None, n_unread: 0, completions: Vec::new() })
    };
    Ok(targets.iter().zip(&windows).zip(tasks).map(simulate).collect())
}

fn target(explanation: &str) -> Result<Target, String> {
    if let Some(tokens) = listed(explanation) {
        return Ok(Target::Tokens(tokens));
    }
    let whole = one_line(explanation);
    if whole.is_empty() {
        return Err("expected an explanation, got an empty text".to_owned());
    }
    // The token lookup's way of saying that it has nothing to say: no word is nearer to that than another.
    if whole.starts_with("no token stands out") || whole.starts_with("negative on every token") {
        return Err(format!("expected an explanation that names what the unit responds to, got '{whole}'"));
    }
    Ok(Target::Phrase(parts(whole)))
}

/// The explanation, and its parts: what stands in quotes, and what stands between commas, brackets and words such as "or".
pub(super) fn parts(whole: String) -> Vec<String> {
    let mut parts = Vec::new();
    for clause in whole.split([',', ';', ':', '(', ')', '/', '"', '\u{201c}', '\u{201d}', '`']) {
        for run in clause.split_whitespace().collect::<Vec<_>>().split(|word| PARTING.contains(&lower(word).as_str())) {
            let part = run.join(" ").trim_matches(['.', '\'']).to_owned();
            let says_something = run.iter().any(|word| !EMPTY.contains(&lower(word).as_str()));
            if says_something && !part.is_empty() && part != whole && !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    parts.insert(0, whole);
    parts
}

fn lower(word: &str) -> String {
    word.trim_matches('.').to_lowercase()
}

/// Vectors of texts, with what all words have in common taken out, at length 1.
struct Vectors<'a> {
    rows: HashMap<&'a str, Vec<f32>>,
}

impl<'a> Vectors<'a> {
    async fn embed(encoder: &dyn TextEncoder, mut texts: Vec<&'a str>) -> Result<Self> {
        texts.sort_unstable();
        texts.dedup();
        texts.retain(|text| !text.is_empty());
        let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let embedded = encoder.embed_all(&owned).await?;
        let width = embedded.first().map_or(0, Vec::len);
        if embedded.len() != texts.len() || width == 0 || embedded.iter().any(|row| row.len() != width) {
            return Err(Error::internal(format!(
                "text encoder '{}': expected {} vectors of one width, got {}",
                encoder.name(),
                texts.len(),
                embedded.len()
            )));
        }
        let mut rows: HashMap<&str, Vec<f32>> = texts.into_iter().zip(embedded).collect();
        let mut common = vec![0.0_f32; width];
        let n = COMMON.split_whitespace().count() as f32;
        for word in COMMON.split_whitespace() {
            for (sum, value) in common.iter_mut().zip(rows.get(word).into_iter().flatten()) {
                *sum += value / n;
            }
        }
        for row in rows.values_mut() {
            row.iter_mut().zip(&common).for_each(|(value, common)| *value -= common);
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|value| *value /= length);
            }
        }
        Ok(Self { rows })
    }

    /// Cosine of two texts, -1..1; 0 for a text without anything to embed, such as whitespace.
    fn cosine(&self, a: &str, b: &str) -> f32 {
        match (self.rows.get(a), self.rows.get(b)) {
            (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| a * b).sum(),
            _ => 0.0,
        }
    }

    /// Expected activation at a token of a word, 0..10.
    fn value(&self, target: &Target, word: &Word, token: &str) -> f32 {
        let sharpen = |cosine: f32| cosine.clamp(0.0, 1.0).powi(POWER);
        match target {
            Target::Phrase(parts) => {
                let cosines = parts.iter().map(|part| self.cosine(&word.text, part));
                let whole = self.cosine(&word.text, &parts[0]);
                10.0 * sharpen(0.5 * (whole + cosines.fold(f32::NEG_INFINITY, f32::max)))
            }
            Target::Tokens(tokens) => {
                let weigh = |listed: &Listed| {
                    if listed.token.trim().to_lowercase() == token.trim().to_lowercase() {
                        return listed.weight;
                    }
                    listed.weight * sharpen(self.cosine(&word.text, listed.token.trim()))
                };
                tokens.iter().map(weigh).fold(0.0, f32::max)
            }
        }
    }
}
