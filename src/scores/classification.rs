//! How well judgements tell activating windows from others.
//!
//! The usual numbers of a binary classifier, the positive class being the activating windows. What is undefined has an
//! [`Undefined`], not a number: scikit-learn warns and gives 0, delphi divides by 0. A judgement that is missing counts as
//! failed and enters no number; delphi counts it as wrong.

use serde::{Deserialize, Serialize};

use crate::scores::bootstrap::{Bootstrap, interval};
use crate::scores::summary::Interval;

/// What a judge said of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Whether the window is activating.
    pub activating: bool,
    /// Whether it was held to be.
    pub predicted: Option<bool>,
    /// Larger for what is rather activating, on any scale.
    pub value: Option<f64>,
}

impl Judged {
    fn failed(&self) -> bool {
        self.predicted.is_none() && self.value.is_none()
    }
}

/// One way to compare judgements with the truth; all are 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClassificationMetric {
    /// Share of the windows judged right. Means little where one kind of window is rare.
    Accuracy,
    /// Mean of the shares of activating and of other windows judged right; a guess has 0.5.
    BalancedAccuracy,
    /// Share of the windows held to be activating that are.
    Precision,
    /// Share of the activating windows held to be so.
    Recall,
    /// Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).
    F1,
    /// Probability that an activating window has a larger value than another one, ties counting half: the area under the
    /// ROC curve. A guess has 0.5.
    RocAuc,
    /// Share of the windows that are not activating and were found out. Of the intruder judge, whose every group has one such
    /// window, it is the share of groups whose intruder was named; a guess among five has 0.2.
    HitRate,
}

impl ClassificationMetric {
    /// Every metric, by name.
    pub const ALL: [Self; 7] =
        [Self::Accuracy, Self::BalancedAccuracy, Self::F1, Self::HitRate, Self::Precision, Self::Recall, Self::RocAuc];

    /// The metric's name in tables and functions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::F1 => "f1",
            Self::RocAuc => "roc_auc",
            Self::HitRate => "hit_rate",
        }
    }

    /// Whether a window can enter the metric at all.
    fn concerns(self, judged: &Judged) -> bool {
        self != Self::HitRate || !judged.activating
    }

    /// Whether a window has what the metric reads.
    fn reads(self, judged: &Judged) -> bool {
        let has = if self == Self::RocAuc { judged.value.is_some() } else { judged.predicted.is_some() };
        has && self.concerns(judged)
    }
}

/// Why a metric is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Undefined {
    /// There are no windows.
    NoWindows,
    /// There are windows, but no judgement that the metric could be read from.
    NothingJudged,
    /// No activating window was judged.
    NoPositives,
    /// None but activating windows were judged.
    NoNegatives,
    /// No window was held to be activating.
    NonePredicted,
}

impl Undefined {
    /// The reason's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWindows => "no_windows",
            Self::NothingJudged => "nothing_judged",
            Self::NoPositives => "no_positives",
            Self::NoNegatives => "no_negatives",
            Self::NonePredicted => "none_predicted",
        }
    }
}

/// One metric over the judgements of several windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassificationSummary {
    /// Which.
    pub metric: ClassificationMetric,
    /// The number, or why there is none.
    pub value: Result<f64, Undefined>,
    /// The middle 95 % of the bootstrap's draws of windows; see [`Bootstrap::intervals`] for when there is none.
    pub interval: Option<Interval>,
    /// Windows the number is read from.
    pub n_windows: usize,
    /// Windows with neither prediction nor value: the judge failed.
    pub n_failed: usize,
}

