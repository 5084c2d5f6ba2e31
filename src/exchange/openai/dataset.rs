//! The dataset as parts: which units there are, which of their files are wanted, and where they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use async_trait::async_trait;
use serde_json::json;

use super::read_part::{Files, Wanted, read_part};
use super::read_unit::{Authors, hook_point};
use crate::error::{Error, Result};
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::importer::{Importer, Outlet};
use crate::exchange::known::{Kept, Known};
use crate::exchange::source::{Source, blocking};
use crate::exchange::unit::{UnitData, UnitKey};

/// Units that are read together.
const UNITS_OF_PART: usize = 24;

/// The kinds of files, in the order in which they are read: an explanation's windows are looked for among the records.
pub(crate) const KINDS: [(&str, &str, Kept); 5] = [
    ("collated-activations", "json", Kept::Statistics),
    ("explanations", "jsonl", Kept::Explanations),
    ("related-neurons/weight-based", "json", Kept::Links),
    ("related-tokens/activation-based", "json", Kept::TokenMeans),
    ("related-tokens/weight-based", "json", Kept::TokenEffects),
];

/// What is known of a model of the dataset: folder below the root, layers, neurons of a layer.
const MODELS: [(&str, &str, i32, i32); 2] = [("gpt2-xl", "data", 48, 6_400), ("gpt2", "gpt2_small_data", 12, 3_072)];

/// How exactly the probabilities of a simulator's numbers are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distributions {
    /// To the nearest multiple of 1/4096: at most 1/8192 (0.00012) off. Expected activations and scores are read from their own
    /// fields and do not change.
    #[default]
    Rounded,
    /// All digits that 32 bits hold: two to five times the room.
    Exact,
}

/// Which part of the dataset is wanted, and what its files do not say.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    /// Root of the dataset, or the folder with `collated-activations`.
    pub address: String,
    /// Subject model id: `gpt2-xl`, `gpt2`, or another that has the same layout.
    pub model: String,
    /// Corpus id for the windows.
    pub corpus: String,
    /// Layers; empty for all there are.
    pub layers: Vec<i32>,
    /// Neurons of each layer; empty for all there are.
    pub neurons: Vec<RangeInclusive<i32>>,
    /// Method that wrote the explanations.
    pub explainer: String,
    /// Model behind it.
    pub explainer_model: Option<String>,
    /// Method that simulated them.
    pub simulator: String,
    /// Model behind it.
    pub simulator_model: Option<String>,
    /// How exactly simulators' distributions are kept.
    pub distributions: Distributions,
    /// Files asked for at the same time, of a store.
    pub concurrency: usize,
}

impl DatasetOptions {
    /// The dataset of a model at an address, with what is published about it: GPT-4 wrote and simulated all at once what is there of
    /// GPT-2 XL; of other models the method is taken to be the same and the model behind it is not known.
    pub fn new(address: impl Into<String>, model: impl Into<String>) -> Self {
        let model = model.into();
        let behind = (model == MODELS[0].0).then(|| "openai:gpt-4".to_owned());
        Self {
            address: address.into(),
            model,
            corpus: "webtext".to_owned(),
            layers: Vec::new(),
            neurons: Vec::new(),
            explainer: "token_activation".to_owned(),
            explainer_model: behind.clone(),
            simulator: "all_at_once".to_owned(),
            simulator_model: behind,
            distributions: Distributions::default(),
            concurrency: 32,
        }
    }
}

/// The importer of the dataset.
#[derive(Debug)]
pub struct Dataset {
    options: DatasetOptions,
    source: Source,
}

/// Some neurons of one layer.
#[derive(Debug)]
pub struct Part {
    layer: i32,
    neurons: Vec<i32>,
}

