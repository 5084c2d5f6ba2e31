//! A text as the rules see it: every token with its classes, its sentence, and whether it is quoted.

use std::ops::Range;

use crate::planted::lexicon::{self, Class, Classes};

/// Tokens with what is known of them.
#[derive(Clone, Debug)]
pub struct Reading {
    words: Vec<Word>,
}

/// One token.
#[derive(Clone, Debug)]
struct Word {
    /// Lower case, without the leading space.
    text: String,
    classes: Classes,
    /// 0-based, counted by marks that end sentences.
    sentence: usize,
    /// Between an opening and a closing quotation mark.
    quoted: bool,
}

impl Reading {
    /// Reads words with leading spaces.
    pub(crate) fn of<T: AsRef<str>>(tokens: &[T]) -> Self {
        let (mut sentence, mut ended, mut quoted) = (0, false, false);
        let mut words = Vec::with_capacity(tokens.len());
        for token in tokens {
            let text = token.as_ref().trim();
            let mark = text == "\"";
            quoted ^= mark;
            // A closing quotation mark belongs to the sentence before it.
            if ended && (!mark || quoted) {
                sentence += 1;
                ended = false;
            }
            words.push(Word {
                text: text.to_lowercase(),
                classes: lexicon::classes(text),
                sentence,
                // The closing mark itself is no longer quoted, the opening one not a word.
                quoted,
            });
            ended |= ends_sentence(text);
        }
        Self { words }
    }

    /// Tokens of the text.
    pub(crate) fn n_tokens(&self) -> usize {
        self.words.len()
    }

    /// The tokens of each sentence, one after the other without gaps.
    pub(crate) fn sentences(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let sentence = |words: &[Word]| {
            let range = start..start + words.len();
            start = range.end;
            range
        };
        self.words.chunk_by(|a, b| a.sentence == b.sentence).map(sentence).collect()
    }

    /// Whether the token is of a class.
    pub(crate) fn is(&self, i: usize, class: Class) -> bool {
        self.words[i].classes.has(class)
    }

    /// Whether the token is of one of these classes.
    pub(crate) fn is_any(&self, i: usize, classes: &[Class]) -> bool {
        classes.iter().any(|class| self.is(i, *class))
    }

    /// Whether the token is this word, in lower case.
    pub(crate) fn says(&self, i: usize, word: &str) -> bool {
        self.words[i].text == word
    }

    /// Whether the token is a word or a number, not a mark.
    pub(crate) fn is_word(&self, i: usize) -> bool {
        self.words[i].text.starts_with(char::is_alphanumeric)
    }

    /// Whether the token stands inside quotation marks.
    pub(crate) fn is_quoted(&self, i: usize) -> bool {
        self.words[i].quoted && self.is_word(i)
    }

    /// The token after this one.
    pub(crate) fn next(&self, i: usize) -> Option<usize> {
        (i + 1 < self.words.len()).then_some(i + 1)
    }

    /// The token before this one.
    pub(crate) fn previous(&self, i: usize) -> Option<usize> {
        i.checked_sub(1)
    }

    /// The token before this one that is no quotation mark.
    pub(crate) fn previous_unquoted(&self, i: usize) -> Option<usize> {
        (0..i).rev().find(|before| !self.says(*before, "\""))
    }

    /// Whether the token's sentence ends with a question mark.
    pub(crate) fn in_question(&self, i: usize) -> bool {
        self.same_sentence_after(i).any(|after| self.says(after, "?"))
    }

    /// Whether no word of the same sentence stands before the token.
    pub(crate) fn starts_sentence(&self, i: usize) -> bool {
        self.is_word(i) && !self.same_sentence_before(i).any(|before| self.is_word(before))
    }

    /// Whether the token's word stands earlier in its sentence.
    pub(crate) fn is_repeated(&self, i: usize) -> bool {
        self.same_sentence_before(i).any(|before| self.words[before].text == self.words[i].text)
    }

    fn same_sentence_before(&self, i: usize) -> impl Iterator<Item = usize> {
        let sentence = self.words[i].sentence;
        (0..i).rev().take_while(move |before| self.words[*before].sentence == sentence)
    }

    fn same_sentence_after(&self, i: usize) -> impl Iterator<Item = usize> {
        let sentence = self.words[i].sentence;
        (i..self.words.len()).take_while(move |after| self.words[*after].sentence == sentence)
    }
}

fn ends_sentence(text: &str) -> bool {
    matches!(text, "." | "!" | "?")
}
