//! The folding against that of the regex engine, letter by letter, and words by example.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::*;

#[test]
fn folding_is_unicodes_simple_folding_for_every_letter() {
    // A letter that only one of the two tables has yet is none that they could agree on.
    let known = regex::Regex::new(r"^\P{Cn}$").unwrap();
    for c in '\0'..=char::MAX {
        if !c.is_alphanumeric() || !known.is_match(c.encode_utf8(&mut [0; 4])) {
            continue;
        }
        let mut same = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
        same.try_case_fold_simple().unwrap();
        for range in same.ranges() {
            for other in range.start()..=range.end() {
                assert_eq!(fold(other), fold(c), "{c:?} and {other:?} differ in case only");
            }
        }
        let mut folded = ClassUnicode::new([ClassUnicodeRange::new(fold(c), fold(c))]);
        folded.try_case_fold_simple().unwrap();
        let holds = folded.ranges().iter().any(|range| range.start() <= c && c <= range.end());
        assert!(holds, "{c:?} folds to {:?}, another letter", fold(c));
    }
}

#[test]
fn words_are_runs_of_letters_marks_and_digits() {
    let cases: [(&str, &[&str]); 7] = [
        ("", &[]),
        ("…!", &[]),
        ("Words about \"royalty\" (kings)", &["Words", "about", "royalty", "kings"]),
        ("the king's x86-64", &["the", "king", "s", "x86", "64"]),
        ("naïve Größe", &["naïve", "Größe"]),
        ("हिन्दी भाषा", &["हिन", "दी", "भाषा"]),
        ("a_b\u{0}c", &["a", "b", "c"]),
    ];
    for (text, expected) in cases {
        assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text}");
    }
}

#[test]
fn forms_of_a_word() {
    let cases: [(&str, &[&str]); 6] = [
        ("king", &["king", "kinges", "kings"]),
        ("kings", &["king", "kinges", "kings", "kingses", "kingss"]),
        ("class", &["class", "classes", "classs"]),
        ("as", &["as", "ases", "ass"]),
        ("боксы", &["боксы", "боксыes", "боксыs"]),
        ("boxes", &["box", "boxe", "boxees", "boxes", "boxeses", "boxess"]),
    ];
    for (word, expected) in cases {
        let got = forms(word);
        assert!(expected.iter().all(|form| got.iter().any(|g| g == form)), "{word}: {got:?}");
        assert!(got.contains(&word.to_owned()), "{word}: {got:?}");
    }
}
