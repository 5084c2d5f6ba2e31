//! Which words stand in which rows of a segment, and how often.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use rayon::prelude::*;

use super::disk::{map, numbers, write, write_numbers};
use super::rows::BATCH_ROWS;
use super::words::{fold_into, words};
use crate::error::Result;

/// Sizes of the files, kept in the manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) n_terms: usize,
    pub(super) n_postings: usize,
    pub(super) n_words: u64,
}

/// The inverted file of a segment.
pub(super) struct Terms {
    /// Folded words, sorted, one behind the other.
    text: Buffer,
    /// Where each begins, and the last ends.
    text_starts: ScalarBuffer<u32>,
    /// Where each word's postings begin, and the last's end.
    starts: ScalarBuffer<u32>,
    /// Rows that hold the word, rising.
    rows: ScalarBuffer<u32>,
    /// How often, beside `rows`.
    counts: ScalarBuffer<u16>,
    /// Words of each row.
    pub(super) lengths: ScalarBuffer<u32>,
}

/// Where one word stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postings<'a> {
    pub(super) rows: &'a [u32],
    pub(super) counts: &'a [u16],
}

impl Terms {
    pub(super) fn open(folder: &Path, n_rows: usize, n_terms: usize, n_postings: usize) -> Result<Self> {
        Ok(Self {
            text: map(&folder.join("terms.txt"))?,
            text_starts: numbers(&folder.join("terms.starts"), n_terms + 1)?,
            starts: numbers(&folder.join("postings.starts"), n_terms + 1)?,
            rows: numbers(&folder.join("postings.rows"), n_postings)?,
            counts: numbers(&folder.join("postings.counts"), n_postings)?,
            lengths: numbers(&folder.join("lengths"), n_rows)?,
        })
    }

    /// Where a folded word stands; `None` where it does not.
    pub(super) fn find(&self, word: &str) -> Option<Postings<'_>> {
        let term = |i: usize| self.text.get(self.text_starts[i] as usize..self.text_starts[i + 1] as usize);
        let (mut low, mut high) = (0, self.text_starts.len() - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match term(middle)?.cmp(word.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let range = self.starts[middle] as usize..self.starts[middle + 1] as usize;
                    return Some(Postings { rows: self.rows.get(range.clone())?, counts: self.counts.get(range)? });
                }
            }
        }
        None
    }
}

/// Words of one batch: for each, its rows and counts.
type BatchTerms = HashMap<String, Vec<(u32, u16)>>;

/// The words of a batch, and the number of words of each of its rows.
type Counted = (BatchTerms, Vec<u32>);

/// A word, the number of a batch, and where in that batch the word stands.
type Entry<'a> = (&'a str, usize, &'a [(u32, u16)]);

/// Writes the inverted file of texts that come in batches of [`BATCH_ROWS`].
pub(super) fn write_terms(folder: &Path, texts: &[&StringArray]) -> Result<Sizes> {
    let counted: Vec<Counted> = texts.par_iter().enumerate().map(|(i, batch)| count(i, batch)).collect();
    let mut entries: Vec<Entry<'_>> = counted
        .iter()
        .enumerate()
        .flat_map(|(i, (terms, _))| terms.iter().map(move |(term, rows)| (term.as_str(), i, rows.as_slice())))
        .collect();
    entries.par_sort_unstable_by_key(|(term, batch, _)| (*term, *batch));

    let n_postings = entries.iter().map(|(_, _, rows)| rows.len()).sum();
    let (mut text_starts, mut starts) = (Vec::new(), Vec::new());
    let (mut rows, mut counts) = (Vec::with_capacity(n_postings), Vec::with_capacity(n_postings));
    let mut text = Vec::new();
    let mut last = None;
    for (term, _, postings) in entries {
        if last != Some(term) {
            text_starts.push(text.len() as u32);
            starts.push(rows.len() as u32);
            text.extend_from_slice(term.as_bytes());
            last = Some(term);
        }
        rows.extend(postings.iter().map(|(row, _)| *row));
        counts.extend(postings.iter().map(|(_, count)| *count));
    }
    let n_terms = starts.len();
    text_starts.push(text.len() as u32);
    starts.push(rows.len() as u32);
    let lengths: Vec<u32> = counted.iter().flat_map(|(_, lengths)| lengths).copied().collect();
    write(&folder.join("terms.txt"), |out| out.write_all(&text))?;
    write_numbers(&folder.join("terms.starts"), &text_starts)?;
    write_numbers(&folder.join("postings.starts"), &starts)?;
    write_numbers(&folder.join("postings.rows"), &rows)?;
    write_numbers(&folder.join("postings.counts"), &counts)?;
    write_numbers(&folder.join("lengths"), &lengths)?;
    let n_words = lengths.iter().map(|length| u64::from(*length)).sum();
    Ok(Sizes { n_terms, n_postings: rows.len(), n_words })
}

fn count(batch: usize, texts: &StringArray) -> Counted {
    let mut terms = BatchTerms::new();
    let mut lengths = Vec::with_capacity(texts.len());
    let mut folded = String::new();
    for (i, text) in texts.iter().enumerate() {
        let row = (batch * BATCH_ROWS + i) as u32;
        let mut length = 0;
        for word in words(text.unwrap_or_default()) {
            length += 1;
            fold_into(word, &mut folded);
            let postings = match terms.get_mut(folded.as_str()) {
                Some(postings) => postings,
                None => terms.entry(folded.clone()).or_default(),
            };
            match postings.last_mut() {
                Some((last, count)) if *last == row => *count = count.saturating_add(1),
                _ => postings.push((row, 1)),
            }
        }
        lengths.push(length);
    }
    (terms, lengths)
}
