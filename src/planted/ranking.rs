//! How often a method puts the true explanation before false ones, and whether that is more than chance.

use std::fmt;

use crate::error::{Error, Result};
use crate::planted::trials::{Trial, Truth};
use crate::random::mix;

/// Share of false explanations that the true one must outrank, on average over units, for a method to be believed.
///
/// Chance is one half. At three quarters the true explanation is nearer to "always ahead" than to "a coin".
pub const LEAST_OUTRANKED: f64 = 0.75;
/// Probability at most with which a method that knows nothing would rank the true explanation first as often.
pub const GREATEST_CHANCE: f64 = 0.05;
/// Trials that must have been ranked for a verdict, and half of all.
pub const LEAST_TRIALS: usize = 5;
/// Draws of the interval of [`Ranking::outranked`].
const N_DRAWS: u64 = 1000;

/// What became of scoring one explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// A finite score; higher is better.
    Score(f64),
    /// Every expected activation was the same, so that the score is undefined: the explanation says nothing about these
    /// windows. Ranked as a score of 0, where correlations have "nothing", and left out of means.
    Flat,
    /// No answer, or one that could not be read: neither wrong nor 0, left out of everything but the count.
    Missing,
}

impl From<Option<f64>> for Outcome {
    /// [`Outcome::Missing`] for `None` and for what is not finite.
    fn from(score: Option<f64>) -> Self {
        score.filter(|score| score.is_finite()).map_or(Outcome::Missing, Outcome::Score)
    }
}

impl Outcome {
    fn rankable(self) -> Option<f64> {
        match self {
            Outcome::Score(score) => Some(score),
            Outcome::Flat => Some(0.0),
            Outcome::Missing => None,
        }
    }

    fn score(self) -> Option<f64> {
        match self {
            Outcome::Score(score) => Some(score),
            Outcome::Flat | Outcome::Missing => None,
        }
    }
}

/// Where the true explanation of one unit came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The unit, as in [`Trial::unit`].
    pub unit: usize,
    /// 1 for the first place; a tie is lost.
    pub rank: usize,
    /// The true explanation and the false ones that have a score.
    pub n_ranked: usize,
    /// Share of those false ones that score less, ties counted half; 0 to 1.
    pub outranked: f64,
    /// The best of the false ones, as an index into [`Trial::candidates`].
    pub best_false: usize,
}

/// An interval that holds the true value with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a method did over many units.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Units asked about.
    pub n_trials: usize,
    /// Where the true explanation came, for the units where it and at least one false one have a score.
    pub placements: Vec<Placement>,
    /// How often it came first.
    pub n_first: usize,
    /// How often it came first or second.
    pub n_top_two: usize,
    /// Interval of the share of first places (Clopper and Pearson 1934: exact); `None` without placements.
    pub first_interval: Option<Interval>,
    /// Mean over units of the share of false explanations outranked, ties counted half; chance is .5.
    pub outranked: Option<f64>,
    /// Interval of [`Self::outranked`] (percentile bootstrap over units); `None` with fewer than two.
    pub outranked_interval: Option<Interval>,
    /// The same share for the paraphrase: a method that knows words but not what they mean drops here.
    pub paraphrase_outranked: Option<f64>,
    /// Mean of 1 / rank, 0 to 1.
    pub mean_reciprocal_rank: Option<f64>,
    /// Mean score of true explanations.
    pub mean_true: Option<f64>,
    /// Mean score of paraphrases.
    pub mean_paraphrase: Option<f64>,
    /// Mean score of false explanations.
    pub mean_false: Option<f64>,
    /// Scores that are undefined because the simulation was flat.
    pub n_flat: usize,
    /// Scores that are missing.
    pub n_missing: usize,
    /// Probability that guessing gives at least [`Self::n_first`] first places; 1 without placements.
    pub chance: f64,
}

/// Whether a method's scores mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It tells true from false explanations.
    CanTell,
    /// It does not, or not enough to be believed.
    CannotTell,
    /// Too many scores are missing to know.
    Undecided,
}

impl fmt::Display for Verdict {
    /// `can tell`, `cannot tell` or `undecided`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::CanTell => "can tell",
            Verdict::CannotTell => "cannot tell",
            Verdict::Undecided => "undecided",
        })
    }
}

