//! Which keys the new tokens of a batch look at, laid out as few large products.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

/// Scores of one product at most, over all heads: 256 MB in f32.
const MOST_SCORES: usize = 1 << 26;

/// Scores of padding that a group may have for each of its own, so that short sequences share a product.
const MOST_PADDING: usize = 2;

/// New tokens of one sequence, and the keys that are its own.
#[derive(Debug)]
pub(crate) struct Own {
    /// Number of new tokens.
    pub(crate) n_new: usize,
    /// Where its own keys are, in order, the new ones last.
    pub(crate) keys: Vec<u32>,
}

/// Some new tokens of a sequence: `first..first + n`, which see the first `visible + token` own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    sequence: usize,
    first: usize,
    n: usize,
}

/// Pieces whose own keys are looked at in one product, filled up to the longest.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) n_pieces: usize,
    /// New tokens of a piece, with padding.
    pub(crate) n_tokens: usize,
    /// Keys of a piece, with padding.
    pub(crate) n_keys: usize,
    /// Row of each token of each piece, `[n_pieces * n_tokens]`; padding repeats a piece's last row.
    pub(crate) rows: Tensor,
    /// Place of each key of each piece, `[n_pieces * n_keys]`; padding repeats a piece's first key.
    pub(crate) keys: Tensor,
    /// 0 where a token sees a key, minus infinity elsewhere, `[1, n_pieces, n_tokens, 1, n_keys]`.
    pub(crate) mask: Tensor,
    /// Where in `rows` the tokens that are no padding stand, in order.
    pub(crate) real: Tensor,
}

impl Group {
    fn new(pieces: &[Piece], sequences: &[Own], starts: &[usize], device: &Device) -> Result<Self> {
        let visible =
            |piece: &Piece| sequences[piece.sequence].keys.len() - sequences[piece.sequence].n_new + piece.first;
        let n_tokens = pieces.iter().map(|piece| piece.n).max().unwrap_or(0);
        let n_keys = pieces.iter().map(|piece| visible(piece) + piece.n).max().unwrap_or(0);
        let (mut rows, mut keys, mut mask, mut real) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (i, piece) in pieces.iter().enumerate() {
            let own = &sequences[piece.sequence].keys;
            let first_row = starts[piece.sequence] + piece.first;
            keys.extend((0..n_keys).map(|key| if key < visible(piece) + piece.n { own[key] } else { own[0] }));
            for token in 0..n_tokens {
                let at = token.min(piece.n - 1);
                rows.push((first_row + at) as u32);
                if token < piece.n {
                    real.push((i * n_tokens + token) as u32);
                }
                mask.extend((0..n_keys).map(|key| if key <= visible(piece) + at { 0.0 } else { f32::NEG_INFINITY }));
            }
        }
        let n_pieces = pieces.len();
        let indices = |values: Vec<u32>| {
            let n = values.len();
            Tensor::from_vec(values, n, device)
        };
        Ok(Self {
            n_pieces,
            n_tokens,
            n_keys,
            rows: indices(rows)?,
            keys: indices(keys)?,
            mask: Tensor::from_vec(mask, (1, n_pieces, n_tokens, 1, n_keys), device)?,
            real: indices(real)?,
        })
    }
}

/// Cuts the new tokens of all sequences into groups; their rows, one group after another, are in order.
pub(crate) fn groups(sequences: &[Own], n_heads: usize, device: &Device) -> Result<Vec<Group>> {
    let mut starts = Vec::with_capacity(sequences.len());
    let mut n_rows = 0;
    for own in sequences {
        starts.push(n_rows);
        n_rows += own.n_new;
    }
    let mut groups = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut longest, mut most_keys, mut needed) = (0, 0, 0);
    for (sequence, own) in sequences.iter().enumerate() {
        let step = (MOST_SCORES / (n_heads * own.keys.len().max(1))).max(1);
        for first in (0..own.n_new).step_by(step) {
            let piece = Piece { sequence, first, n: step.min(own.n_new - first) };
            let keys = own.keys.len() - own.n_new + first + piece.n;
            let padded = (pieces.len() + 1) * piece.n.max(longest) * keys.max(most_keys);
            let own_scores = needed + piece.n * keys;
            let too_many = padded * n_heads > MOST_SCORES || padded > MOST_PADDING * own_scores;
            if too_many && !pieces.is_empty() {
                groups.push(Group::new(&pieces, sequences, &starts, device)?);
                pieces.clear();
                (longest, most_keys, needed) = (0, 0, 0);
            }
            pieces.push(piece);
            longest = longest.max(piece.n);
            most_keys = most_keys.max(keys);
            needed += piece.n * keys;
        }
    }
    if !pieces.is_empty() {
        groups.push(Group::new(&pieces, sequences, &starts, device)?);
    }
    Ok(groups)
}

/// New rows that all go on after one shared segment.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    /// The rows, few enough for one product.
    pub(crate) rows: Range<usize>,
    /// The segment; `None` for rows that have none at this depth.
    pub(crate) segment: Option<Arc<T>>,
}

/// For each depth of the shared beginnings, the segments in order of the rows that look at them.
///
/// `sequences` are each sequence's segments and number of new tokens. Neighbours with the same segment become one entry.
pub(crate) fn shared<T>(
    sequences: &[(&[Arc<T>], usize)],
    n_keys: impl Fn(&T) -> usize,
    n_heads: usize,
) -> Vec<Vec<Shared<T>>> {
    let depth = sequences.iter().map(|(past, _)| past.len()).max().unwrap_or(0);
    let level = |depth: usize| {
        let mut found: Vec<Shared<T>> = Vec::new();
        let mut row = 0;
        for (past, n_new) in sequences {
            let segment = past.get(depth);
            let rows = row..row + n_new;
            row = rows.end;
            match found.last_mut() {
                Some(last) if same(last.segment.as_ref(), segment) => last.rows.end = rows.end,
                _ => found.push(Shared { rows, segment: segment.map(Arc::clone) }),
            }
        }
        let cut = |shared: Shared<T>| {
            let keys = shared.segment.as_ref().map_or(1, |segment| n_keys(segment).max(1));
            let step = (MOST_SCORES / (n_heads * keys)).max(1);
            let Shared { rows, segment } = shared;
            rows.clone().step_by(step).map(move |start| Shared {
                rows: start..rows.end.min(start + step),
                segment: segment.as_ref().map(Arc::clone),
            })
        };
        found.into_iter().flat_map(cut).collect()
    };
    (0..depth).map(level).collect()
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
