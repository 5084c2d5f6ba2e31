//! Normalisation of what is shown.

use super::{Evidence, EvidenceRecord, block_max, normalized};
use crate::explanations::tests::{evidence, record};

fn of(activations: &[f32]) -> EvidenceRecord {
    EvidenceRecord { tokens: vec!["x".to_owned(); activations.len()], activations: activations.to_vec() }
}

#[test]
fn values_are_tenths_of_the_largest_shown() {
    // Specification §10.2 with a maximum of 1; its 2 would be the maximum here, so it is left out.
    assert_eq!(normalized(&[of(&[-1.0, 0.0, 0.1, 0.5, 0.99, 1.0])]), [[0, 0, 1, 5, 9, 10]]);
    assert_eq!(normalized(&[of(&[0.29, 0.57, 0.58, 1.0])]), [[2, 5, 5, 10]]);
}

#[test]
fn the_maximum_is_that_of_the_block() {
    let both = [of(&[1.0, 2.0]), of(&[4.0, 0.0])];
    assert_eq!(normalized(&both), [[2, 5], [10, 0]]);
    assert_eq!(normalized(&both[..1]), [[5, 10]]);
}

#[test]
fn without_a_value_above_zero_all_are_zero() {
    assert_eq!(normalized(&[of(&[0.0, -3.0, f32::NAN])]), [[0, 0, 0]]);
    assert_eq!(normalized(&[of(&[])]), [[0_i8; 0]]);
    assert_eq!(block_max(&[of(&[-1.0])]), 0.0);
}

#[test]
fn evidence_that_tells_nothing_is_refused_with_a_reason() {
    let check = |evidence: &Evidence, expected: Option<&str>| assert_eq!(evidence.fault().as_deref(), expected);
    check(&evidence(&["a#1| b"], &[]), None);
    check(&evidence(&[], &["a"]), Some("expected at least one window of split train, got none"));
    check(&evidence(&["a#-1| b"], &[]), Some("it fires on none of the windows shown"));
    let uneven = EvidenceRecord { tokens: vec!["a".to_owned()], activations: vec![1.0, 2.0] };
    let uneven = Evidence { records: vec![record("a#1"), uneven], ..Evidence::default() };
    check(&uneven, Some("expected as many activations as tokens, got 2 and 1"));
}
