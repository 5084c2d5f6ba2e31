//! Where bars stand.

use super::*;

#[test]
fn bars_of_counts_fill_the_width_and_the_highest_the_height() {
    let bins: Vec<Bin> = [1.0, 0.0, 4.0]
        .iter()
        .enumerate()
        .map(|(place, &count)| Bin { low: place as f64, high: place as f64 + 1.0, count })
        .collect();
    let chart = counts(&bins, Some((1.5, "median"))).unwrap();
    assert_eq!(chart.bars.len(), 2, "an empty bin has no bar");
    assert_eq!((chart.bars[0].x, chart.bars[1].x), (0.0, 426.67));
    assert!(chart.bars[1].height > 3.9 * chart.bars[0].height);
    assert_eq!(chart.bars[1].title, "2 to 3: 4");
    assert_eq!(chart.mark, Some((320.0, "median 1.5".to_owned())));
    assert_eq!(chart.labels.iter().map(|label| label.text.as_str()).collect::<Vec<_>>(), ["0", "1.5", "3"]);
}

#[test]
fn what_has_no_width_has_no_chart() {
    assert!(counts(&[], None).is_none());
    assert!(counts(&[Bin { low: 0.0, high: 0.0, count: 3.0 }], None).is_none());
    assert!(counts(&[Bin { low: 0.0, high: 1.0, count: 0.0 }], None).is_none());
    assert!(quantiles(&[], &[]).is_none());
    assert!(quantiles(&[0.0, 1.0], &[2.0, 2.0]).is_none());
    assert!(quantiles(&[0.0, 1.0], &[f64::NAN, 2.0]).is_none());
}

#[test]
fn shares_between_quantiles_sum_to_all() {
    let levels = [0.0, 0.5, 0.500_1, 0.9, 1.0];
    let chart = quantiles(&levels, &[-1.0, 0.0, 0.000_01, 1.0, 3.0]).unwrap();
    let titles: Vec<&str> = chart.bars.iter().map(|bar| bar.title.as_str()).collect();
    assert_eq!(titles, ["−1 to 0: 50 % of positions", "0 to 1: 40 % of positions", "1 to 3: 10 % of positions"]);
    assert!(chart.bars[0].height > chart.bars[1].height && chart.bars[1].height > chart.bars[2].height);
    assert_eq!(chart.mark, Some((160.0, "0".to_owned())));
    // The last value stands so close to the one before it that no bar shows: its share is in the bar before.
    let chart = quantiles(&[0.0, 0.5, 1.0], &[0.0, 1.0, 1.000_1]).unwrap();
    assert_eq!(chart.bars.len(), 1);
    assert_eq!(chart.bars[0].title, "0 to 1: 100 % of positions");
}

#[test]
fn an_interval_lies_on_a_line_from_minus_one_to_one() {
    let line = interval(Some(0.5), Some(-0.5), Some(2.0), None).unwrap();
    assert_eq!((line.value, line.low, line.high, line.control), (75.0, Some(25.0), Some(100.0), None));
    assert!(interval(None, None, None, None).is_none());
}
