//! Calls to a language model: equal ones once, and which faults are a judgement's and which are everyone's.

use std::collections::HashMap;

use crate::completions::LanguageModel;
use crate::completions::reply::Reply;
use crate::completions::request::{Call, Message, Purpose, Request};
use crate::error::{Error, Result};

/// Alternatives asked for at each generated token; endpoints differ in how many they give, and 5 is the least.
const ALTERNATIVES: u32 = 5;

/// A request for a judge's likeliest answer, with log-probabilities where the model has them.
pub(super) fn request(model: &dyn LanguageModel, messages: Vec<Message>, max_tokens: u32) -> Request {
    let top_logprobs = if model.abilities().reply_log_probabilities { ALTERNATIVES } else { 0 };
    Request { top_logprobs, ..Request::greedy(messages, max_tokens) }
}

/// By how many tokens a prompt and its reply would overrun the model's context, as the error says it; `None` if it fits.
pub(super) fn overrun(model: &dyn LanguageModel, request: &Request) -> Result<Option<Error>> {
    let Some(context_length) = model.abilities().context_length else { return Ok(None) };
    let needed = model.count_prompt_tokens(request)? + request.max_tokens as usize;
    let model = model.name().to_string();
    Ok((needed > context_length).then_some(Error::ContextTooShort { model, needed, context_length }))
}

/// Times that a prompt is made shorter once an endpoint has told how long it may be: an estimate of its tokens may be too low.
pub(super) const TRIES: usize = 4;

/// Why one request has no reply.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Whether a shorter prompt may have one.
    pub(super) too_long: bool,
}

/// Replies to requests, in order; why there is none where only that request is to blame.
///
/// # Errors
/// Faults that another try of the whole may not meet: network, key, budget, store.
pub(super) async fn ask(
    model: &dyn LanguageModel,
    requests: Vec<Request>,
) -> Result<Vec<std::result::Result<Reply, Refusal>>> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut calls = Vec::new();
    let mut places = Vec::with_capacity(requests.len());
    for request in requests {
        let call = Call::first(Purpose::Judge, request);
        let place = *known.entry(call.key(model.name())).or_insert(calls.len());
        if place == calls.len() {
            calls.push(call);
        }
        places.push(place);
    }
    let replies = model.complete_all(&calls).await;
    if replies.len() != calls.len() {
        return Err(Error::internal(format!("expected {} replies, got {}", calls.len(), replies.len())));
    }
    let told = |result: Result<Reply>| -> Result<std::result::Result<Reply, Refusal>> {
        let too_long = matches!(result, Err(Error::ContextTooShort { .. }));
        Ok(blame(result)?.map_err(|reason| Refusal { reason, too_long }))
    };
    let replies = replies.into_iter().map(told).collect::<Result<Vec<_>>>()?;
    Ok(places.into_iter().map(|place| replies[place].clone()).collect())
}

/// Tells a fault of one request, which makes its judgements missing, from one that stops the work.
pub(super) fn blame<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ (Error::ReplyMalformed { .. } | Error::ContextTooShort { .. })) => Ok(Err(error.to_string())),
        // A filter of contents, a prompt too long for an endpoint that does not tell its context.
        Err(error @ Error::CompletionRefused { status: 400 | 413 | 422, .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
