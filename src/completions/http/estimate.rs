//! Tokens of a text without the tokenizer: rather too many than too few.

use crate::completions::request::Request;

/// Tokens that a conversation takes beside its texts, for each turn.
const PER_MESSAGE: usize = 8;

/// An upper guess at the tokens of a prompt.
pub(in crate::completions) fn estimated_prompt_tokens(request: &Request) -> usize {
    request.messages.iter().map(|message| estimated_tokens(&message.content) + PER_MESSAGE).sum::<usize>() + PER_MESSAGE
}

/// An upper guess at the tokens of a text: four letters, one digit, one sign or one character beyond ASCII a token, two where UTF-8
/// needs three bytes or more; a single space belongs to the word after it.
pub(in crate::completions) fn estimated_tokens(text: &str) -> usize {
    let mut tokens = 0;
    let mut letters = 0;
    let mut before = ' ';
    for c in text.chars() {
        if c.is_ascii_alphabetic() {
            // The first of each four letters opens a token.
            tokens += usize::from(letters % 4 == 0);
            letters += 1;
        } else {
            letters = 0;
            tokens += match c {
                ' ' => usize::from(before.is_whitespace()),
                _ if c.len_utf8() >= 3 => 2,
                _ => 1,
            };
        }
        before = c;
    }
    tokens
}
