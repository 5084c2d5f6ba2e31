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
    let maps = heat_maps(&[weak, strong]);
    let cell = |map: usize, cell: usize| maps[map].cells[cell].clone();
    assert_eq!((cell(0, 0).c.as_str(), cell(0, 0).d.as_str()), ("a32 b16", "s32 t32"));
    assert_eq!((cell(0, 1).c.as_str(), cell(0, 1).d.as_str()), ("an16 bn8", "s16 t16"));
    assert_eq!(
        (cell(1, 0).c.as_str(), cell(1, 0).d.as_str()),
        ("a32 b32", "s32 t16"),
        "in the unit's units: half of 1"
    );
    assert_eq!((cell(0, 1).v.as_str(), cell(0, 1).w.as_str()), ("−0.25", "5"));
    assert_eq!(maps[0].peak, 0);
}

#[test]
fn a_window_without_simulation_or_with_values_missing_is_drawn() {
    let mut bare = window(&["a", "b", "c"], &[1.0], None, NORMALIZED);
    bare.activations.push(None);
    let map = &heat_maps(&[bare])[0];
    assert!(!map.simulated && map.cells.len() == 3);
    assert_eq!((map.cells[1].v.as_str(), map.cells[2].v.as_str(), map.cells[2].c.as_str()), ("–", "–", ""));
    assert_eq!(map.cells[0].d, "");
    let silent = &heat_maps(&[window(&["a"], &[-1.0], Some(&[0.0]), NORMALIZED)])[0];
    assert_eq!(silent.cells[0].c, "", "nothing is above 0: there is no scale");
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
