//! Columns of scores: their names, and what a name says.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::exchange::export::filter;
use crate::exchange::unit::ExchangedScore;
use crate::session::Session;
use crate::token_sequences::split::Split;

/// Sets of windows that a column of scores may be over; scores of single windows are left to Parquet.
const SAMPLE_SETS: [&str; 3] = ["top_and_random", "random_only", "top_only"];

/// The column that a score stands in; `None` for scores of single windows.
pub(super) fn column_of(score: &ExchangedScore) -> Option<String> {
    let model = score.scorer_model.as_deref();
    column_name([
        &score.scorer,
        model.unwrap_or_default(),
        &score.calibration,
        score.split.as_str(),
        &score.metric,
        &score.sample_set,
    ])
}

/// `scorer@model metric sample_set`, and calibration and split where they are not the usual ones.
fn column_name([scorer, model, calibration, split, metric, sample_set]: [&str; 6]) -> Option<String> {
    if !SAMPLE_SETS.contains(&sample_set) {
        return None;
    }
    let mut name = scorer.to_owned();
    if !model.is_empty() {
        name += &format!("@{model}");
    }
    name += &format!(" {metric} {sample_set}");
    if calibration != "none" {
        name += &format!(" {calibration}");
    }
    if split != "valid" {
        name += &format!(" {split}");
    }
    Some(name)
}

/// The columns of the kinds of scores that the selected units have, in alphabetical order.
pub(super) async fn of_units(session: &Session, condition: Option<&str>) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT s.scorer, COALESCE(s.scorer_model, ''), s.calibration, s.split, s.metric, s.sample_set \
         FROM scores s JOIN (SELECT model, hook_point, neuron, corpus FROM exchange_units{}) u \
         ON u.model = s.model AND u.hook_point = s.hook_point AND u.neuron = s.neuron AND u.corpus = s.corpus",
        filter(condition)
    );
    let mut names = BTreeSet::new();
    for batch in session.read_only_sql(&sql).await?.collect().await? {
        let columns =
            batch.columns().iter().map(|column| cast(column, &DataType::Utf8)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut cells = [""; 6];
            for (cell, column) in cells.iter_mut().zip(&columns) {
                *cell = column.as_string::<i32>().value(row);
            }
            names.extend(column_name(cells));
        }
    }
    Ok(names.into_iter().collect())
}

/// What the name of a column says of its scores, [`column_of`] read backwards; `None` for another column.
pub(super) fn score_of(column: &str) -> Option<ExchangedScore> {
    let parts: Vec<&str> = column.split(' ').collect();
    let at = parts.iter().rposition(|part| SAMPLE_SETS.contains(part)).filter(|at| *at >= 2)?;
    let method = parts[..at - 1].join(" ");
    let (scorer, scorer_model) = match method.split_once('@') {
        Some((scorer, model)) => (scorer, Some(model.to_owned())),
        None => (method.as_str(), None),
    };
    let (mut calibration, mut split) = ("none", Split::Valid);
    for part in &parts[at + 1..] {
        match (*part, part.parse()) {
            ("linear" | "percentile", _) => calibration = part,
            (_, Ok(named)) => split = named,
            (_, Err(_)) => return None,
        }
    }
    Some(ExchangedScore {
        calibration: calibration.to_owned(),
        sample_set: parts[at].to_owned(),
        split,
        ..ExchangedScore::empty(scorer, scorer_model.as_deref(), parts[at - 1])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_says_what_it_was_made_of(
            scorer in "[a-z_]{1,8}",
            model in prop::option::of("[a-z]{1,5}:[a-z0-9/-]{1,9}"),
            metric in "[a-z_0-9]{1,9}",
            set in prop::sample::select(&SAMPLE_SETS[..]),
            calibration in prop::sample::select(&["none", "linear", "percentile"][..]),
            split in prop::sample::select(&Split::ALL[..]),
        ) {
            let cells = [&scorer, model.as_deref().unwrap_or_default(), calibration, split.as_str(), &metric, set];
            let name = column_name(cells).expect("a set of windows that has a column");
            let score = score_of(&name).expect("a column of scores");
            let read = (score.scorer, score.scorer_model, score.calibration, score.split, score.metric, score.sample_set);
            prop_assert_eq!(read, (scorer, model, calibration.to_owned(), split, metric, set.to_owned()));
        }
    }

    #[test]
    fn other_columns_are_no_scores() {
        for name in ["notes", "text", "top_and_random", "detection accuracy", "a b top_only later"] {
            assert_eq!(score_of(name), None, "{name}");
        }
    }
}
