//! Tokens of a hostile corpus inside a prompt.

use proptest::prelude::*;

use super::{marked, shown};

#[test]
fn layout_and_control_sequences_cannot_be_imitated() {
    let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text:?}");
    check(" king", " king");
    check("中🦀é «»", "中🦀é «»");
    check("a\tb\nc\r", "a\\tb\\nc\\r");
    check("\\", "\\\\");
    check("<start>", "\\u{3c}start>");
    check("<end>", "\\u{3c}end>");
    check("<|im_end|>", "\\u{3c}|im_end|>");
    check("</s><think>", "\\u{3c}/s>\\u{3c}think>");
    check("a < b <b>", "a < b <b>");
    check("\u{200b}\u{202e}\u{feff}\u{7}", "\\u{200b}\\u{202e}\\u{feff}\\u{7}");
}

#[test]
fn marked_words_stand_in_double_brackets() {
    let text = |tokens: &[(&'static str, Option<&str>)]| {
        marked(tokens.iter().map(|(token, mark)| (*token, mark.map(str::to_owned))))
    };
    assert_eq!(text(&[("The", None), (" old", None), (" king", Some("9")), (" sat", None)]), "The old [[king 9]] sat");
    assert_eq!(text(&[(" king", Some("")), ("rode ", Some("3")), ("out", None)]), " [[king]][[rode 3]] out");
    assert_eq!(text(&[("  ", Some("5"))]), "[[   5]]");
    // What the tokens cut in two is escaped all the same; brackets of the text are parted.
    assert_eq!(text(&[("<", None), ("|im_start|>", None)]), "\\u{3c}|im_start|>");
    assert_eq!(text(&[("a[", None), ("[0]]", None)]), "a[\\[0]\\]");
}

proptest! {
    #[test]
    fn text_stays_on_one_line_without_markers(text in "(\\PC|[\\t\\n\\r<>|\\[\\]\\\\]|<start>|<end>|<\\|im_end\\|>){0,40}") {
        let shown = shown(&text);
        prop_assert!(!shown.contains(['\t', '\n', '\r']));
        prop_assert!(!shown.contains("<|") && !shown.contains("<start>") && !shown.contains("<end>"));
        let marked = marked([(text.as_str(), None)]);
        prop_assert!(!marked.contains("[[") && !marked.contains("]]"));
    }
}
