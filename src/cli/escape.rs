//! Makes text of unknown origin safe to show on a terminal: nothing in it can move the cursor, colour or hide other text.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

#[cfg(test)]
mod tests;

/// The text on one line, with line ends as `⏎`, tabs as `⇥` and every other control character visible.
///
/// Also shown as escapes (`\u{202e}`) are the characters that reorder or hide text: direction marks, zero-width
/// spaces, tags. The two joiners stay, because scripts and emoji need them.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // The two characters of one line end.
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            '\u{7f}' => out.push('␡'),
            // The picture of each control character stands at the same place of its block.
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('␦')),
            c if is_safe(c) => out.push(c),
            // Writing to a string cannot fail.
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// Columns that escaped text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The longest start of escaped text that takes at most `columns`, in bytes; at least one character of a text that is not empty.
pub(crate) fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        // The selector of emoji takes no column, but makes the character before it one wider.
        used += if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) };
        if used > columns && at > 0 {
            return at;
        }
    }
    text.len()
}

/// Escaped text in at most `columns` columns: longer text loses its end to an ellipsis.
pub(crate) fn truncated(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    // A first character that is too wide by itself goes too.
    let start = text.get(..fitting(text, columns.saturating_sub(1))).filter(|start| width(start) < columns);
    Cow::Owned(format!("{}…", start.unwrap_or_default()))
}

/// Whether a character shows as itself and changes nothing around it.
fn is_safe(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}
