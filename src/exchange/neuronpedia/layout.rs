//! What a folder holds: dumps of sources, or batches of SAEDashboard.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::dashboard::{self, Header};
use super::hook;
use super::rows::{FeatureRow, SourceRow};
use super::units::{self, Shared};
use crate::error::{Error, Result};
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::lines::Input;
use crate::exchange::loose_json;
use crate::exchange::source::{Source, blocking};
use crate::exchange::unit::layer_of;

/// What to import of what is there, and what the dump does not tell.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The model, where the folder holds several; its own id in the dump.
    pub model: Option<String>,
    /// Source ids; all without one.
    pub sources: Vec<String>,
    /// Base hook points: `HOOK` for every source, or `SOURCE=HOOK`.
    pub hooks: Vec<String>,
    /// Corpus id for the tables, where the dump's own is not wanted.
    pub corpus: Option<String>,
}

impl Selection {
    fn wants(&self, model: &str, source: &str) -> bool {
        let right_model = self.model.as_deref().is_none_or(|wanted| wanted == model);
        right_model && (self.sources.is_empty() || self.sources.iter().any(|wanted| wanted == source))
    }

    /// The hook point that the user gave for a source.
    fn hook(&self, source: &str) -> Option<&str> {
        let own = self.hooks.iter().find_map(|hook| hook.split_once('=').filter(|(name, _)| *name == source));
        let for_all = || self.hooks.iter().find(|hook| !hook.contains('=')).map(String::as_str);
        own.map(|(_, hook)| hook).or_else(for_all)
    }
}

/// Files of one source.
#[derive(Debug, Clone)]
pub(super) struct Dump {
    pub(super) source: String,
    pub(super) shared: Shared,
    /// Paths of the batches in the order of their numbers.
    pub(super) files: Files,
}

/// Paths of batches, by what they hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) features: Vec<String>,
    pub(super) activations: Vec<String>,
    pub(super) explanations: Vec<String>,
    pub(super) scores: Vec<String>,
    pub(super) dashboards: Vec<String>,
}

impl Files {
    fn of(&mut self, kind: &str) -> Option<&mut Vec<String>> {
        match kind {
            "features" => Some(&mut self.features),
            "activations" => Some(&mut self.activations),
            "explanations" => Some(&mut self.explanations),
            "scores" => Some(&mut self.scores),
            _ => None,
        }
    }

    fn sort(&mut self) {
        let Self { features, activations, explanations, scores, dashboards } = self;
        for files in [features, activations, explanations, scores, dashboards] {
            files.sort_by_key(|path| (batch_number(path), path.clone()));
            // A file and its packed copy are one batch.
            files.dedup_by_key(|path| batch_number(path).map(|number| (number, folder_of(path).to_owned())));
        }
    }

    fn first(&self) -> Option<&String> {
        self.features.first().or(self.activations.first()).or(self.explanations.first())
    }
}

