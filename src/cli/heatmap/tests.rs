//! Heat maps: shades that can be told apart and read on, and tokens that cannot do harm.

use proptest::prelude::*;

use super::{
    BLACK, LEGEND_STEPS, Palette, RAMP_256, WHITE, background, contrast, heatmap, ink, luminance, number, ramp, rgb_256,
};
use crate::cli::escape::width;

const TOKENS: [&str; 6] = ["The", " king", " of", " France", "\n", "[x]"];
const ACTIVATIONS: [f32; 6] = [0.0, 8.94, -0.17, 4.0, 0.5, 0.1];

#[test]
fn plain_text_marks_strong_tokens() {
    insta::assert_snapshot!(heatmap(&TOKENS, &ACTIVATIONS, None, Palette::Plain, 80), @r"
    The [king 8.9] of [France 4.0]⏎\[x\]
    [token activation] from 2.7 of 0..8.9; strongest 8.9 at token 1 ' king'
    ");
}

#[test]
fn lines_wrap_between_tokens() {
    insta::assert_snapshot!(heatmap(&TOKENS, &ACTIVATIONS, Some(20.0), Palette::Plain, 12), @r"
    The
     [king 8.9]
     of France⏎
    \[x\]
    [token activation] from 6.0 of 0..20.0; strongest 8.9 at token 1 ' king'
    ");
}

#[test]
fn colours_stand_behind_tokens_only() {
    let shown = heatmap(&["a", " b"], &[0.0, 2.0], None, Palette::Color256, 80);
    let first = shown.lines().next().expect("a line");
    assert_eq!(first, "a\u{1b}[48;5;94;38;5;231m b\u{1b}[0m");
    let shown = heatmap(&["a", " b"], &[0.0, 2.0], None, Palette::TrueColor, 80);
    let first = shown.lines().next().expect("a line");
    assert_eq!(first, "a\u{1b}[48;2;140;45;4;38;2;255;255;255m b\u{1b}[0m");
}

#[test]
fn odd_input_is_shown_without_shades() {
    let check = |tokens: &[&str], activations: &[f32], expected: &str| {
        for palette in [Palette::Plain, Palette::Color256, Palette::TrueColor] {
            assert_eq!(heatmap(tokens, activations, None, palette, 80), expected, "{palette:?}");
        }
    };
    check(&[], &[], "no activations\n");
    check(&["a"], &[], "a\nno activations\n");
    check(&["a"], &[f32::NAN, 3.0], "a\nno activations\n");
    check(&["a", "b"], &[-1.0, -0.5], "ab\nno activation above 0; strongest -0.500 at token 1 'b'\n");
}

#[test]
fn tokens_cannot_send_escape_sequences() {
    let hostile = ["\u{1b}[2J", "\u{9b}31m", "\u{1b}]0;x\u{7}", "\r", "\u{202e}abc", "\u{0}"];
    let shown = heatmap(&hostile, &[0.0; 6], None, Palette::TrueColor, 80);
    assert_eq!(shown.chars().filter(|c| c.is_control() && *c != '\n').count(), 0, "{shown:?}");
    // A text cannot fake a mark either.
    let shown = heatmap(&["[king 9.9]", "x"], &[0.0, 1.0], None, Palette::Plain, 80);
    assert!(shown.starts_with("\\[king 9.9\\][x 1.0]\n"), "{shown:?}");
}

#[test]
fn every_shade_is_readable_and_darker_than_the_one_before() {
    let true_color: Vec<_> = (0..=100_u8).map(|step| ramp(f32::from(step) / 100.0)).collect();
    let color_256: Vec<_> = RAMP_256.into_iter().map(rgb_256).collect();
    for shades in [true_color, color_256] {
        for shade in &shades {
            // 4.5 is what WCAG asks of text.
            assert!(contrast(*shade, ink(*shade)) >= 4.5, "{shade:?}");
        }
        for pair in shades.windows(2) {
            assert!(luminance(pair[0]) > luminance(pair[1]), "{pair:?}");
        }
    }
    assert_eq!((ink(WHITE), ink(BLACK)), (BLACK, WHITE));
    assert_eq!(rgb_256(231), WHITE);
    let legend = heatmap(&["a"], &[1.0], None, Palette::Color256, 80);
    assert_eq!(legend.matches("48;5;").count(), usize::from(LEGEND_STEPS) + 1);
}

#[test]
fn the_environment_chooses_the_palette() {
    let check = |variables: &[(&str, &str)], expected| {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(Palette::of_terminal(find), expected, "{variables:?}");
    };
    check(&[], Palette::Plain);
    check(&[("TERM", "dumb"), ("COLORTERM", "truecolor")], Palette::Plain);
    check(&[("TERM", "xterm-256color")], Palette::Color256);
    check(&[("TERM", "xterm"), ("COLORTERM", "truecolor")], Palette::TrueColor);
    check(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")], Palette::Plain);
    check(&[("TERM", "xterm"), ("NO_COLOR", "")], Palette::Color256);
}

#[test]
fn numbers_are_short() {
    let check = |value, expected: &str| assert_eq!(number(value), expected);
    check(0.0, "0");
    check(0.1234, "0.123");
    check(8.94, "8.9");
    check(1234.5, "1234");
    check(2.0e9, "2.0e9");
    check(-1.0e-5, "-1.0e-5");
}

/// Removes what `background` and the reset add.
fn without_styles(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[test]
fn an_emoji_that_is_made_wider_fits_too() {
    let shown = heatmap(&["🕯\u{fe0f}㈠￼"], &[170_714.8], None, Palette::Plain, 10);
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines.iter().rev().skip(1).all(|line| width(line) <= 10), "{lines:?}");
}

proptest! {
    #[test]
    fn any_tokens_fit_the_width(
        tokens in proptest::collection::vec(any::<String>(), 0..12),
        activations in proptest::collection::vec(any::<f32>(), 0..12),
        max in proptest::option::of(any::<f32>()),
        columns in 10_usize..60,
    ) {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        for palette in [Palette::Plain, Palette::Color256, Palette::TrueColor] {
            let shown = heatmap(&tokens, &activations, max, palette, columns);
            let plain = without_styles(&shown);
            prop_assert!(!plain.chars().any(|c| c.is_control() && c != '\n'));
            let lines: Vec<_> = plain.lines().collect();
            for line in lines.iter().rev().skip(1) {
                prop_assert!(width(line) <= columns, "{:?}", line);
            }
        }
    }

    #[test]
    fn any_share_has_a_shade(share in any::<f32>()) {
        prop_assert!(background(Palette::Color256, share).ends_with('m'));
        prop_assert!(background(Palette::TrueColor, share).ends_with('m'));
    }
}
