//! What is sent and what comes back, as JSON.

use std::collections::HashMap;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::completions::reply::{Finish, GeneratedToken, Reply};
use crate::completions::request::{Message, Request};

/// Fields that a model wants otherwise than most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// `max_completion_tokens` in place of `max_tokens` (OpenAI's reasoning models).
    pub(super) max_completion_tokens: bool,
    /// No `temperature` and no `top_p`.
    pub(super) no_sampling: bool,
    /// No more alternatives than [`FEW_LOG_PROBABILITIES`].
    pub(super) few_log_probabilities: bool,
    /// No log-probabilities at all.
    pub(super) no_log_probabilities: bool,
}

/// Alternatives that every endpoint with log-probabilities tells.
pub(super) const FEW_LOG_PROBABILITIES: u32 = 5;

impl Quirks {
    fn top_logprobs(self, request: &Request) -> u32 {
        match self {
            Self { no_log_probabilities: true, .. } => 0,
            Self { few_log_probabilities: true, .. } => request.top_logprobs.min(FEW_LOG_PROBABILITIES),
            _ => request.top_logprobs,
        }
    }
}

/// A body for `/chat/completions`.
pub(super) fn chat_body(model: &str, request: &Request, quirks: Quirks) -> Value {
    let mut body = json!({ "model": model, "messages": request.messages });
    common(&mut body, request, quirks);
    let top_logprobs = quirks.top_logprobs(request);
    if top_logprobs > 0 {
        body["logprobs"] = json!(true);
        body["top_logprobs"] = json!(top_logprobs);
    }
    body
}

/// A body for `/completions`.
pub(super) fn text_body(model: &str, request: &Request, quirks: Quirks) -> Value {
    let mut body = json!({ "model": model, "prompt": plain_text(&request.messages) });
    common(&mut body, request, quirks);
    let top_logprobs = quirks.top_logprobs(request);
    if top_logprobs > 0 {
        body["logprobs"] = json!(top_logprobs);
    }
    body
}

/// A body that has a prompt read back. One token is generated, and ignored: 0 means "without end" to some servers.
pub(super) fn echo_body(model: &str, prompt: &str, n_alternatives: u32) -> Value {
    json!({
        "model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "echo": true, "logprobs": n_alternatives,
    })
}

fn common(body: &mut Value, request: &Request, quirks: Quirks) {
    let max_tokens = if quirks.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    body[max_tokens] = json!(request.max_tokens);
    if !quirks.no_sampling {
        body["temperature"] = json!(plain(request.temperature));
        body["top_p"] = json!(plain(request.top_p));
    }
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
}

/// The number as it was written: 0.7 and not the 0.699999988 that it is in 32 bits.
fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Messages for a model without a chat form: their texts, with an empty line after each.
pub(super) fn plain_text(messages: &[Message]) -> String {
    messages.iter().flat_map(|message| [message.content.as_str(), "\n\n"]).collect()
}

/// What an endpoint answers.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    message: Option<AnswerMessage>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    pub(super) logprobs: Option<LogProbabilities>,
}

#[derive(Debug, Deserialize)]
struct AnswerMessage {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Tokens and dollars; OpenRouter alone tells the dollars.
#[derive(Debug, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u32>,
    #[serde(default)]
    pub(super) cost: Option<f64>,
}

