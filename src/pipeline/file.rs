//! `pipeline.toml`: everything that a run takes, in a file; the words are those of `neuronlake run`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::settings::{Regenerate, Settings};
use crate::completions::http::Api;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::{Error, Result};
use crate::functions::FirstToken;
use crate::models::device::Device;
use crate::models::generation::placement::{Placement, Precision};
use crate::neurons::selection::NeuronSelection;
use crate::session::Engine;

pub mod check;
pub mod faults;
pub mod run;

use faults::{Faults, PipelineFaults};

/// One name or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum Names {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl Names {
    /// All of them.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name.clone()],
            Self::Many(names) => names.clone(),
        }
    }
}

/// A whole `pipeline.toml`. Every key may be left out; a corpus and a model are then those inside the program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineFile {
    /// What the pipeline is called in logs, metrics and leases.
    pub name: Option<String>,
    /// Where the tables are.
    pub lake: String,
    /// Where queries are computed.
    pub engine: Engine,
    /// The most that the endpoints of one run may cost.
    pub budget: Option<String>,
    /// Seed of every draw.
    pub seed: u64,
    /// Corpora.
    pub sources: Vec<Source>,
    /// Subject models with their hook points.
    pub models: Vec<Model>,
    /// How the models are run over the corpora.
    pub collection: Collection,
    /// What explains.
    pub explanations: Explanations,
    /// What simulates, judges and scores.
    pub scores: Scores,
    /// Where language models are and how fast they may be asked.
    pub language_models: LanguageModelSection,
    /// When it runs.
    pub schedule: Option<Schedule>,
    /// What is kept of old versions.
    pub retention: Retention,
}

impl Default for PipelineFile {
    fn default() -> Self {
        Self {
            name: None,
            lake: "./lake".to_owned(),
            engine: Engine::Local,
            budget: None,
            seed: 0,
            sources: vec![Source::default()],
            models: vec![Model::default()],
            collection: Collection::default(),
            explanations: Explanations::default(),
            scores: Scores::default(),
            language_models: LanguageModelSection::default(),
            schedule: None,
            retention: Retention::default(),
        }
    }
}

/// `[[sources]]`: a corpus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// A file, pattern, folder or URL.
    pub corpus: String,
    /// JSON field or Parquet column of the text.
    pub field: Option<String>,
    /// Read at most so many documents.
    pub limit: Option<u64>,
    /// Length from which plain text is cut into documents.
    pub document_chars: Option<usize>,
}

impl Default for Source {
    fn default() -> Self {
        Self { corpus: "default".to_owned(), field: None, limit: None, document_chars: None }
    }
}

/// `[[models]]`: a subject model and what is read of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// A folder or file, or `default`.
    pub model: String,
    /// Hook points.
    pub hook: Names,
    /// Only these layers.
    pub layers: Option<String>,
    /// Only these neurons.
    pub neurons: String,
    /// `keep` or `mask`.
    pub first_token: Option<FirstToken>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            model: "default".to_owned(),
            hook: Names::One("blocks.*.mlp.hook_post".to_owned()),
            layers: None,
            neurons: "all".to_owned(),
            first_token: None,
        }
    }
}

/// `[collection]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collection {
    /// Tokens of a window.
    pub window: usize,
    /// `document` or `paper`.
    pub split: String,
    /// Also write firings above this quantile.
    pub firings_above: Option<f64>,
    /// GiB for the state of a pass.
    pub memory: f64,
    /// Folder of pipeline queries.
    pub queries: Option<PathBuf>,
}

impl Default for Collection {
    fn default() -> Self {
        Self { window: 64, split: "document".to_owned(), firings_above: None, memory: 4.0, queries: None }
    }
}

/// `[explanations]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Explanations {
    /// What writes explanations.
    pub explainer: Names,
    /// Explanations of each unit.
    pub samples: usize,
    /// Rounds of revision.
    pub revise: usize,
}

impl Default for Explanations {
    fn default() -> Self {
        Self { explainer: Names::One("token_lookup".to_owned()), samples: 1, revise: 0 }
    }
}

