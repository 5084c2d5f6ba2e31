//! The import: cached latents of every module, then explanations and scores, some hundreds of latents at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::config::{CacheConfig, RunConfig};
use super::hook;
use super::latents::{self, Module};
use super::scored::{self, JUDGES, Records, SIMULATION, UnitExtra};
use super::split_file::Content;
use crate::error::{Error, Result};
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::importer::{Importer, Outlet};
use crate::exchange::known::Known;
use crate::exchange::loose_json;
use crate::exchange::pump::pump;
use crate::exchange::source::{Source, blocking};
use crate::exchange::unit::{ExchangedExplanation, layer_of};
use crate::models::tokenizer::Tokenizer;

/// Latents whose files are read together.
const LATENTS: usize = 128;

/// What the folder does not tell.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Subject model id, in place of the run's own.
    pub model: Option<String>,
    /// Corpus id, in place of the run's dataset.
    pub corpus: Option<String>,
    /// Id of the sparse coder in hook points, in place of the last part of its name.
    pub sae: Option<String>,
    /// Base hook points of modules: `MODULE=HOOK`.
    pub hooks: Vec<String>,
    /// `tokenizer.json` of the subject model, which turns the cache's token ids into texts.
    pub tokenizer: Option<PathBuf>,
    /// Whether cached latents are read.
    pub latents: Latents,
}

/// Whether cached latents are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Latents {
    /// They are, where there are any.
    #[default]
    Read,
    /// Explanations and scores only.
    LeaveOut,
}

/// An import of one run's folder.
#[derive(Debug)]
pub struct Delphi {
    folder: Source,
    settings: Settings,
    config: Arc<RunConfig>,
    model: String,
    corpus: String,
    modules: Vec<ModuleFiles>,
    tokenizer: Option<Arc<Tokenizer>>,
}

#[derive(Debug)]
struct ModuleFiles {
    name: String,
    module: Module,
    splits: Vec<String>,
    latents: BTreeSet<i32>,
}

/// One file of latents, or the texts and scores of some latents of a module.
#[derive(Debug)]
pub struct Part {
    module: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Split(String),
    Latents(Vec<i32>),
}

