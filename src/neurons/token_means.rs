//! What a neuron does on average at each token: the table behind the token-lookup explanation and simulation.
//!
//! Source: Bills et al. 2023, "token lookup table". Only the most frequent tokens are tracked, so that the table of a hook
//! point stays within a memory budget; all others share one row.

use serde::{Deserialize, Serialize};

use crate::neurons::lanes::{BLOCK, Row, widest};

/// Mean activation of one neuron over the occurrences of one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenMean {
    /// Token id in the subject model's vocabulary.
    pub token_id: u32,
    /// Mean activation at this token, in the neuron's units.
    pub mean_activation: f32,
    /// Occurrences that the mean is over, at least 1.
    pub n_occurrences: u64,
}

/// The tokens that tell most about a neuron, and what it does elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLookup {
    /// Highest mean first, ties by token id.
    pub tokens: Vec<TokenMean>,
    /// Mean activation over the occurrences of every other token, in the neuron's units; when there are none, over all.
    pub base: f32,
    /// Occurrences that `base` is over; 0 when every token seen is in `tokens`.
    pub n_base: u64,
}

/// Where one counted token goes: the row of its mean and the weight of this occurrence in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence {
    pub(crate) row: u32,
    /// One over the occurrences of the row so far, this one included.
    pub(crate) weight: f32,
}

/// Running means of one block of neurons, one row for each tracked token and a last row for all others.
///
/// A running mean instead of a sum: an `f32` sum stops growing after some ten million occurrences, a mean does not drift.
#[derive(Clone)]
pub(crate) struct BlockTokenMeans {
    pub(crate) rows: Vec<Row>,
}

impl BlockTokenMeans {
    pub(crate) fn new(n_tracked: usize) -> Self {
        Self { rows: vec![[0.0; BLOCK]; n_tracked + 1] }
    }

    /// Adds one occurrence for each row of `values`, in order.
    pub(crate) fn add(&mut self, occurrences: &[Occurrence], values: &[Row]) {
        add(&mut self.rows, occurrences, values);
    }

    /// The lane's lookup table; `None` when no token was counted.
    ///
    /// `counts` has the occurrences of each row. Chosen are the tokens with the largest `n · (mean − base)²`: that is how
    /// much of the neuron's sum of squares the token's own mean explains over the base, so the choice maximises the
    /// correlation of the lookup simulation for a given number of tokens; and as it is also the squared distance from
    /// the base in standard errors, rare tokens are not chosen for their noise. The base is first the mean over
    /// everything, then, for a second choice, the mean over what the first did not choose.
    pub(crate) fn lookup(
        &self,
        lane: usize,
        token_ids: &[u32],
        counts: &[u64],
        n_tokens: usize,
    ) -> Option<TokenLookup> {
        let seen: Vec<(usize, f64, f64)> = (0..)
            .zip(counts)
            .filter(|(_, count)| **count > 0)
            .map(|(row, count)| (row, f64::from(self.rows[row][lane]), *count as f64))
            .collect();
        let overall = weighted_mean(seen.iter().copied())?;
        let mut tokens: Vec<(usize, f64, f64)> =
            seen.iter().copied().filter(|(row, ..)| *row < token_ids.len()).collect();
        let first = choose(&mut tokens, overall, n_tokens);
        let base = weighted_mean(rest(&seen, &tokens[..first])).unwrap_or(overall);
        let chosen = choose(&mut tokens, base, n_tokens);
        let chosen = &tokens[..chosen];
        let n_base = rest(&seen, chosen).map(|(row, ..)| counts[row]).sum();
        let base = weighted_mean(rest(&seen, chosen)).unwrap_or(overall);
        let mut means: Vec<TokenMean> = chosen
            .iter()
            .map(|(row, ..)| TokenMean {
                token_id: token_ids[*row],
                mean_activation: self.rows[*row][lane],
                n_occurrences: counts[*row],
            })
            .collect();
        means.sort_by(|a, b| b.mean_activation.total_cmp(&a.mean_activation).then(a.token_id.cmp(&b.token_id)));
        Some(TokenLookup { tokens: means, base: base as f32, n_base })
    }
}

/// Moves the `n` tokens that explain most to the front and returns how many there are.
fn choose(tokens: &mut [(usize, f64, f64)], base: f64, n: usize) -> usize {
    if n == 0 || tokens.is_empty() {
        return 0;
    }
    let n = n.min(tokens.len());
    let explained = |(_, mean, count): &(usize, f64, f64)| count * (mean - base) * (mean - base);
    tokens.select_nth_unstable_by(n - 1, |a, b| explained(b).total_cmp(&explained(a)).then(a.0.cmp(&b.0)));
    n
}

/// What was seen and not chosen, in row order.
fn rest(seen: &[(usize, f64, f64)], chosen: &[(usize, f64, f64)]) -> impl Iterator<Item = (usize, f64, f64)> {
    let mut rows: Vec<usize> = chosen.iter().map(|(row, ..)| *row).collect();
    rows.sort_unstable();
    seen.iter().copied().filter(move |(row, ..)| rows.binary_search(row).is_err())
}

fn weighted_mean(rows: impl Iterator<Item = (usize, f64, f64)>) -> Option<f64> {
    let (sum, n) = rows.fold((0.0, 0.0), |(sum, n), (_, mean, count)| (sum + mean * count, n + count));
    (n > 0.0).then(|| sum / n)
}

widest! {
    fn add(rows: &mut [Row], occurrences: &[Occurrence], values: &[Row]) = add_in_lanes
}

#[inline(always)]
fn add_in_lanes<const LANES: usize>(rows: &mut [Row], occurrences: &[Occurrence], values: &[Row]) {
    for (Occurrence { row, weight }, value) in occurrences.iter().zip(values) {
        let mean = &mut rows[*row as usize];
        for lane in 0..BLOCK {
            mean[lane] += (value[lane] - mean[lane]) * weight;
        }
    }
}