impl Ranking {
    /// Ranks the outcomes of some trials, shape `[trials, candidates]`, each row as long as its trial's candidates.
    ///
    /// # Errors
    /// [`Error::Internal`] when the shapes differ.
    pub fn of<S: AsRef<[Outcome]>>(trials: &[Trial], outcomes: &[S]) -> Result<Self> {
        if trials.len() != outcomes.len() {
            return Err(shape("trials", trials.len(), outcomes.len()));
        }
        let mut placements = Vec::with_capacity(trials.len());
        let mut paraphrase_shares = Vec::new();
        let mut scores: [Vec<f64>; 3] = Default::default();
        let (mut n_flat, mut n_missing) = (0, 0);
        for (trial, outcomes) in trials.iter().zip(outcomes) {
            let outcomes = outcomes.as_ref();
            if trial.candidates.len() != outcomes.len() {
                return Err(shape("candidates", trial.candidates.len(), outcomes.len()));
            }
            for (candidate, outcome) in trial.candidates.iter().zip(outcomes) {
                let place = match candidate.truth {
                    Truth::True => 0,
                    Truth::Paraphrase => 1,
                    Truth::False => 2,
                };
                scores[place].extend(outcome.score());
                n_flat += usize::from(*outcome == Outcome::Flat);
                n_missing += usize::from(*outcome == Outcome::Missing);
            }
            placements.extend(placement(trial, outcomes, Truth::True));
            paraphrase_shares.extend(placement(trial, outcomes, Truth::Paraphrase).map(|place| place.outranked));
        }
        let count = |greatest: usize| placements.iter().filter(|place| place.rank <= greatest).count();
        let n_first = count(1);
        let shares: Vec<f64> = placements.iter().map(|place| place.outranked).collect();
        let reciprocals: Vec<f64> = placements.iter().map(|place| 1.0 / place.rank as f64).collect();
        let chances: Vec<f64> = placements.iter().map(|place| 1.0 / place.n_ranked as f64).collect();
        Ok(Self {
            n_trials: trials.len(),
            n_first,
            n_top_two: count(2),
            first_interval: exact_interval(n_first, placements.len()),
            outranked: mean(&shares),
            outranked_interval: bootstrap(&shares),
            paraphrase_outranked: mean(&paraphrase_shares),
            mean_reciprocal_rank: mean(&reciprocals),
            mean_true: mean(&scores[0]),
            mean_paraphrase: mean(&scores[1]),
            mean_false: mean(&scores[2]),
            n_flat,
            n_missing,
            chance: at_least(n_first, &chances),
            placements,
        })
    }

    /// Whether the method can tell true from false explanations.
    ///
    /// It can when the true explanation outranks at least [`LEAST_OUTRANKED`] of the false ones and guessing would put it
    /// first as often with a probability of at most [`GREATEST_CHANCE`]. Both are asked because each alone can be had
    /// without understanding: many second places give the first, a few lucky firsts beside many last places the second.
    /// [`Verdict::Undecided`] when fewer than [`LEAST_TRIALS`] units, or fewer than half of them, could be ranked.
    pub fn verdict(&self) -> Verdict {
        let n_ranked = self.placements.len();
        if n_ranked < LEAST_TRIALS || 2 * n_ranked < self.n_trials {
            return Verdict::Undecided;
        }
        let outranks = self.outranked.is_some_and(|share| share >= LEAST_OUTRANKED);
        if outranks && self.chance <= GREATEST_CHANCE { Verdict::CanTell } else { Verdict::CannotTell }
    }

    /// The verdict's reason in words, as [`Error::Untrustworthy`] wants it.
    pub fn found(&self) -> String {
        let share = self.outranked.map_or_else(|| "none".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        format!(
            "the true explanation came first for {} of {} planted units (by chance with p = {:.2}) and outranked {share} of the \
             false ones, {} scores missing",
            self.n_first,
            self.placements.len(),
            self.chance,
            self.n_missing
        )
    }
}

fn shape(what: &str, expected: usize, got: usize) -> Error {
    Error::internal(format!("scores of the planted subject: expected {expected} {what}, got {got}"))
}

/// Where the candidate of this truth came among the false ones.
fn placement(trial: &Trial, outcomes: &[Outcome], truth: Truth) -> Option<Placement> {
    let scored = |wanted: Truth| {
        let pairs = trial.candidates.iter().zip(outcomes).enumerate();
        pairs.filter_map(
            move |(i, (candidate, outcome))| {
                if candidate.truth == wanted { Some((i, outcome.rankable()?)) } else { None }
            },
        )
    };
    let (_, own) = scored(truth).next()?;
    let (best_false, _) = scored(Truth::False).reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let n_false = scored(Truth::False).count();
    let n_below = scored(Truth::False).filter(|(_, score)| *score < own).count();
    let n_tied = scored(Truth::False).filter(|(_, score)| *score == own).count();
    Some(Placement {
        unit: trial.unit,
        rank: n_false - n_below + 1,
        n_ranked: n_false + 1,
        outranked: (n_below as f64 + n_tied as f64 / 2.0) / n_false as f64,
        best_false,
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Probability of at least `n` successes of independent trials with these chances (the Poisson binomial distribution, by
/// adding one trial after the other: exact).
fn at_least(n: usize, chances: &[f64]) -> f64 {
    let mut counts = vec![1.0];
    for chance in chances {
        counts.push(0.0);
        for k in (0..counts.len()).rev() {
            let from_below = if k > 0 { counts[k - 1] * chance } else { 0.0 };
            counts[k] = counts[k] * (1.0 - chance) + from_below;
        }
    }
    let tail: f64 = counts.iter().skip(n).rev().sum();
    tail.min(1.0)
}

/// The 95 % interval of Clopper and Pearson (1934) of `n_first` successes in `n`.
fn exact_interval(n_first: usize, n: usize) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let tail_from = |k: usize, share: f64| at_least(k, &vec![share; n]);
    // Both tails grow with the share, so each end is found by halving.
    let solve = |k: usize, target: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            if tail_from(k, middle) < target { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    };
    Some(Interval {
        low: if n_first == 0 { 0.0 } else { solve(n_first, 0.025) },
        high: if n_first == n { 1.0 } else { solve(n_first + 1, 0.975) },
    })
}

/// The 95 % interval of the mean, by drawing units with replacement.
fn bootstrap(values: &[f64]) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as u64;
    let below = |bits: u64| ((u128::from(bits) * u128::from(n)) >> 64) as usize;
    let mut means: Vec<f64> =
        (0..N_DRAWS).map(|draw| (0..n).map(|i| values[below(mix(0, draw, i))]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (means.len() - 1) as f64).round() as usize];
    Some(Interval { low: at(0.025), high: at(0.975) })
}