/// `[scores]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scores {
    /// What simulates explanations; what goes with the explainer when empty.
    pub simulator: Names,
    /// What else judges them.
    pub scorer: Names,
    /// Windows of each sample.
    pub windows: usize,
    /// `none`, `linear` or `percentile`.
    pub calibration: String,
    /// Whether ablation scores are computed.
    pub ablation: bool,
    /// Whether methods are used that cannot tell true from false.
    pub force: bool,
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            simulator: Names::Many(Vec::new()),
            scorer: Names::Many(Vec::new()),
            windows: 5,
            calibration: "none".to_owned(),
            ablation: false,
            force: false,
        }
    }
}

/// `[language_models]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageModelSection {
    /// Address of the endpoint.
    pub base_url: Option<String>,
    /// `chat` or `text`: the interface of the endpoint.
    pub api: Api,
    /// Calls in flight.
    pub concurrency: usize,
    /// Calls a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Seconds of one try.
    pub time_out: u64,
    /// A table of prices.
    pub prices: Option<PathBuf>,
    /// `cpu`, `cuda` or `auto`.
    pub device: String,
    /// `f32`, `bf16` or `f16`.
    pub precision: String,
}

impl Default for LanguageModelSection {
    fn default() -> Self {
        Self {
            base_url: None,
            api: Api::default(),
            concurrency: 32,
            requests_per_minute: None,
            tokens_per_minute: None,
            time_out: 120,
            prices: None,
            device: "auto".to_owned(),
            precision: "f32".to_owned(),
        }
    }
}

/// `[schedule]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields, or six with seconds first.
    pub cron: String,
    /// Where its hours are those of.
    #[serde(default = "utc")]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// `[retention]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days that files of old versions are kept.
    pub days: u64,
    /// Whether a scheduled run ends with maintenance.
    pub maintain: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: 7, maintain: false }
    }
}

/// One subject model over one corpus.
#[derive(Debug, Clone)]
pub struct Part {
    /// What is run.
    pub settings: Settings,
    /// Its number among the models and among the sources, 0-based.
    pub place: (usize, usize),
}

/// A file that was read, with the lines of its keys.
#[derive(Debug, Clone)]
pub struct ReadFile {
    /// What it says; keys that could not be used have their defaults.
    pub file: PipelineFile,
    /// Where it is.
    pub path: PathBuf,
    pub(crate) text: String,
    pub(crate) faults: Vec<faults::FieldFault>,
}

impl ReadFile {
    /// Reads a file. Faults of its form are kept, not returned: a check tells them with all others.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(Self::parse(path, &text))
    }

    /// As [`ReadFile::open`], of a text.
    pub fn parse(path: &Path, text: &str) -> Self {
        let mut faults = Faults::new(text);
        let (mut document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            faults.syntax(error);
        }
        let file = loop {
            match PipelineFile::deserialize(Deserializer::from(document.clone())) {
                Ok(file) => break file,
                Err(error) => {
                    let removed = error.span().and_then(|at| remove(document.get_mut(), &at, &mut Vec::new()));
                    faults.form(&error, removed.as_deref());
                    // A fault that stands nowhere would be found again and again.
                    if removed.is_none() {
                        break PipelineFile::default();
                    }
                }
            }
        };
        Self { file, path: path.to_owned(), text: text.to_owned(), faults: faults.into_list() }
    }

    /// Refuses a file with faults of its form.
    ///
    /// # Errors
    /// [`Error::PipelineFile`] with all of them.
    pub fn well_formed(self) -> Result<Self> {
        match self.faults.is_empty() {
            true => Ok(self),
            false => Err(PipelineFaults { path: self.path, faults: self.faults }.into()),
        }
    }

    /// The pipeline's name: its own, or the file's.
    pub fn name(&self) -> String {
        let stem = || self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        self.file.name.clone().unwrap_or_else(stem)
    }
}

/// Takes the smallest entry away that holds the bytes `at`; its path.
fn remove(table: &mut DeTable<'_>, at: &std::ops::Range<usize>, path: &mut Vec<String>) -> Option<String> {
    let holds = |span: std::ops::Range<usize>| span.start <= at.start && at.end <= span.end;
    let key =
        table.iter().find(|(key, value)| holds(key.span()) || holds(value.span()) || spans_inner(value, at))?.0.clone();
    path.push(key.get_ref().to_string());
    let inner = match table.get_mut(&key).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, at, path),
        Some(DeValue::Array(list)) => {
            let mut found = None;
            for (index, item) in list.iter_mut().enumerate() {
                if let DeValue::Table(inner) = item.get_mut() {
                    let length = path.len();
                    path.push(index.to_string());
                    found = remove(inner, at, path);
                    if found.is_some() {
                        break;
                    }
                    path.truncate(length);
                }
            }
            found
        }
        _ => None,
    };
    inner.or_else(|| {
        table.remove(&key)?;
        Some(faults::shown(path))
    })
}

