//! Token sequences that go through a model together.

use crate::error::{Error, Result};

/// Several token sequences, concatenated without padding.
#[derive(Clone, Copy, Debug)]
pub struct TokenBatch<'a> {
    token_ids: &'a [u32],
    offsets: &'a [usize],
}

impl<'a> TokenBatch<'a> {
    /// Sequence i is `token_ids[offsets[i]..offsets[i + 1]]`.
    ///
    /// # Errors
    /// [`Error::Internal`] unless the offsets rise from 0 to the number of tokens.
    pub fn new(token_ids: &'a [u32], offsets: &'a [usize]) -> Result<Self> {
        let rising = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !rising || offsets.first() != Some(&0) || offsets.last() != Some(&token_ids.len()) {
            let reason = format!("token batch: expected offsets rising from 0 to {}, got {offsets:?}", token_ids.len());
            return Err(Error::Internal { reason });
        }
        Ok(Self { token_ids, offsets })
    }

    /// All tokens, `[n_tokens]`.
    pub fn token_ids(&self) -> &'a [u32] {
        self.token_ids
    }

    /// Where each sequence starts and ends, in tokens.
    pub fn sequences(&self) -> impl Iterator<Item = std::ops::Range<usize>> + 'a {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }
}
