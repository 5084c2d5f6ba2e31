//! One call a token: the distribution over numbers at the head of the reply. Works where only replies have log-probabilities.
//!
//! Source: Bills et al. 2023, `ExplanationTokenByTokenSimulator` (specification §4.2). Differences: every example is one question
//! with its own explanation (upstream shows its single-token example with the explanation of the neuron asked about); no blocks
//! of revealed values, so a call costs a third; prompt and examples are ours; a token without any number is unread and not 0.

use super::distribution::Numbers;
use super::prompt::{EXAMPLES, Prompt, Scale, escape, fit, one_line};
use super::simulate::{Outcome, Simulation, Task, failure, of_replies, passes};
use crate::completions::fitting::complete_fitting;
use crate::completions::reply::{GeneratedToken, Reply};
use crate::completions::request::{Call, Message, Purpose, Request};
use crate::completions::{LanguageModel, reply_log_probabilities_missing};
use crate::error::Result;

/// Alternatives told for the reply's first tokens: as many as the endpoints give at most.
const TOP_LOGPROBS: u32 = 20;

/// Tokens of a reply: a number, after whitespace or in two tokens.
const MAX_TOKENS: u32 = 2;

/// Calls handed to the engine together, so that requests of many windows do not fill the memory.
const CALLS: usize = 8192;

/// Calls that are made one after the other until a reply tells whether the model gives log-probabilities.
const PROBES: usize = 8;

/// Simulates windows; see [`super::simulate::simulate_all`].
pub(super) async fn simulate(model: &dyn LanguageModel, tasks: &[Task]) -> Result<Vec<Outcome>> {
    if !model.abilities().reply_log_probabilities {
        return Err(reply_log_probabilities_missing(model.name()));
    }
    let scale = Scale::of(model, "one_at_a_time")?;
    let mut simulations = Vec::with_capacity(tasks.len());
    let mut rest = tasks;
    while !rest.is_empty() {
        let (mut n_tasks, mut n_calls) = (0, 0);
        while n_tasks < rest.len() && (n_tasks == 0 || n_calls + rest[n_tasks].tokens.len() <= CALLS) {
            n_calls += rest[n_tasks].tokens.len();
            n_tasks += 1;
        }
        let (now, later) = rest.split_at(n_tasks);
        simulations.extend(simulate_some(model, now, scale).await?);
        rest = later;
    }
    Ok(simulations)
}

async fn simulate_some(model: &dyn LanguageModel, tasks: &[Task], scale: Scale) -> Result<Vec<Outcome>> {
    let places: Vec<(&Task, usize)> =
        tasks.iter().flat_map(|task| (0..task.tokens.len()).map(move |position| (task, position))).collect();
    let call = |(task, position): (&Task, usize)| {
        let Prompt { messages, .. } = fit(model, |n_examples| prompt(task, position, scale, n_examples))?;
        let request = Request { top_logprobs: TOP_LOGPROBS, ..Request::greedy(messages, MAX_TOKENS) };
        Ok(Call::first(Purpose::Simulate, request))
    };
    let mut replies: Vec<Result<Reply>> = Vec::with_capacity(places.len());
    // An endpoint may take no notice of the wish for log-probabilities: one reply without them is paid for, and not all.
    while replies.len() < places.len().min(PROBES) {
        let place = places[replies.len()];
        replies.extend(complete_fitting(model, 1, |_| call(place)).await?);
        match replies.last() {
            Some(Ok(reply)) if reply.tokens.iter().any(|token| !token.text.is_empty()) => break,
            Some(Ok(reply)) if !reply.text.trim().is_empty() => {
                return Err(reply_log_probabilities_missing(model.name()));
            }
            Some(Err(error)) if !passes(error) => break,
            _ => {}
        }
    }
    let rest = &places[replies.len()..];
    if !matches!(replies.last(), Some(Err(error)) if !passes(error)) {
        replies.extend(complete_fitting(model, rest.len(), |i| call(rest[i])).await?);
    }
    let mut replies = replies.drain(..);
    let mut simulations = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (mut numbers, mut completions, mut reason) = (Vec::new(), Vec::new(), None);
        for reply in replies.by_ref().take(task.tokens.len()) {
            match reply {
                Ok(reply) => {
                    numbers.push(read(&reply, scale));
                    completions.extend(reply.key);
                }
                Err(error) => {
                    // Of a window with a token that could not be asked about the reason is told, should there be no number at all.
                    reason = Some(failure(error)?.reason);
                    numbers.push(None);
                }
            }
        }
        let simulation = Simulation::of_numbers(&numbers, scale);
        simulations.push(of_replies(simulation.map_err(|none| reason.unwrap_or(none)), completions));
    }
    Ok(simulations)
}

