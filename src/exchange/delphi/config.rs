//! What a run says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `run_config.json`; every field may be missing in files of other versions.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RunConfig {
    pub(super) model: Option<String>,
    pub(super) sparse_model: Option<String>,
    pub(super) explainer_model: Option<String>,
    pub(super) explainer_provider: Option<String>,
    pub(super) cache_cfg: Option<CacheConfig>,
    pub(super) sampler_cfg: Option<SamplerConfig>,
    pub(super) constructor_cfg: Option<ConstructorConfig>,
    pub(super) neuronlake: Option<Extra>,
}

/// How latents were cached: a part of the run's file, and `config.json` beside each hookpoint's latents.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct CacheConfig {
    pub(super) dataset_repo: Option<String>,
    pub(super) model_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct SamplerConfig {
    pub(super) n_quantiles: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ConstructorConfig {
    pub(super) non_activating_source: Option<String>,
}

/// What our own exports add.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Extra {
    /// Hook point of each module.
    pub(super) hook_points: BTreeMap<String, String>,
    pub(super) corpus: String,
    pub(super) explainer: Option<String>,
    pub(super) explainer_model: Option<String>,
}

impl RunConfig {
    /// Quantiles that activating windows are divided into.
    pub(super) fn n_quantiles(&self) -> u32 {
        self.sampler_cfg.as_ref().and_then(|sampler| sampler.n_quantiles).filter(|n| *n > 0).unwrap_or(N_QUANTILES)
    }

    /// Who wrote the explanations, and the model behind it.
    pub(super) fn explainer(&self) -> (String, Option<String>) {
        if let Some(Extra { explainer: Some(explainer), explainer_model, .. }) = &self.neuronlake {
            return (explainer.clone(), explainer_model.clone());
        }
        let source = self.constructor_cfg.as_ref().and_then(|constructor| constructor.non_activating_source.as_deref());
        let explainer = if source == Some("FAISS") { "delphi_contrastive" } else { "delphi_default" };
        (explainer.to_owned(), self.judge())
    }

    /// The model that explains and judges: one for both.
    pub(super) fn judge(&self) -> Option<String> {
        let model = self.explainer_model.as_ref()?;
        Some(match &self.explainer_provider {
            Some(provider) => format!("{provider}:{model}"),
            None => model.clone(),
        })
    }

    /// How a simulator of this run asks: about all tokens at once where it has log-probabilities, else for numbers as text.
    pub(super) fn simulator(&self) -> &'static str {
        if self.explainer_provider.as_deref() == Some("openrouter") { "log_probability_free" } else { "all_at_once" }
    }
}

/// delphi's own default.
pub(super) const N_QUANTILES: u32 = 10;