/// Finds the sources below a folder that the selection wants, in the order of their hook points.
///
/// # Errors
/// When there is none, when the hook point of one is not known, or when they are of several models or corpora.
pub(super) async fn dumps(folder: &Source, selection: &Selection) -> Result<Vec<Dump>> {
    let mut found = Vec::new();
    for (path, files) in folders(folder).await? {
        for (source, model, files, row) in sources_of(folder, &path, files).await? {
            if !selection.wants(&model, &source) {
                continue;
            }
            let base = base_hook(&source, row.as_ref(), &files, selection, folder).await?;
            let told = row.as_ref().and_then(SourceRow::extra).map(|extra| extra.hook_point);
            let hook_point = told.unwrap_or_else(|| hook::hook_point(&source, &base));
            let dataset = row.as_ref().and_then(|row| row.dataset.clone()).filter(|dataset| !dataset.is_empty());
            let shared = Shared {
                layer: layer_of(&hook_point),
                model,
                corpus: selection.corpus.clone().or(dataset).unwrap_or_else(|| "neuronpedia".to_owned()),
                base,
                n_tokens: row.as_ref().and_then(units::n_tokens),
                hook_point,
            };
            found.push(Dump { source, shared, files });
        }
    }
    found.sort_by(|a, b| (a.shared.layer, &a.shared.hook_point).cmp(&(b.shared.layer, &b.shared.hook_point)));
    let refused = |expected: &str, got: String| {
        Err(ExchangeError::NoSuchSource { source_url: folder.shown().to_owned(), expected: expected.to_owned(), got }
            .into())
    };
    let Some(first) = found.first() else {
        return refused(
            "a Neuronpedia dump (<source>/features/batch-0.jsonl.gz and its like) or SAEDashboard's batch-0.json",
            "no such file of a source that is wanted".to_owned(),
        );
    };
    if let Some(other) = found.iter().find(|dump| dump.shared.model != first.shared.model) {
        let got = format!("'{}' and '{}'", first.shared.model, other.shared.model);
        return refused("one model, or --model NAME to choose one", got);
    }
    if let Some(other) = found.iter().find(|dump| dump.shared.corpus != first.shared.corpus) {
        let got = format!("'{}' and '{}'", first.shared.corpus, other.shared.corpus);
        return refused("sources of one corpus, --sources to choose some, or --corpus NAME for all of them", got);
    }
    Ok(found)
}

/// Batches by the folder of their source.
async fn folders(folder: &Source) -> Result<BTreeMap<String, Files>> {
    let paths = match folder.list("", "a Neuronpedia dump").await {
        Ok(paths) => paths,
        Err(Error::Exchange(ExchangeError::CannotList { .. })) => probe(folder).await?,
        Err(error) => return Err(error),
    };
    let mut folders: BTreeMap<String, Files> = BTreeMap::new();
    for path in paths {
        if batch_number(&path).is_none() {
            continue;
        }
        let above = folder_of(&path);
        if path.ends_with(".json") {
            folders.entry(above.to_owned()).or_default().dashboards.push(path);
            continue;
        }
        let (source, kind) = above.rsplit_once('/').unwrap_or(("", above));
        if let Some(files) = folders.entry(source.to_owned()).or_default().of(kind) {
            files.push(path);
        }
    }
    folders.retain(|_, files| files.first().is_some() || !files.dashboards.is_empty());
    folders.values_mut().for_each(Files::sort);
    Ok(folders)
}

/// Batches of one source's folder on a server that lists nothing: those from 0 up to the first that is not there.
async fn probe(folder: &Source) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for kind in ["features", "activations", "explanations", "scores"] {
        for number in 0.. {
            let path = format!("{kind}/batch-{number}.jsonl.gz");
            // The whole file is fetched again when its turn comes; a server without listing has no cheaper way to ask.
            if folder.get(&path).await?.is_none() {
                break;
            }
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(ExchangeError::CannotList {
            folder: folder.shown().to_owned(),
            needed_for: "anything but the folder of one source".to_owned(),
        }
        .into());
    }
    Ok(found)
}

/// The number of `batch-<n>.jsonl.gz`, `batch-<n>.jsonl` or `batch-<n>.json`.
fn batch_number(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?.strip_prefix("batch-")?;
    let number = [".jsonl.gz", ".jsonl", ".json"].iter().find_map(|end| name.strip_suffix(end))?;
    number.parse().ok()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "modelId")]
    model: Option<String>,
    layer: Option<String>,
}

type Found = (String, String, Files, Option<SourceRow>);

