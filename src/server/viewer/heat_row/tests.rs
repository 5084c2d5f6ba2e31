//! Colours of values.

use super::*;

#[test]
fn a_value_has_the_colour_of_its_share() {
    let check =
        |value: f64, most: f64, hue, expected: &str| assert_eq!(class(value, most, hue), expected, "{value} of {most}");
    check(0.0, 2.0, Hue::Real, "");
    check(2.0, 2.0, Hue::Real, "a32");
    check(5.0, 2.0, Hue::Real, "a32");
    check(1.0, 2.0, Hue::Simulated, "s16");
    check(1e-9, 2.0, Hue::Real, "a1");
    check(-1.0, 2.0, Hue::Real, "an16");
    check(-9.0, 2.0, Hue::Simulated, "sn32");
}

#[test]
fn a_row_tells_what_is_missing() {
    let values = [Some(1.0), None, Some(-0.5)];
    let row = heat_row(["a", "\n", "c", "d"], &values, most(&values), Hue::Real);
    let told: Vec<(&str, &str, &str)> = row.iter().map(|cell| (&*cell.text, &*cell.class, &*cell.title)).collect();
    assert_eq!(told, [("a", "a32", "1"), ("↵\n", "", "–"), ("c", "an16", "−0.5"), ("d", "", "–")]);
    assert_eq!(most(&[None, Some(-1.0)]), None, "nothing above zero has no full colour");
    assert_eq!(heat_row(["a"], &[Some(3.0)], None, Hue::Real)[0].class, "");
}

#[test]
fn an_endless_token_ends() {
    assert_eq!(shown(&"ä".repeat(LONGEST_TOKEN)).chars().count(), LONGEST_TOKEN);
    assert_eq!(shown(&"ä".repeat(100_000)).chars().count(), LONGEST_TOKEN + 1);
}
