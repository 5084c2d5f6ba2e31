//! What is asked of a language model.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::model_name::ModelName;
use crate::hash;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The frame of the conversation.
    System,
    /// Who asks.
    User,
    /// The model, in examples of how to answer.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of the frame.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// A turn of who asks.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// Everything that decides a reply but the model and chance. Messages end with the user's turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Tokens the reply may have.
    pub max_tokens: u32,
    /// 0 takes the likeliest token every time.
    pub temperature: f32,
    /// Share of the probability that tokens are drawn from, 0..1.
    pub top_p: f32,
    /// Texts that end the reply; they are not part of it.
    pub stop: Vec<String>,
    /// Alternatives told for each generated token; 0 for no log-probabilities.
    pub top_logprobs: u32,
}

impl Request {
    /// A request for the likeliest reply.
    pub fn greedy(messages: Vec<Message>, max_tokens: u32) -> Self {
        Self { messages, max_tokens, temperature: 0.0, top_p: 1.0, stop: Vec::new(), top_logprobs: 0 }
    }

    /// A request for a reply drawn at temperature 1.
    pub fn sampled(messages: Vec<Message>, max_tokens: u32) -> Self {
        Self { temperature: 1.0, ..Self::greedy(messages, max_tokens) }
    }
}

/// What a call is for: the stage that `neuronlake cost` counts it under. No part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An explanation.
    Explain,
    /// A simulation.
    Simulate,
    /// A judgement.
    Judge,
    /// A revised explanation, or sentences to test one.
    Revise,
    /// A text as a vector.
    Embed,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explain => "explain",
            Self::Simulate => "simulate",
            Self::Judge => "judge",
            Self::Revise => "revise",
            Self::Embed => "embed",
        })
    }
}

/// One request, and which of the replies to it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What for.
    pub purpose: Purpose,
    /// What is asked.
    pub request: Request,
    /// 0-based number among replies to the same request: another number is another draw.
    pub sample_no: u32,
}

impl Call {
    /// The first reply to a request.
    pub fn first(purpose: Purpose, request: Request) -> Self {
        Self { purpose, request, sample_no: 0 }
    }

    /// The key a reply is stored under: SHA-256, hex, of engine, model, the whole request and the sample number.
    pub fn key(&self, model: &ModelName) -> String {
        self.digest(&[&model.to_string()])
    }

    /// The key of a reply that came through another interface than the usual one: the same prompt reads differently there.
    pub fn key_through(&self, interface: &str, model: &ModelName) -> String {
        self.digest(&[interface, &model.to_string()])
    }

    fn digest(&self, before: &[&str]) -> String {
        let request = serde_json::to_string(&self.request).unwrap_or_default();
        let sample_no = self.sample_no.to_string();
        let mut digest = Sha256::new();
        for part in before.iter().copied().chain([request.as_str(), &sample_no]) {
            // Lengths before parts: no other cut gives the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        hash::hex(&digest.finalize())
    }
}