/// The sources of one folder: one of a dump; of SAEDashboard's batches, as many as their headers name.
async fn sources_of(folder: &Source, path: &str, files: Files) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    if let Some(first) = files.first() {
        let row = source_row(folder, path).await?;
        let head = first_line(folder, first).await?;
        let names: Vec<&str> = path.rsplit('/').collect();
        let source = row.as_ref().and_then(|row| row.id.clone()).or(head.layer);
        let source = source.or_else(|| names.first().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()));
        let model = row.as_ref().and_then(|row| row.model.clone()).or(head.model);
        let model = model.or_else(|| names.get(1).map(|name| (*name).to_owned()));
        let (Some(source), Some(model)) = (source, model) else {
            let reason = "expected 'modelId' and 'layer' in the first line, or in source.jsonl, got neither";
            return Err(ExchangeError::BadFile(Fault::in_line(folder.shown_file(first), 1, reason)).into());
        };
        let dump = Files { dashboards: Vec::new(), ..files.clone() };
        found.push((source, model, dump, row));
    }
    for file in files.dashboards {
        let Some(input) = Input::of(folder, &file).await? else { continue };
        // Other programs call files so too: what does not begin like a batch is none.
        let Some(Header { model, source }) = blocking(move || dashboard::header(&input)).await? else { continue };
        match found.iter_mut().find(|(id, of, ..)| (id, of) == (&source, &model)) {
            Some((_, _, files, _)) => files.dashboards.push(file),
            None => {
                let files = Files { dashboards: vec![file], ..Files::default() };
                found.push((source, model, files, None));
            }
        }
    }
    Ok(found)
}

async fn source_row(folder: &Source, path: &str) -> Result<Option<SourceRow>> {
    let file = if path.is_empty() { "source.jsonl".to_owned() } else { format!("{path}/source.jsonl") };
    let Some(bytes) = folder.get(&file).await? else { return Ok(None) };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    loose_json::parse(line)
        .map(Some)
        .map_err(|error| ExchangeError::BadFile(Fault::in_line(folder.shown_file(&file), 1, error.to_string())).into())
}

async fn first_line(folder: &Source, path: &str) -> Result<Head> {
    let Some(input) = Input::of(folder, path).await? else { return Ok(Head { model: None, layer: None }) };
    blocking(move || {
        let shown = input.shown.clone();
        let mut lines = input.lines()?;
        let bad = |line, reason: String| ExchangeError::BadFile(Fault::in_line(shown.clone(), line, reason)).into();
        match lines.next() {
            // An empty file says nothing; a damaged one is reported when it is read.
            Ok(None) | Err(_) => Ok(Head { model: None, layer: None }),
            Ok(Some((number, line))) => {
                loose_json::parse(line).map_err(|error: serde_json::Error| bad(number, error.to_string()))
            }
        }
    })
    .await
}

/// Where a source reads: as our own export says, as the user says, as the dump says, or as its name is known to mean.
async fn base_hook(
    source: &str,
    row: Option<&SourceRow>,
    files: &Files,
    selection: &Selection,
    folder: &Source,
) -> Result<String> {
    if let Some(extra) = row.and_then(SourceRow::extra) {
        return Ok(hook::parts(&extra.hook_point).0.to_owned());
    }
    if let Some(hook) = selection.hook(source) {
        return Ok(hook.to_owned());
    }
    if let Some(hook) = row.and_then(SourceRow::hook_name) {
        return Ok(hook.to_owned());
    }
    if let Some(hook) = first_hook_name(folder, files).await? {
        return Ok(hook);
    }
    hook::known_base(source).ok_or_else(|| {
        ExchangeError::NoSuchSource {
            source_url: folder.shown().to_owned(),
            expected: format!(
                "the hook point of source '{source}': give --hook, e.g. --hook '{source}=blocks.0.hook_resid_post'"
            ),
            got: "neither saelensConfig nor hookName in the dump, and a name that stands for none".to_owned(),
        }
        .into()
    })
}

/// The hook point that the first feature names.
async fn first_hook_name(folder: &Source, files: &Files) -> Result<Option<String>> {
    let Some(first) = files.features.first() else { return Ok(None) };
    let Some(input) = Input::of(folder, first).await? else { return Ok(None) };
    blocking(move || {
        let mut lines = input.lines()?;
        let row = match lines.next() {
            // Damage is reported when the file is read.
            Ok(Some((_, line))) => loose_json::parse::<FeatureRow>(line).ok(),
            _ => None,
        };
        Ok(row.and_then(|row| row.hook_name).filter(|name| !name.is_empty()))
    })
    .await
}