impl Dataset {
    /// Finds the folder of the model.
    ///
    /// # Errors
    /// [`ExchangeError::NoSuchSource`] when neither the address nor the model's folder below it holds any of the dataset's files.
    pub async fn open(options: DatasetOptions) -> Result<Self> {
        let root = Source::open(&options.address, options.concurrency)?;
        let below = MODELS.iter().find(|(model, ..)| *model == options.model).map(|(_, folder, ..)| *folder);
        let folders: Vec<&str> = std::iter::once("").chain(below).chain(MODELS.map(|(_, folder, ..)| folder)).collect();
        let probes = probes(&options);
        for (index, folder) in folders.iter().enumerate() {
            if folders[..index].contains(folder) {
                continue;
            }
            // Another model's folder is none of ours when this one has its own.
            if below.is_some_and(|below| !folder.is_empty() && *folder != below) {
                continue;
            }
            let source = if folder.is_empty() { root.clone() } else { root.folder(folder) };
            let found = match source.local_path() {
                Some(path) => KINDS.iter().any(|(kind, ..)| path.join(kind).is_dir()),
                None => source.get_all(probes.clone()).await?.iter().any(Option::is_some),
            };
            if found {
                return Ok(Self { options, source });
            }
        }
        let tried: Vec<String> = below.into_iter().map(|folder| format!("'{folder}'")).collect();
        let also = if tried.is_empty() { String::new() } else { format!(", here or in {}", tried.join(" or ")) };
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, ..)| *kind).collect();
        Err(ExchangeError::NoSuchSource {
            source_url: root.shown().to_owned(),
            expected: format!("a folder with one of {}{also}", kinds.join(", ")),
            got: "none of them".to_owned(),
        }
        .into())
    }

    fn unit(&self, layer: i32, neuron: i32) -> UnitData {
        UnitData {
            unit: UnitKey {
                model: self.options.model.clone(),
                hook_point: hook_point(layer),
                layer: Some(layer),
                neuron,
                corpus: self.options.corpus.clone(),
            },
            statistics: None,
            records: Vec::new(),
            explanations: Vec::new(),
            token_means: Vec::new(),
            token_effects: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The neurons of each layer that any file is there of; a store that cannot list is taken to have the model's.
    async fn units(&self) -> Result<BTreeMap<i32, BTreeSet<i32>>> {
        let options = &self.options;
        let known = MODELS.iter().find(|(model, ..)| *model == options.model);
        let in_list = |neuron: i32| options.neurons.is_empty() || options.neurons.iter().any(|r| r.contains(&neuron));
        if let Some(path) = self.source.local_path() {
            let (path, layers) = (path.to_owned(), options.layers.clone());
            let mut units = blocking(move || listed(&path, &layers)).await?;
            units.values_mut().for_each(|neurons| neurons.retain(|neuron| in_list(*neuron)));
            // What was asked for by number is looked for, and counted as missing.
            for layer in &options.layers {
                let asked = options.neurons.iter().flat_map(Clone::clone);
                units.entry(*layer).or_default().extend(asked);
            }
            return Ok(units);
        }
        let fault = |flag: &str, what: &str| Error::Argument {
            argument: flag.to_owned(),
            expected: format!(
                "{what}, because a web address cannot be listed and model '{}' is unknown",
                options.model
            ),
            got: String::new(),
        };
        let layers: Vec<i32> = match (options.layers.as_slice(), known) {
            ([], None) => return Err(fault("--layers", "a list of layers")),
            ([], Some((_, _, n_layers, _))) => (0..*n_layers).collect(),
            (layers, _) => layers.to_vec(),
        };
        let neurons: BTreeSet<i32> = match (options.neurons.as_slice(), known) {
            ([], None) => return Err(fault("--neurons", "a list of neurons")),
            ([], Some((.., n_neurons))) => (0..*n_neurons).collect(),
            (ranges, _) => ranges.iter().flat_map(Clone::clone).collect(),
        };
        Ok(layers.into_iter().map(|layer| (layer, neurons.clone())).collect())
    }
}

#[async_trait]
impl Importer for Dataset {
    type Part = Part;

    fn format(&self) -> &'static str {
        "openai"
    }

    fn model(&self) -> &str {
        &self.options.model
    }

    fn corpus(&self) -> &str {
        &self.options.corpus
    }

    fn parameters(&self) -> serde_json::Value {
        let options = &self.options;
        json!({
            "source": self.source.shown(),
            "layers": options.layers,
            "neurons": options.neurons.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect::<Vec<_>>(),
            "explainer": options.explainer,
            "explainer_model": options.explainer_model,
            "simulator": options.simulator,
            "simulator_model": options.simulator_model,
            "distributions": match options.distributions {
                Distributions::Rounded => "rounded",
                Distributions::Exact => "exact",
            },
        })
    }

    async fn parts(&self, _: &Known) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (layer, neurons) in self.units().await? {
            let neurons: Vec<i32> = neurons.into_iter().collect();
            parts.extend(neurons.chunks(UNITS_OF_PART).map(|neurons| Part { layer, neurons: neurons.to_vec() }));
        }
        Ok(parts)
    }

    async fn read(&self, part: Part, known: &Known, out: &mut Outlet) -> Result<()> {
        let layer = part.layer;
        let hook = hook_point(layer);
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut n_skipped = 0;
        for &neuron in &part.neurons {
            let has: Vec<bool> = KINDS.iter().map(|(.., kept)| known.has(*kept, &hook, neuron)).collect();
            if has.iter().all(|has| *has) {
                n_skipped += 1;
                continue;
            }
            // Explanations cannot be read without the records; their rows are dropped again where they are known.
            let kinds = (0..KINDS.len()).filter(|kind| !has[*kind] || (*kind == 0 && !has[1])).collect();
            wanted.push((self.unit(layer, neuron), kinds));
        }
        out.skipped(n_skipped);
        let files = match self.source.local_path() {
            Some(folder) => Files::Local(folder.to_owned()),
            None => {
                let paths = wanted.iter().flat_map(|(unit, kinds)| {
                    let neuron = unit.unit.neuron;
                    kinds.iter().map(move |kind| path(*kind, layer, neuron))
                });
                Files::Fetched(self.source.get_all(paths.collect()).await?.into_iter())
            }
        };
        let authors = Authors {
            explainer: self.options.explainer.clone(),
            explainer_model: self.options.explainer_model.clone(),
            simulator: self.options.simulator.clone(),
            simulator_model: self.options.simulator_model.clone(),
            distributions: self.options.distributions,
        };
        let (known, on_bad_file) = (known.clone(), out.on_bad_file());
        let part = blocking(move || read_part(wanted, files, &authors, &known, on_bad_file)).await?;
        part.sizes.into_iter().for_each(|size| out.file(size));
        part.missing.into_iter().for_each(|kind| out.missing(KINDS[kind].0));
        part.not_kept.into_iter().for_each(|what| out.not_kept(what));
        // Units before a fault are whole, and are kept.
        out.block(part.block).await?;
        for (neuron, kind, flaw) in part.flaws {
            let file = self.source.shown_file(&path(kind, layer, neuron));
            out.bad(Fault { file, line: flaw.line, reason: flaw.reason })?;
        }
        Ok(())
    }
}

