//! Bins of scores.

use super::*;

fn rows(bins: &[(i64, i64)]) -> Rows {
    let row = |(bin, n_units): &(i64, i64)| json!({ "bin": bin, "n_units": n_units }).as_object().unwrap().clone();
    bins.iter().map(row).collect()
}

#[test]
fn bins_go_from_zero_or_the_lowest_to_one() {
    let bins = score_bins(&rows(&[(3, 2), (19, 5)]));
    assert_eq!((bins.len(), bins[0].low, bins[19].high), (20, 0.0, 1.0));
    assert_eq!((bins[3].count, bins[4].count, bins[19].count), (2.0, 0.0, 5.0));
    let bins = score_bins(&rows(&[(-2, 1)]));
    assert_eq!((bins.len(), bins[0].low, bins[0].count), (22, -0.1, 1.0));
    assert!(charts::counts(&score_bins(&rows(&[])), None).is_none(), "without scores there is no chart");
}

#[test]
fn hook_points_lead_to_their_units() {
    let row = json!({ "model": "a/b", "hook_point": "blocks.0.mlp.hook_post" }).as_object().unwrap().clone();
    let rows = with_browse(vec![row]);
    assert_eq!(rows[0]["address"], "/browse?model=a%2Fb&hook_point=blocks.0.mlp.hook_post");
}
