//! Explainers, simulators and judges by the names that users give them, with the models behind them.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::completions::LanguageModel;
use crate::completions::language_models::LanguageModels;
use crate::completions::method::MethodName;
use crate::completions::model_name::{Engine, ModelName};
use crate::embeddings::TextEncoder;
use crate::embeddings::encoder::SentenceEncoder;
use crate::error::{Error, Result};
use crate::explanations::explainer::Explainer;
use crate::judgements::judge::Judge;
use crate::simulations::simulator::Simulator;

/// A method and what it asks.
#[derive(Debug, Clone)]
pub struct Method<M> {
    /// The method.
    pub method: M,
    /// The language model behind it, where it has one.
    pub model: Option<Arc<dyn LanguageModel>>,
    /// The text encoder behind it, where it has one.
    pub encoder: Option<Arc<dyn TextEncoder>>,
}

impl<M> Method<M> {
    /// The model's name as tables have it; `None` for a method without a model.
    pub fn model_name(&self) -> Option<String> {
        match (&self.model, &self.encoder) {
            (Some(model), _) => Some(model.name().to_string()),
            (None, Some(encoder)) => Some(encoder.name().to_owned()),
            (None, None) => None,
        }
    }
}

/// Finds methods by name; models and encoders are loaded on first use and kept.
#[derive(Debug)]
pub struct MethodRegistry {
    models: LanguageModels,
    encoders: Mutex<HashMap<String, Arc<dyn TextEncoder>>>,
}

impl MethodRegistry {
    /// Methods over these language models.
    pub fn new(models: LanguageModels) -> Self {
        Self { models, encoders: Mutex::default() }
    }

    /// The language models.
    pub fn models(&self) -> &LanguageModels {
        &self.models
    }

    /// The explainer of a name; a model alone stands for `token_activation` on it.
    ///
    /// # Errors
    /// [`Error::MethodUnknown`], [`Error::MethodModel`], and whatever loading the model reports.
    pub fn explainer(&self, name: &str) -> Result<Method<Explainer>> {
        self.find(
            "explainer",
            name,
            |_| Explainer::TokenActivation,
            |explainer: Explainer| Needs::of(explainer.needs_model(), false),
        )
    }

    /// The simulator of a name; a model alone stands for `log_probability_free` on an endpoint and `all_at_once` in this process.
    ///
    /// # Errors
    /// As [`MethodRegistry::explainer`].
    pub fn simulator(&self, name: &str) -> Result<Method<Simulator>> {
        // Endpoints rarely tell log-probabilities inside a prompt, and one call a token is dear: one call a window works everywhere.
        let default = |model: &dyn LanguageModel| match model.name().engine {
            Engine::OpenAi => Simulator::LogProbabilityFree,
            Engine::Local | Engine::Replay => Simulator::default_for(model.abilities()),
        };
        self.find("simulator", name, default, |simulator: Simulator| {
            Needs::of(simulator.needs_model(), simulator.needs_encoder())
        })
    }

    /// The judge of a name; a model alone stands for `detection` on it.
    ///
    /// # Errors
    /// As [`MethodRegistry::explainer`].
    pub fn judge(&self, name: &str) -> Result<Method<Judge>> {
        self.find(
            "scorer",
            name,
            |_| Judge::Detection,
            |judge: Judge| Needs::of(judge.needs_model(), judge.needs_encoder()),
        )
    }

    fn find<M: FromStr<Err = Error> + Copy>(
        &self,
        kind: &'static str,
        name: &str,
        default: impl Fn(&dyn LanguageModel) -> M,
        needs: impl Fn(M) -> Needs,
    ) -> Result<Method<M>> {
        let MethodName { method, model } = MethodName::parse(name)?;
        let fault = |method: &str, reason: &str| Error::MethodModel {
            kind,
            method: method.to_owned(),
            reason: reason.to_owned(),
        };
        let Some(method) = method else {
            // Only a model was named: `MethodName` has one of the two.
            let model = self.models.get(&model.ok_or_else(|| fault(name, "expected a method or a model"))?)?;
            return Ok(Method { method: default(model.as_ref()), model: Some(model), encoder: None });
        };
        let parsed: M = method.parse()?;
        match (needs(parsed), model) {
            (Needs::Nothing, None) => Ok(Method { method: parsed, model: None, encoder: None }),
            (Needs::Nothing, Some(_)) => Err(fault(&method, "expected no language model behind it")),
            (Needs::Model, Some(model)) => {
                Ok(Method { method: parsed, model: Some(self.models.get(&model)?), encoder: None })
            }
            (Needs::Model, None) => {
                Err(fault(&method, &format!("expected a language model behind it, such as {method}@openai:gpt-4o")))
            }
            (Needs::Encoder, model) => {
                Ok(Method { method: parsed, model: None, encoder: Some(self.encoder(model.as_ref())?) })
            }
        }
    }

    /// The text encoder of a name as searches take it: a folder, `openai:NAME`, or the default one.
    ///
    /// # Errors
    /// As for loading one.
    pub(crate) fn text_encoder(&self, name: Option<&str>) -> Result<Arc<dyn TextEncoder>> {
        let name = match name {
            None => None,
            Some(name) if name.contains(':') => Some(name.parse()?),
            Some(folder) => Some(ModelName { engine: Engine::Local, model: folder.to_owned() }),
        };
        self.encoder(name.as_ref())
    }

    /// The text encoder of a folder, or the default one.
    fn encoder(&self, name: Option<&ModelName>) -> Result<Arc<dyn TextEncoder>> {
        if let Some(name) = name {
            self.models.permission().check(name)?;
        }
        // Held while loading: two callers must not both fill the memory with one model.
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        let key = name.map(ToString::to_string).unwrap_or_default();
        if let Some(encoder) = encoders.get(&key) {
            return Ok(Arc::clone(encoder));
        }
        let encoder: Arc<dyn TextEncoder> = match name {
            None => Arc::new(SentenceEncoder::load_default()?),
            Some(ModelName { engine: Engine::Local, model }) => Arc::new(SentenceEncoder::load(Path::new(model))?),
            Some(other) => self.models.text_encoder(other)?,
        };
        encoders.insert(key, Arc::clone(&encoder));
        Ok(encoder)
    }
}

/// What a method asks.
enum Needs {
    Nothing,
    Model,
    Encoder,
}

impl Needs {
    fn of(needs_model: bool, needs_encoder: bool) -> Self {
        match (needs_model, needs_encoder) {
            (true, _) => Self::Model,
            (false, true) => Self::Encoder,
            (false, false) => Self::Nothing,
        }
    }
}
