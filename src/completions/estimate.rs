//! What calls would cost, without making one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::durable::VECTORS_A_CALL;
use super::http::estimated_tokens;
use super::model_name::ModelName;
use super::reply::{Finish, Reply};
use super::request::{Call, Request};
use super::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use super::{Abilities, LanguageModel};
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};

/// Tokens of the calls that were not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls.
    pub n_calls: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens their replies may have at most.
    pub completion_tokens: u64,
}

impl Tally {
    /// As many times over.
    pub fn multiply(&mut self, times: u64) {
        for count in [&mut self.n_calls, &mut self.prompt_tokens, &mut self.completion_tokens] {
            *count *= times;
        }
    }
}

/// A language model that counts what it is asked and answers nothing.
#[derive(Debug)]
pub struct Estimator {
    model: Arc<dyn LanguageModel>,
    tally: Mutex<Tally>,
}

impl Estimator {
    /// Counts as `model` would.
    pub fn new(model: Arc<dyn LanguageModel>) -> Self {
        Self { model, tally: Mutex::default() }
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, prompt_tokens: usize, completion_tokens: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.n_calls += 1;
        tally.prompt_tokens += prompt_tokens as u64;
        tally.completion_tokens += completion_tokens;
    }
}

#[async_trait]
impl LanguageModel for Estimator {
    fn name(&self) -> &ModelName {
        self.model.name()
    }

    fn abilities(&self) -> Abilities {
        self.model.abilities()
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        self.model.count_prompt_tokens(request)
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.model.count_tokens(text)
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        let answer = |call: &Call| {
            let prompt_tokens = self.model.count_prompt_tokens(&call.request)?;
            self.count(prompt_tokens, u64::from(call.request.max_tokens));
            Ok(Reply {
                text: String::new(),
                finish: Finish::Stop,
                tokens: Vec::new(),
                prompt_tokens: prompt_tokens as u32,
                completion_tokens: 0,
                cost: None,
                key: None,
            })
        };
        calls.iter().map(answer).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let answer = |prompt: &SlotPrompt| {
            let request = Request::greedy(prompt.whole(), 1);
            self.count(self.model.count_prompt_tokens(&request)?, 1);
            let reading = SlotReading { log_probabilities: vec![None; prompt.candidates.len()] };
            Ok(Reading::unstored(vec![reading; prompt.n_slots()]))
        };
        prompts.iter().map(answer).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let nothing = || Error::LogProbabilitiesMissing {
            model: self.name().to_string(),
            what: "an estimate".to_owned(),
            kind: "log-probabilities inside the prompt",
            instead: "only their number is estimated".to_owned(),
        };
        let mut losses = Vec::with_capacity(continuations.len());
        for continuation in continuations {
            let text = format!("{}{}", continuation.prefix, continuation.text);
            self.count(self.model.count_tokens(&text).unwrap_or(text.len() / 3), 1);
            losses.push(Err(nothing()));
        }
        losses
    }
}

/// An endpoint's encoder that counts what it is asked and gives vectors of one number.
#[derive(Debug)]
pub struct EncoderEstimator {
    name: String,
    tally: Mutex<Tally>,
}

impl EncoderEstimator {
    /// Counts as the encoder of this name would that has none of the texts yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tally: Mutex::default() }
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TextEncoder for EncoderEstimator {
    fn name(&self) -> &str {
        &self.name
    }

    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let different: HashSet<&String> = texts.iter().collect();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.n_calls += different.len().div_ceil(VECTORS_A_CALL) as u64;
        tally.prompt_tokens += different.iter().map(|text| estimated_tokens(text) as u64).sum::<u64>();
        Ok(vec![vec![1.0]; texts.len()])
    }
}
