//! Activations of one feature as activation records: which sample each belongs to, its place there, and its split.

use std::collections::{HashMap, HashSet};

use super::rows::ActivationRow;
use crate::exchange::unit::{ExchangedRecord, Window};
use crate::token_sequences::split::Split;

/// Bins that SAEDashboard divides the range from 0 to a feature's largest activation into.
const BINS: f64 = 5.0;

/// A record whose place in its sample is not known before all of its unit's rows are.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) window: Window,
    values: Vec<f32>,
    max: f32,
    bin: Option<(f64, f64)>,
    // Sample, rank and split, from our own exports.
    told: Option<(String, i32, Split)>,
    /// Size of the line it came from, in bytes.
    pub(super) bytes: usize,
}

/// Checks a row.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn read(row: ActivationRow, bytes: usize) -> Result<Read, String> {
    let ActivationRow { tokens, values, bin_min, bin_max, neuronlake, .. } = row;
    let mut window = tokens.0;
    if values.len() != window.len() {
        return Err(format!("expected one value for each of {} tokens, got {}", window.len(), values.len()));
    }
    if values.is_empty() {
        return Err("expected at least one token, got an empty list".to_owned());
    }
    let finite = |(position, value): (usize, Option<f32>)| {
        value
            .filter(|value| value.is_finite())
            .ok_or_else(|| format!("expected a finite number at values[{position}], got null, NaN or too large a one"))
    };
    let values = values.into_iter().enumerate().map(finite).collect::<Result<Vec<f32>, _>>()?;
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // −1 marks the strongest activations, which come from no bin.
    let bin = bin_min.filter(|min| *min != -1.0).zip(bin_max);
    let told = neuronlake.map(|extra| {
        window.token_ids = extra.token_ids.filter(|ids| ids.len() == window.len());
        (extra.sample, extra.rank, extra.split.0)
    });
    Ok(Read { window, values, max, bin, told, bytes })
}

/// The records of one unit, and how many rows stood there twice.
///
/// `top` is ordered by its maximum, falling, rows with equal ones as in the file; the other samples keep the file's order. What an
/// explainer is shown on the site is `top`, so those records are `train`, and so is every window that is also one of them; the
/// others are `valid`.
pub(super) fn records(rows: Vec<Read>) -> (Vec<ExchangedRecord>, usize) {
    let largest_edge = rows.iter().filter_map(|row| row.bin.map(|(_, max)| max)).fold(0.0, f64::max);
    let largest = rows.iter().map(|row| f64::from(row.max)).fold(largest_edge, f64::max);
    let mut samples: Vec<(String, Vec<Read>)> = Vec::new();
    let mut told = Vec::new();
    for row in rows {
        if row.told.is_some() {
            told.push(row);
            continue;
        }
        let sample = sample(row.bin, largest);
        match samples.iter_mut().find(|(name, _)| *name == sample) {
            Some((_, rows)) => rows.push(row),
            None => samples.push((sample, vec![row])),
        }
    }
    samples.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    let mut shown: HashSet<i64> = HashSet::new();
    let mut records: Vec<ExchangedRecord> = Vec::new();
    let mut n_twice = 0;
    for (sample, mut rows) in samples {
        let top = sample == "top";
        if top {
            rows.sort_by(|a, b| b.max.total_cmp(&a.max));
        }
        let first = records.len();
        let mut held: HashMap<i64, Vec<usize>> = HashMap::new();
        for row in rows {
            let sequence = row.window.sequence();
            let same = held.entry(sequence).or_default();
            if same.iter().any(|held: &usize| records[*held].activations == row.values) {
                n_twice += 1;
                continue;
            }
            same.push(records.len());
            if top {
                shown.insert(sequence);
            }
            let seen = shown.contains(&sequence);
            records.push(ExchangedRecord {
                sample: sample.clone(),
                rank: i32::try_from(records.len() - first).unwrap_or(i32::MAX),
                split: if seen { Split::Train } else { Split::Valid },
                window: row.window,
                activations: row.values,
            });
        }
    }
    let mut places: HashSet<(String, i32, Split)> =
        records.iter().map(|record| (record.sample.clone(), record.rank, record.split)).collect();
    for row in told {
        let Some((sample, rank, split)) = row.told else { continue };
        if places.insert((sample.clone(), rank, split)) {
            records.push(ExchangedRecord { sample, rank, split, window: row.window, activations: row.values });
        } else {
            n_twice += 1;
        }
    }
    (records, n_twice)
}

