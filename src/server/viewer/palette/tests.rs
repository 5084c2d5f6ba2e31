//! Every level of a heat map can be read.

use super::*;

#[test]
fn text_reads_on_every_level_of_both_schemes() {
    for (name, scheme) in [("light", LIGHT), ("dark", DARK)] {
        for full in [scheme.real, scheme.simulated] {
            let mut before = contrast(scheme.paper, scheme.paper);
            for level in 1..=LEVELS {
                let colour = mix(scheme.paper, full, f64::from(level) / f64::from(LEVELS));
                assert!(contrast(ink(colour), colour) >= 4.5, "{name}, level {level}: {}", hexadecimal(colour));
                let from_paper = contrast(scheme.paper, colour);
                assert!(from_paper > before, "{name}: level {level} stands out more than the one below");
                before = from_paper;
            }
            assert!(before >= 7.0, "{name}: the highest level stands out: {before}");
        }
        assert!(contrast(scheme.negative, scheme.paper) >= 4.5, "{name}: hatching");
    }
}

#[test]
fn mixing_begins_and_ends_where_it_should() {
    let (from, to) = ([255, 255, 255], [8, 69, 148]);
    assert_eq!(mix(from, to, 0.0), from);
    assert_eq!(mix(from, to, 1.0), to);
    assert_eq!(mix([0, 0, 0], [255, 255, 255], 0.5), [99, 99, 99], "the middle grey of OKLab");
}

#[test]
fn the_style_sheet_has_a_rule_for_every_level_and_scale() {
    let sheet = style_sheet();
    for class in ["a1", "a32", "b32", "s7", "t32", "an3", "bn32", "tn9"] {
        assert_eq!(
            sheet.matches(&format!(".{class} ")).count() + sheet.matches(&format!(".{class},")).count(),
            2,
            "{class}"
        );
    }
    assert_eq!(sheet.matches('{').count(), sheet.matches('}').count());
}
