//! Explanations for many neurons at once.

use rayon::prelude::*;

use super::answer;
use super::evidence::{Evidence, EvidenceRecord, block_max};
use super::explainer::Explainer;
use super::{n2g, prompt};
use crate::completions::LanguageModel;
use crate::completions::fitting::complete_fitting;
use crate::completions::reply::{Failure, Finish, Reply};
use crate::completions::request::{Call, Purpose, Request};
use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// Tokens of a reply: enough for a sentence (Bills et al. 2023).
const MAX_TOKENS: u32 = 60;
/// … and for a model that spent those on reasoning, asked once more.
const REASONING_TOKENS: u32 = 2048;
/// Share of a neuron's maximum up to which a window counts as one that leaves it silent.
const SILENT: f32 = 0.1;
/// HTTP status of a request that an endpoint will not answer for what it says.
const BAD_REQUEST: u16 = 400;

/// One explanation that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What is known of the neuron.
    pub evidence: Evidence,
    /// 0-based number among the explanations one explainer writes for it. 0 is the likeliest reply; every other number is a draw
    /// at temperature 1.
    pub sample_no: u32,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The phrase, without a full stop.
    pub text: String,
    /// Keys of the replies it took, in order, as far as they were stored: the last one holds it.
    pub completions: Vec<String>,
}

/// Writes an explanation for every task, in their order; one that could not be had is an `Err` with the reason and what it took.
///
/// A prompt that is too long for the model loses its examples first, then windows from the last.
/// Source: Bills et al. 2023 for [`Explainer::TokenActivation`]. Differences: the first explanation is the likeliest reply, not
/// a draw at temperature 1, so that it is the same everywhere; text of the corpus cannot break the prompt's layout; the stored
/// text has neither lead-in nor full stop.
///
/// # Errors
/// Faults after which nothing further should be asked: the network's after all retries, a key or model that is refused, a
/// budget that is spent, [`Error::ContextTooShort`] for a prompt that is too long with a single window,
/// [`Error::MethodModel`] for an explainer without the model or evidence it needs.
pub async fn explain_all(
    explainer: Explainer,
    model: Option<&dyn LanguageModel>,
    tasks: &[Task],
) -> Result<Vec<Result<Written, Failure>>> {
    match (explainer, model) {
        (Explainer::TokenLookup, _) => Err(method_model(explainer, "expected the token lookup table as its evidence")),
        (Explainer::N2g, _) => Ok(tasks.par_iter().map(|task| pattern(&task.evidence)).collect()),
        (_, None) => {
            let example = format!("expected a language model, such as {explainer}@openai:gpt-4o");
            Err(method_model(explainer, &example))
        }
        (_, Some(model)) => ask_all(explainer, model, tasks).await,
    }
}

fn method_model(explainer: Explainer, reason: &str) -> Error {
    Error::MethodModel { kind: "explainer", method: explainer.to_string(), reason: reason.to_owned() }
}

/// The text of a neuron's pattern.
fn pattern(evidence: &Evidence) -> Result<Written, Failure> {
    let pattern = n2g::learn(evidence)?;
    Ok(Written { text: pattern.to_string(), completions: Vec::new() })
}

async fn ask_all(
    explainer: Explainer,
    model: &dyn LanguageModel,
    tasks: &[Task],
) -> Result<Vec<Result<Written, Failure>>> {
    let mut written: Vec<Result<Written, Failure>> = Vec::with_capacity(tasks.len());
    let mut asked = Vec::new();
    for (place, task) in tasks.iter().enumerate() {
        if let Some(fault) = fault(explainer, &task.evidence) {
            written.push(Err(fault.into()));
            continue;
        }
        written.push(Err("not asked".to_owned().into()));
        asked.push(place);
    }
    let call = |place: usize, max_tokens: u32| -> Result<Call> {
        let request = fitting(explainer, model, &tasks[place], max_tokens)?;
        Ok(Call { purpose: Purpose::Explain, request, sample_no: tasks[place].sample_no })
    };
    let replies = read(complete_fitting(model, asked.len(), |i| call(asked[i], MAX_TOKENS)).await?)?;

    let (mut again, mut spent) = (Vec::new(), Vec::new());
    for (place, reply) in asked.iter().copied().zip(replies) {
        written[place] = match reply {
            Ok(reply) if spent_on_reasoning(&reply) => {
                again.push(place);
                spent.push(reply.key);
                continue;
            }
            Ok(reply) => from_reply(reply, None),
            Err(reason) => Err(reason.into()),
        };
    }
    if !again.is_empty() {
        tracing::debug!(calls = again.len(), max_tokens = REASONING_TOKENS, "asking again: replies ended in reasoning");
        let longer = complete_fitting(model, again.len(), |i| call(again[i], REASONING_TOKENS)).await?;
        for ((place, spent), reply) in again.into_iter().zip(spent).zip(read(longer)?) {
            written[place] = match reply {
                Ok(reply) => from_reply(reply, spent),
                Err(reason) => Err(Failure { reason, completions: spent.into_iter().collect() }),
            };
        }
    }
    Ok(written)
}

