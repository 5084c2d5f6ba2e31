use std::collections::BTreeSet;

use crate::planted::corpus::{self, MAX_TOKENS};
use crate::planted::{Noise, lexicon, subject_with};

#[test]
fn every_word_of_the_corpus_is_in_the_lexicon() {
    let mut unknown = BTreeSet::new();
    for seed in 0..5 {
        for document in corpus::documents(seed) {
            assert_eq!(document.tokens.concat(), document.text);
            assert!(document.tokens.len() <= MAX_TOKENS);
            unknown.extend(document.tokens.into_iter().filter(|token| !lexicon::knows(token.trim())));
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn every_rule_fires_and_is_silent_often_enough() {
    let subject = subject_with(0, Noise::Off);
    let n: usize = subject.documents.iter().map(|d| d.text.matches(['.', '?']).count()).sum();
    println!("{} documents, {n} sentences", subject.documents.len());
    for unit in &subject.units {
        let firing = unit.activations.iter().flatten().filter(|a| **a == 10.0).count();
        let weak = unit.activations.iter().flatten().filter(|a| **a == 5.0).count();
        let documents = unit.activations.iter().filter(|d| d.iter().any(|a| *a > 0.0)).count();
        println!("{:25} {firing:5} {weak:5} {documents:4}", unit.rule.name);
    }
}
