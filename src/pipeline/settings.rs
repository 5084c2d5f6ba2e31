//! What a run is about: the user's settings, and the plan made of them once the model is known.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use url::Url;

use super::queries::Parameter;
use crate::documents::DEFAULT_DOCUMENT_CHARS;
use crate::error::{Error, Result};
use crate::explanations::token_lookup::TOKEN_LOOKUP;
use crate::functions::{CollectionOptions, FirstToken};
use crate::hash;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::selection::NeuronSelection;
use crate::session::Session;
use crate::tables::store::shown;

/// What a run computes of what the lake has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Regenerate {
    /// Nothing: only what is missing, and other settings than those of the rows that are there are refused.
    #[default]
    Missing,
    /// What was made with another recipe, or is older than what it was made of.
    Changed,
    /// Everything that was selected.
    All,
}

/// Everything a user may choose about a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Subject model: `default`, a folder or a file.
    pub model: String,
    /// Corpus: `default`, a path, pattern or URL.
    pub corpus: String,
    /// JSON field or Parquet column of the text.
    pub field: Option<String>,
    /// Read at most so many documents.
    pub limit: Option<u64>,
    /// Length from which a plain-text file is cut into documents, in characters; `None` for the default.
    pub document_chars: Option<usize>,
    /// Hook points, as names or patterns with `*`.
    pub hooks: Vec<String>,
    /// Only hook points of these layers; empty for all.
    pub layers: Vec<usize>,
    /// Only these neurons of each hook point.
    pub neurons: NeuronSelection,
    /// Tokens of a window.
    pub window_length: usize,
    /// Tokens that the last window of a document must have to be kept.
    pub window_minimum: usize,
    /// `document` or `paper`.
    pub split_strategy: String,
    /// What is done with the first token of a window; by the model's family when `None`.
    pub first_token: Option<FirstToken>,
    /// Seed of every draw.
    pub seed: u64,
    /// Windows of each sample that a score is made of.
    pub windows: usize,
    /// Split that scores are computed on.
    pub score_split: String,
    /// What writes explanations: methods and models such as `token_lookup` or `summary@openai:gpt-4o`.
    pub explainers: Vec<String>,
    /// What simulates them; empty for what goes with the explainers.
    pub simulators: Vec<String>,
    /// What else judges them, such as `detection@openai:gpt-4o`.
    pub scorers: Vec<String>,
    /// Explanations that an explainer with a language model writes of every unit; the best on split calibration is scored.
    pub samples: usize,
    /// Rounds of revision.
    pub revisions: usize,
    /// `none`, `linear` or `percentile`: what simulated values are brought to the unit's scale by.
    pub calibration: String,
    /// Whether ablation scores are computed.
    pub ablation: bool,
    /// Whether simulators and scorers are used that cannot tell true from false explanations of planted units.
    pub force: bool,
    /// Also write every firing above this quantile of its unit.
    pub firings_above: Option<f64>,
    /// Also write every firing of the latents of autoencoders.
    pub encode: bool,
    /// Bytes that the state of a collection pass may take.
    pub memory_limit: usize,
    /// First stage.
    pub from: Option<String>,
    /// Last stage.
    pub to: Option<String>,
    /// Folder whose pipeline queries replace those inside the program.
    pub queries: Option<PathBuf>,
    /// What is computed of what is there already.
    pub regenerate: Regenerate,
}

impl Settings {
    /// The corpus as tables name it: its address without a password or a signature.
    pub fn corpus_id(&self) -> String {
        match Url::parse(&self.corpus) {
            Ok(url) if self.corpus.contains("://") => shown(&url),
            _ => self.corpus.clone(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: "default".to_owned(),
            corpus: "default".to_owned(),
            field: None,
            limit: None,
            document_chars: None,
            hooks: vec!["blocks.*.mlp.hook_post".to_owned()],
            layers: Vec::new(),
            neurons: NeuronSelection::All,
            window_length: 64,
            window_minimum: 16,
            split_strategy: "document".to_owned(),
            first_token: None,
            seed: 0,
            windows: 5,
            score_split: "valid".to_owned(),
            explainers: vec![TOKEN_LOOKUP.to_owned()],
            simulators: Vec::new(),
            scorers: Vec::new(),
            samples: 1,
            revisions: 0,
            calibration: "none".to_owned(),
            ablation: false,
            force: false,
            firings_above: None,
            encode: false,
            memory_limit: 4 << 30,
            from: None,
            to: None,
            queries: None,
            regenerate: Regenerate::Missing,
        }
    }
}

/// Settings checked against the model.
#[derive(Debug)]
pub struct Plan {
    /// The settings.
    pub settings: Settings,
    /// The subject model.
    pub model: Arc<SubjectModel>,
    /// Hook points, in order of computation.
    pub hook_points: Vec<HookPoint>,
    parameters: Vec<(String, Parameter)>,
    corpus_hash: OnceCell<Option<String>>,
}

impl Plan {
    /// Loads the model and checks what can be checked before any work is done.
    ///
    /// # Errors
    /// When the model cannot be loaded, a hook point or layer does not exist, or a neuron is out of range.
    pub fn new(session: &Session, settings: &Settings) -> Result<Self> {
        let model = session.models().get(&settings.model)?;
        let hook_points = hook_points(&model, settings)?;
        for hook in &hook_points {
            settings.neurons.units(hook)?;
        }
        if settings.window_length == 0 || settings.window_length > model.config().n_context {
            return Err(Error::Argument {
                argument: "--window".to_owned(),
                expected: format!("1 to {} tokens, the context of model '{}'", model.config().n_context, model.id()),
                got: settings.window_length.to_string(),
            });
        }
        let parameters = parameters(settings, &model, &hook_points);
        Ok(Self { settings: settings.clone(), model, hook_points, parameters, corpus_hash: OnceCell::new() })
    }

