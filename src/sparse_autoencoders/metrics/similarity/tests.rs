use super::*;
use crate::random::Random;

#[test]
fn directions_are_found_whatever_their_length_and_order() {
    let mut random = Random::seeded(8);
    let truths: Vec<f64> = (0..700 * 5).map(|_| random.normal()).collect();
    // The same rows in reverse, three times as long, and one more.
    let mut learned: Vec<f64> = truths.chunks(5).rev().flat_map(|row| row.iter().map(|x| 3.0 * x)).collect();
    learned.extend([0.0; 5]);
    let nearest = nearest(5, &truths, &learned).unwrap();
    for (row, nearest) in nearest.iter().enumerate() {
        let nearest = nearest.unwrap();
        assert_eq!(nearest.row as usize, 699 - row);
        assert!((nearest.cosine - 1.0).abs() < 1e-12);
    }
    assert!((mean_max_cosine(5, &truths, &learned).unwrap().unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(uniqueness(5, &learned, &truths).unwrap(), Some(1.0));
}

#[test]
fn two_ways_differ_where_a_truth_is_missed() {
    let truths = [1.0, 0.0, 0.0, 1.0];
    // Both latents have found the first truth.
    let learned = [1.0, 0.0, 2.0, 0.0];
    assert_eq!(mean_max_cosine(2, &truths, &learned).unwrap(), Some(0.5));
    assert_eq!(mean_max_cosine(2, &learned, &truths).unwrap(), Some(1.0));
    assert_eq!(uniqueness(2, &learned, &truths).unwrap(), Some(0.5));
    assert_eq!(mean_max_cosine(2, &[0.0, 0.0], &truths).unwrap(), None);
    assert_eq!(nearest(2, &truths, &[0.0, 0.0]).unwrap(), [None, None]);
    assert!(nearest(2, &truths, &[0.0; 3]).is_err());
}