/// The sample of a bin: the strongest have none; one that covers everything is a random draw; of the others, the number of the
/// bin counts from the weakest. Edges are rounded to three digits in the files, so the number is the nearest whole one.
fn sample(bin: Option<(f64, f64)>, largest: f64) -> String {
    let Some((min, max)) = bin else {
        return "top".to_owned();
    };
    if largest <= 0.0 || (min <= 0.0 && max >= largest) {
        return "random".to_owned();
    }
    let number = (min / largest * BINS).round().clamp(0.0, BINS - 1.0);
    format!("quantile_{number}")
}

/// `top` first, so that its windows are known when the others get their splits; strong bins before weak ones.
fn order(sample: &str) -> (u8, std::cmp::Reverse<&str>) {
    (u8::from(sample != "top"), std::cmp::Reverse(sample))
}

/// The bin of a record in our exports: edges of the five equal parts of the range from 0 to the unit's largest activation.
pub(super) fn bin(sample: &str, min: f64, max: f64) -> (f64, f64) {
    match sample.strip_prefix("quantile_").and_then(|number| number.parse::<u8>().ok()) {
        Some(number) if f64::from(number) < BINS => {
            let edge = |number: f64| max * number / BINS;
            (edge(f64::from(number)), edge(f64::from(number) + 1.0))
        }
        _ if sample == "top" => (-1.0, max),
        _ => (min.min(0.0), max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_have_numbers_whatever_their_rounding() {
        for (bin, largest, expected) in [
            (None, 2.0, "top"),
            (Some((1.771, 2.214)), 2.214, "quantile_4"),
            (Some((0.0, 0.443)), 2.214, "quantile_0"),
            // Five parts of 0.013, rounded to three digits.
            (Some((0.003, 0.005)), 0.013, "quantile_1"),
            (Some((0.005, 0.008)), 0.013, "quantile_2"),
            (Some((0.01, 0.013)), 0.013, "quantile_4"),
            (Some((0.0, 2.0)), 2.0, "random"),
            (Some((-0.2, 2.0)), 2.0, "random"),
            (Some((0.0, 0.0)), 0.0, "random"),
        ] {
            assert_eq!(sample(bin, largest), expected, "{bin:?} of {largest}");
        }
        for name in ["quantile_0", "quantile_3", "quantile_4", "random"] {
            let (min, max) = bin(name, -0.1, 7.3);
            assert_eq!(sample(Some((min, max)), 7.3), name);
        }
        assert_eq!(bin("top", 0.0, 7.3).0, -1.0);
    }

    #[test]
    fn a_window_that_the_explainer_saw_is_train_in_every_sample() {
        let row = |token: &str, value: f32, bin: Option<(f64, f64)>| Read {
            window: Window::of([token]),
            values: vec![value],
            max: value,
            bin,
            told: None,
            bytes: 0,
        };
        let strong = Some((0.8, 1.0));
        let (found, n_twice) = records(vec![
            row("b", 0.9, strong),
            row("c", 0.85, strong),
            row("a", 0.9, None),
            row("b", 1.0, None),
            row("a", 0.9, None),
        ]);
        let found: Vec<_> = found
            .iter()
            .map(|record| (record.sample.as_str(), record.rank, record.split, record.window.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("top", 0, Split::Train, "b"),
                ("top", 1, Split::Train, "a"),
                ("quantile_4", 0, Split::Train, "b"),
                ("quantile_4", 1, Split::Valid, "c"),
            ]
        );
        assert_eq!(n_twice, 1);
    }

    #[test]
    fn rows_that_do_not_fit_are_told_apart() {
        let check = |json: &str, expected: &str| {
            let row: ActivationRow = crate::exchange::loose_json::parse(json.as_bytes()).expect("a row");
            assert_eq!(read(row, 0).expect_err("a fault"), expected);
        };
        check(r#"{"tokens":["a","b"],"values":[1]}"#, "expected one value for each of 2 tokens, got 1");
        check(r#"{"tokens":[],"values":[]}"#, "expected at least one token, got an empty list");
        check(
            r#"{"tokens":["a"],"values":[NaN]}"#,
            "expected a finite number at values[0], got null, NaN or too large a one",
        );
        check(
            r#"{"tokens":["a"],"values":[1e39]}"#,
            "expected a finite number at values[0], got null, NaN or too large a one",
        );
    }
}
