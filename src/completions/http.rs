//! Models behind OpenAI-compatible endpoints: OpenAI, OpenRouter, vLLM, llama.cpp's server, Ollama.
//!
//! A call waits for its turn ([`super::limits`]), has its worst case set aside ([`super::budget`]), is sent and, where the fault may pass,
//! sent again (`retry`). What comes back is read (`wire`) or explained (`refusal`). Values inside a prompt are read by having the
//! endpoint echo it (`echo`).

mod echo;
mod estimate;
pub mod key;
mod refusal;
mod retry;
mod vectors;
mod wire;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use clap::ValueEnum;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

pub(super) use self::estimate::{estimated_prompt_tokens, estimated_tokens};
use self::key::ApiKey;
use self::retry::{Retry, Weight};
use self::wire::Answer;
use super::budget::{Amount, Budget, BudgetLimit};
use super::limits::Limits;
use super::model_name::ModelName;
use super::prices::Prices;
use super::reply::Reply;
use super::request::{Call, Purpose, Request};
use super::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use super::{Abilities, LanguageModel, reply_log_probabilities_missing};
use crate::error::{Error, Result};
use crate::tables::store::shown;

/// Where a model is asked if nothing else is said.
pub const OPENAI: &str = "https://api.openai.com/v1";

/// Which interface replies are asked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// /chat/completions: the endpoint puts the messages into the model's own form
    #[default]
    Chat,
    /// /completions: the messages as plain text, one after another, for models without a chat form
    Text,
}

/// What all models of one session share.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The address that `/chat/completions` is added to.
    pub base_url: Url,
    /// How replies are asked for.
    pub api: Api,
    /// The key, where there is one.
    pub key: Option<ApiKey>,
    /// How fast and how patiently.
    pub limits: Arc<Limits>,
    /// The account.
    pub budget: Arc<Budget>,
    /// What tokens cost.
    pub prices: Arc<Prices>,
    /// Whether nothing will be sent, so that no key is wanted.
    pub counts_only: bool,
}

/// One model of one endpoint.
#[derive(Debug)]
pub struct HttpModel {
    name: ModelName,
    options: HttpOptions,
    client: ClientWithMiddleware,
    // Learned from refusals, once a model.
    wants_max_completion_tokens: AtomicBool,
    refuses_sampling: AtomicBool,
    takes_few_log_probabilities: AtomicBool,
    tells_few_log_probabilities: AtomicBool,
    tells_no_log_probabilities: AtomicBool,
    // In tokens as they are estimated here; `usize::MAX` until a refusal tells it.
    context_length: AtomicUsize,
    alignment: OnceCell<echo::Verdict>,
}

