//! The scan against the definition, and the definition against a regular expression of the rule.

use arrow::array::{Array, StringArray, StringViewArray};
use proptest::prelude::*;
use regex::Regex;

use super::Needle;

/// The rule as one regular expression.
fn pattern(phrase: &str) -> Option<Regex> {
    let parts: Vec<String> =
        phrase.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(regex::escape).collect();
    let phrase = parts.join(r"[^\p{Alphabetic}\p{N}]+");
    let text = format!(r"(?i)(?:^|[^\p{{Alphabetic}}\p{{N}}]){phrase}(?:e?s)?(?:[^\p{{Alphabetic}}\p{{N}}]|$)");
    (!parts.is_empty()).then(|| Regex::new(&text).unwrap())
}

/// Few letters, so that needles occur: cases, a letter of two bytes that folds to one of one, endings, quotes, marks.
const TEXTS: &str = "[aAbsSeEſßé ’'.\u{0}\u{300}я]{0,30}";
const PHRASES: &str = "[aAbsSeEſßé ’'.\u{0}\u{300}я]{0,5}";

fn rows(expected: impl Iterator<Item = Option<bool>>) -> Vec<Option<bool>> {
    expected.collect()
}

proptest! {
    #[test]
    fn the_scan_is_the_definition_and_the_definition_the_rule(
        texts in prop::collection::vec(prop::option::of(TEXTS), 0..40),
        phrase in PHRASES,
        skip in 0usize..5,
    ) {
        let needle = Needle::new(&phrase);
        let pattern = pattern(&phrase);
        prop_assert_eq!(needle.is_some(), pattern.is_some());
        let (Some(needle), Some(pattern)) = (needle, pattern) else { return Ok(()) };
        for text in texts.iter().flatten() {
            prop_assert_eq!(needle.holds(text), pattern.is_match(text), "{:?} in {:?}", phrase, text);
        }
        let skip = skip.min(texts.len());
        let expected = rows(texts[skip..].iter().map(|text| text.as_ref().map(|text| needle.holds(text))));
        let strings = StringArray::from(texts.clone()).slice(skip, texts.len() - skip);
        prop_assert_eq!(&rows(needle.in_strings(&strings).iter()), &expected);
        let views = StringViewArray::from_iter(texts.iter()).slice(skip, texts.len() - skip);
        prop_assert_eq!(&rows(needle.in_views(&views).iter()), &expected);
        // The same in another order: texts no longer rise in their buffer.
        let turned: Vec<u32> = (0..views.len() as u32).rev().collect();
        let turned = arrow::compute::take(&views, &arrow::array::UInt32Array::from(turned), None).unwrap();
        let got = needle.in_views(arrow::array::AsArray::as_string_view(&turned));
        prop_assert_eq!(rows(got.iter()), expected.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn any_text_and_any_needle(texts in prop::collection::vec(".{0,40}", 0..20), phrase in ".{0,12}") {
        // The standard library's tables are newer than the regex engine's: a letter that only one of them knows decides nothing.
        let known = Regex::new(r"[\p{Alphabetic}\p{N}]").unwrap();
        let agreed = |text: &str| text.chars().all(|c| c.is_alphanumeric() == known.is_match(c.encode_utf8(&mut [0; 4])));
        prop_assume!(texts.iter().map(String::as_str).chain([phrase.as_str()]).all(agreed));
        let Some(needle) = Needle::new(&phrase) else { return Ok(()) };
        let pattern = pattern(&phrase).unwrap();
        let strings = StringArray::from(texts.clone());
        for (text, got) in texts.iter().zip(needle.in_strings(&strings).iter()) {
            prop_assert_eq!(got, Some(pattern.is_match(text)), "{:?} in {:?}", phrase, text);
        }
    }
}

#[test]
fn a_hit_across_two_texts_hides_none_behind_it() {
    let texts = StringArray::from(vec!["xa", "aa aa", "a", "aa"]);
    let needle = Needle::new("aa").unwrap();
    let got: Vec<_> = needle.in_strings(&texts).iter().flatten().collect();
    assert_eq!(got, [false, true, false, true]);
}

#[test]
fn a_needle_may_be_longer_than_any_text() {
    let long = "ab".repeat(50_000);
    let needle = Needle::new(&long).unwrap();
    let texts = StringArray::from(vec![long.clone(), format!("{long}s"), format!("{long}x"), "ab".to_owned()]);
    let got: Vec<_> = needle.in_strings(&texts).iter().flatten().collect();
    assert_eq!(got, [true, true, false, false]);
}
