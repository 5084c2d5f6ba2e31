//! Normalisation against the specification's numbers (§10.2), sample names, and the samplers' corner cases.

use super::normalize::{normalize, normalize_symmetric, normalized, normalized_symmetric};
use super::record::Sample;
use super::slots::{Candidate, Slots};
use super::top::Top;
use crate::neurons::lanes::BLOCK;
use crate::token_sequences::split::Split;
use crate::token_sequences::window::Window;

#[test]
fn normalisation_has_the_reference_values() {
    let check = |activations: &[f64], max, expected: &[i8]| {
        let got: Vec<i8> = activations.iter().map(|activation| normalized(*activation, max)).collect();
        assert_eq!(got, expected, "{activations:?} of {max}");
    };
    check(&[-1.0, 0.0, 0.1, 0.5, 0.99, 1.0, 2.0], 1.0, &[0, 0, 1, 5, 9, 10, 10]);
    check(&[0.29, 0.57, 0.58, 0.7], 1.0, &[2, 5, 5, 7]);
    check(&[1.0, -1.0, 0.0], 0.0, &[0, 0, 0]);
    check(&[1.0, -1.0, 0.0], -1.0, &[0, 0, 0]);
    check(&[f64::NAN, f64::INFINITY], 1.0, &[0, 10]);
    let symmetric: Vec<i8> = [-2.5, -2.0, -0.19, -0.2, 0.0, 0.39, 1.99, 5.0]
        .iter()
        .map(|activation| normalized_symmetric(*activation, 2.0))
        .collect();
    assert_eq!(symmetric, [-10, -10, 0, -1, 0, 1, 9, 10]);
    assert_eq!(normalized_symmetric(1.0, 0.0), 0);
    assert_eq!(normalize(&[-1.0, 0.5, 4.0, 1.0], 4.0), [0, 1, 10, 2]);
    assert_eq!(normalize_symmetric(&[-1.0, 0.5, 4.0], 4.0), [-2, 1, 10]);
    // The maximum of a record is always 10, whatever its digits.
    for i in 1..10_000 {
        let max = i as f32 * 0.001_7;
        assert_eq!(normalize(&[max], max), [10]);
    }
}

#[test]
fn samples_are_named_as_in_the_table() {
    let names =
        [Sample::Top, Sample::Random, Sample::Quantile(0), Sample::Quantile(4)].map(|sample| sample.to_string());
    assert_eq!(names, ["top", "random", "quantile_0", "quantile_4"]);
}

/// Offers windows of one token, (sequence, document, activation of every neuron), to the top sampler.
fn top_of(n_top: usize, windows: &[(i64, i64, f32)]) -> Vec<(i64, f32)> {
    let mut top = Top::new(1, n_top, 1);
    for (sequence, document, activation) in windows {
        let window = Window {
            sequence: *sequence,
            document: *document,
            split: Split::Train,
            token_ids: &[0],
            recordable: true,
            first_counted: 0,
        };
        let row = [*activation; BLOCK];
        top.observe(&Candidate { window: &window, rows: &[row], max: &row, draws: &[0; BLOCK] });
    }
    top.records(0).map(|record| (record.sequence, record.max_activation)).collect()
}

#[test]
fn top_keeps_one_window_of_a_document_and_the_earlier_of_equals() {
    // Document 1 improves in place and must not push document 2 out.
    assert_eq!(top_of(2, &[(0, 1, 1.0), (1, 2, 0.5), (2, 1, 3.0), (3, 1, 2.0)]), [(2, 3.0), (1, 0.5)]);
    // A document that was pushed out may come back with a better window.
    assert_eq!(top_of(1, &[(0, 1, 1.0), (1, 2, 2.0), (2, 1, 3.0)]), [(2, 3.0)]);
    assert_eq!(top_of(2, &[(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 1, 1.0)]), [(0, 1.0), (1, 1.0)]);
    assert_eq!(top_of(2, &[(0, 1, -1.0), (1, 2, -2.0), (2, 3, -1.5)]), [(0, -1.0), (2, -1.5)]);
    assert_eq!(top_of(0, &[(0, 1, 1.0)]), []);
}

#[test]
fn freed_slots_keep_the_others_whole() {
    let mut slots = Slots::new(1, 3, 2);
    for i in 0..3 {
        let token_ids = [0; 2];
        let window = Window {
            sequence: i,
            document: i,
            split: Split::Test,
            token_ids: &token_ids,
            recordable: true,
            first_counted: 0,
        };
        let rows = [[i as f32; BLOCK], [i as f32 + 0.5; BLOCK]];
        let candidate = Candidate { window: &window, rows: &rows, max: &rows[1], draws: &[i as u64; BLOCK] };
        slots.push(0, &candidate, candidate.held(0));
    }
    slots.remove(0, 0);
    let activations: Vec<_> = (0..2).map(|slot| slots.record(0, slot, Sample::Random, 0).activations).collect();
    assert_eq!(activations, [[2.0, 2.5], [1.0, 1.5]]);
}
