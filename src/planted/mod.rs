//! Planted truth: a made-up subject whose units follow known rules, for telling methods that read explanations from those
//! that only seem to.
//!
//! Text of our own ([`corpus`], every word of it in [`lexicon`]) is read by rules ([`mod@rules`]), each a unit with a true
//! explanation, a paraphrase and exact activations. A method scores true and false explanations ([`trials`]) on it, and how
//! often the true one comes out ahead ([`ranking`], [`report`]) says whether its scores mean anything. Nothing here is
//! learned and nothing comes from elsewhere. `docs/selftest.md` describes the method.

pub mod corpus;
pub mod lexicon;
pub mod ranking;
pub mod reading;
pub mod report;
pub mod rules;
mod scenes;
pub mod tokens;
pub mod trials;

#[cfg(test)]
mod tests;

use crate::hash;
use crate::random::mix;
use corpus::Document;
use reading::Reading;
use rules::{RULES, Rule};

/// Activation on what a rule is about.
pub const CORE: f32 = 10.0;
/// Activation on what a rule is about in a weaker sense; from here on a unit counts as firing.
pub const WEAK: f32 = 5.0;
/// Where a rule says nothing, a unit with noise is below this.
pub const NOISE: f32 = 0.4;

/// A subject whose units are understood.
#[derive(Clone, Debug)]
pub struct PlantedSubject {
    /// The text its units were run over; each document is one window of at most [`corpus::MAX_TOKENS`] tokens.
    pub documents: Vec<Document>,
    /// One unit for each of [`rules()`], in that order.
    pub units: Vec<Unit>,
}

/// One unit of a planted subject.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name, its true explanation and what it does.
    pub rule: &'static Rule,
    /// Activations, shape `[documents, seq_len]`, 0 to [`CORE`].
    pub activations: Vec<Vec<f32>>,
}

/// What is added where a rule says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Nothing: activations are what the rule says.
    Off,
    /// Uniform values in 0..[`NOISE`], drawn with the subject's seed.
    Seeded,
}

/// The planted subject of this seed, with noise.
pub fn subject(seed: u64) -> PlantedSubject {
    subject_with(seed, Noise::Seeded)
}

/// The planted subject of this seed; the noise does not change the documents.
pub fn subject_with(seed: u64, noise: Noise) -> PlantedSubject {
    let documents = corpus::documents(seed);
    let readings: Vec<Reading> = documents.iter().map(|document| Reading::of(&document.tokens)).collect();
    let unit = |rule: &'static Rule| {
        let on_document = |(document, reading): (&Document, &Reading)| {
            let mut activations = on_reading(rule, reading);
            if noise == Noise::Seeded {
                add_noise(&mut activations, mix(seed, hash::key(rule.name), hash::key(&document.text)));
            }
            activations
        };
        Unit { rule, activations: documents.iter().zip(&readings).map(on_document).collect() }
    };
    let units = rules().iter().map(unit).collect();
    PlantedSubject { documents, units }
}

/// Every rule, in the order of a subject's units.
pub fn rules() -> &'static [Rule] {
    &RULES
}

/// The rule of this name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// What a rule does on any text, without noise: 0, [`WEAK`] or [`CORE`] for each token.
///
/// `tokens` are words with their leading spaces, as [`tokens::tokenize`] makes them. A word that is not in the
/// [`lexicon`] belongs to no class; rules about position hold for it all the same.
pub fn activations_of<T: AsRef<str>>(rule: &Rule, tokens: &[T]) -> Vec<f32> {
    on_reading(rule, &Reading::of(tokens))
}

fn on_reading(rule: &Rule, reading: &Reading) -> Vec<f32> {
    (0..reading.n_tokens()).map(|i| rule.activation(reading, i)).collect()
}

fn add_noise(activations: &mut [f32], key: u64) {
    for (i, activation) in (0u64..).zip(activations) {
        if *activation == 0.0 {
            // 24 bits fill a float's fraction.
            *activation = NOISE * (mix(key, i, 0) >> 40) as f32 / (1u64 << 24) as f32;
        }
    }
}