/// Whether a key of a table inside the value stands at `at`: the span of a table in brackets is its heading alone.
fn spans_inner(value: &Spanned<DeValue<'_>>, at: &std::ops::Range<usize>) -> bool {
    let holds = |span: std::ops::Range<usize>| span.start <= at.start && at.end <= span.end;
    match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().any(|(key, value)| holds(key.span()) || holds(value.span()) || spans_inner(value, at))
        }
        DeValue::Array(list) => list.iter().any(|item| holds(item.span()) || spans_inner(item, at)),
        _ => false,
    }
}

impl PipelineFile {
    /// Every model over every corpus, in the order of the file: models, and the corpora of each.
    ///
    /// # Errors
    /// [`Error::Argument`] for a list of layers or neurons that is none.
    pub fn parts(&self, regenerate: Regenerate, only: Option<&str>) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (at_model, model) in self.models.iter().enumerate() {
            for (at_source, source) in self.sources.iter().enumerate() {
                let settings = self.settings(model, source, regenerate, only)?;
                parts.push(Part { settings, place: (at_model, at_source) });
            }
        }
        Ok(parts)
    }

    fn settings(&self, model: &Model, source: &Source, regenerate: Regenerate, only: Option<&str>) -> Result<Settings> {
        Ok(Settings {
            model: model.model.clone(),
            corpus: source.corpus.clone(),
            field: source.field.clone(),
            limit: source.limit,
            document_chars: source.document_chars,
            hooks: model.hook.list(),
            layers: model.layers.as_deref().map(layers).transpose()?.unwrap_or_default(),
            neurons: NeuronSelection::parse(&model.neurons)?,
            window_length: self.collection.window,
            split_strategy: self.collection.split.clone(),
            first_token: model.first_token,
            seed: self.seed,
            windows: self.scores.windows,
            explainers: self.explanations.explainer.list(),
            simulators: self.scores.simulator.list(),
            scorers: self.scores.scorer.list(),
            samples: self.explanations.samples,
            revisions: self.explanations.revise,
            calibration: self.scores.calibration.clone(),
            ablation: self.scores.ablation,
            force: self.scores.force,
            firings_above: self.collection.firings_above,
            memory_limit: (self.collection.memory * f64::from(1 << 30)) as usize,
            from: only.map(str::to_owned),
            to: only.map(str::to_owned),
            queries: self.collection.queries.clone(),
            regenerate,
            ..Settings::default()
        })
    }

    /// Where language models are, how fast they may be asked, and what they may cost.
    ///
    /// # Errors
    /// [`Error::Argument`] for a budget, device or precision that is none.
    pub fn languages(&self) -> Result<LanguageModelOptions> {
        let section = &self.language_models;
        let placement =
            Placement { device: section.device.parse::<Device>()?, precision: section.precision.parse::<Precision>()? };
        placement.check()?;
        let defaults = LanguageModelOptions::default();
        let mut limits = defaults.limits;
        limits.in_flight = section.concurrency;
        limits.requests_per_minute = section.requests_per_minute;
        limits.tokens_per_minute = section.tokens_per_minute;
        limits.time_out = Duration::from_secs(section.time_out);
        Ok(LanguageModelOptions {
            base_url: section.base_url.clone(),
            api: section.api,
            limits,
            placement,
            prices: section.prices.clone(),
            budget: self.budget.as_deref().map(str::parse).transpose()?,
            ..defaults
        })
    }
}

/// Layers of a list such as `0,3-5`.
///
/// # Errors
/// [`Error::Argument`] for a text that is no such list.
pub fn layers(text: &str) -> Result<Vec<usize>> {
    let fault = || Error::Argument {
        argument: "--layers".to_owned(),
        expected: "a list such as 0,3 or 0-5".to_owned(),
        got: text.to_owned(),
    };
    let mut layers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| fault());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(fault());
        }
        layers.extend((first..=last).map(usize::from));
    }
    Ok(layers)
}

#[cfg(test)]
mod tests;
