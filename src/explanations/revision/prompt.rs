//! What a language model is asked for sentences, and for a better text. Wording and examples are our own.

use super::N_SENTENCES;
use super::counterexamples::Measured;
use crate::activation_records::normalize::normalize;
use crate::completions::request::Message;
use crate::explanations::answer::without_reasoning;
use crate::explanations::escape::{marked, shown};
use crate::explanations::evidence::{EvidenceRecord, block_max};
use crate::explanations::prompt::LEAD_IN;

/// Smallest normalised activation that is marked.
const MARK_FROM: i8 = 3;
/// Words that a sentence has at least: the neuron is to be met in running text.
const MIN_WORDS: usize = 4;
/// Bytes of a sentence at most: the window that it is measured in is short.
const MAX_BYTES: usize = 400;

/// Whether the solved example is part of the prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Example {
    Shown,
    LeftOut,
}

/// Asks for sentences that fit a text.
pub(super) fn sentences(text: &str) -> Vec<Message> {
    let frame = format!(
        "We test what is said about single neurons of a language model. You are told what a neuron is said to respond to, and you \
         write {N_SENTENCES} different sentences, numbered, one a line, in each of which the neuron should respond strongly if \
         that is true. Write whole sentences as they could stand in a book, a letter or a newspaper, with other words around \
         each time. Write nothing else."
    );
    let example = "1. We moored the dinghy at dusk and carried the oars up the beach.\n\
                   2. Reefed down to a scrap of sail, the cutter rode out the storm.\n\
                   3. My uncle scraped the hull of his yacht all through April.";
    vec![
        Message::system(frame),
        Message::user(format!("{LEAD_IN} boats and the handling of boats\nWrite 3 sentences.")),
        Message::assistant(example),
        Message::user(format!("{LEAD_IN} {}\nWrite {N_SENTENCES} sentences.", shown(text))),
    ]
}

/// The sentences of a reply: numbered or not, one a line, the first ten.
///
/// # Errors
/// Why there is none.
pub(super) fn parse_sentences(text: &str) -> Result<Vec<String>, String> {
    let mut sentences: Vec<String> = Vec::new();
    for line in without_reasoning(text).lines() {
        let line = line.trim();
        let unnumbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = unnumbered.len() < line.len() && unnumbered.starts_with(['.', ')', ':']);
        let line = if numbered { &unnumbered[1..] } else { line.trim_start_matches(['-', '*', '•']) };
        let line = line.replace("**", "");
        let sentence = line.trim().trim_matches(['"', '“', '”']).trim();
        let n_words = sentence.split_whitespace().count();
        let fits = n_words >= MIN_WORDS && sentence.len() <= MAX_BYTES && !sentence.ends_with(':');
        if fits && !sentences.iter().any(|other| other == sentence) {
            sentences.push(sentence.to_owned());
        }
    }
    sentences.truncate(N_SENTENCES);
    if sentences.is_empty() { Err("the reply holds no whole sentence".to_owned()) } else { Ok(sentences) }
}

/// Asks for a text that fits old and new evidence. `max` is the neuron's strongest activation in the old, in its units.
pub(super) fn revision(
    records: &[EvidenceRecord],
    text: &str,
    measured: &[&Measured],
    max: f32,
    example: Example,
) -> Vec<Message> {
    let mut messages = vec![Message::system(
        "We find out what single neurons of a language model look for when it reads. Somebody has said what a neuron responds to, \
         judging by the first texts. Then sentences were written that fit what was said, and the neuron was measured on them. Words \
         it fires on stand in double brackets with their strength from 1 to 10; a sentence without brackets leaves it silent, and \
         so shows that what was said is too broad or wrong. What a neuron does at a word depends on that word and on the text \
         before it, never on what follows. Complete the last sentence with one short phrase that is true of all texts, those with \
         brackets and those without. Put it in general terms and give no reasons.",
    )];
    if example == Example::Shown {
        messages.push(Message::user(turn(
            "1. The [[parson 7]] read the burial service in the rain.\n2. An old [[bishop 10]] and two [[deacons 8]] walked \
             behind the coffin.\n",
            "words about religion and church services",
            "1. The choir sang a hymn and the bells rang.\n2. She lit a candle in the chapel and prayed.\n3. The [[vicar 9]] \
             locked the church for the night.\n",
        )));
        messages.push(Message::assistant("members of the clergy."));
    }
    let old = lines(records.iter(), block_max(records));
    let new = lines(measured.iter().map(|measured| &measured.record), max);
    messages.push(Message::user(turn(&old, &shown(text), &new)));
    messages
}

/// The user's turn.
fn turn(old: &str, text: &str, new: &str) -> String {
    format!(
        "First texts:\n{old}\nWhat was said: {LEAD_IN} {text}\n\nSentences written for it, as measured:\n{new}\n{LEAD_IN}"
    )
}

/// Records as numbered lines, strong tokens marked with their values on the scale 0..10 of `max`.
fn lines<'a>(records: impl Iterator<Item = &'a EvidenceRecord>, max: f32) -> String {
    let line = |(i, record): (usize, &EvidenceRecord)| {
        let values = normalize(&record.activations, max);
        let marks = record.tokens.iter().zip(values);
        let marks = marks.map(|(token, value)| (token.as_str(), (value >= MARK_FROM).then(|| value.to_string())));
        format!("{}. {}\n", i + 1, marked(marks).trim())
    };
    records.enumerate().map(line).collect()
}
