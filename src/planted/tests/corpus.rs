use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use crate::hash;
use crate::planted::corpus::{self, MAX_TOKENS, N_DOCUMENTS};
use crate::planted::lexicon::{self, ENTRIES};
use crate::planted::tokens::tokenize;
use crate::planted::{CORE, NOISE, Noise, WEAK, subject, subject_with};
use crate::token_sequences::split::{Split, SplitStrategy};

/// Rules that no document goes without.
const EVERYWHERE: [&str; 1] = ["sentence_start"];

#[test]
fn every_word_of_the_corpus_is_in_the_lexicon() {
    let mut unknown = BTreeSet::new();
    for seed in 0..5 {
        let documents = corpus::documents(seed);
        assert_eq!(documents.len(), N_DOCUMENTS);
        for document in documents {
            assert_eq!(document.tokens.concat(), document.text);
            assert!(document.tokens.len() <= MAX_TOKENS);
            assert!(!document.text.contains(['[', ']', '{', '}', '|', '_']), "{}", document.text);
            unknown.extend(document.tokens.into_iter().filter(|token| !lexicon::knows(token.trim())));
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn no_word_is_two_things() {
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for word in ENTRIES.iter().flat_map(|(_, words)| words.split_whitespace()) {
        *lines.entry(word).or_default() += 1;
    }
    let twice: Vec<_> = lines.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn documents_read_like_text() {
    let documents = corpus::documents(0);
    let texts: BTreeSet<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    assert_eq!(texts.len(), N_DOCUMENTS, "no two are alike");
    let mut sentences = Vec::new();
    for text in texts {
        assert!(text.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit() || c == '"'), "{text}");
        assert!(text.ends_with(['.', '?', '"']), "{text}");
        assert!(text.matches('"').count() % 2 == 0, "{text}");
        for wrong in ["  ", " a a", " a e", " a i", " a o", " an b", " an c", " an d", " ,", " .", ".."] {
            assert!(!text.contains(wrong), "{wrong:?} in {text}");
        }
        sentences.extend(text.split_inclusive(['.', '?']).map(str::trim).filter(|sentence| sentence.len() > 1));
    }
    assert!(sentences.len() >= 1000, "{}", sentences.len());
    let different: BTreeSet<&str> = sentences.iter().copied().collect();
    assert!(different.len() >= 800, "{} of {}", different.len(), sentences.len());
}

#[test]
fn every_rule_fires_and_is_silent_often_enough() {
    let subject = subject_with(0, Noise::Off);
    for unit in &subject.units {
        let name = unit.rule.name;
        let fires = |activations: &Vec<f32>| activations.iter().any(|activation| *activation > 0.0);
        let n_core = unit.activations.iter().flatten().filter(|activation| **activation == CORE).count();
        let n_silent = unit.activations.iter().filter(|activations| !fires(activations)).count();
        assert!(n_core >= 60, "{name} fires {n_core} times");
        assert!(n_silent >= 10 || EVERYWHERE.contains(&name), "{name} is silent in {n_silent} documents");
        assert!(unit.activations.iter().flatten().all(|activation| [0.0, WEAK, CORE].contains(activation)));
    }
}

#[test]
fn every_split_shows_every_unit() {
    let subject = subject_with(0, Noise::Off);
    let strategy = SplitStrategy::default();
    for (split, least_firing, least_silent) in
        [(Split::Train, 10, 5), (Split::Calibration, 1, 1), (Split::Valid, 4, 1), (Split::Test, 1, 1)]
    {
        let of_split = |i: &usize| strategy.split_of_document(hash::key(&subject.documents[*i].text)) == split;
        let documents: Vec<usize> = (0..subject.documents.len()).filter(of_split).collect();
        for (i, unit) in subject.units.iter().enumerate() {
            let windows = subject.windows(i, &documents, usize::MAX, 0);
            let (firing, silent) = (windows.firing.len(), windows.silent.len());
            assert_eq!(firing + silent, documents.len());
            assert!(firing >= least_firing, "{split}: {} fires in {firing}", unit.rule.name);
            assert!(silent >= least_silent || EVERYWHERE.contains(&unit.rule.name), "{split}: {}", unit.rule.name);
        }
    }
}

#[test]
fn noise_is_small_seeded_and_only_where_the_rule_is_silent() {
    let (exact, noisy) = (subject_with(3, Noise::Off), subject(3));
    assert_eq!(exact.documents, noisy.documents);
    let mut different = 0;
    for (exact, noisy) in exact.units.iter().zip(&noisy.units) {
        for (exact, noisy) in exact.activations.iter().flatten().zip(noisy.activations.iter().flatten()) {
            assert!(if *exact > 0.0 { exact == noisy } else { (0.0..NOISE).contains(noisy) });
            different += usize::from(exact != noisy);
        }
    }
    assert!(different > 100_000, "{different}");
    let activations = |seed| subject(seed).units[0].activations.clone();
    assert_eq!(activations(3), activations(3));
    assert_ne!(activations(3), activations(4));
}

#[test]
fn tokens_are_words_with_their_spaces() {
    let tokens = tokenize("Anna's aunt paid 120 dollars, \"Why?\"");
    assert_eq!(tokens, ["Anna", "'s", " aunt", " paid", " 120", " dollars", ",", " \"", "Why", "?", "\""]);
    assert!(tokenize("").is_empty());
}

proptest! {
    #[test]
    fn tokens_put_together_are_the_text(text in any::<String>()) {
        let tokens = tokenize(&text);
        prop_assert_eq!(tokens.concat(), text);
        prop_assert!(tokens.iter().all(|token| !token.is_empty()));
    }
}
