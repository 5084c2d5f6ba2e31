//! Splits: names, shares, the paper's interleaving.

use super::split::{Split, SplitFractions, SplitStrategy, interleave_random, interleave_top};

#[test]
fn split_names_round_trip() {
    for split in Split::ALL {
        assert_eq!(split.as_str().parse::<Split>().unwrap(), split);
    }
    assert_eq!(
        "Train".parse::<Split>().unwrap_err().to_string(),
        "expected a split (train, calibration, valid, test, pool), got 'Train'"
    );
}

#[test]
fn fractions_are_kept_and_stable() {
    let strategy = SplitStrategy::default();
    let mut counts = [0usize; 5];
    for document in 0..100_000u64 {
        let split = strategy.split_of_document(document);
        assert_eq!(split, strategy.split_of_document(document));
        counts[split as usize] += 1;
    }
    for (count, share) in counts.iter().zip([0.6, 0.1, 0.2, 0.1, 0.0]) {
        // Five standard deviations of a binomial share with 100,000 draws are below 0.008.
        assert!((*count as f64 / 100_000.0 - share).abs() < 0.008, "{counts:?}");
    }
    let other = SplitStrategy::Document { fractions: SplitFractions::default(), seed: 1 };
    assert!((0..100).any(|document| other.split_of_document(document) != strategy.split_of_document(document)));
}

#[test]
fn fractions_must_be_a_distribution() {
    assert!(SplitFractions::new([0.5, 0.5, 0.0, 0.0]).is_ok());
    assert!(SplitFractions::new([0.5, 0.6, 0.0, 0.0]).is_err());
    assert!(SplitFractions::new([1.5, -0.5, 0.0, 0.0]).is_err());
    assert!(SplitFractions::new([f64::NAN, 0.5, 0.5, 0.0]).is_err());
    let only_valid = SplitStrategy::Document { fractions: SplitFractions::new([0.0, 0.0, 1.0, 0.0]).unwrap(), seed: 3 };
    assert!((0..1000).all(|document| only_valid.split_of_document(document) == Split::Valid));
}

#[test]
fn strategies_are_found_by_name() {
    let document = SplitStrategy::Document { fractions: SplitFractions::default(), seed: 4 };
    assert_eq!(SplitStrategy::parse("document", 4).unwrap(), document);
    assert_eq!(SplitStrategy::parse("paper", 4).unwrap(), SplitStrategy::Paper);
    assert_eq!(
        SplitStrategy::parse("x", 4).unwrap_err().to_string(),
        "expected a split strategy (document, paper), got 'x'"
    );
}

#[test]
fn paper_halves_the_documents() {
    let n_train =
        (0..10_000).filter(|document| SplitStrategy::Paper.split_of_document(*document) == Split::Train).count();
    assert!((4_750..5_250).contains(&n_train), "{n_train}");
    assert!(
        (0..100).all(|document| matches!(SplitStrategy::Paper.split_of_document(document), Split::Train | Split::Pool))
    );
}

#[test]
fn interleaving_is_the_papers() {
    let ranks = |of: fn(usize, usize) -> Option<Split>, wanted| {
        (0..40).filter(|rank| of(*rank, 5) == Some(wanted)).collect::<Vec<_>>()
    };
    assert_eq!(ranks(interleave_top, Split::Train), [0, 4, 8, 12, 16]);
    assert_eq!(ranks(interleave_top, Split::Valid), [2, 6, 10, 14, 18]);
    assert_eq!(ranks(interleave_random, Split::Valid), [1, 4, 7, 10, 13]);
    assert_eq!(ranks(interleave_random, Split::Train), [0usize; 0]);
    assert_eq!(interleave_top(20, 5), None);
    assert_eq!(interleave_random(15, 5), None);
}
