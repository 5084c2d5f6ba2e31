//! Hostile text must not reach the terminal as it is.

use proptest::prelude::*;

use super::{escape, fitting, truncated, width};

#[test]
fn control_characters_become_visible() {
    let check = |text: &str, expected: &str| assert_eq!(escape(text), expected, "{text:?}");
    check("plain 中🦀é", "plain 中🦀é");
    check("a\nb\r\nc\rd\te", "a⏎b⏎c␍d⇥e");
    check("\u{1b}[31mred\u{1b}[0m\u{7}\0", "␛[31mred␛[0m␇␀");
    check("\u{1b}]0;title\u{9c}", "␛]0;title\\u{9c}");
    check("\u{9b}2J\u{7f}", "\\u{9b}2J␡");
    check("user\u{202e}txt.exe", "user\\u{202e}txt.exe");
    check("a\u{200b}b\u{2066}c\u{e0041}", "a\\u{200b}b\\u{2066}c\\u{e0041}");
    check("👩\u{200d}🚀", "👩\u{200d}🚀");
}

#[test]
fn text_is_cut_at_columns_not_bytes() {
    assert_eq!(truncated("abc", 3), "abc");
    assert_eq!(truncated("abcd", 3), "ab…");
    assert_eq!(truncated("中中中", 4), "中…");
    assert_eq!(truncated("abc", 1), "…");
    assert_eq!(fitting("中a", 1), 3);
}

proptest! {
    #[test]
    fn nothing_escapes(text in any::<String>(), columns in 1_usize..20) {
        let shown = escape(&text);
        prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
        // Escaping twice changes nothing more.
        prop_assert_eq!(escape(&shown), shown.as_ref());
        // Joined emoji may be narrower together than their parts, never wider.
        prop_assert!(width(&truncated(&shown, columns)) <= columns.max(2));
    }
}
