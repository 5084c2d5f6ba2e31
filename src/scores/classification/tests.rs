//! Numbers of scikit-learn (scripts/make_classification_reference.py) and, where it has none, why ours are NULL.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    activating: Vec<u8>,
    predicted: Vec<u8>,
    value: Vec<f64>,
    metrics: BTreeMap<String, f64>,
}

fn judged(activating: bool, predicted: Option<bool>, value: Option<f64>) -> Judged {
    Judged { activating, predicted, value }
}

fn named(summaries: &[ClassificationSummary; 7]) -> BTreeMap<&'static str, ClassificationSummary> {
    summaries.iter().map(|summary| (summary.metric.as_str(), *summary)).collect()
}

#[test]
fn metrics_are_those_of_scikit_learn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference/classification.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (i, case) in cases.iter().enumerate() {
        let flags = case.activating.iter().zip(&case.predicted).zip(&case.value);
        let judgements: Vec<Judged> = flags.map(|((a, p), v)| judged(*a == 1, Some(*p == 1), Some(*v))).collect();
        for (name, summary) in named(&summaries(&judgements, None)) {
            let (found, expected) = (summary.value.unwrap(), case.metrics[name]);
            assert!((found - expected).abs() < 1e-12, "case {i} {name}: expected {expected}, got {found}");
            assert_eq!((summary.n_failed, summary.interval), (0, None));
        }
    }
}

/// Worked by hand: TP 1, FN 1, TN 2; pairs of values 0.9 > 0.4, 0.9 > 0.1, 0.4 = 0.4, 0.4 > 0.1.
#[test]
fn ties_count_half() {
    let windows = [(true, true, 0.9), (true, false, 0.4), (false, false, 0.4), (false, false, 0.1)];
    let windows = windows.map(|(a, p, v)| judged(a, Some(p), Some(v)));
    let found = named(&summaries(&windows, None));
    assert_eq!(found["roc_auc"].value, Ok(3.5 / 4.0));
    assert_eq!(found["balanced_accuracy"].value, Ok(0.75));
    assert_eq!(found["f1"].value, Ok(2.0 / 3.0));
    assert_eq!(found["hit_rate"].value, Ok(1.0));
    // Zeros of both signs are equal.
    let zeros = [judged(true, None, Some(-0.0)), judged(false, None, Some(0.0))];
    assert_eq!(named(&summaries(&zeros, None))["roc_auc"].value, Ok(0.5));
}

#[test]
fn what_is_undefined_says_why() {
    use Undefined::*;
    let (yes, no) = (Some(true), Some(false));
    // In the order of the names: accuracy, balanced_accuracy, f1, hit_rate, precision, recall, roc_auc.
    type Expected = [Result<f64, Undefined>; 7];
    let check = |windows: &[Judged], expected: Expected| {
        let found = summaries(windows, Some(Bootstrap::default()));
        for (summary, expected) in found.iter().zip(expected) {
            assert_eq!(summary.value, expected, "{} of {windows:?}", summary.metric.as_str());
            assert!(summary.interval.is_none() || summary.value.is_ok());
        }
    };
    check(&[], [Err(NoWindows); 7]);
    let failed = [judged(true, None, None), judged(false, None, Some(f64::NAN))];
    check(&failed, [Err(NothingJudged); 7]);
    let none = [judged(false, no, None), judged(false, yes, None)];
    let p = Err(NoPositives);
    check(&none, [Ok(0.5), p, p, Ok(0.5), p, p, Err(NothingJudged)]);
    let all = [judged(true, yes, Some(1.0)), judged(true, no, Some(2.0))];
    let n = Err(NoNegatives);
    check(&all, [Ok(0.5), n, Ok(2.0 / 3.0), n, Ok(1.0), Ok(0.5), n]);
    let silent = [judged(true, no, None), judged(false, no, None)];
    check(&silent, [Ok(0.5), Ok(0.5), Ok(0.0), Ok(1.0), Err(NonePredicted), Ok(0.0), Err(NothingJudged)]);
}

#[test]
fn failures_are_counted_and_enter_no_number() {
    let windows = [
        judged(true, Some(true), Some(0.7)),
        judged(true, Some(true), None),
        judged(true, None, None),
        judged(false, Some(false), Some(0.2)),
        judged(false, None, Some(0.9)),
        judged(false, None, None),
    ];
    let found = named(&summaries(&windows, Some(Bootstrap::default())));
    let n = |name: &str| (found[name].n_windows, found[name].n_failed);
    assert_eq!(found["accuracy"].value, Ok(1.0));
    assert_eq!(found["roc_auc"].value, Ok(0.5));
    assert_eq!((n("accuracy"), n("roc_auc"), n("hit_rate")), ((3, 2), (3, 2), (1, 1)));
}

#[test]
fn intervals_hold_the_value_and_are_the_same_again() {
    let windows: Vec<Judged> = (0..40_u32)
        .map(|i| judged(i % 2 == 0, Some(i % 3 == 0 || i % 2 == 0), Some(f64::from(i * 7 % 11) + f64::from(1 - i % 2))))
        .collect();
    let draw = |seed| summaries(&windows, Some(Bootstrap { seed, ..Bootstrap::default() }));
    for summary in draw(3) {
        let (value, interval) = (summary.value.unwrap(), summary.interval.unwrap());
        assert!(interval.low <= value && value <= interval.high, "{summary:?}");
        assert!(interval.high - interval.low < 0.5, "{summary:?}");
    }
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    assert!(summaries(&windows[..1], Some(Bootstrap::default())).iter().all(|summary| summary.interval.is_none()));
}
