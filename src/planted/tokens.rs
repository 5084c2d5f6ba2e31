//! Text as words with their leading spaces, the form in which GPT tokenizers give common words.

/// Cuts text into words, runs of digits, `'s` and single punctuation marks, each with the space before it: `tokens.concat()`
/// is the text.
pub fn tokenize(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (token, after) = rest.split_at(length(rest));
        tokens.push(token.to_owned());
        rest = after;
    }
    tokens
}

/// Bytes of the first token of a text that is not empty.
fn length(text: &str) -> usize {
    let body = text.strip_prefix(' ').unwrap_or(text);
    let space = text.len() - body.len();
    let run = |of: fn(char) -> bool| body.find(|c: char| !of(c)).unwrap_or(body.len());
    let letters = run(char::is_alphabetic);
    let digits = run(|c| c.is_ascii_digit());
    let genitive = body.strip_prefix("'s").is_some_and(|after| !after.starts_with(char::is_alphanumeric));
    space
        + if letters > 0 {
            letters
        } else if digits > 0 {
            digits
        } else if genitive && space == 0 {
            2
        } else {
            body.chars().next().map_or(0, char::len_utf8)
        }
}
