//! The first k of many hits: highest score first, ties by key of the explanation, then by place.

use std::cmp::Ordering;

use super::index::Index;
use crate::error::Result;

/// A row and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    pub(crate) score: f32,
    pub(crate) segment: u32,
    pub(crate) row: u32,
}

/// Keeps the first k of what it is offered.
pub(crate) struct TopHits<'a> {
    index: &'a Index,
    k: usize,
    /// Up to twice k, in no order.
    hits: Vec<Hit>,
    /// A score that k of the hits reach.
    threshold: f32,
    /// The last of the k that reach it, where others tie with it: only what comes before it is of interest.
    last: Option<Hit>,
}

impl<'a> TopHits<'a> {
    pub(crate) fn new(index: &'a Index, k: usize) -> Self {
        Self { index, k, hits: Vec::new(), threshold: f32::NEG_INFINITY, last: None }
    }

    /// Whether a hit with this score could be among the first.
    pub(crate) fn takes(&self, score: f32) -> bool {
        self.k > 0 && score >= self.threshold
    }

    pub(crate) fn offer(&mut self, hit: Hit) -> Result<()> {
        if !self.takes(hit.score) {
            return Ok(());
        }
        if let Some(last) = self.last
            && hit.score == last.score
            && self.index.key(&hit)? > self.index.key(&last)?
        {
            return Ok(());
        }
        self.hits.push(hit);
        if self.hits.len() >= 2 * self.k.max(64) {
            self.shrink()?;
        }
        Ok(())
    }

    fn shrink(&mut self) -> Result<()> {
        if self.hits.len() <= self.k || self.k == 0 {
            return Ok(());
        }
        // By score alone first; only where scores tie at the end of the first k do keys decide.
        self.hits.select_nth_unstable_by(self.k - 1, |a, b| b.score.total_cmp(&a.score));
        let threshold = self.hits[self.k - 1].score;
        let ties = self.hits[self.k..].iter().filter(|hit| hit.score == threshold).count();
        self.last = None;
        if ties > 0 {
            sort(self.index, &mut self.hits)?;
            self.last = Some(self.hits[self.k - 1]);
        }
        self.hits.truncate(self.k);
        self.threshold = threshold;
        Ok(())
    }

    /// The first k of all, in order.
    pub(crate) fn merge(index: &Index, k: usize, parts: Vec<TopHits<'_>>) -> Result<Vec<Hit>> {
        let mut hits: Vec<Hit> = parts.into_iter().flat_map(|part| part.hits).collect();
        sort(index, &mut hits)?;
        hits.truncate(k);
        Ok(hits)
    }
}

/// Sorts hits into their order.
pub(crate) fn sort(index: &Index, hits: &mut [Hit]) -> Result<()> {
    let mut failed = None;
    hits.sort_unstable_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| match (index.key(a), index.key(b)) {
            (Ok(left), Ok(right)) => left.cmp(right).then((a.segment, a.row).cmp(&(b.segment, b.row))),
            (Err(error), _) | (_, Err(error)) => {
                failed = Some(error);
                Ordering::Equal
            }
        })
    });
    failed.map_or(Ok(()), Err)
}
