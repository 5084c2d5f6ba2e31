//! Values of addresses, also broken ones.

use super::*;

fn arguments(query: &str) -> Arguments {
    Arguments::parse(Some(query))
}

#[test]
fn values_are_read_as_browsers_write_them() {
    let given = arguments("q=a+b%26c&empty=&page=3&page=4&low=-0.5&blank=%20%20&broken=%FF%zz");
    assert_eq!(given.text("q"), Some("a b&c"));
    assert_eq!((given.text("empty"), given.text("blank"), given.text("none")), (None, None, None));
    assert_eq!(given.integer("page", 1..=9).unwrap(), Some(4), "the last one counts");
    assert_eq!(given.number("low").unwrap(), Some(-0.5));
    assert_eq!(given.text("broken"), Some("\u{FFFD}%zz"));
    assert_eq!(given.choice("view", &["overlaid", "stacked"]).unwrap(), "overlaid");
}

#[test]
fn what_is_no_value_is_refused() {
    let given = arguments("page=1.5&far=99&low=nan&high=inf&view=round");
    assert!(given.integer("page", 1..=9).is_err() && given.integer("far", 1..=9).is_err());
    assert!(given.number("low").is_err() && given.number("high").is_err());
    assert!(given.choice("view", &["overlaid", "stacked"]).is_err());
    let long = Arguments::parse(Some(&format!("name={}", "x".repeat(LONGEST + 1))));
    assert!(long.name("name").is_err());
    assert_eq!(long.text("name").map(str::len), Some(LONGEST + 1));
}
