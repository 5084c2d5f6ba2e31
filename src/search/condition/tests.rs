//! A condition is one expression, whatever is put into it.

use super::*;

#[test]
fn a_condition_is_written_out_as_it_was_read() {
    let cases = [
        ("layer >= 8 AND score > 0.5", "layer >= 8 AND score > 0.5"),
        ("mentions(text, 'king''s')", "mentions(text, 'king''s')"),
        ("text ~* 'a--b' -- a comment", "text ~* 'a--b'"),
        ("layer IN (1, 2) OR NOT (neuron = 3)", "layer IN (1, 2) OR NOT (neuron = 3)"),
    ];
    for (text, expected) in cases {
        assert_eq!(condition("--where", text).unwrap(), expected);
    }
}

#[test]
fn what_is_no_condition_is_refused() {
    let deep = "(".repeat(50_000);
    let long = "a".repeat(LONGEST_CONDITION + 1);
    let cases = [
        "",
        ";",
        "TRUE; DROP TABLE scores",
        "layer = 1) OR (TRUE",
        "DELETE FROM scores",
        "layer >",
        "'open",
        "1 LIMIT 5",
        &deep,
        &long,
    ];
    for text in cases {
        let error = condition("--where", text).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.starts_with("--where: expected one SQL condition"), "{message}");
        assert!(message.len() < 1_000, "{}", message.len());
    }
}
