//! Levels, scales and hostile tokens.

use serde_json::json;

use super::*;

fn window(tokens: &[&str], activations: &[f64], expected: Option<&[f64]>, scale: &str) -> Window {
    serde_json::from_value(json!({
        "sample": "top", "rank": 0, "split": "valid", "sequence": 7, "document": 0, "max_activation": 2.0,
        "tokens": tokens, "activations": activations, "expected": expected, "scale": scale, "reason": null,
    }))
    .unwrap()
}

#[test]
fn a_value_has_a_level_on_each_scale() {
    let cases = [
        (0.0, 2.0, None),
        (2.0, 2.0, Some((true, 32))),
        (1.0, 2.0, Some((true, 16))),
        (0.01, 2.0, None),
        (0.05, 2.0, Some((true, 1))),
        (5.0, 2.0, Some((true, 32))),
        (-1.0, 2.0, Some((false, 16))),
        (-9.0, 2.0, Some((false, 32))),
        (1.0, 0.0, None),
        (f64::NAN, 2.0, None),
    ];
    for (value, end, expected) in cases {
        assert_eq!(level(value, end), expected, "{value} of {end}");
    }
}

#[test]
fn a_window_is_coloured_by_its_own_scale_and_by_the_one_of_all() {
    let weak = window(&["a", "b"], &[0.5, -0.25], Some(&[10.0, 5.0]), NORMALIZED);
    let strong = window(&["c"], &[1.0], Some(&[0.5]), "neuron_activations");
    let drawn: Vec<String> = heat_maps(&[weak, strong]).into_iter().map(|map| map.drawn).collect();
    assert_eq!(
        drawn[0],
        "<span class=\"k a32 b16\" data-v=\"0.5\" data-w=\"10\" tabindex=\"0\"><bdi>a</bdi><i class=\"s32 t32\"></i></span>\
         <span class=\"k an16 bn8\" data-v=\"−0.25\" data-w=\"5\"><bdi>b</bdi><i class=\"s16 t16\"></i></span>"
    );
    assert!(drawn[1].contains("a32 b32") && drawn[1].contains("s32 t16"), "in the unit's units: half of 1: {drawn:?}");
}

#[test]
fn a_window_without_simulation_or_with_values_missing_is_drawn() {
    let mut bare = window(&["a", "<b>", "c"], &[1.0], None, NORMALIZED);
    bare.activations.push(None);
    let map = &heat_maps(&[bare])[0];
    assert!(!map.simulated);
    assert_eq!(
        map.drawn,
        "<span class=\"k a32 b32\" data-v=\"1\" tabindex=\"0\"><bdi>a</bdi></span>\
         <span class=\"k \" data-v=\"–\"><bdi>&lt;b&gt;</bdi></span><span class=\"k \" data-v=\"–\"><bdi>c</bdi></span>"
    );
    let silent = &heat_maps(&[window(&["a"], &[-1.0], Some(&[0.0]), NORMALIZED)])[0];
    assert!(silent.drawn.starts_with("<span class=\"k \""), "nothing is above 0: there is no scale: {}", silent.drawn);
}

#[test]
fn tokens_are_shown_whole_or_cut() {
    let cases = [
        (" king", " king"),
        ("\n", "↵"),
        ("\r\n\t", "␍↵⇥"),
        ("\0\u{1b}\u{7f}", "␀␛␡"),
        ("\u{202E}abc\u{2066}", "\u{FFFD}abc\u{FFFD}"),
        ("", "∅"),
        ("<script>", "<script>"),
        ("שלום", "שלום"),
    ];
    for (token, expected) in cases {
        assert_eq!(shown(token), (expected.to_owned(), false), "{token:?}");
    }
    let (text, cut) = shown(&"é".repeat(100_000));
    assert!(cut && text.chars().count() == LONGEST_TOKEN + 1 && text.ends_with('…'));
}
