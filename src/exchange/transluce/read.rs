//! The import: exemplars of every layer, then the explanations of its neurons.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::exemplars::{self, Folders, Texts};
use super::rows::{self, Config, ExemplarConfig, ExemplarSplit, NeuronFile};
use crate::error::{Error, Result};
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::importer::{Importer, Outlet};
use crate::exchange::known::Known;
use crate::exchange::loose_json;
use crate::exchange::neuronpedia::names;
use crate::exchange::pump::pump;
use crate::exchange::source::{Source, blocking};
use crate::exchange::unit::{UnitData, UnitKey};
use crate::models::tokenizer::Tokenizer;

/// Neurons whose files, or exemplars, are read together.
const NEURONS: usize = 32;

/// What the folder does not tell.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Subject model id, in place of the one in the folder's settings.
    pub model: Option<String>,
    /// Corpus id, in place of the data sets' names.
    pub corpus: Option<String>,
    /// `tokenizer.json` of the subject model, which turns the exemplars' token ids into texts.
    pub tokenizer: Option<PathBuf>,
    /// Token id that windows are filled up with on the left.
    pub pad: Option<u32>,
    /// Whether exemplars are read.
    pub exemplars: Exemplars,
}

/// Whether exemplars are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exemplars {
    /// They are, where there are any.
    #[default]
    Read,
    /// Explanations, simulations and scores only.
    LeaveOut,
}

/// An import of explanations and exemplars below one folder.
pub struct Transluce {
    folder: Source,
    settings: Settings,
    model: String,
    corpus: String,
    explainer_model: Option<String>,
    simulator_model: Option<String>,
    explanations: BTreeMap<i32, Vec<(i32, String)>>,
    exemplars: BTreeMap<i32, Folders>,
    texts: Option<Arc<Texts>>,
}

/// Some neurons of a layer.
#[derive(Debug)]
pub struct Part {
    layer: i32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Exemplars(usize),
    Explanations(Vec<(i32, String)>),
}

impl Transluce {
    /// Looks at what is below a folder.
    ///
    /// # Errors
    /// [`ExchangeError::NoSuchSource`] when there is neither, or when the model or the tokenizer is not known.
    pub async fn open(folder: Source, settings: Settings) -> Result<Self> {
        let paths = folder.list("", "an observatory folder").await?;
        let mut explanations: BTreeMap<i32, Vec<(i32, String)>> = BTreeMap::new();
        let mut exemplars: BTreeMap<i32, Folders> = BTreeMap::new();
        for path in &paths {
            if let Some((layer, neuron)) = neuron_of(path) {
                explanations.entry(layer).or_default().push((neuron, path.clone()));
            } else if let Some((split, layer, below)) = exemplars_of(path)
                && settings.exemplars == Exemplars::Read
            {
                let root = folder.local_path().ok_or_else(|| ExchangeError::NoSuchSource {
                    source_url: folder.shown().to_owned(),
                    expected: "exemplars in a local folder, or --no-exemplars".to_owned(),
                    got: "a store, whose arrays cannot be mapped into memory".to_owned(),
                })?;
                exemplars.entry(layer).or_default().insert(split, root.join(below));
            }
        }
        explanations.values_mut().for_each(|files| files.sort());
        let refused = |expected: &str, got: &str| ExchangeError::NoSuchSource {
            source_url: folder.shown().to_owned(),
            expected: expected.to_owned(),
            got: got.to_owned(),
        };
        if explanations.is_empty() && exemplars.is_empty() {
            let expected = "explanations/<layer>/<neuron>.json, or <split>/layer<n>/max_seq_acts.npy";
            return Err(refused(expected, "no file of either kind").into());
        }
        let config: Config = config(&folder, &paths, "explanation_config.json").await?.unwrap_or_default();
        let own: Option<ExemplarConfig> = self::config(&folder, &paths, "exemplar_config.json").await?;
        let own = own.or_else(|| config.exemplar_config.clone()).unwrap_or_default();
        let model = settings.model.clone().or(own.hf_model_id);
        let model = model.ok_or_else(|| {
            refused("hf_model_id in explanation_config.json or exemplar_config.json, or --model NAME", "neither")
        })?;
        let datasets: Vec<String> = own.hf_dataset_configs.into_iter().map(|dataset| dataset.hf_dataset_id).collect();
        let joined = (!datasets.is_empty()).then(|| datasets.join("+"));
        let corpus = settings.corpus.clone().or(joined).unwrap_or_else(|| "observatory".to_owned());
        let texts = match &settings.tokenizer {
            _ if exemplars.is_empty() => None,
            Some(path) => Some(Arc::new(Texts { tokenizer: tokenizer(path.clone()).await?, pad: settings.pad })),
            None => {
                let expected = "--tokenizer with the model's tokenizer.json, because exemplars name tokens by number only, \
                                or --no-exemplars";
                return Err(refused(expected, "neither").into());
            }
        };
        Ok(Self {
            folder,
            settings,
            model,
            corpus,
            explainer_model: config.explainer_model_name.as_deref().map(names::model),
            simulator_model: config.simulator_model_name.as_deref().map(names::model),
            explanations,
            exemplars,
            texts,
        })
    }
}

