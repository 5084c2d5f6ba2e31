//! How many of the rows that a step wrote say that they failed, and why most of them did.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::judgements::judge::NOT_JUDGED;

/// Different reasons that are told apart; a reason may hold the text of one reply.
const REASONS: usize = 256;

/// Tables whose rows may have failed one by one. A score that is undefined is no failure.
const TABLES: [&str; 3] = ["explanations", "simulations", "judgements"];

/// Rows, and those without a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Rows written.
    pub n_rows: u64,
    /// Those of them that have a reason in place of a result.
    pub n_failed: u64,
    reasons: HashMap<String, u64>,
}

impl Failures {
    /// Counts the rows of a table.
    pub(super) fn add(&mut self, table: &str, batch: &RecordBatch) {
        let reasons = batch.column_by_name("reason").filter(|_| TABLES.contains(&table));
        let Some(reasons) = reasons.and_then(|reasons| cast(reasons, &DataType::Utf8).ok()) else { return };
        for reason in reasons.as_string::<i32>() {
            self.one(reason);
        }
    }

    /// Counts one result.
    pub fn one(&mut self, reason: Option<&str>) {
        if reason == Some(NOT_JUDGED) {
            return;
        }
        self.n_rows += 1;
        let Some(reason) = reason else { return };
        self.n_failed += 1;
        if let Some(known) = self.reasons.get_mut(reason) {
            *known += 1;
        } else if self.reasons.len() < REASONS {
            self.reasons.insert(reason.to_owned(), 1);
        }
    }

    /// The commonest reason, of equally common ones the first by letters; `None` where nothing failed.
    pub fn commonest(&self) -> Option<&str> {
        let most = self.reasons.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map(|(reason, _)| reason.as_str())
    }

    /// Whether there were rows and none has a result.
    pub fn all_failed(&self) -> bool {
        self.n_failed > 0 && self.n_failed == self.n_rows
    }

    /// `N of M failed: reason`; `None` where nothing failed.
    pub fn told(&self) -> Option<String> {
        let reason = self.commonest()?;
        let others = if self.reasons.len() > 1 { "mostly: " } else { "" };
        Some(format!("{} of {} failed: {others}{reason}", self.n_failed, self.n_rows))
    }
}

#[cfg(test)]
mod tests;
