//! A language model that answers from a script, and remembers what it was asked.

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::completions::model_name::ModelName;
use crate::completions::reply::{Finish, Reply};
use crate::completions::request::{Call, Request};
use crate::completions::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use crate::completions::{Abilities, LanguageModel};
use crate::error::{Error, Result};

type Script = Box<dyn Fn(&Call) -> Result<Reply> + Send + Sync>;

/// A model of a script. A word of a prompt counts as a token, and so does every line.
pub(crate) struct Scripted {
    name: ModelName,
    script: Script,
    context_length: Option<usize>,
    calls: Mutex<Vec<Call>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Call) -> Result<Reply> + Send + Sync + 'static) -> Self {
        let name = "replay:script".parse().unwrap();
        Self { name, script: Box::new(script), context_length: None, calls: Mutex::default() }
    }

    /// A model that always says the same.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::new(move |_| Ok(reply(text)))
    }

    pub(crate) fn with_context(mut self, context_length: usize) -> Self {
        self.context_length = Some(context_length);
        self
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }
}

/// A whole reply, stored under the key "key".
pub(crate) fn reply(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        finish: Finish::Stop,
        tokens: Vec::new(),
        prompt_tokens: 1,
        completion_tokens: 1,
        cost: None,
        key: Some("key".to_owned()),
    }
}

/// All that a request says, as one text.
pub(crate) fn text_of(request: &Request) -> String {
    request.messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
}

#[async_trait]
impl LanguageModel for Scripted {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            context_length: self.context_length,
            prompt_log_probabilities: false,
            reply_log_probabilities: false,
        }
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        let text = text_of(request);
        Ok(text.split_whitespace().count() + text.lines().count())
    }

    fn count_tokens(&self, _: &str) -> Option<usize> {
        None
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        self.calls.lock().extend_from_slice(calls);
        calls.iter().map(|call| (self.script)(call)).collect()
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        prompts.iter().map(|_| Err(Error::internal("no slots in a script"))).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        continuations.iter().map(|_| Err(Error::internal("no losses in a script"))).collect()
    }
}