impl Delphi {
    /// Looks at a folder `results/<name>`.
    ///
    /// # Errors
    /// [`ExchangeError::NoSuchSource`] when it is none, or when the model, a hook point or the tokenizer is not known.
    pub async fn open(folder: Source, settings: Settings) -> Result<Self> {
        let config: RunConfig = json(&folder, "run_config.json").await?.unwrap_or_default();
        let mut found: BTreeMap<String, (Vec<String>, BTreeSet<i32>)> = BTreeMap::new();
        for path in folder.list("", "a delphi run").await? {
            if let Some((name, split)) = split_of(&path) {
                if settings.latents == Latents::Read {
                    found.entry(name.to_owned()).or_default().0.push(split);
                }
            } else if let Some((name, latent)) = latent_of(&path) {
                found.entry(name).or_default().1.insert(latent);
            }
        }
        let refused = |expected: &str, got: &str| ExchangeError::NoSuchSource {
            source_url: folder.shown().to_owned(),
            expected: expected.to_owned(),
            got: got.to_owned(),
        };
        let Some(first) = found.keys().next() else {
            let expected = "a run's folder with latents/<hookpoint>/, explanations/ or scores/";
            return Err(refused(expected, "no file of any of them").into());
        };
        let cache: CacheConfig = json(&folder, &format!("latents/{first}/config.json")).await?.unwrap_or_default();
        let model = settings.model.clone().or(config.model.clone()).or(cache.model_name);
        let model = model.ok_or_else(|| refused("a model in run_config.json, or --model NAME", "neither"))?;
        let own = config.neuronlake.as_ref();
        let dataset = config.cache_cfg.as_ref().and_then(|cache| cache.dataset_repo.clone()).or(cache.dataset_repo);
        let corpus = settings.corpus.clone().or(own.map(|own| own.corpus.clone())).or(dataset);
        let corpus = corpus.unwrap_or_else(|| "delphi".to_owned());
        let sae = match (&settings.sae, &config.sparse_model) {
            (Some(sae), _) => sae.clone(),
            (None, Some(name)) => name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_owned(),
            (None, None) => "delphi".to_owned(),
        };
        let mut modules = Vec::new();
        for (name, (mut splits, latents)) in found {
            splits.sort_by_key(|path| latents::range_of(path));
            let told = own.and_then(|own| own.hook_points.get(&name).cloned());
            let given =
                settings.hooks.iter().find_map(|hook| hook.split_once('=').filter(|(module, _)| *module == name));
            let base = given.map(|(_, base)| base.to_owned()).or_else(|| hook::base(&name));
            let hook_point = match (told, base) {
                (Some(hook_point), _) => hook_point,
                (None, Some(base)) => format!("{base}/{sae}"),
                (None, None) => {
                    let expected =
                        format!("the hook point of module '{name}': give --hook '{name}=blocks.0.hook_mlp_out'");
                    return Err(refused(&expected, "a module that stands for none").into());
                }
            };
            let layer = layer_of(&hook_point);
            let module = Module { model: model.clone(), layer, hook_point, corpus: corpus.clone() };
            modules.push(ModuleFiles { name, module, splits, latents });
        }
        modules.sort_by(|a, b| (a.module.layer, &a.module.hook_point).cmp(&(b.module.layer, &b.module.hook_point)));
        let tokenizer = match &settings.tokenizer {
            Some(path) => Some(Arc::new(tokenizer(path.clone()).await?)),
            None if modules.iter().all(|module| module.splits.is_empty()) => None,
            None => {
                let expected = "--tokenizer with the model's tokenizer.json, because cached latents name tokens by number only, \
                                or --no-latents";
                return Err(refused(expected, "neither").into());
            }
        };
        Ok(Self { folder, settings, config: Arc::new(config), model, corpus, modules, tokenizer })
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

async fn json<T: DeserializeOwned>(folder: &Source, path: &str) -> Result<Option<T>> {
    let Some(bytes) = folder.get(path).await? else { return Ok(None) };
    loose_json::parse(&bytes).map(Some).map_err(|error| {
        let fault = Fault::in_line(folder.shown_file(path), error.line(), error.to_string());
        ExchangeError::BadFile(fault).into()
    })
}

/// Module and path of a file of latents; module names may have slashes.
fn split_of(path: &str) -> Option<(&str, String)> {
    let below = path.strip_prefix("latents/")?;
    let (module, _) = below.rsplit_once('/')?;
    latents::range_of(path).map(|_| (module, path.to_owned()))
}

/// Module and latent of a file of texts or scores: `<module>_latent<n>.txt`, in scores with `--` for `/`.
fn latent_of(path: &str) -> Option<(String, i32)> {
    let name = match path.strip_prefix("scores/") {
        Some(below) => below.split_once('/')?.1.replace("--", "/"),
        None => path.strip_prefix("explanations/")?.to_owned(),
    };
    let (module, latent) = name.strip_suffix(".txt")?.rsplit_once("_latent")?;
    Some((module.to_owned(), latent.parse().ok().filter(|latent: &i32| *latent >= 0)?))
}

#[async_trait]
impl Importer for Delphi {
    type Part = Part;

    fn format(&self) -> &'static str {
        "delphi"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn corpus(&self) -> &str {
        &self.corpus
    }

    fn parameters(&self) -> serde_json::Value {
        let Settings { model, corpus, sae, hooks, tokenizer, latents } = &self.settings;
        serde_json::json!({
            "source": self.folder.shown(), "model": model, "corpus": corpus, "sae": sae, "hooks": hooks,
            "tokenizer": tokenizer, "latents": *latents == Latents::Read,
        })
    }

    async fn parts(&self, _known: &Known) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (module, files) in self.modules.iter().enumerate() {
            parts.extend(files.splits.iter().map(|path| Part { module, kind: Kind::Split(path.clone()) }));
            let latents: Vec<i32> = files.latents.iter().copied().collect();
            parts.extend(latents.chunks(LATENTS).map(|lot| Part { module, kind: Kind::Latents(lot.to_vec()) }));
        }
        Ok(parts)
    }

    async fn read(&self, part: Part, _known: &Known, out: &mut Outlet) -> Result<()> {
        let files = self.modules.get(part.module).ok_or_else(|| Error::internal("a part of no module"))?;
        match part.kind {
            Kind::Split(path) => self.read_split(&path, files, out).await,
            Kind::Latents(latents) => self.read_latents(latents, files, out).await,
        }
    }
}

impl Delphi {
    async fn read_split(&self, path: &str, files: &ModuleFiles, out: &mut Outlet) -> Result<()> {
        let (Some(tokenizer), Some(range)) = (self.tokenizer.clone(), latents::range_of(path)) else {
            return Err(Error::internal("latents without a tokenizer or range"));
        };
        let content = match self.folder.local_path() {
            Some(root) => {
                let path = root.join(path);
                blocking(move || Content::map(&path)).await?
            }
            None => match self.folder.get(path).await? {
                Some(bytes) => Content::Fetched(bytes),
                None => {
                    out.missing("latents");
                    return Ok(());
                }
            },
        };
        let (shown, module) = (self.folder.shown_file(path), files.module.clone());
        pump(out, move |pump| latents::read(&shown, &content, range, &module, &tokenizer, pump)).await
    }