/// Why a neuron cannot be explained in this way.
fn fault(explainer: Explainer, evidence: &Evidence) -> Option<String> {
    let lacks = |what: &str| Some(format!("explainer '{explainer}' needs {what}, got none"));
    evidence.fault().or_else(|| match () {
        () if explainer.needs_quiet() && !evidence.quiet.iter().any(|record| is_silent(evidence, record)) => {
            lacks("windows in which the neuron is silent, at most at a tenth of its maximum")
        }
        () if explainer.needs_promoted() && evidence.promoted.is_empty() => {
            lacks("tokens that the neuron makes likelier")
        }
        () => None,
    })
}

/// Whether a record may be shown as one in which the neuron stays silent: at most a tenth of what it reaches in the windows shown.
fn is_silent(evidence: &Evidence, record: &EvidenceRecord) -> bool {
    record.max() <= SILENT * block_max(&evidence.records)
}

/// The request for a task that fits the model's context: all of it, or with fewer examples, or with fewer windows.
///
/// # Errors
/// [`Error::ContextTooShort`] where even one window is too long.
fn fitting(explainer: Explainer, model: &dyn LanguageModel, task: &Task, max_tokens: u32) -> Result<Request> {
    let mut n_examples = prompt::n_examples(explainer);
    let mut evidence = task.evidence.clone();
    if explainer.needs_quiet() {
        evidence.quiet.retain(|record| is_silent(&task.evidence, record));
    }
    loop {
        let messages = prompt::messages(explainer, &evidence, n_examples)
            .ok_or_else(|| Error::internal(format!("explainer '{explainer}' has no prompt")))?;
        let request = if task.sample_no == 0 {
            Request::greedy(messages, max_tokens)
        } else {
            Request::sampled(messages, max_tokens)
        };
        let Some(context_length) = model.abilities().context_length else { return Ok(request) };
        let needed = model.count_prompt_tokens(&request)? + max_tokens as usize;
        if needed <= context_length {
            return Ok(request);
        }
        if n_examples > 0 {
            n_examples -= 1;
        } else if evidence.quiet.len() > 1 && evidence.quiet.len() >= evidence.records.len() {
            evidence.quiet.pop();
        } else if evidence.records.len() > 1 {
            evidence.records.pop();
        } else if max_tokens > MAX_TOKENS {
            return fitting(explainer, model, task, MAX_TOKENS.max(max_tokens / 2));
        } else {
            return Err(Error::ContextTooShort { model: model.name().to_string(), needed, context_length });
        }
    }
}

/// Replies, or the fault that ends all asking; a fault of one reply alone is its reason.
///
/// # Errors
/// The first fault that would meet every other call as well.
pub(super) fn read(replies: Vec<Result<Reply>>) -> Result<Vec<Result<Reply, String>>> {
    let some_answered = replies.iter().any(Result::is_ok);
    let mut read = Vec::with_capacity(replies.len());
    for reply in replies {
        read.push(match reply {
            Ok(reply) => Ok(reply),
            Err(error @ Error::ReplyMalformed { .. }) => Err(error.to_string()),
            // A filter refuses one prompt for what stands in it; a wrong model or parameter meets all of them.
            Err(error @ Error::CompletionRefused { status: BAD_REQUEST, .. }) if some_answered => {
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        });
    }
    Ok(read)
}

/// Whether a reply ran out of tokens with nothing said, as reasoning models' do, whether they show it or not.
fn spent_on_reasoning(reply: &Reply) -> bool {
    reply.finish == Finish::Length && answer::without_reasoning(&reply.text).trim().is_empty()
}

/// What a reply says; `spent` is the key of the one before it, which said nothing.
fn from_reply(reply: Reply, spent: Option<String>) -> Result<Written, Failure> {
    let completions = spent.into_iter().chain(reply.key).collect();
    match answer::explanation(&reply.text, reply.finish) {
        Ok(text) => Ok(Written { text, completions }),
        Err(reason) => Err(Failure { reason, completions }),
    }
}
