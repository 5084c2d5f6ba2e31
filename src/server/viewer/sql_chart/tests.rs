//! Where marks stand.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int32Array, StringArray};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> Vec<RecordBatch> {
    vec![RecordBatch::try_from_iter(columns).unwrap()]
}

fn drawn(kind: Kind, batches: &[RecordBatch], x: &str, y: &str) -> std::result::Result<Chart, String> {
    draw(kind, batches, x, y).unwrap()
}

fn floats(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

#[test]
fn a_histogram_counts_every_value_once() {
    let values = (0..1_000).map(|i| Some(f64::from(i) / 7.0)).chain([None, Some(f64::NAN), Some(f64::MAX)]);
    let chart = drawn(Kind::Histogram, &batch(vec![("v", floats(values.collect()))]), "v", "").unwrap();
    let counts = chart.bars.iter().map(|bar| bar.title.rsplit(": ").next().unwrap().parse::<usize>().unwrap());
    assert_eq!(counts.sum::<usize>(), 1_000);
    assert_eq!(chart.bars.len(), BINS);
    assert_eq!(chart.notes, ["3 without a value"]);
    for bar in &chart.bars {
        assert!(bar.x >= LEFT && bar.x + bar.width <= WIDTH - RIGHT + 0.1, "{bar:?}");
        assert!(bar.y >= TOP - 0.1 && bar.y + bar.height <= HEIGHT - BOTTOM + 0.1, "{bar:?}");
    }
}

#[test]
fn whole_numbers_get_a_bar_each() {
    let layers: ArrayRef = Arc::new(Int32Array::from(vec![0, 0, 0, 1, 3]));
    let chart = drawn(Kind::Histogram, &batch(vec![("layer", layers)]), "layer", "").unwrap();
    let titles: Vec<&str> = chart.bars.iter().map(|bar| bar.title.as_str()).collect();
    assert_eq!(titles, ["0: 3", "1: 1", "3: 1"]);
    let bottom = HEIGHT - BOTTOM;
    assert!((chart.bars[0].height - (bottom - TOP)).abs() < 0.2, "the highest bar fills the height");
    assert!((chart.bars[1].height * 3.0 - chart.bars[0].height).abs() < 0.5);
}

#[test]
fn one_value_and_the_largest_numbers_can_be_drawn() {
    for value in [0.0, -3.5, 1e200, 1e-200, f64::MIN_POSITIVE] {
        for values in [vec![Some(value)], vec![Some(value), Some(-value)]] {
            let batches = batch(vec![("v", floats(values.clone())), ("w", floats(values))]);
            for kind in [Kind::Histogram, Kind::Scatter, Kind::Mean] {
                let chart = drawn(kind, &batches, "v", "w").unwrap();
                let places = chart.bars.iter().flat_map(|bar| [bar.x, bar.y, bar.width, bar.height]);
                let places = places.chain(chart.dots.iter().flat_map(|dot| [dot.x, dot.y]));
                let places: Vec<f64> = places.chain(chart.labels.iter().map(|label| label.x)).collect();
                assert!(
                    !places.is_empty() && places.iter().all(|place| place.is_finite()),
                    "{value} {kind:?}: {places:?}"
                );
            }
        }
    }
}

#[test]
fn a_scatter_plot_keeps_to_what_can_be_seen() {
    let n = 3 * DOTS;
    let xs = (0..n).map(|i| Some(i as f64)).collect();
    let ys = (0..n).map(|i| (i % 2 == 0).then_some(-(i as f64))).collect();
    let chart = drawn(Kind::Scatter, &batch(vec![("x", floats(xs)), ("y", floats(ys))]), "x", "y").unwrap();
    assert!(chart.dots.len() <= DOTS && chart.dots.len() > DOTS / 3);
    assert!(chart.notes[0].starts_with(&format!("{} without one of the two values", n / 2)), "{:?}", chart.notes);
    assert_eq!(chart.notes.len(), 2);
    let (first, last) = (&chart.dots[0], chart.dots.last().unwrap());
    assert!(first.x < last.x && first.y < last.y, "y falls as x rises, and falls down the page");
}

#[test]
fn means_are_of_each_category_in_order() {
    let layers: ArrayRef = Arc::new(Int32Array::from(vec![Some(10), Some(2), Some(2), Some(2), Some(10)]));
    let values = floats(vec![Some(1.0), Some(2.0), Some(4.0), None, Some(-3.0)]);
    let chart = drawn(Kind::Mean, &batch(vec![("layer", layers), ("value", values)]), "layer", "value").unwrap();
    let titles: Vec<&str> = chart.bars.iter().map(|bar| bar.title.as_str()).collect();
    assert_eq!(titles, ["2: 3 over 2 rows", "10: −1 over 2 rows"]);
    assert_eq!(chart.notes, ["1 without a value"]);
    let (up, down) = (&chart.bars[0], &chart.bars[1]);
    assert!((down.x + down.width - up.x).abs() < 0.2, "bars leave from the line of zero");

    let names: ArrayRef = Arc::new(StringArray::from((0..60).map(|i| format!("c{i:02}")).collect::<Vec<_>>()));
    let values = floats((0..60).map(|i| Some(f64::from(i))).collect());
    let chart = drawn(Kind::Mean, &batch(vec![("c", names), ("v", values)]), "c", "v").unwrap();
    assert_eq!((chart.bars.len(), chart.notes.len()), (CATEGORIES, 1));
    assert_eq!(chart.bars[1].title, "c01: 1 over 1 rows");
}

#[test]
fn what_cannot_be_drawn_is_told_in_words() {
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let truth: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let batches = batch(vec![("word", words), ("none", floats(vec![None])), ("truth", truth)]);
    let check = |kind, x: &str, y: &str, reason: &str| assert_eq!(drawn(kind, &batches, x, y), Err(reason.to_owned()));
    check(Kind::Histogram, "word", "", "column 'word' holds no numbers");
    check(Kind::Histogram, "truth", "", "column 'truth' holds no numbers");
    check(Kind::Histogram, "none", "", "column 'none' has no value to draw");
    check(Kind::Scatter, "none", "none", "no row has both values");
    check(Kind::Mean, "word", "none", "column 'none' has no value to draw");
    check(Kind::Mean, "", "none", "the result has no column ''");
    assert_eq!(drawn(Kind::Histogram, &[], "v", ""), Err("there are no rows to draw".to_owned()));
}

#[test]
fn ticks_are_round_and_inside() {
    let check = |low: f64, high: f64, expected: &[&str]| {
        let ticks: Vec<String> = Scale::across(low, high).ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(ticks, expected, "{low} to {high}");
    };
    check(0.0, 1.0, &["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    check(-0.5, 0.5, &["−0.4", "−0.2", "0", "0.2", "0.4"]);
    check(0.0, 7_200.0, &["0", "2000", "4000", "6000"]);
    check(3.0, 4.2, &["3", "3.2", "3.4", "3.6", "3.8", "4", "4.2"]);
}
