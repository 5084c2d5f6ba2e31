//! Models whose answers follow a rule, so that what a judge makes of them can be checked.

use std::sync::Mutex;

use async_trait::async_trait;

use crate::completions::model_name::ModelName;
use crate::completions::reply::{Finish, GeneratedToken, Reply};
use crate::completions::request::{Call, Purpose, Request};
use crate::completions::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use crate::completions::{Abilities, LanguageModel};
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};

type Rule = Box<dyn Fn(&Request) -> Result<String> + Send + Sync>;

/// Answers every request by a rule, and remembers what it was asked.
pub(super) struct RuleModel {
    name: ModelName,
    rule: Rule,
    abilities: Abilities,
    /// Probability of the digit answered, and what else is told; no log-probabilities without.
    sure: Option<(f64, [&'static str; 2])>,
    requests: Mutex<Vec<Request>>,
}

impl std::fmt::Debug for RuleModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleModel").finish_non_exhaustive()
    }
}

impl RuleModel {
    pub(super) fn new(rule: impl Fn(&Request) -> Result<String> + Send + Sync + 'static) -> Self {
        Self {
            name: "replay:rule".parse().unwrap(),
            rule: Box::new(rule),
            abilities: Abilities {
                context_length: None,
                prompt_log_probabilities: false,
                reply_log_probabilities: false,
            },
            sure: None,
            requests: Mutex::default(),
        }
    }

    pub(super) fn answering(rule: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |request| Ok(rule(request)))
    }

    /// Tells log-probabilities: of what it answers, and of the first of `others` that is something else.
    pub(super) fn sure(mut self, sure: f64, others: [&'static str; 2]) -> Self {
        self.abilities.reply_log_probabilities = true;
        self.sure = Some((sure, others));
        self
    }

    /// Holds so many words.
    pub(super) fn context(mut self, words: usize) -> Self {
        self.abilities.context_length = Some(words);
        self
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn tokens(&self, text: &str) -> Vec<GeneratedToken> {
        let Some((sure, others)) = self.sure else { return Vec::new() };
        let token = |c: char| {
            let text = c.to_string();
            let other = others.into_iter().find(|other| *other != text).unwrap();
            let alternatives = vec![(text.clone(), sure.ln()), (other.to_owned(), (1.0 - sure).ln())];
            GeneratedToken { text, log_probability: sure.ln(), alternatives }
        };
        text.chars().map(token).collect()
    }
}

/// The list of ones and zeros that a rule gives.
pub(super) fn list(texts: &[String], rule: impl Fn(&str) -> bool) -> String {
    let bits: Vec<&str> = texts.iter().map(|text| if rule(text) { "1" } else { "0" }).collect();
    format!("[{}]", bits.join(", "))
}

#[async_trait]
impl LanguageModel for RuleModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        Ok(request.messages.iter().map(|message| message.content.split_whitespace().count()).sum())
    }

    fn count_tokens(&self, _: &str) -> Option<usize> {
        None
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        calls
            .iter()
            .map(|call| {
                assert_eq!((call.purpose, call.sample_no, call.request.temperature), (Purpose::Judge, 0, 0.0));
                self.requests.lock().unwrap().push(call.request.clone());
                let text = (self.rule)(&call.request)?;
                Ok(Reply {
                    tokens: self.tokens(&text),
                    text,
                    finish: Finish::Stop,
                    prompt_tokens: 0,
                    completion_tokens: 0,
                    cost: Some(0.0),
                    key: Some(call.key(&self.name)),
                })
            })
            .collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        prompts.iter().map(|_| Err(Error::internal("no slots"))).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        continuations.iter().map(|_| Err(Error::internal("no losses"))).collect()
    }
}

/// A loss of 1 nat for every word, half a nat for a word of which the prefix holds the plural.
#[derive(Debug)]
pub(super) struct Counting {
    name: ModelName,
    n_read: Mutex<usize>,
}

impl Counting {
    pub(super) fn new() -> Self {
        Self { name: "local:counting".parse().unwrap(), n_read: Mutex::default() }
    }

    pub(super) fn n_read(&self) -> usize {
        *self.n_read.lock().unwrap()
    }
}

#[async_trait]
impl LanguageModel for Counting {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        Abilities { context_length: None, prompt_log_probabilities: true, reply_log_probabilities: true }
    }

    fn count_prompt_tokens(&self, _: &Request) -> Result<usize> {
        Err(Error::internal("no prompts"))
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        Some(text.split_whitespace().count())
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        calls.iter().map(|_| Err(Error::internal("no replies"))).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        prompts.iter().map(|_| Err(Error::internal("no slots"))).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        *self.n_read.lock().unwrap() += continuations.len();
        continuations
            .iter()
            .map(|continuation| {
                let named = |word: &str| continuation.prefix.contains(&format!(" {word}s."));
                let words = continuation.text.split_whitespace();
                Ok(Reading::unstored(words.map(|word| if named(word) { 0.5 } else { 1.0 }).collect()))
            })
            .collect()
    }
}

/// An embedding that counts some words.
#[derive(Debug)]
pub(super) struct Words(Vec<&'static str>);

impl Words {
    pub(super) fn new(words: &[&'static str]) -> Self {
        Self(words.to_vec())
    }
}

#[async_trait]
impl TextEncoder for Words {
    fn name(&self) -> &str {
        "words"
    }

    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let count = |text: &str, word: &str| text.split_whitespace().filter(|other| *other == word).count() as f32;
        Ok(texts.iter().map(|text| self.0.iter().map(|word| count(text, word)).collect()).collect())
    }
}
