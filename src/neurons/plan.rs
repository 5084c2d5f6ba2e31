//! What a batch of windows means for every block of neurons, worked out once.

use std::ops::Range;

use crate::error::collector::CollectorError;
use crate::neurons::collector::CollectorConfig;
use crate::neurons::token_means::Occurrence;
use crate::token_sequences::window::Window;

/// Marks a token that has no row of its own.
const UNTRACKED: u32 = u32::MAX;

/// Counts that all neurons of a collection share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Tokens counted so far.
    pub(crate) n_tokens: u64,
    /// Windows seen so far.
    pub(crate) n_windows: u64,
    /// The last window's sequence.
    pub(crate) last_sequence: Option<i64>,
    /// Occurrences of each row of the token means.
    pub(crate) token_counts: Vec<u64>,
}

impl Progress {
    pub(crate) fn new(config: &CollectorConfig) -> Self {
        Self {
            n_tokens: 0,
            n_windows: 0,
            last_sequence: None,
            token_counts: vec![0; config.tracked_token_ids.len() + 1],
        }
    }
}

/// The row of each token id in the table of token means.
#[derive(Clone)]
pub(crate) struct TokenRows {
    row_of: Vec<u32>,
    other: u32,
}

impl TokenRows {
    pub(crate) fn new(token_ids: &[u32]) -> Self {
        let n = token_ids.iter().max().map_or(0, |largest| *largest as usize + 1);
        let mut row_of = vec![UNTRACKED; n];
        for (row, token_id) in (0..).zip(token_ids) {
            row_of[*token_id as usize] = row;
        }
        Self { row_of, other: token_ids.len() as u32 }
    }

    fn row(&self, token_id: u32) -> u32 {
        match self.row_of.get(token_id as usize) {
            Some(row) if *row != UNTRACKED => *row,
            _ => self.other,
        }
    }
}

/// One window of a batch.
pub(crate) struct PlannedWindow<'a> {
    pub(crate) window: &'a Window<'a>,
    /// Counted tokens of the batch, as rows of the tile.
    pub(crate) counted: Range<usize>,
    /// Tokens counted before this window.
    pub(crate) n_before: u64,
    /// Which of the configured record sets may keep it.
    pub(crate) record_set: Option<usize>,
    /// Its part of the plan's occurrences; empty when its split has no part in token means.
    pub(crate) occurrences: Range<usize>,
}

/// A batch of windows.
pub(crate) struct Plan<'a> {
    pub(crate) windows: Vec<PlannedWindow<'a>>,
    pub(crate) occurrences: Vec<Occurrence>,
    pub(crate) n_tokens: usize,
}

/// Checks a batch and moves `progress` past it; nothing is changed when there is an error.
pub(crate) fn plan<'a>(
    config: &CollectorConfig,
    token_rows: &TokenRows,
    progress: &mut Progress,
    windows: &'a [Window<'a>],
) -> Result<Plan<'a>, CollectorError> {
    check(config, progress, windows)?;
    let mut plan = Plan { windows: Vec::with_capacity(windows.len()), occurrences: Vec::new(), n_tokens: 0 };
    for window in windows {
        let start = plan.n_tokens;
        plan.n_tokens += window.token_ids.len();
        progress.last_sequence = Some(window.sequence);
        progress.n_windows += 1;
        let n_counted = window.n_counted();
        if n_counted == 0 {
            continue;
        }
        let first_occurrence = plan.occurrences.len();
        if config.token_mean_splits.contains(&window.split) {
            for token_id in &window.token_ids[window.first_counted..] {
                let row = token_rows.row(*token_id);
                let count = &mut progress.token_counts[row as usize];
                *count += 1;
                plan.occurrences.push(Occurrence { row, weight: (1.0 / *count as f64) as f32 });
            }
        }
        plan.windows.push(PlannedWindow {
            window,
            counted: start + window.first_counted..plan.n_tokens,
            n_before: progress.n_tokens,
            record_set: config.record_sets.iter().position(|set| window.recordable && set.split == window.split),
            occurrences: first_occurrence..plan.occurrences.len(),
        });
        progress.n_tokens += n_counted as u64;
    }
    Ok(plan)
}

fn check(config: &CollectorConfig, progress: &Progress, windows: &[Window<'_>]) -> Result<(), CollectorError> {
    let mut previous = progress.last_sequence;
    let mut n_tokens = progress.n_tokens;
    for window in windows {
        if let Some(previous) = previous.filter(|previous| *previous >= window.sequence) {
            return Err(CollectorError::SequenceOrder { previous, got: window.sequence });
        }
        previous = Some(window.sequence);
        if window.token_ids.len() > config.max_window_tokens {
            return Err(CollectorError::WindowLength {
                sequence: window.sequence,
                expected: config.max_window_tokens,
                got: window.token_ids.len(),
            });
        }
        n_tokens += window.n_counted() as u64;
    }
    // A counter of the sketch may have to hold every token of the collection.
    let limit = u64::from(u32::MAX);
    if n_tokens > limit { Err(CollectorError::TooManyTokens { limit, got: n_tokens }) } else { Ok(()) }
}