async fn tokenizer(path: PathBuf) -> Result<Tokenizer> {
    blocking(move || {
        if path.is_dir() {
            return Tokenizer::from_folder(&path, None);
        }
        let json = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Tokenizer::from_json(&json, &path, None)
    })
    .await
}

/// The settings file of this name nearest to the top.
async fn config<T: DeserializeOwned>(folder: &Source, paths: &[String], name: &str) -> Result<Option<T>> {
    let named = paths.iter().filter(|path| path.rsplit('/').next() == Some(name));
    let Some(path) = named.min_by_key(|path| path.matches('/').count()) else { return Ok(None) };
    let Some(bytes) = folder.get(path).await? else { return Ok(None) };
    loose_json::parse(&bytes).map(Some).map_err(|error| {
        ExchangeError::BadFile(Fault::in_line(folder.shown_file(path), error.line(), error.to_string())).into()
    })
}

/// Layer and neuron of `explanations/<layer>/<neuron>.json`.
fn neuron_of(path: &str) -> Option<(i32, i32)> {
    let mut parts = path.rsplit('/');
    let neuron = parts.next()?.strip_suffix(".json")?.parse().ok()?;
    let layer = parts.next()?.parse().ok()?;
    (parts.next()? == "explanations" && neuron >= 0 && layer >= 0).then_some((layer, neuron))
}

/// Split, layer and folder of `<split>/layer<n>/<max or min>_seq_acts.npy`.
fn exemplars_of(path: &str) -> Option<(ExemplarSplit, i32, &str)> {
    let folder = ["/max_seq_acts.npy", "/min_seq_acts.npy"].iter().find_map(|end| path.strip_suffix(end))?;
    let (above, layer) = folder.rsplit_once('/')?;
    let layer = layer.strip_prefix("layer")?.parse().ok()?;
    let name = above.rsplit('/').next()?;
    let (split, _) = ExemplarSplit::ALL.into_iter().find(|(_, known)| *known == name)?;
    Some((split, layer, folder))
}

fn unit(model: &str, corpus: &str, layer: i32, neuron: i32) -> UnitData {
    UnitData {
        unit: UnitKey {
            model: model.to_owned(),
            hook_point: format!("blocks.{layer}.mlp.hook_post"),
            layer: Some(layer),
            neuron,
            corpus: corpus.to_owned(),
        },
        statistics: None,
        records: Vec::new(),
        explanations: Vec::new(),
        token_means: Vec::new(),
        token_effects: Vec::new(),
        links: Vec::new(),
    }
}

#[async_trait]
impl Importer for Transluce {
    type Part = Part;

    fn format(&self) -> &'static str {
        "transluce"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn corpus(&self) -> &str {
        &self.corpus
    }

    fn parameters(&self) -> serde_json::Value {
        let Settings { model, corpus, tokenizer, pad, exemplars } = &self.settings;
        serde_json::json!({
            "source": self.folder.shown(), "model": model, "corpus": corpus, "tokenizer": tokenizer, "pad": pad,
            "exemplars": *exemplars == Exemplars::Read,
        })
    }

