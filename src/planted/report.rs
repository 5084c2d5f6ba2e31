//! What a self-test found, as a table for people and as rows.

use std::fmt;

use crate::error::Result;
use crate::planted::ranking::{Interval, Outcome, Ranking, Verdict};
use crate::planted::rules::Kind;
use crate::planted::trials::Trial;
use crate::planted::{PlantedSubject, Unit};

/// Rankings of some methods over the same subject.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    misses: Vec<String>,
}

/// One method on some units.
#[derive(Clone, Debug)]
pub struct Row {
    /// The method with its model, as the user names it.
    pub method: String,
    /// Units of this kind; `None` for all.
    pub kind: Option<Kind>,
    /// What it did.
    pub ranking: Ranking,
}

/// Heads of the columns of [`Row::cells`].
pub const HEADS: [&str; 11] = [
    "method",
    "units",
    "n",
    "true first",
    "in top two",
    "false outranked",
    "paraphrase",
    "true",
    "false",
    "missing",
    "verdict",
];

impl Report {
    /// Adds what a method made of some trials: a row for all units and one for each kind among them.
    ///
    /// `outcomes` has shape `[trials, candidates]`.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] when the shapes differ.
    pub fn add<S: AsRef<[Outcome]>>(
        &mut self,
        method: &str,
        subject: &PlantedSubject,
        trials: &[Trial],
        outcomes: &[S],
    ) -> Result<()> {
        let all = Ranking::of(trials, outcomes)?;
        self.misses.extend(misses(method, &subject.units, trials, &all));
        self.rows.push(Row { method: method.to_owned(), kind: None, ranking: all });
        for kind in Kind::ALL {
            let of_kind = |trial: &Trial| subject.units[trial.unit].rule.kind == kind;
            let (trials, outcomes): (Vec<Trial>, Vec<&[Outcome]>) = trials
                .iter()
                .zip(outcomes)
                .filter(|(trial, _)| of_kind(trial))
                .map(|(trial, outcomes)| (trial.clone(), outcomes.as_ref()))
                .unzip();
            if !trials.is_empty() {
                let ranking = Ranking::of(&trials, &outcomes)?;
                self.rows.push(Row { method: method.to_owned(), kind: Some(kind), ranking });
            }
        }
        Ok(())
    }

    /// Every method's row for all units, followed by its rows for each kind.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What is said of a method over all units; `None` when it was not added.
    pub fn verdict(&self, method: &str) -> Option<Verdict> {
        let row = self.rows.iter().find(|row| row.method == method && row.kind.is_none())?;
        Some(row.ranking.verdict())
    }
}

impl Row {
    /// The row in words, under [`HEADS`]; empty where there is nothing to say. A verdict is given over all units only.
    pub fn cells(&self) -> [String; HEADS.len()] {
        let ranking = &self.ranking;
        let n_ranked = ranking.placements.len();
        let share = |n: usize| if n_ranked == 0 { String::new() } else { percent(n as f64 / n_ranked as f64) };
        [
            self.method.clone(),
            self.kind.map_or_else(|| "all".to_owned(), |kind| kind.to_string()),
            format!("{n_ranked}/{}", ranking.n_trials),
            with_interval(share(ranking.n_first), ranking.first_interval),
            share(ranking.n_top_two),
            with_interval(ranking.outranked.map_or_else(String::new, percent), ranking.outranked_interval),
            ranking.paraphrase_outranked.map_or_else(String::new, percent),
            ranking.mean_true.map_or_else(String::new, number),
            ranking.mean_false.map_or_else(String::new, number),
            ranking.n_missing.to_string(),
            self.kind.map_or_else(|| ranking.verdict().to_string(), |_| String::new()),
        ]
    }
}

impl fmt::Display for Report {
    /// An aligned table and, below it, the units whose true explanation came late.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let widths: [usize; HEADS.len()] =
            std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
        for line in &lines {
            let mut row = String::new();
            for (cell, width) in line.iter().zip(widths) {
                row.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", row.trim_end())?;
        }
        if !self.misses.is_empty() {
            writeln!(f, "\nnot ahead of at least half of the false explanations:")?;
        }
        self.misses.iter().try_for_each(|miss| writeln!(f, "  {miss}"))
    }
}

/// Units of which a method did not even rank the true explanation in the upper half.
fn misses(method: &str, units: &[Unit], trials: &[Trial], ranking: &Ranking) -> Vec<String> {
    let words = |place: &crate::planted::ranking::Placement| {
        let trial = trials.iter().find(|trial| trial.unit == place.unit)?;
        let winner = trial.candidates.get(place.best_false)?.rule.name;
        let name = units.get(place.unit)?.rule.name;
        Some(format!("{method}: {name} came {} of {}, behind {winner}", place.rank, place.n_ranked))
    };
    ranking.placements.iter().filter(|place| place.outranked < 0.5).filter_map(words).collect()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

fn with_interval(value: String, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { low, high }) => format!("{value} ({:.0}-{:.0})", 100.0 * low, 100.0 * high),
        None => value,
    }
}
