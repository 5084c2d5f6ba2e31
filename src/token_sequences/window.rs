//! One token sequence as the collection sees it.

use crate::token_sequences::split::Split;

/// A token sequence together with what decides how its activations are counted and kept.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Id of the token sequence; ascending within a collection.
    pub sequence: i64,
    /// Document that the window was cut from.
    pub document: i64,
    /// Split of that document.
    pub split: Split,
    /// Token ids, shape `[seq_len]`; windows at the end of a document may be shorter than the others.
    pub token_ids: &'a [u32],
    /// False when the window's text is not whole characters (it holds U+FFFD): such a window is counted in every
    /// statistic and never kept as an activation record.
    pub recordable: bool,
    /// Positions before this one are left out of every statistic and written as 0.0 in records: the policy for a
    /// beginning-of-sequence token or an attention sink. 0 counts every position.
    pub first_counted: usize,
}

impl Window<'_> {
    /// Number of positions that enter statistics.
    pub fn n_counted(&self) -> usize {
        self.token_ids.len().saturating_sub(self.first_counted)
    }
}
