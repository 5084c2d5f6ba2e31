//! Log-probabilities inside a prompt, from endpoints that echo it.
//!
//! Few endpoints can, some say so and do not, and llama-cpp-python's server tells them one token late (abetlen/llama-cpp-python#1983:
//! entry i is the distribution after token i). So each model is asked once for a text that is easy to foretell: the token that stands
//! somewhere must be likelier there than its neighbours would be. If it is not, nothing of that endpoint is used.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::wire::{self, Answer, LogProbabilities};
use super::{HttpModel, count, estimated_tokens, names_log_probabilities};
use crate::completions::budget::Amount;
use crate::completions::slots::{Continuation, Piece, SlotPrompt, SlotReading};
use crate::error::{Error, Result};

/// Alternatives asked for at each token: what vLLM allows, and what OpenAI allows.
const ALTERNATIVES: [u32; 2] = [20, 5];

/// Text in which nearly every token follows from those before it.
const PROBE: &str = "one, two, three, four, five, six, seven, eight, nine, ten.\n\
    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30\n\
    Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.\n\
    January, February, March, April, May, June, July, August, September, October, November, December.\n\
    a b c d e f g h i j k l m n o p q r s t u v w x y z\n\
    The ship left the old harbour at noon. The ship left the old harbour at noon. The ship left the old harbour at noon. \
    The ship left the old harbour at noon. The ship left the old harbour at noon. The ship left the old harbour at noon.\n\
    one, two, three, four, five, six, seven, eight, nine, ten.\n\
    Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.\n";

/// Log-probability counted for a token that is not among the alternatives told: that of none of some hundred thousand.
const UNLISTED: f64 = -12.0;

/// What one request for a known text found out about a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Values stand where they belong.
    Aligned,
    /// Values stand at a neighbour.
    Shifted,
    /// There are none.
    Missing,
}

/// One token of an echoed prompt.
#[derive(Debug, PartialEq)]
pub(super) struct EchoedToken {
    /// Where it starts, in bytes of the prompt.
    start: usize,
    /// Where it ends; at its start for a token that is no text, such as a beginning-of-text mark.
    end: usize,
    text: String,
    log_probability: Option<f64>,
    alternatives: HashMap<String, f64>,
}

impl EchoedToken {
    /// The natural log-probability told at this place for a token.
    fn told(&self, text: &str) -> Option<f64> {
        let own = (self.text == text).then_some(self.log_probability).flatten();
        own.or_else(|| self.alternatives.get(text).copied())
    }
}