/// Both shapes: `content` of the chat interface, which llama.cpp's server uses everywhere, and the lists of the text interface.
#[derive(Debug, Deserialize)]
pub(super) struct LogProbabilities {
    #[serde(default)]
    pub(super) content: Option<Vec<ContentToken>>,
    #[serde(default)]
    pub(super) tokens: Option<Vec<String>>,
    #[serde(default)]
    pub(super) token_logprobs: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub(super) top_logprobs: Option<Vec<Option<HashMap<String, f64>>>>,
    #[serde(default)]
    pub(super) text_offset: Option<Vec<usize>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentToken {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Alternative>,
}

#[derive(Debug, Deserialize)]
struct Alternative {
    token: String,
    logprob: f64,
}

/// What a body with a status of success is.
#[derive(Debug)]
pub(super) enum Check {
    /// An answer.
    Answer,
    /// Nothing that the interface knows.
    Malformed(String),
    /// A fault in an envelope of success, as OpenRouter sends them.
    Fault {
        /// The status it should have had.
        status: StatusCode,
        /// What it says.
        reason: String,
    },
}

/// Looks a body over before it is used.
pub(super) fn check(body: &[u8]) -> Check {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return Check::Malformed(format!("expected JSON, got {error}")),
    };
    if let Some(fault) = value.get("error").filter(|fault| !fault.is_null()) {
        let code = fault.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|status| status.as_u16() >= 400);
        return Check::Fault { status: status.unwrap_or(StatusCode::BAD_GATEWAY), reason: fault.to_string() };
    }
    if value.get("data").is_some_and(Value::is_array) {
        return Check::Answer;
    }
    match Answer::deserialize(&value) {
        Ok(answer) if answer.choices.is_empty() => Check::Malformed("expected a choice, got none".to_owned()),
        Ok(answer) if answer.choices[0].message.is_none() && answer.choices[0].text.is_none() => {
            Check::Malformed("expected a choice with a message or a text, got neither".to_owned())
        }
        Ok(_) => Check::Answer,
        Err(error) => Check::Malformed(error.to_string()),
    }
}

/// Vectors, one a text.
#[derive(Debug, Deserialize)]
pub(super) struct Vectors {
    pub(super) data: Vec<Vector>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Vector {
    pub(super) index: usize,
    pub(super) embedding: Vec<f32>,
}

/// Reads an answer that [`check`] let pass. `scrub` sees every text in it, and never a field's name.
pub(super) fn answer(text: &str, scrub: impl Fn(&mut String)) -> Result<Answer, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    each_text(&mut value, &scrub);
    Answer::deserialize(value).map_err(|e| e.to_string())
}

fn each_text(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The reply in an answer; its counts and its cost are the caller's.
pub(super) fn reply(answer: Answer, request: &Request) -> Result<Reply, String> {
    let choice = answer.choices.into_iter().next().ok_or("expected a choice, got none")?;
    let (text, refusal) = match choice.message {
        Some(message) => (message.content, message.refusal),
        None => (choice.text, None),
    };
    let finish = match choice.finish_reason.as_deref() {
        _ if refusal.is_some() => Finish::Other,
        Some("stop") | None => Finish::Stop,
        Some("length") => Finish::Length,
        Some(_) => Finish::Other,
    };
    let tokens = choice.logprobs.filter(|_| request.top_logprobs > 0).map_or(Vec::new(), generated);
    let text = text.or(refusal).unwrap_or_default();
    Ok(Reply { text, finish, tokens, prompt_tokens: 0, completion_tokens: 0, cost: None, key: None })
}

/// The generated tokens; none where one of them has no log-probability.
fn generated(told: LogProbabilities) -> Vec<GeneratedToken> {
    if let Some(content) = told.content {
        let token = |token: ContentToken| GeneratedToken {
            text: token.token,
            log_probability: token.logprob,
            alternatives: sorted(token.top_logprobs.into_iter().map(|other| (other.token, other.logprob)).collect()),
        };
        return content.into_iter().map(token).collect();
    }
    let (Some(tokens), Some(values)) = (told.tokens, told.token_logprobs) else {
        return Vec::new();
    };
    let mut alternatives = told.top_logprobs.unwrap_or_default().into_iter();
    let token = |(text, value): (String, Option<f64>)| {
        let others = alternatives.next().flatten().unwrap_or_default();
        Some(GeneratedToken { text, log_probability: value?, alternatives: sorted(others.into_iter().collect()) })
    };
    tokens.into_iter().zip(values).map(token).collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn sorted(mut alternatives: Vec<(String, f64)>) -> Vec<(String, f64)> {
    alternatives.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    alternatives
}
