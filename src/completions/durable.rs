//! Any language model, asked through the store: a reply is on disk before anyone sees it, and no finished call is made again.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as Gate;

use super::budget::Amount;
use super::http::HttpModel;
use super::model_name::ModelName;
use super::reply::{Finish, Reply};
use super::request::{Call, Purpose, Request};
use super::slots::{Continuation, Piece, Reading, SlotPrompt, SlotReading};
use super::store::{CompletionStore, Kept, Row, now};
use super::{Abilities, LanguageModel};
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::hash;

/// Calls that a model in this process gets at once: what a kill can lose, and enough to share prefixes.
const CHUNK: usize = 64;
/// Texts that an endpoint turns into vectors in one call.
pub(super) const VECTORS_A_CALL: usize = 64;

/// A model, its store and the calls being made.
#[derive(Debug)]
pub struct DurableModel {
    name: ModelName,
    inner: Inner,
    store: Arc<CompletionStore>,
    flights: Arc<Flights>,
}

#[derive(Debug)]
enum Inner {
    /// One call at a time, stored as it comes in; readings inside prompts are paid for and stored too.
    Endpoint(Arc<HttpModel>),
    /// Calls in groups; readings can be had again for nothing.
    Here(Arc<dyn LanguageModel>),
}

impl DurableModel {
    /// Over a model that runs in this process.
    pub fn new(model: Arc<dyn LanguageModel>, store: Arc<CompletionStore>) -> Self {
        Self { name: model.name().clone(), inner: Inner::Here(model), store, flights: Arc::default() }
    }

    /// Over an endpoint.
    pub fn over_endpoint(model: Arc<HttpModel>, store: Arc<CompletionStore>) -> Self {
        Self { name: model.name().clone(), inner: Inner::Endpoint(model), store, flights: Arc::default() }
    }

    fn model(&self) -> &dyn LanguageModel {
        match &self.inner {
            Inner::Endpoint(model) => model.as_ref(),
            Inner::Here(model) => model.as_ref(),
        }
    }

    async fn complete_here(&self, model: &dyn LanguageModel, calls: &[Call]) -> Vec<Result<Reply>> {
        let mut results: Vec<Option<Result<Reply>>> = calls.iter().map(|_| None).collect();
        let keys: Vec<String> = calls.iter().map(|call| call.key(&self.name)).collect();
        let mut missing: Vec<usize> = (0..calls.len()).collect();
        missing.retain(|i| match self.store.get(&self.name, &keys[*i]) {
            Some(_) => {
                self.store.served();
                false
            }
            None => true,
        });
        for chunk in missing.chunks(CHUNK) {
            let mut sorted: Vec<&String> = chunk.iter().map(|i| &keys[*i]).collect();
            sorted.sort();
            sorted.dedup();
            // In one order everywhere, so that two groups never wait for each other.
            let mut turns = Vec::with_capacity(sorted.len());
            for key in sorted {
                turns.push(self.flights.turn(key).await);
            }
            let mut asked: HashMap<&str, usize> = HashMap::new();
            for i in chunk {
                if self.store.get(&self.name, &keys[*i]).is_none() {
                    asked.entry(keys[*i].as_str()).or_insert(*i);
                }
            }
            let mut order: Vec<usize> = asked.into_values().collect();
            order.sort_unstable();
            let group: Vec<Call> = order.iter().map(|i| calls[*i].clone()).collect();
            let replies = model.complete_all(&group).await;
            let stored = join_all(order.iter().zip(replies).map(async |(i, reply)| {
                match reply {
                    Ok(reply) => self
                        .store
                        .append(&self.name, reply_row(&self.name, None, keys[*i].clone(), &calls[*i], reply)?)
                        .await
                        .map(|_| ()),
                    Err(error) => Err(error),
                }
            }))
            .await;
            for (i, outcome) in order.into_iter().zip(stored) {
                results[i] = outcome.err().map(Err);
            }
        }
        let finish = |(i, known): (usize, Option<Result<Reply>>)| match known {
            Some(result) => result,
            None => match self.store.get(&self.name, &keys[i]) {
                Some(kept) => reply_of(&keys[i], &kept),
                // Asked for twice in one group, and the one call failed.
                None => Err(Error::CompletionFailed {
                    model: self.name.to_string(),
                    endpoint: "this process".to_owned(),
                    tries: 1,
                    reason: "the same call failed beside this one".to_owned(),
                }),
            },
        };
        results.into_iter().enumerate().map(finish).collect()
    }

