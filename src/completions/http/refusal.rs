//! What an endpoint's refusals mean.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::retry::GaveUp;
use super::{HttpModel, key};
use crate::error::Error;

/// Characters of what an endpoint says that are worth showing.
const SHOWN: usize = 300;

/// "maximum context length is 8192 tokens" (OpenAI, vLLM), "available context size (4096 tokens)" (llama.cpp).
static CONTEXT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:context length is|context size \(|context window of) ?(\d+)").ok());

/// "you requested 9000 tokens", "your messages resulted in 9000 tokens", "the request has 5000 tokens".
static NEEDED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:requested|resulted in|request \(|request has|request exceeds) ?(\d+)").ok());

impl HttpModel {
    /// The error behind a status; `body` holds no key any more.
    pub(super) fn refused(&self, status: u16, body: &str) -> Error {
        let model = self.name.to_string();
        let said = message(body);
        let of_prompt = said.contains("moderation") || said.contains("flagged");
        match (status, &self.options.key) {
            (401, Some(key)) => return Error::ApiKeyRefused { model, variable: key.variable().to_owned(), status },
            (403, Some(key)) if !of_prompt => {
                return Error::ApiKeyRefused { model, variable: key.variable().to_owned(), status };
            }
            (401 | 403, None) => return Error::ApiKeyMissing { model, variable: key::VARIABLES.join(" or ") },
            _ => {}
        }
        if let Some((needed, context_length)) = too_long(body, &said) {
            return Error::ContextTooShort { model, needed, context_length };
        }
        let said = shortened(&said);
        let reason = match status {
            404 => format!(
                "expected a model that the endpoint has and an address ending like /v1, got '{}': {said}",
                self.name.model
            ),
            _ => said,
        };
        Error::CompletionRefused { model, endpoint: self.shown(), status, reason }
    }

    /// The error behind a request that brought no answer at all.
    pub(super) fn failed(&self, error: &reqwest_middleware::Error) -> Error {
        let (tries, reason) = match error {
            reqwest_middleware::Error::Middleware(inner) => match inner.downcast_ref::<GaveUp>() {
                Some(gave_up) => (gave_up.tries, gave_up.reason.clone()),
                None => (0, inner.to_string()),
            },
            reqwest_middleware::Error::Reqwest(error) => {
                (1, if error.is_builder() { "the request cannot be made" } else { "the connection failed" }.to_owned())
            }
        };
        let reason = shortened(&self.scrubbed(&reason));
        Error::CompletionFailed { model: self.name.to_string(), endpoint: self.shown(), tries, reason }
    }
}

/// The sentence in a refusal, wherever its endpoint puts it.
fn message(body: &str) -> String {
    let found = serde_json::from_str::<Value>(body).ok().and_then(|value| {
        let places = ["/error/message", "/error", "/message", "/detail"];
        places.iter().find_map(|place| value.pointer(place)?.as_str().map(str::to_owned))
    });
    found.unwrap_or_else(|| body.to_owned())
}

/// Tokens needed and tokens there are, where a refusal is about them.
fn too_long(body: &str, said: &str) -> Option<(usize, usize)> {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let number = |place: &str| value.pointer(place).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let told = number("/error/n_prompt_tokens").zip(number("/error/n_ctx"));
    let first = |pattern: &LazyLock<Option<Regex>>| pattern.as_ref()?.captures(said)?.get(1)?.as_str().parse().ok();
    let (needed, there): (usize, usize) = told.or_else(|| first(&NEEDED).zip(first(&CONTEXT)))?;
    // Anything else is about something else, and the error counts the tokens that are missing.
    (needed > there).then_some((needed, there))
}

/// The first part of what an endpoint said, on one line.
pub(super) fn shortened(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}