impl HttpModel {
    /// The distribution over the candidates at each slot of a prompt, and what it took.
    pub(in crate::completions) async fn read_slots(&self, prompt: &SlotPrompt) -> Result<(Vec<SlotReading>, Amount)> {
        self.check_alignment().await?;
        let mut text = wire::plain_text(&prompt.messages);
        let mut starts = Vec::new();
        for piece in &prompt.answer {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Slot(piece) => {
                    starts.push(text.len());
                    text.push_str(piece);
                }
            }
        }
        let (tokens, took) = self.echo(&text).await?;
        let tokens = tokens.ok_or_else(|| self.no_echo())?;
        // At a place inside a token nothing was told.
        let at = |start: usize| tokens.iter().find(|token| token.start == start && token.end > start);
        if !starts.is_empty() && starts.iter().all(|start| at(*start).is_none()) {
            return Err(self.malformed("expected tokens that start at the slots, got none".to_owned()));
        }
        let readings = starts.iter().map(|start| {
            let told = |candidate: &String| at(*start).and_then(|token| token.told(candidate));
            SlotReading { log_probabilities: prompt.candidates.iter().map(told).collect() }
        });
        Ok((readings.collect(), took))
    }

    /// The losses of the tokens of a text after its prefix, and what it took. A token that stands across the border counts; the very
    /// first token of all, which follows nothing, does not.
    pub(in crate::completions) async fn losses(&self, continuation: &Continuation) -> Result<(Vec<f64>, Amount)> {
        self.check_alignment().await?;
        let (tokens, took) = self.echo(&format!("{}{}", continuation.prefix, continuation.text)).await?;
        let tokens = tokens.ok_or_else(|| self.no_echo())?;
        let border = continuation.prefix.len();
        let loss =
            |token: &EchoedToken| match token.log_probability {
                Some(value) => Ok(-value),
                None => Err(self
                    .malformed(format!("expected a log-probability of the token at byte {}, got none", token.start))),
            };
        let wanted = tokens.iter().enumerate().filter(|(_, token)| token.end > border.max(token.start));
        let losses =
            wanted.filter(|(i, token)| *i > 0 || token.log_probability.is_some()).map(|(_, token)| loss(token));
        Ok((losses.collect::<Result<_>>()?, took))
    }

    async fn check_alignment(&self) -> Result<()> {
        let verdict = self.alignment.get_or_try_init(async || {
            let (tokens, _) = self.echo(PROBE).await?;
            Ok::<_, Error>(tokens.map_or(Verdict::Missing, |tokens| judge(&tokens)))
        });
        match verdict.await? {
            Verdict::Aligned => Ok(()),
            Verdict::Missing => Err(self.no_echo()),
            Verdict::Shifted => {
                Err(Error::LogProbabilitiesShifted { model: self.name.to_string(), endpoint: self.shown() })
            }
        }
    }

    fn no_echo(&self) -> Error {
        Error::LogProbabilitiesMissing {
            model: self.name.to_string(),
            what: "reading values inside a prompt".to_owned(),
            kind: "log-probabilities inside the prompt",
            instead: "the simulators one_at_a_time, log_probability_free, embedding and token_lookup work without them"
                .to_owned(),
        }
    }

    /// Has a text read back; `None` where the endpoint does not.
    async fn echo(&self, text: &str) -> Result<(Option<Vec<EchoedToken>>, Amount)> {
        let prompt_tokens = count(estimated_tokens(text).saturating_add(1));
        let worst = self.worst(prompt_tokens, 1)?;
        let reserved = self.budget().reserve(worst).await?;
        let answer = loop {
            let few = self.takes_few_log_probabilities.load(Ordering::Relaxed);
            let body = wire::echo_body(&self.name.model, text, ALTERNATIVES[usize::from(few)]);
            match self.post(&["completions"], &body, prompt_tokens.saturating_add(1)).await {
                Ok(answer) => break answer,
                Err(Error::CompletionRefused { status, reason, .. }) if cannot_echo(status, &reason) => {
                    return Ok((None, Amount { prompt_tokens: 0, completion_tokens: 0, dollars: Some(0.0) }));
                }
                Err(Error::CompletionRefused { status: 400 | 422, reason, .. }) if names_log_probabilities(&reason) => {
                    if few {
                        return Ok((None, Amount { prompt_tokens: 0, completion_tokens: 0, dollars: Some(0.0) }));
                    }
                    self.takes_few_log_probabilities.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        };
        let took = self.took(answer.usage.as_ref(), worst);
        reserved.settle(took);
        Ok((echoed(answer, text), took))
    }
}

/// Refusals that are about the wish to have a prompt read back, and not about the model or the key.
fn cannot_echo(status: u16, reason: &str) -> bool {
    match status {
        400 | 422 => reason.contains("echo"),
        404 => reason.contains("chat model") || reason.contains("v1/completions"),
        405 | 501 => true,
        _ => false,
    }
}

/// The tokens of the prompt in an answer; `None` where it is not there as it was sent.
pub(super) fn echoed(answer: Answer, prompt: &str) -> Option<Vec<EchoedToken>> {
    let told: LogProbabilities = answer.choices.into_iter().next()?.logprobs?;
    let (texts, values) = (told.tokens?, told.token_logprobs?);
    let alternatives = told.top_logprobs.unwrap_or_default();
    let offsets = told.text_offset.filter(|offsets| offsets.len() == texts.len());
    let mut alternatives = alternatives.into_iter();
    let mut tokens = Vec::new();
    let mut at = 0;
    for (i, (text, log_probability)) in texts.into_iter().zip(values).enumerate() {
        if at >= prompt.len() {
            break;
        }
        let rest = &prompt[at..];
        let length = if rest.starts_with(&text) {
            text.len()
        } else if let Some(n_chars) = offsets.as_ref().and_then(|o| o.get(i + 1)?.checked_sub(o[i])).filter(|_| i > 0) {
            // Pieces of a character cannot be shown as text: how far they reach stands in the offsets, which count characters.
            if !is_fragment(&text) {
                return None;
            }
            rest.char_indices().nth(n_chars).map_or(rest.len(), |(end, _)| end)
        } else if i == 0 {
            // A mark for the beginning of text.
            0
        } else {
            return None;
        };
        let alternatives = alternatives.next().flatten().unwrap_or_default();
        tokens.push(EchoedToken { start: at, end: at + length, text, log_probability, alternatives });
        at += length;
    }
    (at == prompt.len()).then_some(tokens)
}

/// How servers show a token that is no whole character: with U+FFFD, or `bytes:\xe2\x80` as OpenAI does.
fn is_fragment(text: &str) -> bool {
    text.contains('\u{fffd}') || text.starts_with("bytes:")
}

/// Whether tokens are likelier at their own places than their neighbours are there.
pub(super) fn judge(tokens: &[EchoedToken]) -> Verdict {
    let text: Vec<&EchoedToken> = tokens.iter().filter(|token| token.end > token.start).collect();
    let [mut own, mut next, mut previous, mut n] = [0.0; 4];
    for three in text.windows(3) {
        let [before, token, after] = three else { continue };
        // Two equal neighbours say nothing, and without alternatives there is nothing to compare.
        if before.text == token.text || after.text == token.text || token.alternatives.is_empty() {
            continue;
        }
        let told = |text: &str| token.told(text).unwrap_or(UNLISTED).max(UNLISTED);
        own += told(&token.text);
        next += told(&after.text);
        previous += told(&before.text);
        n += 1.0;
    }
    match n {
        0.0 => Verdict::Missing,
        _ if own > next && own > previous => Verdict::Aligned,
        _ => Verdict::Shifted,
    }
}