    /// Runs one call after another through the endpoint, as many at once as its limits make use of. Each runs in a task of its
    /// own: a reply that is being paid for reaches the store although nobody waits for it any more.
    async fn each<T, F>(&self, endpoint: &HttpModel, n: usize, one: impl Fn(usize) -> F) -> Vec<Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let detached = |i: usize| {
            let task = self.store.pay(one(i));
            async move { task.await.unwrap_or_else(|e| Err(Error::internal(format!("a call ended: {e}")))) }
        };
        endpoint.limits().spread(n, detached).await
    }
}

impl DurableModel {
    /// One vector of length 1 a text, in the order of the texts: those that are stored for nothing, the others in groups.
    async fn embed_stored(&self, endpoint: &Arc<HttpModel>, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.store.load(&self.name).await?;
        let key = |text: &str| vector_key(&self.name, text);
        let mut missing: Vec<&String> =
            texts.iter().filter(|text| self.store.get(&self.name, &key(text)).is_none()).collect();
        missing.sort();
        missing.dedup();
        let groups: Vec<Vec<String>> =
            missing.chunks(VECTORS_A_CALL).map(|group| group.iter().copied().cloned().collect()).collect();
        let one = |i: usize| {
            let (endpoint, store, mut group) = (Arc::clone(endpoint), Arc::clone(&self.store), groups[i].clone());
            let (name, flights) = (self.name.clone(), Arc::clone(&self.flights));
            async move {
                // Texts are sorted, so that two groups never wait for each other.
                let mut turns = Vec::with_capacity(group.len());
                for text in &group {
                    turns.push(flights.turn(&vector_key(&name, text)).await);
                }
                group.retain(|text| store.get(&name, &vector_key(&name, text)).is_none());
                if group.is_empty() {
                    return Ok(());
                }
                let (vectors, took) = endpoint.embed(&group).await?;
                // What the group took is shared out evenly: endpoints tell no more.
                let n = group.len() as u32;
                let share = Amount {
                    prompt_tokens: took.prompt_tokens / n,
                    completion_tokens: 0,
                    dollars: took.dollars.map(|dollars| dollars / f64::from(n)),
                };
                // All at once: one write holds the whole group.
                let stored = join_all(group.iter().zip(vectors).map(|(text, vector)| {
                    let (request, key) = (vector_request(text), vector_key(&name, text));
                    let row = reading_row(&endpoint, key, Purpose::Embed, request, json!(vector).to_string(), share);
                    store.append(&name, row)
                }));
                stored.await.into_iter().try_for_each(|kept| kept.map(drop))
            }
        };
        for group in self.each(endpoint, groups.len(), one).await {
            group?;
        }
        let stored = |text: &String| {
            let kept = self.store.get(&self.name, &key(text));
            parse(&kept.ok_or_else(|| Error::internal("a vector was stored and is gone"))?.reply)
        };
        texts.iter().map(stored).collect()
    }
}

/// Vectors of an endpoint, each paid for once where there is a lake.
#[derive(Debug)]
pub(super) struct EndpointEncoder {
    label: String,
    endpoint: Arc<HttpModel>,
    durable: Option<DurableModel>,
}

impl EndpointEncoder {
    pub(super) fn new(endpoint: Arc<HttpModel>, store: Option<Arc<CompletionStore>>) -> Self {
        let durable = store.map(|store| DurableModel::over_endpoint(Arc::clone(&endpoint), store));
        Self { label: endpoint.name().to_string(), endpoint, durable }
    }
}

#[async_trait]
impl TextEncoder for EndpointEncoder {
    fn name(&self) -> &str {
        &self.label
    }

    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        match &self.durable {
            Some(durable) => durable.embed_stored(&self.endpoint, texts).await,
            None => Ok(self.endpoint.embed(texts).await?.0),
        }
    }
}

