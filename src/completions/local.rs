//! Language models run in this process: GGUF files and safetensors folders, on the subject models' own decoder.
//!
//! Weights are widened to f32 when loaded and multiplied in f32, whatever the file stores, or on a GPU
//! ([`crate::models::generation::placement`]). Prompts of one call that begin alike share the computation of what they have in
//! common ([`crate::models::generation::prefix_tree`]).

mod generate;
mod prompts;
mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use self::prompts::Prompts;
use super::chat_template::ChatTemplate;
use super::model_name::{Engine, ModelName};
use super::reply::Reply;
use super::request::{Call, Request};
use super::slots::{Continuation, Reading, SlotPrompt, SlotReading};
use super::{Abilities, LanguageModel};
use crate::error::{Error, Result};
use crate::models::chat_files::ChatFiles;
use crate::models::generation::placement::{Backend, Placement, Precision};
use crate::models::source::ModelSource;
use crate::models::subject_model::SubjectModel;

/// A language model in this process.
#[derive(Debug)]
pub struct LocalModel {
    loaded: Arc<Loaded>,
    /// One call's batches at a time: they use all threads, and each needs memory.
    turn: tokio::sync::Mutex<()>,
}

/// What the threads that compute share.
#[derive(Debug)]
struct Loaded {
    name: ModelName,
    model: Arc<SubjectModel>,
    backend: Backend,
    prompts: Prompts,
    /// Every token that ends a reply.
    end_token_ids: Vec<u32>,
}

impl LocalModel {
    /// Loads a model and its tokenizer; `path` is a GGUF file, a Hugging Face folder, a llama2.c `.bin` file, or `default`.
    ///
    /// # Errors
    /// As [`SubjectModel::load`] and [`Backend::open`]; [`Error::ModelFormat`] if the chat template is none.
    pub fn load(path: &str, placement: Placement) -> Result<Self> {
        placement.check()?;
        Self::with_weights(Arc::new(SubjectModel::load(&ModelSource::from(path))?), path, placement)
    }

    /// As [`LocalModel::load`], with weights that are loaded already, from the same path.
    ///
    /// # Errors
    /// As [`Backend::open`]; [`Error::ModelFormat`] if the chat template is none, [`Error::Tokenizer`] for a model without a
    /// tokenizer.
    pub fn with_weights(model: Arc<SubjectModel>, path: &str, placement: Placement) -> Result<Self> {
        let backend = Backend::open(&model, placement)?;
        Self::on(backend, model, path)
    }

    fn on(backend: Backend, model: Arc<SubjectModel>, path: &str) -> Result<Self> {
        // Not the path: it differs from machine to machine, and the weights behind it may change.
        let weights: String = model.weights_hash().chars().take(8).collect();
        // Not the device: it moves the last bits only. Rounded weights are another model.
        let rounded = match backend.precision() {
            Precision::F32 => String::new(),
            precision => format!("+{precision}"),
        };
        let name = ModelName { engine: Engine::Local, model: format!("{}#{weights}{rounded}", model.id()) };
        let tokenizer = model.tokenizer()?;
        let files = ChatFiles::read(&ModelSource::from(path), tokenizer)?;
        let text = |token_id: Option<u32>| token_id.map_or_else(String::new, |id| tokenizer.token_text(id));
        let template =
            ChatTemplate::new(files.template, text(files.bos_token_id), text(files.eos_token_id), &name.to_string())?;
        let prompts = Prompts::new(Arc::clone(&model), template, files.bos_token_id, files.starts_with_bos)?;
        let loaded = Loaded { name, model, backend, prompts, end_token_ids: files.end_token_ids };
        Ok(Self { loaded: Arc::new(loaded), turn: tokio::sync::Mutex::new(()) })
    }

    /// Runs `work` off the async threads, one call at a time. When the caller stops waiting, `work` is told to stop.
    async fn run<T: Send + 'static>(
        &self,
        n: usize,
        work: impl FnOnce(&Loaded, &(dyn Fn() -> bool + Sync)) -> Vec<Result<T>> + Send + 'static,
    ) -> Vec<Result<T>> {
        let _turn = self.turn.lock().await;
        let stopped = Arc::new(AtomicBool::new(false));
        let _on_drop = StopOnDrop(Arc::clone(&stopped));
        let loaded = Arc::clone(&self.loaded);
        let task = tokio::task::spawn_blocking(move || work(&loaded, &|| stopped.load(Ordering::Relaxed)));
        task.await.unwrap_or_else(|error| {
            let fault = || Error::Internal { reason: format!("local model: {error}") };
            (0..n).map(|_| Err(fault())).collect()
        })
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The results of prompts of which some were refused before any was run: a fault of the run becomes the fault of each that has
/// no result yet.
fn results<T>(results: Vec<Option<Result<T>>>, ran: Result<()>) -> Vec<Result<T>> {
    let fault = || match &ran {
        Err(Error::Interrupted) => Error::Interrupted,
        Err(error) => Error::Internal { reason: format!("local model: {error}") },
        Ok(()) => Error::Internal { reason: "local model: a prompt was not run".to_owned() },
    };
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(fault()))).collect()
}

impl Loaded {
    /// Refuses what the model's context cannot hold.
    fn check_length(&self, needed: usize) -> Result<()> {
        let context_length = self.model.config().n_context;
        if needed > context_length {
            return Err(Error::ContextTooShort { model: self.name.to_string(), needed, context_length });
        }
        Ok(())
    }
}

#[async_trait]
impl LanguageModel for LocalModel {
    fn name(&self) -> &ModelName {
        &self.loaded.name
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            context_length: Some(self.loaded.model.config().n_context),
            prompt_log_probabilities: true,
            reply_log_probabilities: true,
        }
    }

    fn count_prompt_tokens(&self, request: &Request) -> Result<usize> {
        Ok(self.loaded.prompts.conversation(&request.messages)?.len())
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.loaded.prompts.plain(text).ok().map(|token_ids| token_ids.len())
    }

    async fn complete_all(&self, calls: &[Call]) -> Vec<Result<Reply>> {
        let calls = calls.to_vec();
        self.run(calls.len(), move |loaded, stopped| loaded.complete_all(&calls, stopped)).await
    }

    async fn read_slots_all(&self, prompts: &[SlotPrompt]) -> Vec<Result<Reading<Vec<SlotReading>>>> {
        let prompts = prompts.to_vec();
        let read = self.run(prompts.len(), move |loaded, stopped| loaded.read_slots_all(&prompts, stopped)).await;
        read.into_iter().map(|read| read.map(Reading::unstored)).collect()
    }

    async fn losses_all(&self, continuations: &[Continuation]) -> Vec<Result<Reading<Vec<f64>>>> {
        let continuations = continuations.to_vec();
        let read =
            self.run(continuations.len(), move |loaded, stopped| loaded.losses_all(&continuations, stopped)).await;
        read.into_iter().map(|read| read.map(Reading::unstored)).collect()
    }
}

#[cfg(test)]
mod tests;
