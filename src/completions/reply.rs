//! What a language model answers.

use serde::{Deserialize, Serialize};

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model was done, or came to a stop text.
    Stop,
    /// The tokens ran out.
    Length,
    /// Something else, such as a content filter.
    Other,
}

/// One generated token, with the alternatives told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratedToken {
    /// Its text.
    pub text: String,
    /// Its natural log-probability.
    pub log_probability: f64,
    /// The likeliest tokens there, with natural log-probabilities, likeliest first.
    pub alternatives: Vec<(String, f64)>,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The text, without stop texts.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Its tokens, where log-probabilities were asked for and are to be had; else empty.
    pub tokens: Vec<GeneratedToken>,
    /// Tokens of the prompt, as the engine counts them.
    pub prompt_tokens: u32,
    /// Tokens of the reply, as the engine counts them.
    pub completion_tokens: u32,
    /// US dollars; 0 for a local model, `None` where no price is known.
    pub cost: Option<f64>,
    /// The key it is stored under; `None` where it was not stored.
    pub key: Option<String>,
}

/// Why nothing could be made of replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, in words.
    pub reason: String,
    /// Keys of the replies that were no good, as far as they were stored: they were paid for all the same.
    pub completions: Vec<String>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, completions: Vec::new() }
    }
}
