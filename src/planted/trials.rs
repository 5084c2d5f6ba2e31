//! What a method is asked: each unit's true explanation among false ones, and the windows to judge them by.

use std::ops::Range;

use crate::hash;
use crate::planted::reading::Reading;
use crate::planted::rules::{Kind, Rule};
use crate::planted::{PlantedSubject, Unit, WEAK};
use crate::random::mix;

/// Another unit's explanation counts as false where the two units correlate less than this.
///
/// "Animals" is half true of a unit for animals and money, and many plural nouns are animals: a method that ranks such an
/// explanation high is not wrong.
pub const MAX_CORRELATION: f64 = 0.2;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Units of each of [`Kind::ALL`], at most.
    pub n_units: [usize; 4],
    /// False explanations of each unit.
    pub n_false: usize,
    /// Windows of each kind (see [`Windows`]) of each unit.
    pub n_windows: usize,
    /// Whether paraphrases are scored too.
    pub paraphrases: Paraphrases,
}

/// Whether paraphrases of the true explanation are among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paraphrases {
    /// One for each unit.
    Scored,
    /// None.
    LeftOut,
}

impl Preset {
    /// Every unit, four false explanations, four windows of each kind: what `neuronlake selftest` asks.
    pub const FULL: Preset =
        Preset { n_units: [usize::MAX; 4], n_false: 4, n_windows: 4, paraphrases: Paraphrases::Scored };
    /// Eight units, two false explanations, two windows of each kind: what is asked before a run spends anything.
    pub const SMALL: Preset =
        Preset { n_units: [4, 2, 1, 1], n_false: 2, n_windows: 2, paraphrases: Paraphrases::LeftOut };
}

/// One unit and the explanations offered for it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Index into [`PlantedSubject::units`].
    pub unit: usize,
    /// The true explanation first, then its paraphrase if there is one, then the false ones in a seeded order.
    pub candidates: Vec<Candidate>,
}

/// One explanation offered for a unit.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// True, the same in other words, or false.
    pub truth: Truth,
    /// The rule whose explanation it is.
    pub rule: &'static Rule,
}

/// How a candidate relates to its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The unit's own explanation.
    True,
    /// The unit's own paraphrase.
    Paraphrase,
    /// The true explanation of an unrelated unit.
    False,
}

impl Candidate {
    /// The words.
    pub fn text(&self) -> &'static str {
        match self.truth {
            Truth::Paraphrase => self.rule.paraphrase,
            Truth::True | Truth::False => self.rule.explanation,
        }
    }
}

/// Documents to judge one unit's explanations by, as indices into [`PlantedSubject::documents`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// The unit fires somewhere in them.
    pub firing: Vec<usize>,
    /// It fires nowhere; empty for rules that no text goes without, such as the first word of a sentence.
    pub silent: Vec<usize>,
}

impl PlantedSubject {
    /// The trials of a preset: which units, and which explanations of others count as false, depends on the seed alone.
    ///
    /// A unit has fewer false explanations where fewer units are unrelated to it ([`MAX_CORRELATION`]).
    pub fn trials(&self, preset: &Preset, seed: u64) -> Vec<Trial> {
        let mut chosen: Vec<usize> = Kind::ALL
            .iter()
            .zip(preset.n_units)
            .flat_map(|(kind, n)| {
                let mut units: Vec<usize> =
                    (0..self.units.len()).filter(|i| self.units[*i].rule.kind == *kind).collect();
                units.sort_by_key(|i| mix(seed, hash::key(self.units[*i].rule.name), 0));
                units.truncate(n);
                units
            })
            .collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|unit| self.trial(unit, preset, seed)).collect()
    }

    fn trial(&self, unit: usize, preset: &Preset, seed: u64) -> Trial {
        let own = &self.units[unit];
        let mut others: Vec<&Unit> = self.units.iter().filter(|other| other.rule.name != own.rule.name).collect();
        others.sort_by_key(|other| mix(seed, hash::key(own.rule.name), hash::key(other.rule.name)));
        let paraphrase = match preset.paraphrases {
            Paraphrases::Scored => Some(Candidate { truth: Truth::Paraphrase, rule: own.rule }),
            Paraphrases::LeftOut => None,
        };
        // Only as many correlations are computed as are needed.
        let falses = others.into_iter().filter(|other| correlation(own, other) < MAX_CORRELATION).take(preset.n_false);
        let candidates = std::iter::once(Candidate { truth: Truth::True, rule: own.rule })
            .chain(paraphrase)
            .chain(falses.map(|other| Candidate { truth: Truth::False, rule: other.rule }))
            .collect();
        Trial { unit, candidates }
    }

    /// Windows for a unit among some documents (those of a split), `n` of each kind as far as there are so many, drawn with
    /// the seed; each kind in ascending order.
    pub fn windows(&self, unit: usize, documents: &[usize], n: usize, seed: u64) -> Windows {
        let unit = &self.units[unit];
        let drawn = |fires: bool| {
            let mut windows: Vec<usize> = documents
                .iter()
                .copied()
                .filter(|i| unit.activations[*i].iter().any(|a| *a >= WEAK) == fires)
                .collect();
            windows.sort_by_key(|i| mix(seed, hash::key(unit.rule.name), *i as u64));
            windows.truncate(n);
            windows.sort_unstable();
            windows
        };
        Windows { firing: drawn(true), silent: drawn(false) }
    }
}

impl PlantedSubject {
    /// Whole sentences of a document, at most `n_tokens` if they can be so few: the one where the unit fires strongest (the
    /// first of several, or of the document), then those after it, then those before it.
    ///
    /// Every rule looks at one sentence only, so that what a unit does on an excerpt is what it does there in the document.
    pub fn excerpt(&self, unit: usize, document: usize, n_tokens: usize) -> Range<usize> {
        let activations = &self.units[unit].activations[document];
        let fires = |i: &usize| activations[*i] >= WEAK;
        let strongest =
            (0..activations.len()).filter(fires).reduce(|a, b| if activations[b] > activations[a] { b } else { a });
        let sentences = Reading::of(&self.documents[document].tokens).sentences();
        let start = strongest.unwrap_or(0);
        let Some(place) = sentences.iter().position(|sentence| sentence.contains(&start)) else { return 0..0 };
        let mut excerpt = sentences[place].clone();
        for next in &sentences[place + 1..] {
            if next.end - excerpt.start > n_tokens {
                break;
            }
            excerpt.end = next.end;
        }
        for before in sentences[..place].iter().rev() {
            if excerpt.end - before.start > n_tokens {
                break;
            }
            excerpt.start = before.start;
        }
        excerpt
    }
}

/// Pearson correlation over all tokens; 0 where one of the two never changes.
fn correlation(a: &Unit, b: &Unit) -> f64 {
    let pairs = || {
        let both = a.activations.iter().flatten().zip(b.activations.iter().flatten());
        both.map(|(x, y)| (f64::from(*x), f64::from(*y)))
    };
    let n = pairs().count().max(1) as f64;
    let (sum_x, sum_y) = pairs().fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x, sum_y + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (xx, yy, xy) = pairs().fold((0.0, 0.0, 0.0), |(xx, yy, xy), (x, y)| {
        let (x, y) = (x - mean_x, y - mean_y);
        (xx + x * x, yy + y * y, xy + x * y)
    });
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}
