//! The paper's interleaving of records over splits, and back: a record's place in its file is kept as split and rank.
//!
//! Source: specification §2.1. Upstream takes the first `n` of each split and leaves the rest; here the going round never stops, so
//! that every record has a place. The first five of each split are the paper's.

use crate::token_sequences::split::Split;

/// Splits of top records, in turn.
const TOP: [Split; 4] = [Split::Train, Split::Calibration, Split::Valid, Split::Test];
/// Splits of random records, in turn: the explainer sees top records only.
const RANDOM: [Split; 3] = [Split::Calibration, Split::Valid, Split::Test];
/// Random records from which all three splits get five. Older files hold ten, and go without `test`, as upstream advises.
const FULL_RANDOM: usize = 15;

/// Split and rank of the top record at a 0-based place of its file.
pub fn of_top(index: usize) -> (Split, i32) {
    (TOP[index % TOP.len()], (index / TOP.len()) as i32)
}

/// Split and rank of the random record at a 0-based place of a list of `len`.
pub fn of_random(index: usize, len: usize) -> (Split, i32) {
    let splits = random_splits(len >= FULL_RANDOM);
    (splits[index % splits.len()], (index / splits.len()) as i32)
}

/// The place of a top record in its file; `None` for a split that top records are not in.
pub fn top_index(split: Split, rank: i32) -> Option<usize> {
    index(&TOP, split, rank)
}

/// The place of a random record in its file; `with_test` tells whether any random record of the unit is of split `test`.
pub fn random_index(split: Split, rank: i32, with_test: bool) -> Option<usize> {
    index(random_splits(with_test), split, rank)
}

fn random_splits(with_test: bool) -> &'static [Split] {
    if with_test { &RANDOM } else { &RANDOM[..2] }
}

fn index(splits: &[Split], split: Split, rank: i32) -> Option<usize> {
    let place = splits.iter().position(|known| *known == split)?;
    Some(usize::try_from(rank).ok()? * splits.len() + place)
}
