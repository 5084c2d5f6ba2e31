//! Where a document is cut into windows.

use std::ops::Range;

/// Consecutive windows of `length` tokens; a shorter last one is kept when it has at least `minimum` tokens.
///
/// The paper draws random 64-token windows and drops the rest of a document; here every token is used once, because
/// small corpora cannot spare any.
pub(crate) fn windows(n_tokens: usize, length: usize, minimum: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n_tokens)
        .step_by(length)
        .map(move |start| start..(start + length).min(n_tokens))
        .filter(move |window| window.len() >= minimum.min(length))
}