    /// SHA-256 over the texts of the corpus in order, hex; `None` for a corpus without documents. Asked for only once the
    /// stage of the documents is over, so it is worked out once.
    ///
    /// # Errors
    /// When the documents cannot be read.
    pub async fn corpus_hash(&self, session: &Session) -> Result<Option<String>> {
        let hash = self.corpus_hash.get_or_try_init(|| corpus_hash(session, self.settings.corpus_id())).await?;
        Ok(hash.clone())
    }

    /// The value of every parameter that is the same for the whole run.
    pub fn parameters(&self) -> &[(String, Parameter)] {
        &self.parameters
    }
}

fn hook_points(model: &SubjectModel, settings: &Settings) -> Result<Vec<HookPoint>> {
    let mut chosen: Vec<HookPoint> = Vec::new();
    for pattern in &settings.hooks {
        for hook in model.select_hook_points(pattern)? {
            let wanted = settings.layers.is_empty() || hook.layer().is_some_and(|l| settings.layers.contains(&l));
            if wanted && !chosen.contains(&hook) {
                chosen.push(hook);
            }
        }
    }
    let missing = settings.layers.iter().find(|&&layer| !chosen.iter().any(|hook| hook.layer() == Some(layer)));
    if let Some(layer) = missing {
        return Err(Error::Argument {
            argument: "--layers".to_owned(),
            expected: format!("layers of '{}' in model '{}'", settings.hooks.join(","), model.id()),
            got: layer.to_string(),
        });
    }
    Ok(chosen)
}

fn parameters(settings: &Settings, model: &SubjectModel, hook_points: &[HookPoint]) -> Vec<(String, Parameter)> {
    let text = |value: &str| Parameter::Text(value.to_owned());
    let integer = |value: usize| Parameter::Integer(value as i64);
    let corpus_options = json!({
        "field": settings.field,
        "limit": settings.limit,
        "document_chars": settings.document_chars.unwrap_or(DEFAULT_DOCUMENT_CHARS),
    });
    let first_token = settings.first_token.unwrap_or_else(|| FirstToken::default_of(model));
    let collection = CollectionOptions {
        seed: settings.seed,
        split: settings.split_strategy.clone(),
        first_token: Some(first_token),
        hook_points: hook_points.iter().map(|hook| hook.name().to_owned()).collect(),
        memory_limit: settings.memory_limit,
    };
    let (first_neuron, last_neuron) = settings.neurons.bounds();
    let list = [
        ("model", text(model.id())),
        ("model_source", text(&settings.model)),
        ("corpus", Parameter::Text(settings.corpus_id())),
        ("corpus_url", text(&settings.corpus)),
        ("corpus_options", Parameter::Text(corpus_options.to_string())),
        ("window_length", integer(settings.window_length)),
        ("window_minimum", integer(settings.window_minimum)),
        ("split_strategy", text(&settings.split_strategy)),
        ("seed", Parameter::Integer(settings.seed.cast_signed())),
        ("neurons", Parameter::Text(settings.neurons.to_string())),
        ("first_neuron", integer(first_neuron as usize)),
        ("last_neuron", integer(last_neuron as usize)),
        ("collection", Parameter::Text(json!(collection).to_string())),
        ("samples", integer(settings.samples)),
        ("split", text(&settings.score_split)),
        ("windows", integer(settings.windows)),
        ("firings_above", Parameter::Number(settings.firings_above.unwrap_or(1.0).to_string())),
    ];
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Each text goes into the hash with its length before it, so that no other cut gives the same bytes.
async fn corpus_hash(session: &Session, corpus: String) -> Result<Option<String>> {
    let sql =
        format!("SELECT text FROM documents WHERE corpus = {} ORDER BY document", Parameter::Text(corpus).to_sql());
    let mut stream = session.sql(&sql).await?.execute_stream().await?;
    let mut digest = Sha256::new();
    let mut empty = true;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let texts = cast(batch.column(0), &DataType::Utf8)?;
        for text in texts.as_string::<i32>().iter().flatten() {
            empty = false;
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
    Ok((!empty).then(|| hash::hex(&digest.finalize())))
}
