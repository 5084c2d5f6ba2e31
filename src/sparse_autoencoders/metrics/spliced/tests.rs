use super::*;

#[test]
fn the_share_won_back() {
    // The published run of dictionary_learning's end-to-end test: 0.9490 to four places.
    let recovered = loss_recovered(3.3361, 3.8404, 13.2517).unwrap();
    assert!((recovered - 0.9491).abs() < 1e-4, "{recovered}");
    assert_eq!(kl_recovered(1.0, 4.0), Some(0.75));
    assert_eq!(loss_recovered(2.0, 2.0, 2.0), None);
}
