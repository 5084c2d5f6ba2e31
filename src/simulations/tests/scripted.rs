//! A language model that answers what a test tells it to.

use std::fmt;

use async_trait::async_trait;

use crate::completions::model_name::ModelName;
use crate::completions::reply::{Finish, GeneratedToken, Reply};
use crate::completions::request::{Call, Request};
use crate::completions::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use crate::completions::{Abilities, LanguageModel};
use crate::error::{Error, Result};

/// What to answer to a question.
type Answer<Q, A> = Box<dyn Fn(&Q) -> Result<A> + Send + Sync>;

/// Replies by call, slots by prompt, and what the tokenizer makes of "10".
pub(super) struct Scripted {
    pub(super) name: ModelName,
    pub(super) abilities: Abilities,
    /// Tokens of "10"; `None` for an engine without a tokenizer.
    pub(super) tokens_of_ten: Option<usize>,
    /// Tokens of a digit.
    pub(super) tokens_of_digit: usize,
    pub(super) reply: Answer<Call, Reply>,
    pub(super) slots: Answer<SlotPrompt, Vec<SlotReading>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(super) fn replying(reply: impl Fn(&Call) -> Result<Reply> + Send + Sync + 'static) -> Self {
        Self { reply: Box::new(reply), ..Self::default() }
    }

    pub(super) fn reading(slots: impl Fn(&SlotPrompt) -> Result<Vec<SlotReading>> + Send + Sync + 'static) -> Self {
        Self { slots: Box::new(slots), ..Self::default() }
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            name: "openai:scripted".parse().unwrap(),
            abilities: Abilities {
                context_length: None,
                prompt_log_probabilities: true,
                reply_log_probabilities: true,
            },
            tokens_of_ten: Some(1),
            tokens_of_digit: 1,
            reply: Box::new(|_| Err(Error::internal("no reply was expected"))),
            slots: Box::new(|_| Err(Error::internal("no slots were expected"))),
        }
    }
}

/// A reply without log-probabilities.
pub(super) fn text(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        finish: Finish::Stop,
        tokens: Vec::new(),
        prompt_tokens: 100,
        completion_tokens: 50,
        cost: None,
        key: Some("key".to_owned()),
    }
}

/// A reply whose tokens have these alternatives with their probabilities, the first of each being the one taken.
pub(super) fn distributions(tokens: &[&[(&str, f64)]]) -> Reply {
    let token = |alternatives: &&[(&str, f64)]| {
        let alternatives: Vec<(String, f64)> = alternatives.iter().map(|(t, p)| ((*t).to_owned(), p.ln())).collect();
        let (text, log_probability) = alternatives[0].clone();
        GeneratedToken { text, log_probability, alternatives }
    };
    let tokens: Vec<GeneratedToken> = tokens.iter().map(token).collect();
    Reply { text: tokens.iter().map(|token| token.text.as_str()).collect(), tokens, ..text("") }
}

/// A slot where these candidates have these probabilities and the others none told.
pub(super) fn slot(prompt: &SlotPrompt, probabilities: &[(&str, f64)]) -> SlotReading {
    let told = |candidate: &String| probabilities.iter().find(|(text, _)| text == candidate).map(|(_, p)| p.ln());
    SlotReading { log_probabilities: prompt.candidates.iter().map(told).collect() }
}

#[async_trait]
impl LanguageModel for Scripted {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        Ok(request.messages.iter().map(|message| 4 + message.content.len().div_ceil(4)).sum())
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        let ten = self.tokens_of_ten?;
        Some(match text {
            "10" => ten,
            _ if text.len() == 1 && text.as_bytes()[0].is_ascii_digit() => self.tokens_of_digit,
            _ => text.len().div_ceil(4),
        })
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        calls.iter().map(|call| (self.reply)(call)).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        prompts.iter().map(|prompt| (self.slots)(prompt).map(Reading::unstored)).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        continuations.iter().map(|_| Err(Error::internal("no losses were expected"))).collect()
    }
}
