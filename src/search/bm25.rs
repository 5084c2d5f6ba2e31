//! Keyword search: every row that holds a word of the query, with its BM25.
//!
//! Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with the inverse document
//! frequency ln(1 + (N - n + 0.5) / (n + 0.5)), which is above 0 for every word (as Lucene has it), k1 = 1.2 and b = 0.75. A word
//! and its forms (`words::forms`) count as one word.

use std::borrow::Cow;

use rayon::prelude::*;

use super::index::Index;
use super::terms::Terms;
use super::words::{folded, forms, words};

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The words of a query, each with the forms it is found under.
#[derive(Debug, Clone)]
pub(crate) struct KeywordQuery {
    words: Vec<Vec<String>>,
}

impl KeywordQuery {
    /// `None` for a text without a word.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let mut wanted: Vec<Vec<String>> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for word in words(text).map(folded) {
            let forms = forms(&word);
            // A word asked for twice counts once.
            if seen.insert(word) {
                wanted.push(forms);
            }
        }
        (!wanted.is_empty()).then_some(Self { words: wanted })
    }
}

/// The rows of a segment that match, rising, and their scores.
#[derive(Debug, Default)]
pub(crate) struct SegmentMatches {
    pub(crate) rows: Vec<u32>,
    pub(crate) scores: Vec<f32>,
}

/// What stands of one word in one segment.
type Found<'a> = (Cow<'a, [u32]>, Cow<'a, [u16]>);

/// Every match, by segment.
pub(crate) fn matches(index: &Index, query: &KeywordQuery) -> Vec<SegmentMatches> {
    let found: Vec<Vec<Found<'_>>> = index
        .segments
        .par_iter()
        .map(|segment| query.words.iter().map(|forms| find(&segment.terms, forms)).collect())
        .collect();
    let n = index.n_rows() as f64;
    let weights: Vec<f32> = (0..query.words.len())
        .map(|word| {
            let holding: usize = found.iter().map(|words| words[word].0.len()).sum();
            let holding = holding as f64;
            (1.0 + (n - holding + 0.5) / (holding + 0.5)).ln() as f32
        })
        .collect();
    let average = (index.n_words() as f64 / n.max(1.0)).max(1.0) as f32;
    let score = |(segment, words): (&super::index::Segment, &Vec<Found<'_>>)| {
        rank(segment.n_rows, &segment.terms, words, &weights, average)
    };
    index.segments.par_iter().map(AsRef::as_ref).zip(&found).map(score).collect()
}

/// Rows that hold any of the forms, and how often they hold them together.
fn find<'a>(terms: &'a Terms, forms: &[String]) -> Found<'a> {
    let mut lists: Vec<_> = forms.iter().filter_map(|form| terms.find(form)).collect();
    match lists.len() {
        0 => (Cow::Borrowed(&[]), Cow::Borrowed(&[])),
        1 => {
            let list = lists.remove(0);
            (Cow::Borrowed(list.rows), Cow::Borrowed(list.counts))
        }
        _ => {
            let pairs = lists.iter().flat_map(|list| list.rows.iter().copied().zip(list.counts.iter().copied()));
            let mut pairs: Vec<(u32, u16)> = pairs.collect();
            // Sorted runs behind one another: the sort merges them.
            pairs.sort_by_key(|(row, _)| *row);
            pairs.dedup_by(|(row, count), (kept, sum)| {
                let same = row == kept;
                if same {
                    *sum = sum.saturating_add(*count);
                }
                same
            });
            let (rows, counts): (Vec<u32>, Vec<u16>) = pairs.into_iter().unzip();
            (Cow::Owned(rows), Cow::Owned(counts))
        }
    }
}

fn rank(n_rows: usize, terms: &Terms, words: &[Found<'_>], weights: &[f32], average: f32) -> SegmentMatches {
    let part = |row: u32, count: u16, weight: f32| {
        let count = f32::from(count);
        let length = terms.lengths[row as usize] as f32;
        weight * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / average))
    };
    let n_postings: usize = words.iter().map(|(rows, _)| rows.len()).sum();
    if n_postings < n_rows / 16 {
        let parts = words.iter().zip(weights).flat_map(|((rows, counts), weight)| {
            rows.iter().zip(counts.iter()).map(|(row, count)| (*row, part(*row, *count, *weight)))
        });
        let mut parts: Vec<(u32, f32)> = parts.collect();
        // Stable: the parts of a row are added in the order of the words, as below.
        parts.sort_by_key(|(row, _)| *row);
        parts.dedup_by(|(row, score), (kept, sum)| {
            let same = row == kept;
            if same {
                *sum += *score;
            }
            same
        });
        let (rows, scores) = parts.into_iter().unzip();
        return SegmentMatches { rows, scores };
    }
    let mut sums = vec![0.0f32; n_rows];
    for ((rows, counts), weight) in words.iter().zip(weights) {
        for (row, count) in rows.iter().zip(counts.iter()) {
            sums[*row as usize] += part(*row, *count, *weight);
        }
    }
    let rows: Vec<u32> = (0..n_rows as u32).filter(|row| sums[*row as usize] > 0.0).collect();
    let scores = rows.iter().map(|row| sums[*row as usize]).collect();
    SegmentMatches { rows, scores }
}