/// One stored call: looks, waits for whoever makes the same call, looks again, makes it, stores it.
async fn once<F>(
    name: ModelName,
    store: Arc<CompletionStore>,
    flights: Arc<Flights>,
    endpoint: Arc<HttpModel>,
    key: String,
    make: impl FnOnce(Arc<HttpModel>) -> F + Send,
) -> Result<Arc<Kept>>
where
    F: Future<Output = Result<Row>> + Send,
{
    if let Some(kept) = store.get(&name, &key) {
        store.served();
        return Ok(kept);
    }
    let _turn = flights.turn(&key).await;
    if let Some(kept) = store.get(&name, &key) {
        store.served();
        return Ok(kept);
    }
    let row = make(Arc::clone(&endpoint)).await?;
    store.append(&name, row).await
}

#[async_trait]
impl LanguageModel for DurableModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        self.model().abilities()
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        self.model().count_prompt_tokens(request)
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.model().count_tokens(text)
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        if let Err(error) = self.store.load(&self.name).await {
            return refuse_all(calls.len(), &error);
        }
        let endpoint = match &self.inner {
            Inner::Here(model) => return self.complete_here(model.as_ref(), calls).await,
            Inner::Endpoint(endpoint) => endpoint,
        };
        let one = |i: usize| {
            let call: Call = calls[i].clone();
            let key = endpoint.key_of(&call);
            let (name, known) = (self.name.clone(), key.clone());
            let make = async move |endpoint: Arc<HttpModel>| {
                let reply = endpoint.complete(&call).await?;
                reply_row(endpoint.name(), Some(endpoint.shown()), endpoint.key_of(&call), &call, reply)
            };
            let made = once(name, Arc::clone(&self.store), Arc::clone(&self.flights), Arc::clone(endpoint), key, make);
            async move { reply_of(&known, &*made.await?) }
        };
        self.each(endpoint, calls.len(), one).await
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let endpoint = match &self.inner {
            Inner::Here(model) => return model.read_slots_all(prompts).await,
            Inner::Endpoint(endpoint) => endpoint,
        };
        if let Err(error) = self.store.load(&self.name).await {
            return refuse_all(prompts.len(), &error);
        }
        let one = |i: usize| {
            let prompt: SlotPrompt = prompts[i].clone();
            let request = slots_request(&prompt);
            let key = reading_key(&self.name, &request);
            let (name, row_key, known) = (self.name.clone(), key.clone(), key.clone());
            let make = async move |endpoint: Arc<HttpModel>| {
                let (readings, took) = endpoint.read_slots(&prompt).await?;
                let values: Vec<_> = readings.into_iter().map(|reading| reading.log_probabilities).collect();
                Ok(reading_row(&endpoint, row_key, Purpose::Simulate, request, json!(values).to_string(), took))
            };
            let made = once(name, Arc::clone(&self.store), Arc::clone(&self.flights), Arc::clone(endpoint), key, make);
            async move {
                let values: Vec<Vec<Option<f64>>> = parse(&made.await?.reply)?;
                let slots = values.into_iter().map(|log_probabilities| SlotReading { log_probabilities });
                Ok(Reading { values: slots.collect(), key: Some(known) })
            }
        };
        self.each(endpoint, prompts.len(), one).await
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let endpoint = match &self.inner {
            Inner::Here(model) => return model.losses_all(continuations).await,
            Inner::Endpoint(endpoint) => endpoint,
        };
        if let Err(error) = self.store.load(&self.name).await {
            return refuse_all(continuations.len(), &error);
        }
        let one = |i: usize| {
            let continuation: Continuation = continuations[i].clone();
            let request = losses_request(&continuation);
            let key = reading_key(&self.name, &request);
            let (name, row_key, known) = (self.name.clone(), key.clone(), key.clone());
            let make = async move |endpoint: Arc<HttpModel>| {
                let (losses, took) = endpoint.losses(&continuation).await?;
                Ok(reading_row(&endpoint, row_key, Purpose::Judge, request, json!(losses).to_string(), took))
            };
            let made = once(name, Arc::clone(&self.store), Arc::clone(&self.flights), Arc::clone(endpoint), key, make);
            async move { Ok(Reading { values: parse(&made.await?.reply)?, key: Some(known) }) }
        };
        self.each(endpoint, continuations.len(), one).await
    }
}

/// Calls being made, by key.
#[derive(Debug, Default)]
struct Flights(Mutex<HashMap<String, Arc<Gate<()>>>>);

