//! Recorded replies: a file instead of a model, for tests and for showing what was said.
//!
//! One JSON object a line. `reply` is a text or a whole [`Reply`]; it belongs to a `request` with its `sample_no` (0 if absent), or to
//! the `key` that the call had under `model`. `readings` and `losses` stand in place of `reply` for what is read inside a prompt.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::durable::{losses_request, reading_key, slots_request};
use super::model_name::{Engine, ModelName};
use super::reply::{Finish, Reply};
use super::request::{Call, Request};
use super::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use super::{Abilities, LanguageModel};
use crate::error::{Error, Result};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(default)]
    sample_no: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Recorded>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readings: Option<Vec<Vec<Option<f64>>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    losses: Option<Vec<f64>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Recorded {
    Text(String),
    Reply(Reply),
}

/// A file of recorded replies. Prompts cost nothing and no call is made.
#[derive(Debug)]
pub struct ReplayModel {
    name: ModelName,
    // Every key is that of the call under this replay's own name or under the name it was recorded under.
    names: Vec<ModelName>,
    replies: HashMap<String, Recorded>,
    readings: HashMap<String, Vec<Vec<Option<f64>>>>,
    losses: HashMap<String, Vec<f64>>,
}

impl ReplayModel {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::CompletionStore`] naming the line that is no recorded reply.
    pub fn load(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: PathBuf::from(path), source })?;
        let name = ModelName { engine: Engine::Replay, model: path.to_owned() };
        let mut model = Self {
            names: vec![name.clone()],
            name,
            replies: HashMap::new(),
            readings: HashMap::new(),
            losses: HashMap::new(),
        };
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            model.add(line).map_err(|reason| Error::CompletionStore {
                path: PathBuf::from(path),
                reason: format!("line {}: {reason}", i + 1),
            })?;
        }
        Ok(model)
    }

    fn add(&mut self, line: &str) -> std::result::Result<(), String> {
        let line: Line = serde_json::from_str(line).map_err(|e| format!("expected a recorded reply, got {e}"))?;
        let recorded_under = match &line.model {
            Some(name) => Some(name.parse::<ModelName>().map_err(|e| e.to_string())?),
            None => None,
        };
        if let Some(name) = &recorded_under
            && !self.names.contains(name)
        {
            self.names.push(name.clone());
        }
        let key = match (line.key, line.request) {
            (Some(key), _) => key,
            (None, Some(request)) => {
                // The purpose is no part of a key.
                let purpose = super::request::Purpose::Explain;
                let call = Call { purpose, request, sample_no: line.sample_no };
                call.key(recorded_under.as_ref().unwrap_or(&self.name))
            }
            (None, None) => return Err("expected a key or a request, got neither".to_owned()),
        };
        match (line.reply, line.readings, line.losses) {
            (Some(reply), None, None) => drop(self.replies.insert(key, reply)),
            (None, Some(readings), None) => drop(self.readings.insert(key, readings)),
            (None, None, Some(losses)) => drop(self.losses.insert(key, losses)),
            _ => return Err("expected one of reply, readings and losses".to_owned()),
        }
        Ok(())
    }

    fn look<'a, T>(&self, of: &'a HashMap<String, T>, key: impl Fn(&ModelName) -> String) -> Option<(String, &'a T)> {
        self.names.iter().map(key).find_map(|key| of.get(&key).map(|found| (key, found)))
    }

    fn miss(&self, what: &str, key: &str) -> Error {
        Error::ReplyMalformed {
            model: self.name.to_string(),
            reason: format!("expected a recorded {what}, found none under key '{key}'"),
        }
    }

    fn reply(&self, call: &Call) -> Result<Reply> {
        let (key, recorded) = self
            .look(&self.replies, |name| call.key(name))
            .ok_or_else(|| self.miss("reply to the request", &call.key(&self.name)))?;
        Ok(match recorded.clone() {
            Recorded::Reply(reply) => Reply { key: Some(key), ..reply },
            Recorded::Text(text) => Reply {
                prompt_tokens: u32::try_from(self.count_prompt_tokens(&call.request)?).unwrap_or(u32::MAX),
                completion_tokens: u32::try_from(super::http::estimated_tokens(&text)).unwrap_or(u32::MAX),
                text,
                finish: Finish::Stop,
                tokens: Vec::new(),
                cost: Some(0.0),
                key: Some(key),
            },
        })
    }
}

#[async_trait]
impl LanguageModel for ReplayModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        let has_tokens = |recorded: &Recorded| matches!(recorded, Recorded::Reply(reply) if !reply.tokens.is_empty());
        Abilities {
            context_length: None,
            prompt_log_probabilities: !self.readings.is_empty() || !self.losses.is_empty(),
            reply_log_probabilities: self.replies.values().any(has_tokens),
        }
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        Ok(super::http::estimated_prompt_tokens(request))
    }

    fn count_tokens(&self, _: &str) -> Option<usize> {
        None
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        calls.iter().map(|call| self.reply(call)).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let one = |prompt: &SlotPrompt| {
            let request = slots_request(prompt);
            let (_, values) = self
                .look(&self.readings, |name| reading_key(name, &request))
                .ok_or_else(|| self.miss("reading of the slots", &reading_key(&self.name, &request)))?;
            let slots = values.iter().map(|values| SlotReading { log_probabilities: values.clone() });
            Ok(Reading::unstored(slots.collect()))
        };
        prompts.iter().map(one).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let one = |continuation: &Continuation| {
            let request = losses_request(continuation);
            let (_, losses) = self
                .look(&self.losses, |name| reading_key(name, &request))
                .ok_or_else(|| self.miss("list of losses", &reading_key(&self.name, &request)))?;
            Ok(Reading::unstored(losses.clone()))
        };
        continuations.iter().map(one).collect()
    }
}

/// A model whose answers are written down for [`ReplayModel`] while it is used.
#[derive(Debug)]
pub struct Recorder {
    inner: Arc<dyn LanguageModel>,
    path: PathBuf,
    file: Mutex<(File, HashSet<String>)>,
}

impl Recorder {
    /// Records what a model says into a new file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn new(inner: Arc<dyn LanguageModel>, path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(Self { inner, path: path.to_owned(), file: Mutex::new((file, HashSet::new())) })
    }

    fn record(&self, line: Line) -> Result<()> {
        let mut text = serde_json::to_string(&line).map_err(|e| Error::internal(e.to_string()))?;
        text.push('\n');
        let mut file = self.file.lock();
        if line.key.is_some_and(|key| !file.1.insert(key)) {
            return Ok(());
        }
        file.0.write_all(text.as_bytes()).map_err(|source| Error::File { path: self.path.clone(), source })
    }

    fn line(&self, key: String) -> Line {
        Line { key: Some(key), model: Some(self.inner.name().to_string()), ..Line::default() }
    }
}

#[async_trait]
impl LanguageModel for Recorder {
    fn name(&self) -> &ModelName {
        self.inner.name()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        self.inner.count_prompt_tokens(request)
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.inner.count_tokens(text)
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        let replies = self.inner.complete_all(calls).await;
        let one = |(call, reply): (&Call, Result<Reply>)| {
            let reply = reply?;
            self.record(Line {
                request: Some(call.request.clone()),
                sample_no: call.sample_no,
                reply: Some(Recorded::Reply(reply.clone())),
                ..self.line(call.key(self.inner.name()))
            })?;
            Ok(reply)
        };
        calls.iter().zip(replies).map(one).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let readings = self.inner.read_slots_all(prompts).await;
        let one = |(prompt, readings): (&SlotPrompt, Result<Reading<Vec<SlotReading>>>)| {
            let readings = readings?;
            let values = readings.values.iter().map(|reading| reading.log_probabilities.clone()).collect();
            let key = reading_key(self.inner.name(), &slots_request(prompt));
            self.record(Line { readings: Some(values), ..self.line(key) })?;
            Ok(readings)
        };
        prompts.iter().zip(readings).map(one).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let losses = self.inner.losses_all(continuations).await;
        let one = |(continuation, losses): (&Continuation, Result<Reading<Vec<f64>>>)| {
            let losses = losses?;
            let key = reading_key(self.inner.name(), &losses_request(continuation));
            self.record(Line { losses: Some(losses.values.clone()), ..self.line(key) })?;
            Ok(losses)
        };
        continuations.iter().zip(losses).map(one).collect()
    }
}

#[cfg(test)]
mod tests;