/// A file's path below the folder of the model.
pub(crate) fn path(kind: usize, layer: i32, neuron: i32) -> String {
    let (folder, ending, _) = KINDS[kind];
    format!("{folder}/{layer}/{neuron}.{ending}")
}

/// Files that are there where a store has anything that was asked for.
fn probes(options: &DatasetOptions) -> Vec<String> {
    let layer = options.layers.first().copied().unwrap_or_default();
    let neuron = options.neurons.first().map(|range| *range.start()).unwrap_or_default();
    (0..KINDS.len()).map(|kind| path(kind, layer, neuron)).collect()
}

/// The neurons of each layer that a local folder has any file of.
fn listed(root: &std::path::Path, layers: &[i32]) -> Result<BTreeMap<i32, BTreeSet<i32>>> {
    let mut units: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    for (kind, ending, _) in KINDS {
        let folder = root.join(kind);
        for (layer, path) in numbered(&folder, None)? {
            if !layers.is_empty() && !layers.contains(&layer) {
                continue;
            }
            let neurons = numbered(&path, Some(ending))?;
            units.entry(layer).or_default().extend(neurons.into_iter().map(|(neuron, _)| neuron));
        }
    }
    Ok(units)
}

/// Entries of a folder whose name, without this ending, is a number; none when the folder is not there.
fn numbered(folder: &std::path::Path, ending: Option<&str>) -> Result<Vec<(i32, std::path::PathBuf)>> {
    let fault = |source| Error::File { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        if path.extension().and_then(|ending| ending.to_str()) != ending {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u32>().ok());
        if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
            found.push((number, path));
        }
    }
    Ok(found)
}
