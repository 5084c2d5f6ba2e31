use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// Codes of which row r fires latents 0 to r mod 3, each with value 0.5.
fn codes(n_rows: usize) -> Codes {
    let mut codes = Codes::default();
    for row in 0..n_rows {
        codes.push_row((0..(row % 3) as u32).map(|latent| (latent, 0.5)));
    }
    codes
}

proptest! {
    #[test]
    fn streaming_is_two_passes(n_rows in 2..40_usize, width in 1..9_usize, split in 0..40_usize, shift in -1e4..1e4_f32, seed in any::<u64>()) {
        let mut random = Random::seeded(seed);
        // A mean far larger than the deviation: sums of raw squares would cancel.
        let x: Vec<f32> = (0..n_rows * width).map(|_| shift + random.normal() as f32).collect();
        let y: Vec<f32> = x.iter().map(|x| x + 0.3 * random.normal() as f32).collect();
        let split = split.min(n_rows);
        let mut sums = ReconstructionSums::new(width, 4, 0.0, Baseline::of(width, &x));
        for rows in [0..split, split..n_rows] {
            let values = rows.start * width..rows.end * width;
            sums.add(&x[values.clone()], &y[values], &codes(rows.len())).unwrap();
        }
        let metrics = sums.metrics();
        let baseline = Baseline::of(width, &x).unwrap();
        let errors: f64 = x.iter().zip(&y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
        let mse = errors / (n_rows * width) as f64;
        let expected = 1.0 - mse / baseline.mse;
        prop_assert!((metrics.explained_variance.unwrap() - expected).abs() < 1e-6 * (1.0 + expected.abs()));
        prop_assert!((metrics.normalized_mse.unwrap() - mse / baseline.mse).abs() < 1e-9);
        prop_assert!((metrics.fvu.unwrap() + metrics.explained_variance.unwrap() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn numbers_of_two_rows_by_hand() {
    let (x, y) = ([3.0, 4.0, 0.0, 1.0], [3.0, 0.0, 0.0, 2.0]);
    let mut codes = Codes::default();
    codes.push_row([(0, 1.0), (2, 0.5)]);
    codes.push_row([(2, 1.5)]);
    let mut sums = ReconstructionSums::new(2, 4, 0.75, Some(Baseline { mean: vec![0.0, 0.0], mse: 6.5 }));
    assert_eq!(sums.metrics().mse, None);
    assert_eq!(sums.metrics().dead_share, None);
    sums.add(&x, &y, &codes).unwrap();
    let metrics = sums.metrics();
    // Errors are 16 and 1; about their mean (1.5, 2.5) the rows have 4.5 each.
    assert_eq!(metrics.mse, Some(17.0 / 4.0));
    assert_eq!(metrics.normalized_mse, Some(17.0 / 4.0 / 6.5));
    assert_eq!(metrics.fvu, Some(17.0 / 9.0));
    assert_eq!(metrics.explained_variance_legacy, Some(((1.0 - 16.0 / 4.5) + (1.0 - 1.0 / 4.5)) / 2.0));
    assert_eq!(metrics.mean_firings, Some(1.5));
    assert_eq!(metrics.mean_l1, Some(1.5));
    assert_eq!(metrics.l2_ratio, Some((3.0 / 5.0 + 2.0) / 2.0));
    assert_eq!(metrics.cosine, Some((9.0 / 15.0 + 1.0) / 2.0));
    assert_eq!(metrics.relative_reconstruction_bias, Some(13.0 / 11.0));
    // 0.5 is not above 0.75.
    assert_eq!(sums.fired(), [1, 0, 1, 0]);
    assert_eq!(metrics.dead_share, Some(0.5));
    assert_eq!(metrics.share_above_10_percent, Some(0.5));
    assert!(sums.add(&x, &y[..2], &codes).is_err());
}

#[test]
fn rows_that_are_all_alike_leave_the_variance_undefined() {
    let mut sums = ReconstructionSums::new(2, 3, 0.0, None);
    sums.add(&[1.0, 2.0, 1.0, 2.0], &[0.0; 4], &codes(2)).unwrap();
    let metrics = sums.metrics();
    assert_eq!((metrics.fvu, metrics.explained_variance, metrics.explained_variance_legacy), (None, None, None));
    assert_eq!((metrics.cosine, metrics.relative_reconstruction_bias), (None, None));
    assert_eq!(metrics.l2_ratio, Some(0.0));
}