/// Every metric over the judgements, in the order of [`ClassificationMetric::ALL`]; intervals come from the same draws of those
/// windows that were judged. Values that are no finite number count as missing.
pub fn summaries(judged: &[Judged], bootstrap: Option<Bootstrap>) -> [ClassificationSummary; 7] {
    let finite = |judged: &Judged| Judged { value: judged.value.filter(|value| value.is_finite()), ..*judged };
    let all: Vec<Judged> = judged.iter().map(finite).collect();
    let windows = Windows::new(all.iter().copied().filter(|judged| !judged.failed()).collect());
    let n = windows.judged.len();
    let once = windows.counts(&vec![1; n]);
    let mut draws = vec![Vec::new(); ClassificationMetric::ALL.len()];
    if let Some(bootstrap) = bootstrap.filter(|_| n >= 2) {
        let mut times = vec![0; n];
        for draw in 0..u64::from(bootstrap.n_draws) {
            times.fill(0);
            bootstrap.drawn(draw, n).for_each(|i| times[i] += 1);
            let counts = windows.counts(&times);
            for (metric, values) in ClassificationMetric::ALL.iter().zip(&mut draws) {
                values.extend(counts.value(*metric));
            }
        }
    }
    let n_draws = bootstrap.map_or(0, |bootstrap| bootstrap.n_draws as usize);
    let mut draws = draws.into_iter();
    ClassificationMetric::ALL.map(|metric| {
        let concerned = || all.iter().filter(|judged| metric.concerns(judged));
        let n_windows = concerned().filter(|judged| metric.reads(judged)).count();
        let value = match (concerned().count(), n_windows) {
            _ if all.is_empty() => Err(Undefined::NoWindows),
            (0, _) => Err(Undefined::NoNegatives),
            (_, 0) => Err(Undefined::NothingJudged),
            _ => once.value(metric),
        };
        // A number that does not exist has no interval, even where some draws have one.
        let interval = draws.next().and_then(|values| interval(&values, n_draws)).filter(|_| value.is_ok());
        let n_failed = concerned().filter(|judged| judged.failed()).count();
        ClassificationSummary { metric, value, interval, n_windows, n_failed }
    })
}

/// Judgements, and those with a value in its order.
struct Windows {
    judged: Vec<Judged>,
    /// Places of those with a value, ascending, and the value.
    by_value: Vec<(usize, f64)>,
}

/// What all metrics are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    true_positives: f64,
    false_positives: f64,
    true_negatives: f64,
    false_negatives: f64,
    /// Windows with a value, activating and not.
    valued: [f64; 2],
    /// Pairs of an activating window and another one in which it has the larger value; equal ones count half.
    ordered_pairs: f64,
}

impl Windows {
    fn new(judged: Vec<Judged>) -> Self {
        let values = judged.iter().enumerate().filter_map(|(i, judged)| Some((i, judged.value?)));
        let mut by_value: Vec<(usize, f64)> = values.collect();
        by_value.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self { judged, by_value }
    }

    /// Counts with every window taken so many times.
    fn counts(&self, times: &[u32]) -> Counts {
        let mut counts = Counts::default();
        for (judged, &times) in self.judged.iter().zip(times) {
            let count = match (judged.activating, judged.predicted) {
                (true, Some(true)) => &mut counts.true_positives,
                (true, Some(false)) => &mut counts.false_negatives,
                (false, Some(true)) => &mut counts.false_positives,
                (false, Some(false)) => &mut counts.true_negatives,
                (_, None) => continue,
            };
            *count += f64::from(times);
        }
        // -0 and 0 are equal, though not in the total order.
        for equal in self.by_value.chunk_by(|a, b| a.1 == b.1) {
            let (mut positives, mut negatives) = (0.0, 0.0);
            for &(i, _) in equal {
                *(if self.judged[i].activating { &mut positives } else { &mut negatives }) += f64::from(times[i]);
            }
            counts.ordered_pairs += positives * (counts.valued[1] + 0.5 * negatives);
            counts.valued[0] += positives;
            counts.valued[1] += negatives;
        }
        counts
    }
}

impl Counts {
    fn value(&self, metric: ClassificationMetric) -> Result<f64, Undefined> {
        use ClassificationMetric as M;
        let Self { true_positives, false_positives, true_negatives, false_negatives, valued, ordered_pairs } = *self;
        let predicted = [true_positives + false_negatives, true_negatives + false_positives];
        let [positives, negatives] = if metric == M::RocAuc { valued } else { predicted };
        if positives + negatives == 0.0 {
            return Err(Undefined::NothingJudged);
        }
        if positives == 0.0 && !matches!(metric, M::Accuracy | M::HitRate) {
            return Err(Undefined::NoPositives);
        }
        if negatives == 0.0 && matches!(metric, M::BalancedAccuracy | M::HitRate | M::RocAuc) {
            return Err(Undefined::NoNegatives);
        }
        Ok(match metric {
            M::Accuracy => (true_positives + true_negatives) / (positives + negatives),
            M::BalancedAccuracy => 0.5 * (true_positives / positives + true_negatives / negatives),
            M::Precision if true_positives + false_positives == 0.0 => return Err(Undefined::NonePredicted),
            M::Precision => true_positives / (true_positives + false_positives),
            M::Recall => true_positives / positives,
            M::F1 => 2.0 * true_positives / (2.0 * true_positives + false_positives + false_negatives),
            M::HitRate => true_negatives / negatives,
            M::RocAuc => ordered_pairs / (positives * negatives),
        })
    }
}

#[cfg(test)]
mod tests;
