//! The text: documents of a few sentences each, drawn with a seed from our own scenes.

use std::collections::HashSet;

use crate::planted::scenes::{SCENES, Scene};
use crate::planted::tokens::tokenize;
use crate::random::mix;

/// Documents of a corpus.
pub const N_DOCUMENTS: usize = 350;
/// Tokens of a document at most, so that each is one window.
pub const MAX_TOKENS: usize = 64;
/// Sentences of a document; fewer where [`MAX_TOKENS`] asks for it.
const SENTENCES: (usize, usize) = (2, 5);

const WOMEN: &[&str] = &["Anna", "Clara", "Emma", "Julia", "Laura", "Maria", "Nora", "Sofia", "Helen", "Alice"];
const MEN: &[&str] = &["Daniel", "David", "Henry", "Jacob", "Leo", "Oscar", "Peter", "Thomas", "Simon", "Martin"];
const CITIES: &[&str] = &[
    "Paris", "London", "Rome", "Berlin", "Madrid", "Lisbon", "Vienna", "Prague", "Dublin", "Oslo", "Boston", "Chicago",
    "Kyoto", "Cairo", "Lima",
];
/// Lists that a scene names in braces.
const LISTS: [(&str, &[&str]); 5] = [
    ("few", &["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "12", "15"]),
    (
        "number",
        &[
            "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty",
            "thirty", "forty", "fifty", "12", "15", "18", "25", "30", "48", "60", "75", "120", "300",
        ],
    ),
    (
        "month",
        &[
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ],
    ),
    ("day", &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
    (
        "kin",
        &[
            "sister",
            "brother",
            "aunt",
            "uncle",
            "cousin",
            "mother",
            "father",
            "grandmother",
            "grandfather",
            "niece",
            "nephew",
            "daughter",
            "son",
        ],
    ),
];

/// One text and its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Whole sentences with single spaces between them.
    pub text: String,
    /// The text cut by [`tokenize`]; `tokens.concat()` is the text.
    pub tokens: Vec<String>,
}

impl Document {
    /// A document of this text.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { tokens: tokenize(&text), text }
    }
}

/// The documents of a seed: [`N_DOCUMENTS`], no two alike, each of at most [`MAX_TOKENS`] tokens.
pub fn documents(seed: u64) -> Vec<Document> {
    let mut texts = HashSet::new();
    (0u64..)
        .zip(SCENES.iter().cycle())
        .map(|(i, scene)| document(scene, &mut Draws { seed, stream: i, n: 0 }))
        .filter(|document| texts.insert(document.text.clone()))
        .take(N_DOCUMENTS)
        .collect()
}

/// Draws of one document, one after the other.
struct Draws {
    seed: u64,
    stream: u64,
    n: u64,
}

impl Draws {
    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        self.n += 1;
        ((u128::from(mix(self.seed, self.stream, self.n)) * n as u128) >> 64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One that is not among those taken already, as long as there is one.
    fn pick_other<'a>(&mut self, from: &[&'a str], taken: &[String]) -> &'a str {
        let left: Vec<&str> = from.iter().copied().filter(|word| !taken.iter().any(|other| other == word)).collect();
        self.pick(if left.is_empty() { from } else { &left })
    }
}

/// Names in braces and what stands for them.
type Names = Vec<(String, String)>;

fn document(scene: Scene, draws: &mut Draws) -> Document {
    let cast = cast(draws);
    let (fewest, most) = SENTENCES;
    let n_sentences = fewest + draws.below(most - fewest + 1);
    let mut text = String::new();
    let mut missing = n_sentences;
    let skipped = usize::from(draws.below(3) == 0);
    for (i, template) in scene.iter().enumerate().skip(skipped) {
        // Selection sampling (Knuth, TAOCP 3.4.2 S): every choice of sentences in their order is as likely.
        let opens = i == 0;
        if !opens && draws.below(scene.len() - i) >= missing {
            continue;
        }
        missing -= 1;
        let next = sentence(template, &cast, draws);
        let longer = if text.is_empty() { next } else { format!("{text} {next}") };
        if tokenize(&longer).len() <= MAX_TOKENS {
            text = longer;
        }
    }
    Document::new(text)
}

/// Two persons, the pronouns of the first, and two cities.
fn cast(draws: &mut Draws) -> Names {
    let (own, others, pronouns) = match draws.below(2) {
        0 => (WOMEN, MEN, ["she", "her", "her"]),
        _ => (MEN, WOMEN, ["he", "him", "his"]),
    };
    let first_city = draws.pick(CITIES);
    let second_city = draws.pick_other(CITIES, &[first_city.to_owned()]);
    let [he, him, his] = pronouns;
    [
        ("A", draws.pick(own)),
        ("B", draws.pick(others)),
        ("P", first_city),
        ("Q", second_city),
        ("he", he),
        ("him", him),
        ("his", his),
    ]
    .map(|(name, word)| (name.to_owned(), word.to_owned()))
    .into()
}

/// One sentence of a template, with its choices made.
fn sentence(template: &str, cast: &Names, draws: &mut Draws) -> String {
    let mut names = cast.clone();
    let chosen = replace(template, ('[', ']'), |body| {
        let (name, options) = match body.split_once(':') {
            Some((name, options)) => (Some(name), options),
            None => (None, body),
        };
        let word = draws.pick(&options.split('|').collect::<Vec<_>>());
        names.extend(name.map(|name| (name.to_owned(), word.to_owned())));
        word.to_owned()
    });
    let mut listed = Vec::new();
    let filled = replace(&chosen, ('{', '}'), |body| {
        if let Some((_, list)) = LISTS.iter().find(|(name, _)| *name == body) {
            let word = draws.pick_other(list, &listed).to_owned();
            listed.push(word.clone());
            return word;
        }
        names.iter().find(|(name, _)| name == body).map_or_else(|| body.to_owned(), |(_, word)| word.clone())
    });
    capitalised(&with_articles(&filled))
}

/// The text with everything between two brackets replaced.
fn replace(text: &str, (open, close): (char, char), mut by: impl FnMut(&str) -> String) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let (body, after) = after.split_once(close).unwrap_or((after, ""));
        replaced.push_str(before);
        replaced.push_str(&by(body));
        rest = after;
    }
    replaced + rest
}

/// "a" before a vowel becomes "an", "an" before anything else "a".
fn with_articles(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let article = |(i, word): (usize, &&str)| {
        let vowel = words.get(i + 1).is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u']));
        match (*word, vowel) {
            ("a" | "an", true) => "an".to_owned(),
            ("a" | "an", false) => "a".to_owned(),
            ("A", true) => "An".to_owned(),
            (word, _) => word.to_owned(),
        }
    };
    words.iter().enumerate().map(article).collect::<Vec<_>>().join(" ")
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