impl HttpModel {
    /// A model by the name that its endpoint knows; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::ApiKeyMissing`] for OpenAI itself without a key, [`Error::Argument`] for an address that cannot be asked.
    pub fn new(name: ModelName, options: HttpOptions) -> Result<Self> {
        let fault = |got: &str| Error::Argument {
            argument: "--base-url".to_owned(),
            expected: "an http:// or https:// address, such as http://127.0.0.1:8080/v1".to_owned(),
            got: got.to_owned(),
        };
        if !matches!(options.base_url.scheme(), "http" | "https") || options.base_url.cannot_be_a_base() {
            return Err(fault(&shown(&options.base_url)));
        }
        if options.key.is_none() && !options.counts_only && options.base_url.host_str() == Some("api.openai.com") {
            return Err(Error::ApiKeyMissing { model: name.to_string(), variable: key::VARIABLES.join(" or ") });
        }
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("neuronlake/", env!("CARGO_PKG_VERSION")))
            // A key goes where the user sent it and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if key::is_loopback(&options.base_url) {
            client = client.no_proxy();
        }
        let client =
            client.build().map_err(|e| fault(&format!("a client that cannot be made: {}", e.without_url())))?;
        let client = ClientBuilder::new(client).with(Retry::new(Arc::clone(&options.limits))).build();
        Ok(Self {
            name,
            options,
            client,
            wants_max_completion_tokens: AtomicBool::new(false),
            refuses_sampling: AtomicBool::new(false),
            takes_few_log_probabilities: AtomicBool::new(false),
            tells_few_log_probabilities: AtomicBool::new(false),
            tells_no_log_probabilities: AtomicBool::new(false),
            context_length: AtomicUsize::new(usize::MAX),
            alignment: OnceCell::new(),
        })
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// The endpoint's address, without secrets.
    pub fn shown(&self) -> String {
        shown(&self.options.base_url)
    }

    /// The key that the reply to a call is stored under. Only another interface than the usual one is a part of it, so that what was
    /// stored before there was a choice is still found.
    pub(super) fn key_of(&self, call: &Call) -> String {
        match self.options.api {
            Api::Chat => call.key(&self.name),
            Api::Text => call.key_through("completions", &self.name),
        }
    }

    /// One reply.
    ///
    /// # Errors
    /// As [`LanguageModel::complete_all`]; [`Error::LogProbabilitiesMissing`] for a simulation that asks for log-probabilities, where
    /// the endpoint refuses them. A judge's reply is of use without.
    pub async fn complete(&self, call: &Call) -> Result<Reply> {
        let request = &call.request;
        let prompt_tokens = count(estimated_prompt_tokens(request));
        let worst = self.worst(prompt_tokens, request.max_tokens)?;
        let reserved = self.options.budget.reserve(worst).await?;
        let answer = loop {
            let quirks = self.quirks();
            if quirks.no_log_probabilities && request.top_logprobs > 0 && call.purpose == Purpose::Simulate {
                return Err(reply_log_probabilities_missing(&self.name));
            }
            let (path, body) = match self.options.api {
                Api::Chat => (&["chat", "completions"][..], wire::chat_body(&self.name.model, request, quirks)),
                Api::Text => (&["completions"][..], wire::text_body(&self.name.model, request, quirks)),
            };
            match self.post(path, &body, prompt_tokens.saturating_add(request.max_tokens)).await {
                Err(refused) if self.learn(&refused, quirks, request) => {}
                other => break other?,
            }
        };
        let took = self.took(answer.usage.as_ref(), worst);
        reserved.settle(took);
        let reply = wire::reply(answer, request).map_err(|reason| self.malformed(reason))?;
        Ok(Reply {
            prompt_tokens: took.prompt_tokens,
            completion_tokens: took.completion_tokens,
            cost: took.dollars,
            ..reply
        })
    }

    /// The most a call can take; known before anything is sent.
    pub(super) fn worst(&self, prompt_tokens: u32, completion_tokens: u32) -> Result<Amount> {
        let price = self.options.prices.price(&self.name.model);
        if price.is_none() && matches!(self.options.budget.limit(), Some(BudgetLimit::Dollars(_))) {
            return Err(Error::PriceUnknown {
                model: self.name.to_string(),
                prices: self.options.prices.edit().display().to_string(),
            });
        }
        let dollars = price.map(|price| price.dollars(prompt_tokens, completion_tokens));
        Ok(Amount { prompt_tokens, completion_tokens, dollars })
    }

    /// What an answer took: what the endpoint says, else the worst case.
    fn took(&self, usage: Option<&wire::Usage>, worst: Amount) -> Amount {
        let prompt_tokens = usage.and_then(|usage| usage.prompt_tokens).unwrap_or(worst.prompt_tokens);
        let completion_tokens = usage.and_then(|usage| usage.completion_tokens).unwrap_or(worst.completion_tokens);
        let price = self.options.prices.price(&self.name.model);
        let told = usage.and_then(|usage| usage.cost).filter(|cost| cost.is_finite() && *cost >= 0.0);
        let dollars = told.or_else(|| price.map(|price| price.dollars(prompt_tokens, completion_tokens)));
        Amount { prompt_tokens, completion_tokens, dollars }
    }

    fn quirks(&self) -> wire::Quirks {
        wire::Quirks {
            max_completion_tokens: self.wants_max_completion_tokens.load(Ordering::Relaxed),
            no_sampling: self.refuses_sampling.load(Ordering::Relaxed),
            few_log_probabilities: self.tells_few_log_probabilities.load(Ordering::Relaxed),
            no_log_probabilities: self.tells_no_log_probabilities.load(Ordering::Relaxed),
        }
    }

    /// Whether a refusal names a field that this model wants otherwise, and that was not sent so already.
    fn learn(&self, error: &Error, sent: wire::Quirks, request: &Request) -> bool {
        let Error::CompletionRefused { status: 400 | 422, reason, .. } = error else {
            return false;
        };
        if request.top_logprobs > 0 && !sent.no_log_probabilities && names_log_probabilities(reason) {
            // Many endpoints tell five alternatives and no more; some none.
            let fewer = request.top_logprobs > wire::FEW_LOG_PROBABILITIES && !sent.few_log_probabilities;
            let learned = if fewer { &self.tells_few_log_probabilities } else { &self.tells_no_log_probabilities };
            learned.store(true, Ordering::Relaxed);
            tracing::warn!(model = %self.name, reason, fewer, "the endpoint does not tell log-probabilities as asked");
            return true;
        }
        if !sent.max_completion_tokens && reason.contains("max_completion_tokens") {
            self.wants_max_completion_tokens.store(true, Ordering::Relaxed);
            return true;
        }
        let unsupported =
            reason.contains("unsupported") || reason.contains("not support") || reason.contains("Unsupported");
        if !sent.no_sampling && unsupported && (reason.contains("temperature") || reason.contains("top_p")) {
            tracing::warn!(model = %self.name, "the model takes no temperature: replies are drawn at its own");
            self.refuses_sampling.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    async fn post(&self, path: &[&str], body: &Value, n_tokens: u32) -> Result<Answer> {
        let text = self.post_text(path, body, n_tokens).await?;
        let scrub = |text: &mut String| {
            let scrubbed = match self.scrubbed(text) {
                Cow::Owned(scrubbed) => Some(scrubbed),
                Cow::Borrowed(_) => None,
            };
            if let Some(scrubbed) = scrubbed {
                *text = scrubbed;
            }
        };
        wire::answer(&text, scrub).map_err(|reason| self.malformed(reason))
    }

    /// The body of an answer that says it is one, as it came: an endpoint may have written the key into one of its texts.
    async fn post_text(&self, path: &[&str], body: &Value, n_tokens: u32) -> Result<String> {
        let mut url = self.options.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.options.limits.options().time_out)
            .body(body.to_string())
            .with_extension(Weight(n_tokens));
        if let Some(key) = &self.options.key {
            let header = HeaderValue::from_str(&format!("Bearer {}", key.secret()));
            let mut header = header.map_err(|_| Error::ApiKeyRefused {
                model: self.name.to_string(),
                variable: key.variable().to_owned(),
                status: 401,
            })?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.malformed(e.without_url().to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        if status.is_success() {
            return Ok(text.into_owned());
        }
        let refused = self.refused(status.as_u16(), &self.scrubbed(&text));
        if let Error::ContextTooShort { needed, context_length, .. } = refused {
            self.learn_context(n_tokens as usize, needed, context_length);
        }
        Err(refused)
    }

    /// Keeps how long the context is, for prompts to come. Where a prompt was thought to fit, its tokens were estimated too low: then
    /// the length is taken as that much shorter in estimated tokens, so that this prompt would not fit again.
    fn learn_context(&self, estimated: usize, needed: usize, told: usize) {
        let known = if estimated > told { told } else { estimated * told / needed.max(1) };
        let before = self.context_length.fetch_min(known, Ordering::Relaxed);
        if known < before {
            tracing::info!(model = %self.name, context_length = told, "the endpoint told how long a prompt may be");
        }
    }

    fn scrubbed<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.options.key {
            Some(key) => key.scrub(text),
            None => Cow::Borrowed(text),
        }
    }

    fn malformed(&self, reason: String) -> Error {
        Error::ReplyMalformed { model: self.name.to_string(), reason: refusal::shortened(&self.scrubbed(&reason)) }
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.options.budget
    }
}

#[async_trait]
impl LanguageModel for HttpModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        // Whether they really work is found out by asking, and so is how long a prompt may be.
        let context_length = Some(self.context_length.load(Ordering::Relaxed)).filter(|length| *length != usize::MAX);
        Abilities { context_length, prompt_log_probabilities: true, reply_log_probabilities: true }
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        Ok(estimated_prompt_tokens(request))
    }

    fn count_tokens(&self, _: &str) -> Option<usize> {
        None
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        self.limits().spread(calls.len(), |i| self.complete(&calls[i])).await
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let reads = self.limits().spread(prompts.len(), |i| self.read_slots(&prompts[i])).await;
        reads.into_iter().map(|read| read.map(|(readings, _)| Reading::unstored(readings))).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let reads = self.limits().spread(continuations.len(), |i| self.losses(&continuations[i])).await;
        reads.into_iter().map(|read| read.map(|(losses, _)| Reading::unstored(losses))).collect()
    }
}

/// Whether a refusal is about log-probabilities, by the name of the field or in words.
fn names_log_probabilities(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["logprob", "log_prob", "log prob", "log-prob"].iter().any(|name| reason.contains(name))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
