//! Numbers as people read them.

use super::*;

#[test]
fn numbers_keep_four_digits() {
    let cases = [
        (0.0, "0"),
        (1.0, "1"),
        (-0.169_97, "−0.17"),
        (0.123_456, "0.1235"),
        (12.345_6, "12.35"),
        (123_456.7, "123457"),
        (0.000_123_456, "0.0001235"),
        (0.000_012_345_6, "1.235e-5"),
        (-12_345_678.0, "−1.235e7"),
        (f64::NAN, "–"),
    ];
    for (number, expected) in cases {
        assert_eq!(significant(number), expected, "{number}");
    }
}

#[test]
fn what_is_undefined_is_a_dash() {
    let none = Value::from(());
    for text in [count(&none), number(&none), score(&none), dollars(&none), score(&Value::from(f64::NAN))] {
        assert_eq!(text, "–");
    }
    assert_eq!(score(&Value::from("0.5")), "–", "a text is no number");
}

#[test]
fn counts_scores_and_amounts() {
    assert_eq!(count(&Value::from(1_234_567)), "1\u{202F}234\u{202F}567");
    assert_eq!(count(&Value::from(-1_000)), "−1\u{202F}000");
    assert_eq!(count(&Value::from(12)), "12");
    assert_eq!(score(&Value::from(-0.5)), "−0.500");
    assert_eq!(dollars(&Value::from(0.0123)), "$0.0123");
    assert_eq!(dollars(&Value::from(12.3)), "$12.30");
}

#[test]
fn times_are_told_to_the_minute() {
    assert_eq!(time("2026-11-22T07:28:14.913672Z"), "2026-11-22 07:28 UTC");
    for text in ["", "soon", "2026-11-22T07:28", "éééééééééééééééééé"] {
        assert_eq!(time(text), text);
    }
}
