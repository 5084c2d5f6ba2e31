//! Tokens joined to the words they are pieces of.

use std::ops::Range;

/// A word of a window: its text without whitespace about it, and the tokens it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) tokens: Range<usize>,
}

/// The words of a window, in order; every token is in one of them.
///
/// A token goes on with the word before it when there is no whitespace between them and letters, digits or apostrophes meet:
/// " farm" and "ers" are one word, "said" and "." are two. Scripts that put no spaces between words are left as the tokenizer
/// cuts them.
pub(super) fn words(tokens: &[String]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let first = token.chars().next().is_some_and(joins);
        match words.last_mut() {
            Some(word) if first && tokens[i - 1].chars().next_back().is_some_and(joins) => {
                word.text.push_str(token.trim_end());
                word.tokens.end = i + 1;
            }
            _ => words.push(Word { text: token.trim().to_owned(), tokens: i..i + 1 }),
        }
    }
    words
}

/// Whether this character joins a word across the border of a token.
fn joins(c: char) -> bool {
    let without_spaces = matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{2E80}'..='\u{9FFF}' |
        '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}');
    (c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}')) && !without_spaces
}
