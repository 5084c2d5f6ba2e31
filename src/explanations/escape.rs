//! Tokens as prompts show them: whatever a corpus holds, it cannot be taken for a part of the prompt's own layout.

#[cfg(test)]
mod tests;

/// Opens a marked token.
pub(super) const OPEN: &str = "[[";
/// Closes a marked token.
pub(super) const CLOSE: &str = "]]";

/// What chat templates, record markers or reasoning begin with; a corpus may hold any of them.
const CONTROL: [&str; 8] = ["<|", "<s>", "</s>", "<start>", "<end>", "<think", "</think", "<start_of_turn"];

/// Text on one line, without anything that a prompt's layout or a chat template means something by.
///
/// Line ends, tabs, invisible and control characters and backslashes are written as Rust would escape them; the first character
/// of control sequences such as `<|` as `\u{3c}`. A space stays a space.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\\' | '\t' | '\n' | '\r' => shown.extend(c.escape_default()),
            '<' if CONTROL.iter().any(|control| text[at..].starts_with(control)) => shown.push_str("\\u{3c}"),
            _ if c.is_control() || invisible(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    shown
}

/// Characters without width, line and paragraph separators, and those that turn the direction of writing.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The tokens as one line of text, those with a mark in double brackets with it: `tuned her [[violin 10]] before`.
///
/// Spaces around a marked word stay outside. Double brackets of the text itself are parted by a backslash.
pub(super) fn marked<'a>(tokens: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut text = String::new();
    // Sequences such as `<|` may be cut in two by tokens: plain stretches are escaped whole.
    let mut plain = String::new();
    for (token, mark) in tokens {
        let Some(mark) = mark else {
            plain.push_str(token);
            continue;
        };
        // Spaces stay outside, but for a token of nothing else.
        let word = if token.trim_matches(' ').is_empty() { token } else { token.trim_matches(' ') };
        let start = token.find(word).unwrap_or(0);
        plain.push_str(&token[..start]);
        text.push_str(&parted(&shown(&std::mem::take(&mut plain))));
        text.push_str(OPEN);
        text.push_str(&parted(&shown(word)));
        if !mark.is_empty() {
            text.push(' ');
            text.push_str(&mark);
        }
        text.push_str(CLOSE);
        plain.push_str(&token[start + word.len()..]);
    }
    text.push_str(&parted(&shown(&plain)));
    text
}

/// Text whose double brackets have a backslash between them.
fn parted(text: &str) -> String {
    let mut parted = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '[' | ']') && parted.ends_with(c) {
            parted.push('\\');
        }
        parted.push(c);
    }
    parted
}