    /// Explanations and scores of some latents.
    async fn read_latents(&self, latents: Vec<i32>, files: &ModuleFiles, out: &mut Outlet) -> Result<()> {
        let kinds: Vec<&str> = JUDGES.iter().map(|(folder, _)| *folder).chain([SIMULATION]).collect();
        let mut paths = Vec::new();
        for latent in &latents {
            let name = format!("{}_latent{latent}", files.name);
            let safe = name.replace('/', "--");
            paths.push(format!("explanations/{name}.txt"));
            paths.push(format!("neuronlake/{safe}.json"));
            paths.extend(kinds.iter().map(|kind| format!("scores/{kind}/{safe}.txt")));
        }
        let contents = self.folder.get_all(paths.clone()).await?;
        let shown: Vec<String> = paths.iter().map(|path| self.folder.shown_file(path)).collect();
        let (config, module) = (Arc::clone(&self.config), files.module.clone());
        let width = kinds.len() + 2;
        pump(out, move |pump| {
            for (number, latent) in latents.into_iter().enumerate() {
                let of = number * width..(number + 1) * width;
                let (shown, contents) = (&shown[of.clone()], &contents[of]);
                for bytes in contents.iter().flatten() {
                    pump.file(bytes.len() as u64)?;
                }
                let Some(text) = &contents[0] else {
                    pump.not_kept("scores of a latent without an explanation")?;
                    continue;
                };
                let bad = |error: &dyn std::fmt::Display, place: usize| Fault::of(&shown[place], error.to_string());
                let text: String = match loose_json::parse(text) {
                    Ok(text) => text,
                    Err(error) => {
                        pump.bad(bad(&error, 0))?;
                        continue;
                    }
                };
                let (explainer, explainer_model) = config.explainer();
                let mut explanation = ExchangedExplanation::new(explainer, explainer_model, 0, text);
                let mut records = Records::default();
                for (place, (_, scorer)) in JUDGES.iter().enumerate() {
                    let Some(json) = &contents[place + 2] else { continue };
                    // A file that is not read whole leaves nothing behind.
                    let before = (explanation.judgements.len(), records.records.len());
                    if let Err(reason) = scored::judged(json, scorer, &config, &mut explanation, &mut records) {
                        explanation.judgements.truncate(before.0);
                        records.forget(before.1);
                        pump.bad(bad(&reason, place + 2))?;
                    }
                }
                let place = JUDGES.len() + 2;
                if let Some(json) = &contents[place] {
                    let before = explanation.simulations.len();
                    match scored::simulated(json, &config, &mut explanation, &mut records) {
                        Ok(true) => {}
                        Ok(false) => {
                            pump.not_kept("difference: a stored correlation is not that of its own windows")?
                        }
                        Err(reason) => {
                            explanation.simulations.truncate(before);
                            pump.bad(bad(&reason, place))?;
                        }
                    }
                }
                if let Some(json) = &contents[1] {
                    match loose_json::parse::<UnitExtra>(json) {
                        Ok(extra) => {
                            explanation.scores = extra.scores.into_iter().map(|score| score.into_score()).collect();
                        }
                        Err(error) => pump.bad(bad(&error, 1))?,
                    }
                }
                let mut unit = module.unit(latent);
                unit.records = records.records;
                unit.explanations.push(explanation);
                pump.unit(unit)?;
            }
            Ok(())
        })
        .await
    }
}