    async fn parts(&self, _known: &Known) -> Result<Vec<Part>> {
        let layers: std::collections::BTreeSet<i32> =
            self.exemplars.keys().chain(self.explanations.keys()).copied().collect();
        let mut parts = Vec::new();
        for layer in layers {
            if let Some(folders) = self.exemplars.get(&layer).cloned() {
                let n = blocking(move || exemplars::n_neurons(&folders)).await?;
                // A layer whose arrays are damaged has one part, which tells so.
                parts.extend((0..n.max(1)).step_by(NEURONS).map(|first| Part { layer, kind: Kind::Exemplars(first) }));
            }
            let files = self.explanations.get(&layer).map(Vec::as_slice).unwrap_or_default();
            parts.extend(files.chunks(NEURONS).map(|lot| Part { layer, kind: Kind::Explanations(lot.to_vec()) }));
        }
        Ok(parts)
    }

    async fn read(&self, part: Part, _known: &Known, out: &mut Outlet) -> Result<()> {
        let (model, corpus, layer) = (self.model.clone(), self.corpus.clone(), part.layer);
        match part.kind {
            Kind::Exemplars(first) => {
                let (Some(texts), Some(folders)) = (self.texts.clone(), self.exemplars.get(&layer).cloned()) else {
                    return Err(Error::internal("exemplars without a tokenizer or folder"));
                };
                let empty = move |neuron| unit(&model, &corpus, layer, neuron);
                pump(out, move |pump| exemplars::read(&folders, first..first + NEURONS, &texts, empty, pump)).await
            }
            Kind::Explanations(files) => {
                let contents = self.folder.get_all(files.iter().map(|(_, path)| path.clone()).collect()).await?;
                let shown: Vec<String> = files.iter().map(|(_, path)| self.folder.shown_file(path)).collect();
                let models = (self.explainer_model.clone(), self.simulator_model.clone());
                pump(out, move |pump| {
                    for (((neuron, _), shown), bytes) in files.into_iter().zip(&shown).zip(contents) {
                        let Some(bytes) = bytes else { continue };
                        pump.file(bytes.len() as u64)?;
                        let empty = unit(&model, &corpus, layer, neuron);
                        match neuron_file(&bytes, shown, empty, (models.0.as_deref(), models.1.as_deref())) {
                            Ok((unit, notes)) => {
                                for note in notes {
                                    pump.not_kept(note)?;
                                }
                                pump.unit(unit)?;
                            }
                            Err(fault) => pump.bad(fault)?,
                        }
                    }
                    Ok(())
                })
                .await
            }
        }
    }
}

/// The unit that a file is about, and what of it is not kept.
pub(super) fn neuron_file(
    bytes: &[u8],
    shown: &str,
    mut unit: UnitData,
    (explainer_model, simulator_model): (Option<&str>, Option<&str>),
) -> Result<(UnitData, Vec<&'static str>), Fault> {
    let file: NeuronFile =
        loose_json::parse(bytes).map_err(|error| Fault::in_line(shown, error.line(), error.to_string()))?;
    let (layer, neuron) = (file.neuron_id.layer_index, file.neuron_id.neuron_index);
    if (Some(layer), neuron) != (unit.unit.layer, unit.unit.neuron) {
        let expected = (unit.unit.layer.unwrap_or_default(), unit.unit.neuron);
        let reason =
            format!("expected neuron {} of layer {}, got neuron {neuron} of layer {layer}", expected.1, expected.0);
        return Err(Fault::of(shown, reason));
    }
    let mut notes = Vec::new();
    for (sign, explanations) in file.explanations {
        for (number, row) in explanations.unwrap_or_default().into_iter().enumerate() {
            let (explanation, found) = rows::explanation(row, sign, number, explainer_model, simulator_model)
                .map_err(|reason| Fault::of(shown, format!("explanation {number}: {reason}")))?;
            unit.explanations.push(explanation);
            notes.extend(found);
        }
    }
    Ok((unit, notes))
}