/// The right to make one call; while it lives, nobody else in this process makes the same.
struct Turn {
    flights: Arc<Flights>,
    key: String,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Flights {
    async fn turn(self: &Arc<Self>, key: &str) -> Turn {
        let gate = Arc::clone(self.0.lock().entry(key.to_owned()).or_default());
        let held = gate.lock_owned().await;
        Turn { flights: Arc::clone(self), key: key.to_owned(), held: Some(held) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut gates = self.flights.0.lock();
        self.held = None;
        // Whoever waits holds the gate too; the last one takes it away.
        if gates.get(&self.key).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            gates.remove(&self.key);
        }
    }
}

/// What a reading asks for, as the table shows it and the key covers it.
pub(super) fn slots_request(prompt: &SlotPrompt) -> String {
    let pieces: Vec<_> = prompt
        .answer
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => json!({ "text": text }),
            Piece::Slot(text) => json!({ "slot": text }),
        })
        .collect();
    json!({ "messages": prompt.messages, "answer": pieces, "candidates": prompt.candidates }).to_string()
}

/// As [`slots_request`].
pub(super) fn losses_request(continuation: &Continuation) -> String {
    json!({ "prefix": continuation.prefix, "text": continuation.text }).to_string()
}

/// As [`slots_request`].
fn vector_request(text: &str) -> String {
    json!({ "input": text }).to_string()
}

fn vector_key(model: &ModelName, text: &str) -> String {
    reading_key(model, &vector_request(text))
}

/// The key of a reading inside a prompt; never that of a call, whose parts are others.
pub(super) fn reading_key(model: &ModelName, request: &str) -> String {
    let mut digest = Sha256::new();
    for part in ["reading", model.to_string().as_str(), request] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    hash::hex(&digest.finalize())
}

fn reply_row(name: &ModelName, endpoint: Option<String>, key: String, call: &Call, reply: Reply) -> Result<Row> {
    let json = |e: serde_json::Error| Error::internal(e.to_string());
    let finish = match reply.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Other => "other",
    };
    Ok(Row {
        completion: key,
        engine: name.engine.to_string(),
        model: name.model.clone(),
        endpoint,
        purpose: call.purpose.to_string(),
        sample_no: call.sample_no,
        request: serde_json::to_string(&call.request).map_err(json)?,
        reply: reply.text,
        finish: finish.to_owned(),
        prompt_tokens: Some(reply.prompt_tokens),
        completion_tokens: Some(reply.completion_tokens),
        cost: reply.cost,
        reply_tokens: match reply.tokens.is_empty() {
            true => None,
            false => Some(serde_json::to_string(&reply.tokens).map_err(json)?),
        },
        created_at: now(),
    })
}

fn reading_row(
    endpoint: &HttpModel,
    completion: String,
    purpose: Purpose,
    request: String,
    reply: String,
    took: Amount,
) -> Row {
    Row {
        completion,
        engine: endpoint.name().engine.to_string(),
        model: endpoint.name().model.clone(),
        endpoint: Some(endpoint.shown()),
        purpose: purpose.to_string(),
        sample_no: 0,
        request,
        reply,
        finish: "read".to_owned(),
        prompt_tokens: Some(took.prompt_tokens),
        completion_tokens: Some(took.completion_tokens),
        cost: took.dollars,
        reply_tokens: None,
        created_at: now(),
    }
}

fn reply_of(key: &str, kept: &Kept) -> Result<Reply> {
    Ok(Reply {
        text: kept.reply.as_ref().to_owned(),
        finish: match kept.finish.as_ref() {
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            _ => Finish::Other,
        },
        tokens: kept.reply_tokens.as_deref().map_or(Ok(Vec::new()), parse)?,
        prompt_tokens: kept.prompt_tokens,
        completion_tokens: kept.completion_tokens,
        cost: kept.cost,
        key: Some(key.to_owned()),
    })
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| Error::internal(format!("a stored reply: {e}")))
}

fn refuse_all<T>(n: usize, error: &Error) -> Vec<Result<T>> {
    let refuse = || match error {
        Error::CompletionStore { path, reason } => {
            Error::CompletionStore { path: path.clone(), reason: reason.clone() }
        }
        other => Error::CompletionStore { path: "completions".into(), reason: other.to_string() },
    };
    (0..n).map(|_| Err(refuse())).collect()
}
