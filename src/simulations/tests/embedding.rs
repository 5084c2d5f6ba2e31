//! The embedding simulator with all-MiniLM-L6-v2: on our own puzzles and on real neurons of SmolLM2 (shared data's README).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::embeddings::encoder::SentenceEncoder;
use crate::simulations::embedding::parts;
use crate::simulations::listed_tokens::{Listed, listed};
use crate::simulations::simulate::{Outcome, Task, simulate_all};
use crate::simulations::simulator::Simulator;
use crate::simulations::words::words;

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path)
}

fn minilm() -> SentenceEncoder {
    let folder = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/neuronlake-models")
    });
    let folder = folder.join("all-MiniLM-L6-v2");
    assert!(folder.is_dir(), "'{}' is missing: run scripts/fetch_test_models", folder.display());
    SentenceEncoder::load(&folder).unwrap()
}

/// A unit with an explanation by a person, and the windows it is scored on.
struct Unit {
    name: String,
    explanation: String,
    windows: Vec<(Vec<String>, Vec<f32>)>,
}

async fn simulate(encoder: &SentenceEncoder, explanation: &str, tokens: &[String]) -> Outcome {
    let task = Task { explanation: explanation.to_owned(), tokens: tokens.to_vec() };
    simulate_all(Simulator::Embedding, None, Some(encoder), &[task]).await.unwrap().remove(0)
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (ma, mb) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(a, b)| f(a - ma, b - mb)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

/// Correlation over all tokens of a unit's windows with the simulation of an explanation.
async fn score(encoder: &SentenceEncoder, unit: &Unit, explanation: &str) -> f64 {
    let tasks: Vec<Task> = unit
        .windows
        .iter()
        .map(|(tokens, _)| Task { explanation: explanation.to_owned(), tokens: tokens.clone() })
        .collect();
    let simulations = simulate_all(Simulator::Embedding, None, Some(encoder), &tasks).await.unwrap();
    let mut pairs = Vec::new();
    for (simulation, (_, actual)) in simulations.iter().zip(&unit.windows) {
        for (expected, actual) in simulation.as_ref().unwrap().expected.iter().zip(actual) {
            pairs.push((f64::from(expected.unwrap()), f64::from(*actual)));
        }
    }
    correlation(&pairs)
}

/// Mean score with the own explanation, and with those of the units that stand so many places on.
async fn true_and_wrong(encoder: &SentenceEncoder, units: &[Unit], distances: &[usize]) -> (f64, f64) {
    let (mut right, mut wrong) = (0.0, 0.0);
    for (i, unit) in units.iter().enumerate() {
        let own = score(encoder, unit, &unit.explanation).await;
        println!("{:>24} {own:6.3}  {}", unit.name, unit.explanation);
        right += own / units.len() as f64;
        for distance in distances {
            let other = &units[(i + distance) % units.len()].explanation;
            wrong += score(encoder, unit, other).await / (units.len() * distances.len()) as f64;
        }
    }
    println!("true {right:.3}, wrong {wrong:.3}");
    (right, wrong)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PuzzleToken {
    Silent(String),
    Active(String, f32),
}

#[derive(Deserialize)]
struct Puzzle {
    explanation: String,
    sentences: Vec<Vec<PuzzleToken>>,
}

fn puzzles() -> Vec<Unit> {
    let json = std::fs::read(shared("puzzles/own_puzzles.json")).unwrap();
    let puzzles: std::collections::BTreeMap<String, Puzzle> = serde_json::from_slice(&json).unwrap();
    let token = |token: PuzzleToken| match token {
        PuzzleToken::Silent(text) => (text, 0.0),
        PuzzleToken::Active(text, value) => (text, value),
    };
    puzzles
        .into_iter()
        .map(|(name, puzzle)| Unit {
            name,
            explanation: puzzle.explanation,
            windows: puzzle.sentences.into_iter().map(|tokens| tokens.into_iter().map(token).unzip()).collect(),
        })
        .collect()
}

/// Measured: .68 with the true explanation and .12 with a wrong one; the closest pair is .15 apart (plural nouns, of which the
/// sentences with animals are nearer to cats than other words are).
#[tokio::test]
async fn true_explanations_of_the_puzzles_score_above_wrong_ones() {
    let (encoder, puzzles) = (minilm(), puzzles());
    let (right, wrong) = true_and_wrong(&encoder, &puzzles, &[1, 2]).await;
    assert!(right > 0.6 && wrong < 0.2, "true {right:.3}, wrong {wrong:.3}");
    for (i, puzzle) in puzzles.iter().enumerate() {
        let own = score(&encoder, puzzle, &puzzle.explanation).await;
        for other in puzzles.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other) {
            let theirs = score(&encoder, puzzle, &other.explanation).await;
            assert!(own > theirs + 0.1, "{}: {own:.3} with its own, {theirs:.3} with {}", puzzle.name, other.name);
        }
    }
}

#[derive(Deserialize)]
struct Record {
    tokens: Vec<String>,
    activations: Vec<f32>,
}

#[derive(Deserialize)]
struct NeuronRecord {
    random_sample: Vec<Record>,
    most_positive_activation_records: Vec<Record>,
}

/// The hand-picked neurons, with phrases by a person who saw their top tokens.
const NEURONS: [(u32, u32, &str); 20] = [
    (21, 282, "opening and closing"),
    (21, 249, "the word \"just\""),
    (21, 254, "the word \"set\""),
    (21, 826, "kind, sort or type of something"),
    (9, 783, "verbs of meaning and intending"),
    (9, 1078, "the word \"after\""),
    (9, 1051, "the word \"of\""),
    (3, 1156, "movement"),
    (21, 1115, "look, seem or sound"),
    (21, 783, "using something"),
    (21, 97, "syllables such as la, ta and wa"),
    (9, 1095, "ordinal numbers such as nineteenth"),
    (9, 1450, "verbs of motion such as wander and rotate"),
    (27, 477, "verbs of saying"),
    (21, 925, "since and until"),
    (21, 43, "building and for"),
    (21, 681, "whole, entire"),
    (21, 400, "emphatic adjectives"),
    (21, 1010, "the word \"and\""),
    (27, 291, "words starting with the letter f"),
];

/// Neurons with the explanation that `explain` makes of the windows kept for it, scored on five others of the top and five
/// random ones.
fn neurons(explain: impl Fn(&str, &[Record]) -> String) -> Vec<Unit> {
    let unit = |(layer, neuron, phrase): (u32, u32, &str)| {
        let path = shared(&format!("neuron-records-smollm2/layer{layer}_neuron{neuron}.json"));
        let record: NeuronRecord = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let (mut seen, mut windows) = (Vec::new(), Vec::new());
        for (i, top) in record.most_positive_activation_records.into_iter().enumerate() {
            match i % 4 {
                0 => seen.push(top),
                2 => windows.push((top.tokens, top.activations)),
                _ => {}
            }
        }
        let random = record.random_sample.into_iter().skip(1).step_by(2).take(5);
        windows.extend(random.map(|random| (random.tokens, random.activations)));
        Unit { name: format!("{layer}/{neuron}"), explanation: explain(phrase, &seen), windows }
    };
    NEURONS.into_iter().map(unit).collect()
}

/// Measured: .52 and .01. models-and-data §2 has .55 and .02 for other phrases on the same neurons.
#[tokio::test]
async fn true_explanations_of_real_neurons_score_above_wrong_ones() {
    let neurons = neurons(|phrase, _| phrase.to_owned());
    let (right, wrong) = true_and_wrong(&minilm(), &neurons, &[1, 7]).await;
    assert!(right > 0.45 && wrong < 0.06, "true {right:.3}, wrong {wrong:.3}");
}

/// The tokens that a neuron fires on in five of its top windows, as the token lookup writes them. Measured: .51 and .00.
#[tokio::test]
async fn lists_of_tokens_are_simulated_by_their_nearest_token() {
    let list = |_: &str, seen: &[Record]| {
        let mut best: Vec<(f32, &str)> = Vec::new();
        for (token, value) in seen.iter().flat_map(|record| record.tokens.iter().zip(&record.activations)) {
            match best.iter_mut().find(|(_, known)| known == token) {
                Some((highest, _)) => *highest = highest.max(*value),
                None => best.push((*value, token)),
            }
        }
        best.sort_by(|a, b| b.0.total_cmp(&a.0));
        let scaled = best[..5].iter().map(|(value, token)| format!("{token:?} ({:.1})", 10.0 * value / best[0].0));
        format!("tokens {}; elsewhere about 0.0", scaled.collect::<Vec<_>>().join(", "))
    };
    let (right, wrong) = true_and_wrong(&minilm(), &neurons(list), &[1, 7]).await;
    assert!(right > 0.4 && wrong < 0.06, "true {right:.3}, wrong {wrong:.3}");
}

#[tokio::test]
async fn values_are_within_0_and_10_and_the_same_for_all_tokens_of_a_word() {
    let encoder = minilm();
    let tokens = ["The", " kit", "tens", " purr", ".", "\n", " ", "kittens"].map(str::to_owned);
    let phrase = simulate(&encoder, "kittens.", &tokens).await.unwrap();
    let values: Vec<f32> = phrase.expected.iter().map(|value| value.unwrap()).collect();
    assert!(values.iter().all(|value| (0.0..=10.0).contains(value)), "{values:?}");
    assert_eq!(values[1], values[2]);
    assert!(values[1] > 9.99 && values[7] == values[1] && values[3] > 0.0 && values[3] < 9.0, "{values:?}");
    assert_eq!(values[5..7], [0.0, 0.0]);
    assert_eq!((phrase.n_unread, phrase.number_mass), (0, None));
    let list = simulate(&encoder, r#"tokens " kit" (10.0), " dog" (5.0); elsewhere about 0.1"#, &tokens).await.unwrap();
    let values: Vec<f32> = list.expected.iter().map(|value| value.unwrap()).collect();
    // A listed token has its weight; its neighbour in the word only what the word's meaning gives.
    assert!(
        values[1] == 10.0 && values[2] < 10.0 && values.iter().all(|value| (0.0..=10.0).contains(value)),
        "{values:?}"
    );
    for nothing in ["", " . ", "no token stands out: it is active nearly everywhere"] {
        assert!(simulate(&encoder, nothing, &tokens).await.is_err(), "{nothing:?}");
    }
    assert_eq!(simulate(&encoder, "cats", &[]).await.unwrap().expected, []);
}

#[test]
fn tokens_are_joined_to_words() {
    let check = |tokens: &[&str], expected: &[&str]| {
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let words = words(&tokens);
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, expected);
        let covered: Vec<usize> = words.iter().flat_map(|word| word.tokens.clone()).collect();
        assert_eq!(covered, (0..tokens.len()).collect::<Vec<_>>());
    };
    check(&["The", " farm", "ers", " sold", "."], &["The", "farmers", "sold", "."]);
    check(&[" ", "1", "9", "8", "7", "-", "2"], &["", "1987", "-", "2"]);
    check(&[" don", "'t", " \"", "stop", "\""], &["don't", "\"", "stop", "\""]);
    check(&["a\n", "b", "\n", "c "], &["a", "b", "", "c"]);
    check(&["\u{4e2d}", "\u{6587}", "a"], &["\u{4e2d}", "\u{6587}", "a"]);
    check(&["", "a", ""], &["", "a", ""]);
    check(&[], &[]);
}

#[test]
fn explanations_have_parts() {
    let check = |text: &str, expected: &[&str]| assert_eq!(parts(text.to_owned()), expected);
    check("words about cats", &["words about cats", "cats"]);
    check("the word \"just\"", &["the word \"just\"", "just"]);
    check("look, seem or sound", &["look, seem or sound", "look", "seem", "sound"]);
    check("verbs of motion (e.g. to wander)", &["verbs of motion (e.g. to wander)", "verbs", "motion", "to wander"]);
    check("movement", &["movement"]);
}

#[test]
fn lists_of_tokens_are_told_from_sentences() {
    let entry = |token: &str, weight| Listed { token: token.to_owned(), weight };
    let text = r#"tokens " king" (10.0), "\n\t\u{200b}\"\\" (8.1); elsewhere about 0.1"#;
    assert_eq!(listed(text), Some(vec![entry(" king", 10.0), entry("\n\t\u{200b}\"\\", 8.1)]));
    for other in
        ["tokens about kings", "kings", "", "tokens \"a\"", "tokens \"a\" (x)", "tokens \"a", "tokens \"a\" (11)"]
    {
        assert_eq!(listed(other), None, "{other}");
    }
}
