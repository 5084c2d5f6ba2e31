//! What generation needs of a decoder, wherever its weights are.

use std::sync::Arc;

use super::key_values::Keep;
use crate::error::{Error, Result};
use crate::models::config::ModelConfig;

/// New tokens of one sequence.
#[derive(Debug)]
pub struct Extension<'a, S> {
    /// What they are added to.
    pub sequence: &'a mut S,
    /// The new tokens, at least one.
    pub token_ids: &'a [u32],
}

/// Runs new tokens of many sequences through one model at once.
pub trait Runner {
    /// Keys and values of tokens that several sequences go on after.
    type Segment;
    /// A token sequence that grows at its end: shared segments, then tokens of its own.
    type Sequence: Growing;

    /// A sequence that goes on after `past`, whose segments stand in order.
    fn sequence(&self, past: &[Arc<Self::Segment>], keep: Keep) -> Self::Sequence;

    /// Makes all tokens of a sequence something that others can go on after.
    fn share(&self, sequence: Self::Sequence) -> Vec<Arc<Self::Segment>>;

    /// Adds tokens to sequences. Rows are numbered through all extensions, in order, until the next call.
    ///
    /// # Errors
    /// [`Error::SequenceTooLong`], [`Error::TokenOutOfRange`]; [`Error::Internal`] for an extension without a token, or of a sequence
    /// whose keys and values were not kept. What is refused leaves nothing behind.
    fn extend(&mut self, extensions: &mut [Extension<'_, Self::Sequence>]) -> Result<()>;

    /// Reads the logits `[n_vocab]` of the next token after each of these rows of the last call.
    ///
    /// # Errors
    /// A fault of the device that holds the weights.
    fn read<T: Send>(&self, rows: &[usize], read: impl Fn(usize, &[f32]) -> T + Sync) -> Result<Vec<T>>;
}

/// What can be asked of any sequence.
pub trait Growing {
    /// Tokens so far.
    fn n_tokens(&self) -> usize;

    /// Whether nothing may be added any more: its keys and values were not kept.
    fn closed(&self) -> bool;
}

/// Refuses extensions that no runner can run.
pub(super) fn check<S: Growing>(config: &ModelConfig, extensions: &[Extension<'_, S>]) -> Result<()> {
    for Extension { sequence, token_ids } in extensions {
        let n_tokens = sequence.n_tokens() + token_ids.len();
        if n_tokens > config.n_context {
            return Err(Error::SequenceTooLong { expected: config.n_context, got: n_tokens });
        }
        if let Some(token_id) = token_ids.iter().find(|token_id| **token_id as usize >= config.n_vocab) {
            return Err(Error::TokenOutOfRange { token_id: *token_id, n_vocab: config.n_vocab });
        }
        if token_ids.is_empty() || sequence.closed() {
            let reason = "extension: expected tokens, and a sequence whose keys and values were kept".to_owned();
            return Err(Error::Internal { reason });
        }
    }
    Ok(())
}
