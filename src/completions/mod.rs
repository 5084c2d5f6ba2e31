//! Language models behind explainers, simulators and judges: one trait, three engines.

pub mod chat_template;
pub mod estimate;
pub mod fitting;
pub mod local;
pub mod method;
pub mod model_name;
pub mod reply;
pub mod request;
pub mod slots;

pub mod budget;
pub mod durable;
pub mod http;
pub mod language_models;
pub mod limits;
pub mod permission;
pub mod prices;
pub mod replay;
pub mod store;

use async_trait::async_trait;

use self::model_name::ModelName;
use self::reply::Reply;
use self::request::{Call, Request};
use self::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use crate::error::{Error, Result};

/// What an engine can do with its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Longest prompt and reply together, in tokens; `None` where the engine cannot know.
    pub context_length: Option<usize>,
    /// Whether [`LanguageModel::read_slots_all`] and [`LanguageModel::losses_all`] work: log-probabilities inside a prompt.
    pub prompt_log_probabilities: bool,
    /// Whether replies carry the log-probabilities of the tokens generated.
    pub reply_log_probabilities: bool,
}

/// A language model, wherever it runs.
///
/// Every method takes many requests at once: an engine knows best how to group or to spread them. Results come in the order of
/// the requests; the failure of one is no failure of the others.
#[async_trait]
pub trait LanguageModel: Send + Sync + std::fmt::Debug {
    /// Engine and model, as tables and keys name them.
    fn name(&self) -> &ModelName;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Tokens of a request's prompt: exact where the engine has the tokenizer, else an estimate that is rather too high.
    ///
    /// # Errors
    /// When the tokenizer or the chat template refuses it.
    fn count_prompt_tokens(&self, request: &Request) -> Result<usize>;

    /// Tokens that a text is cut into when it follows other text; `None` where the engine has no tokenizer.
    fn count_tokens(&self, text: &str) -> Option<usize>;

    /// Replies to calls.
    ///
    /// # Errors
    /// One result a call: the network's faults after all retries, a refusal, a budget that is spent.
    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>>;

    /// The distribution over the candidates at every slot of every prompt, in order, read without generating anything.
    ///
    /// # Errors
    /// [`crate::Error::LogProbabilitiesMissing`] where the engine has none inside a prompt.
    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>>;

    /// The loss, in nats, of every token of each continuation given what stands before it.
    ///
    /// # Errors
    /// As [`LanguageModel::read_slots_all`].
    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>>;
}

/// What a simulator says that reads the log-probabilities of replies, of a model that gives none.
pub(crate) fn reply_log_probabilities_missing(model: &ModelName) -> Error {
    Error::LogProbabilitiesMissing {
        model: model.to_string(),
        what: "simulator 'one_at_a_time'".to_owned(),
        kind: "log-probabilities of the reply",
        instead: "the simulators log_probability_free, embedding and token_lookup work without them".to_owned(),
    }
}
