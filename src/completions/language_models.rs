//! The language models of one session: by name, with one account, one set of limits and one store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use url::Url;

use super::LanguageModel;
use super::budget::{Budget, BudgetLimit, Spent};
use super::durable::{DurableModel, EndpointEncoder};
use super::http::key::ApiKey;
use super::http::{Api, HttpModel, HttpOptions, OPENAI};
use super::limits::{LimitOptions, Limits};
use super::local::LocalModel;
use super::model_name::{Engine, ModelName};
use super::permission::Permission;
use super::prices::Prices;
use super::replay::ReplayModel;
use super::store::CompletionStore;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::models::generation::placement::Placement;
use crate::tables::lake::Lake;

/// What a session may say about its language models. The key of an endpoint comes from the environment only.
#[derive(Clone, Debug, Default)]
pub struct LanguageModelOptions {
    /// Where `openai:` models are asked; OpenAI itself when absent.
    pub base_url: Option<String>,
    /// Through which interface.
    pub api: Api,
    /// How fast and how patiently.
    pub limits: LimitOptions,
    /// A table of prices; `prices.toml` of the lake when absent.
    pub prices: Option<PathBuf>,
    /// The most that endpoints may cost.
    pub budget: Option<BudgetLimit>,
    /// Whether calls are only counted: then no key is wanted.
    pub counts_only: bool,
    /// What `local:` models are computed on.
    pub placement: Placement,
    /// Which of them may be asked.
    pub permission: Permission,
    /// Where replies are kept; without a lake they are not.
    pub lake: Option<Lake>,
}

/// Every language model of a session.
#[derive(Debug)]
pub struct LanguageModels {
    http: HttpOptions,
    placement: Placement,
    permission: Permission,
    store: Option<Arc<CompletionStore>>,
    models: Mutex<HashMap<ModelName, Arc<dyn LanguageModel>>>,
}

impl LanguageModels {
    /// Reads prices and the environment; no model is loaded and nothing is sent.
    ///
    /// # Errors
    /// [`Error::Argument`] for an address that is none, and as [`Prices::from_file`].
    pub fn open(options: LanguageModelOptions) -> Result<Self> {
        let text = options.base_url.as_deref().unwrap_or(OPENAI);
        let base_url = Url::parse(text).map_err(|error| Error::Argument {
            argument: "--base-url".to_owned(),
            expected: "an http:// or https:// address, such as http://127.0.0.1:8080/v1".to_owned(),
            // Not the address itself: it may hold a password.
            got: format!("{error}"),
        })?;
        let folder = options.lake.as_ref().and_then(Lake::local_path);
        let bucket = options.lake.as_ref().and_then(Lake::bucket);
        let prices = match (&options.prices, &folder, bucket) {
            (Some(path), ..) => Prices::from_file(path)?,
            (None, Some(folder), _) => Prices::of_lake(folder)?,
            (None, None, Some(bucket)) => {
                let (address, text) = bucket.prices();
                Prices::of_text(&address, text)?
            }
            (None, None, None) => Prices::embedded()?,
        };
        let store = options.lake.as_ref().map(CompletionStore::open).transpose()?.map(Arc::new);
        let http = HttpOptions {
            key: ApiKey::from_environment(&base_url),
            base_url,
            api: options.api,
            limits: Arc::new(Limits::new(options.limits)),
            budget: Arc::new(Budget::new(options.budget)),
            prices: Arc::new(prices),
            counts_only: options.counts_only,
        };
        Ok(Self { http, placement: options.placement, permission: options.permission, store, models: Mutex::default() })
    }

    /// A model by its name, loaded the first time; over the store where there is a lake. Loading a model file takes seconds.
    ///
    /// # Errors
    /// When the model's file cannot be read, or an endpoint wants a key and there is none; [`Error::Refused`] for one that may not
    /// be asked.
    pub fn get(&self, name: &ModelName) -> Result<Arc<dyn LanguageModel>> {
        self.permission.check(name)?;
        // Held while loading: two who ask at once get one model.
        let mut models = self.models.lock();
        if let Some(model) = models.get(name) {
            return Ok(Arc::clone(model));
        }
        let here = |model: Arc<dyn LanguageModel>| -> Arc<dyn LanguageModel> {
            match &self.store {
                Some(store) => Arc::new(DurableModel::new(model, Arc::clone(store))),
                None => model,
            }
        };
        let model = match name.engine {
            Engine::Local => here(Arc::new(LocalModel::load(&name.model, self.placement)?)),
            Engine::Replay => here(Arc::new(ReplayModel::load(&name.model)?)),
            Engine::OpenAi => {
                let endpoint = Arc::new(HttpModel::new(name.clone(), self.http.clone())?);
                match &self.store {
                    Some(store) => Arc::new(DurableModel::over_endpoint(endpoint, Arc::clone(store))),
                    None => endpoint as Arc<dyn LanguageModel>,
                }
            }
        };
        models.insert(name.clone(), Arc::clone(&model));
        Ok(model)
    }

    /// Which models may be asked.
    pub(crate) fn permission(&self) -> &Permission {
        &self.permission
    }

    /// The encoder behind an endpoint's `/embeddings`, by the model's name.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model that is not an endpoint's, and as [`LanguageModels::get`].
    pub fn text_encoder(&self, name: &ModelName) -> Result<Arc<dyn TextEncoder>> {
        if name.engine != Engine::OpenAi {
            return Err(Error::Argument {
                argument: "sentence encoder".to_owned(),
                expected: "openai:NAME or local:FOLDER".to_owned(),
                got: name.to_string(),
            });
        }
        let endpoint = Arc::new(HttpModel::new(name.clone(), self.http.clone())?);
        Ok(Arc::new(EndpointEncoder::new(endpoint, self.store.clone())))
    }

    /// US dollars that tokens of a model cost; 0 for a model run in this process, `None` where no price is known.
    pub fn dollars(&self, name: &ModelName, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        match name.engine {
            Engine::Local | Engine::Replay => Some(0.0),
            Engine::OpenAi => {
                self.http.prices.price(&name.model).map(|price| {
                    (price.prompt * prompt_tokens as f64 + price.completion * completion_tokens as f64) / 1e6
                })
            }
        }
    }

    /// What this session spent on endpoints, and how often the store answered for nothing.
    pub fn spent(&self) -> Spent {
        let from_store = self.store.as_ref().map_or(0, |store| store.n_served());
        Spent { from_store, ..self.http.budget.spent() }
    }

    /// Waits for calls that were under way when their query ended; to be called before a process that asked models ends.
    pub async fn settled(&self) {
        if let Some(store) = &self.store {
            store.settled().await;
        }
    }

    /// Moves stored replies into the table `completions`: to be called at the end of a stage. The number of rows written.
    ///
    /// # Errors
    /// As [`CompletionStore::fold`].
    pub async fn fold(&self) -> Result<usize> {
        match &self.store {
            Some(store) => store.fold().await,
            None => Ok(0),
        }
    }
}