/// The distribution over numbers at the head of a reply.
fn read(reply: &Reply, scale: Scale) -> Option<Numbers> {
    let at = reply.tokens.iter().position(|token| !token.text.trim().is_empty())?;
    let mut texts = told(&reply.tokens[at]);
    let ten = scale == Scale::Ten && texts.iter().any(|(text, _)| text == "10");
    // An endpoint whose tokenizer is not known may cut "10" in two: then the second token tells how much of "1" it is.
    if scale == Scale::Ten
        && !ten
        && reply.tokens[at].text == "1"
        && let Some(next) = reply.tokens.get(at + 1)
        && let Some((_, one)) = texts.iter_mut().find(|(text, _)| text == "1")
    {
        let zero: f64 = told(next).iter().filter(|(text, _)| text == "0").map(|(_, lp)| lp.exp()).sum();
        let both = *one + zero.min(1.0).ln();
        *one += (1.0 - zero).max(0.0).ln();
        texts.push(("10".to_owned(), both));
    }
    Numbers::of_texts(&texts, scale.max())
}

/// The alternatives told for a token, itself among them.
fn told(token: &GeneratedToken) -> Vec<(String, f64)> {
    let mut texts = token.alternatives.clone();
    if !texts.iter().any(|(text, _)| *text == token.text) {
        texts.push((token.text.clone(), token.log_probability));
    }
    texts
}

/// The prompt about one token, with the first examples.
pub(super) fn prompt(task: &Task, position: usize, scale: Scale, n_examples: usize) -> Prompt {
    let mut messages = vec![Message::system(system(scale))];
    for example in &EXAMPLES[..n_examples] {
        let tokens = example.tokens();
        for asked in example.asked {
            let texts: Vec<&str> = tokens.iter().map(|(token, _)| *token).collect();
            messages.push(Message::user(question(example.explanation, &texts[..=asked], scale)));
            messages.push(Message::assistant(scale.rounded(tokens[asked].1).to_string()));
        }
    }
    messages.push(Message::user(question(&one_line(&task.explanation), &task.tokens[..=position], scale)));
    Prompt { messages, answer: Vec::new(), max_tokens: MAX_TOKENS }
}

fn system(scale: Scale) -> String {
    format!(
        "A neuron inside a language model responds to something particular in the text that the model reads. You are told in a \
         few words what a neuron responds to, and given the beginning of a text and its last token once more. Say how strongly \
         the neuron responds at that last token: a whole number from 0 for not at all to {} for as strongly as it ever does. \
         Most tokens have 0. Answer with the number alone.",
        scale.max()
    )
}

fn question<T: AsRef<str>>(explanation: &str, tokens: &[T], scale: Scale) -> String {
    let text: String = tokens.iter().map(|token| escape(token.as_ref())).collect();
    let last = tokens.last().map(|token| escape(token.as_ref())).unwrap_or_default();
    let max = scale.max();
    format!("The neuron responds to: {explanation}\nText: {text}\nLast token: {last}\nResponse, 0 to {max}:")
}
