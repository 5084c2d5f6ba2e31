//! What a word is: one rule for `mentions` and for keyword search.
//!
//! A word is a run of letters, marks and digits as long as it gets; everything else parts words. Case is ignored by Unicode's
//! simple case folding. In a text, a word may carry the plural ending s or es; a possessive ending needs no rule, because an
//! apostrophe parts words.

/// Endings that a word may carry in a text.
pub(crate) const ENDINGS: [&str; 3] = ["", "s", "es"];

/// The words of a text as they stand in it, in order.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The word without its case.
pub(crate) fn folded(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    fold_into(word, &mut folded);
    folded
}

/// As [`folded`], into a buffer whose contents go.
pub(crate) fn fold_into(word: &str, buffer: &mut String) {
    buffer.clear();
    if word.is_ascii() {
        buffer.push_str(word);
        buffer.make_ascii_lowercase();
    } else {
        buffer.extend(word.chars().map(fold));
    }
}

/// One letter for all that differ in case only, as Unicode's simple case folding has it.
pub(crate) fn fold(c: char) -> char {
    match c {
        _ if c.is_ascii() => c.to_ascii_lowercase(),
        // Turkish: neither folds to i but by the rule for Turkish.
        'ı' | 'İ' => c,
        // Letters whose capital is two letters, equal by rule.
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{fb05}' => '\u{fb06}',
        _ => {
            let capital = one(c.to_uppercase()).unwrap_or(c);
            one(capital.to_lowercase()).unwrap_or(capital)
        }
    }
}

fn one(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// The folded forms under which keyword search finds a folded word: with each ending, and, where it carries one itself, without.
pub(crate) fn forms(word: &str) -> Vec<String> {
    let mut stems = vec![word];
    // "class" carries no ending, and of "as" or "yes" nothing that is a word would be left.
    if word.chars().count() > 3 && word.ends_with('s') && !word.ends_with("ss") {
        stems.push(&word[..word.len() - 1]);
        stems.extend(word.strip_suffix("es"));
    }
    let mut forms: Vec<String> =
        stems.iter().flat_map(|stem| ENDINGS.iter().map(move |ending| format!("{stem}{ending}"))).collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[cfg(test)]
#[path = "words/tests.rs"]
mod tests;
