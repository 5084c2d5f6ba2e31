//! Patterns: their text, what is learned from a few windows, and planted neurons against the token lookup table.

mod planted;

use proptest::prelude::*;

use super::{Pattern, Rule, Slot, learn, parse, simulate};
use crate::explanations::tests::evidence;

fn tokens(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

/// Learns from windows and writes the pattern.
#[track_caller]
fn check(firing: &[&str], quiet: &[&str], expected: &str) {
    let pattern = learn(&evidence(firing, quiet)).unwrap();
    assert_eq!(pattern.to_string(), expected);
    assert_eq!(parse(expected).as_ref(), Ok(&pattern));
}

#[test]
fn a_token_that_always_fires_needs_no_context() {
    check(
        &["The| old| king#10| sat| by| the| queen#9", "A| king#9| rose| and| the| crowd| fell"],
        &["The| old| dog| sat| by| the| door"],
        r#"pattern: " king"|" queen" (9.3); elsewhere 0.0"#,
    );
}

#[test]
fn a_token_that_fires_in_one_context_is_told_with_it() {
    check(
        &[
            "Not| all#10| birds| fly| and| all| fish| swim|.|Not| all#10| sing",
            "It| is| not| all#9| gold",
            "We| were| not| all#10| there",
        ],
        &["After| all| that| work| all| was| lost"],
        r#"pattern: "Not"|" not" -> " all" (9.8); elsewhere 0.0"#,
    );
}

#[test]
fn a_context_before_many_tokens_ends_in_any_token() {
    check(
        &["The| king| of| France#10| met| the| duke| of| York#9", "A| cup| of| tea#10| and| a| slice| of| cake#10"],
        &["York| and| France| drank| tea| with| cake"],
        r#"pattern: " of" -> * (9.8); elsewhere 0.0"#,
    );
}

#[test]
fn a_place_between_may_be_anything() {
    check(
        &["from| home| to#10| work", "from| Rome| to#10| Paris| to| London", "from| east| to#9| west"],
        &["he| went| to| bed| to| sleep"],
        r#"pattern: "from" * -> " to" (9.7); elsewhere 0.0"#,
    );
}

#[test]
fn a_neuron_of_two_kinds_has_two_rules() {
    check(
        &["one| cat#10| and| two| cat#10| pictures", "in| May#4| or| in| May#4| again"],
        &[],
        r#"pattern: " cat" (10.0); " May" (4.0); elsewhere 0.0"#,
    );
}

#[test]
fn evidence_without_a_pattern_is_a_reason() {
    assert_eq!(learn(&evidence(&[], &[])).unwrap_err(), "expected at least one window of split train, got none");
    assert_eq!(learn(&evidence(&["a#-1"], &[])).unwrap_err(), "it fires on none of the windows shown");
    // One firing among hundreds of the same token and context.
    let mut window = vec!["x#1"; 300];
    window[150] = "x#10";
    let flat = learn(&evidence(&[&window.join("|")], &[]));
    assert_eq!(flat.unwrap_err(), "no token or context goes with its activations");
}

#[test]
fn the_first_rule_that_fits_decides() {
    let pattern =
        parse(r#"pattern: " not" -> " all" (10.0); " all"|" every" (2.5); "a" * -> * (4.0); elsewhere 0.5"#).unwrap();
    assert_eq!(simulate(&pattern, &tokens(" not| all| all| every|a| b| c")), [0.5, 10.0, 2.5, 2.5, 0.5, 0.5, 4.0]);
    assert_eq!(simulate(&pattern, &[]), [0_f32; 0]);
    assert_eq!(simulate(&pattern, &tokens(" all")), [2.5]);
}

#[test]
fn text_that_is_no_pattern_is_refused() {
    let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    check("words about kings", "pattern: expected 'pattern: ' at byte 0, got 'words about kings'");
    check("pattern: ", "pattern: expected 'pattern: ' at byte 0, got 'pattern:'");
    check("pattern: \"a\" (1.0)", "pattern: expected '; ' at byte 18, got ''");
    check(
        "pattern: \"a\" (11.0); elsewhere 0",
        "pattern: expected a number of 0 to 10 at byte 14, got '11.0); elsewhere 0'",
    );
    check("pattern: \"a (1.0); elsewhere 0", "pattern: expected more text at byte 30, got ''");
    check("pattern: \"\\u{110000}\" (1.0)", "pattern: expected a character's number at byte 13, got '110000}\" (1.0)'");
    check(
        "pattern: \"a\" \"b\" (1.0); elsewhere 0",
        "pattern: expected '->' before the last token at byte 18, got '1.0); elsewhere 0'",
    );
    check("pattern: elsewhere 0 or so", "pattern: expected the end at byte 20, got ' or so'");
    assert_eq!(parse(" pattern: elsewhere 0.0\n"), Ok(Pattern::default()));
}

fn slot() -> impl Strategy<Value = Slot> {
    let token = "(\\PC|[\\n\\t\\\\\"'|*();>\\u{0}\\u{301}\\u{200b}]){0,6}";
    prop_oneof![Just(Slot::Any), prop::collection::vec(token, 1..4).prop_map(Slot::OneOf)]
}

fn value() -> impl Strategy<Value = f32> {
    (0_u8..=100).prop_map(|tenths| f32::from(tenths) / 10.0)
}

proptest! {
    #[test]
    fn patterns_are_read_as_they_are_written(
        rules in prop::collection::vec((prop::collection::vec(slot(), 0..4), slot(), value()), 0..5),
        elsewhere in value(),
    ) {
        let rules = rules.into_iter().map(|(context, last, value)| Rule { context, last, value }).collect();
        let pattern = Pattern { rules, elsewhere };
        prop_assert_eq!(parse(&pattern.to_string()), Ok(pattern));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(pattern: )?[\"\\\\u{}|*>() ;.0-9a-z-]{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn whatever_is_learned_stays_on_the_scale(
        windows in prop::collection::vec(prop::collection::vec(("[abc]", -2.0_f32..8.0), 1..20), 1..6),
    ) {
        let windows: Vec<String> = windows
            .iter()
            .map(|window| window.iter().map(|(token, value)| format!("{token}#{value}")).collect::<Vec<_>>().join("|"))
            .collect();
        let windows: Vec<&str> = windows.iter().map(String::as_str).collect();
        if let Ok(pattern) = learn(&evidence(&windows, &[])) {
            prop_assert_eq!(parse(&pattern.to_string()), Ok(pattern.clone()));
            for record in evidence(&windows, &[]).records {
                let expected = simulate(&pattern, &record.tokens);
                prop_assert_eq!(expected.len(), record.tokens.len());
                prop_assert!(expected.iter().all(|value| (0.0..=10.0).contains(value)));
            }
        }
    }
}
