//! `neuronlake pipeline check`: what can be found wrong with a file before anything is computed or paid for.

use std::str::FromStr;

use toml::de::DeTable;

use super::faults::{Faults, PipelineFaults};
use super::{PipelineFile, ReadFile, layers};
use crate::completions::budget::BudgetLimit;
use crate::completions::language_models::LanguageModelOptions;
use crate::documents::{CorpusSpec, DEFAULT_CORPUS};
use crate::error::{Error, Result};
use crate::models::device::Device;
use crate::models::generation::placement::Precision;
use crate::neurons::selection::NeuronSelection;
use crate::pipeline::queries;
use crate::pipeline::timetable::Timetable;
use crate::session::Session;
use crate::tables::lake::Lake;

/// Checks everything that a file says, and that what it names is there. The session is one of [`LanguageModelOptions`] that only
/// count: nothing is asked.
///
/// # Errors
/// [`Error::PipelineFile`] with every fault.
pub async fn check(read: &ReadFile, session: &Session) -> Result<()> {
    let mut faults = values(read);
    // Reading a document again is cheaper than keeping it beside what was made of it.
    let (document, _) = DeTable::parse_recoverable(&read.text);
    names(&read.file, document.get_ref(), session, &mut faults).await;
    done(read, faults)
}

/// Checks what can be told from the file alone.
///
/// # Errors
/// As [`check`].
pub fn check_values(read: &ReadFile) -> Result<()> {
    done(read, values(read))
}

/// The options to open the session of a check with.
pub fn counting() -> LanguageModelOptions {
    LanguageModelOptions { counts_only: true, ..LanguageModelOptions::default() }
}

fn done(read: &ReadFile, faults: Faults<'_>) -> Result<()> {
    let faults = faults.into_list();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::PipelineFile(PipelineFaults { path: read.path.clone(), faults })),
    }
}

fn values(read: &ReadFile) -> Faults<'_> {
    let mut faults = Faults::new(&read.text);
    faults.add(&read.faults);
    let (document, _) = DeTable::parse_recoverable(&read.text);
    let document = document.get_ref();
    let file = &read.file;
    let mut wants = |holds: bool, path: &[&str], expected: &str, got: String| {
        if !holds {
            faults.value(document, path, expected, &got);
        }
    };
    wants(!read.name().is_empty(), &["name"], "a name", read.name());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let named = read.name().chars().all(plain) && read.name().len() <= 100;
    wants(named, &["name"], "at most 100 letters, digits, '-', '_' and '.', as in 'nightly-gpt2'", read.name());
    wants(!file.sources.is_empty(), &["sources"], "at least one corpus", "none".to_owned());
    wants(!file.models.is_empty(), &["models"], "at least one subject model", "none".to_owned());
    let window = file.collection.window;
    wants(window > 0, &["collection", "window"], "a whole number above 0", window.to_string());
    let split = file.collection.split.as_str();
    wants(matches!(split, "document" | "paper"), &["collection", "split"], "'document' or 'paper'", split.to_owned());
    let memory = file.collection.memory;
    wants(memory > 0.0 && memory < 1e6, &["collection", "memory"], "a number of GiB above 0", memory.to_string());
    if let Some(level) = file.collection.firings_above {
        let expected = "a quantile from 0 to 1, such as 0.99";
        wants((0.0..1.0).contains(&level), &["collection", "firings_above"], expected, level.to_string());
    }
    if let Some(folder) = &file.collection.queries {
        wants(folder.is_dir(), &["collection", "queries"], "a folder that is there", folder.display().to_string());
    }
    let samples = file.explanations.samples;
    wants(samples > 0, &["explanations", "samples"], "a whole number above 0", samples.to_string());
    let explainers = file.explanations.explainer.list();
    wants(!explainers.is_empty(), &["explanations", "explainer"], "at least one explainer", "none".to_owned());
    let windows = file.scores.windows;
    wants(windows > 0, &["scores", "windows"], "a whole number above 0", windows.to_string());
    let kind = file.scores.calibration.as_str();
    let kinds = ["none", "linear", "percentile"];
    wants(kinds.contains(&kind), &["scores", "calibration"], "'none', 'linear' or 'percentile'", kind.to_owned());
    let models = &file.language_models;
    let at_once = models.concurrency;
    wants(at_once > 0, &["language_models", "concurrency"], "a whole number above 0", at_once.to_string());
    let time_out = models.time_out;
    wants(time_out > 0, &["language_models", "time_out"], "a number of seconds above 0", time_out.to_string());
    if let Some(prices) = &models.prices {
        wants(prices.is_file(), &["language_models", "prices"], "a file that is there", prices.display().to_string());
    }
    match file.budget.as_deref().map(BudgetLimit::from_str) {
        Some(Ok(BudgetLimit::Dollars(0.0) | BudgetLimit::Tokens(0))) => {
            wants(false, &["budget"], "more than nothing", file.budget.clone().unwrap_or_default());
        }
        Some(Err(error)) => faults.said(document, &["budget"], &without_argument(&error)),
        _ => {}
    }
    if let Err(error) = models.device.parse::<Device>() {
        faults.said(document, &["language_models", "device"], &without_argument(&error));
    }
    if let Err(error) = models.precision.parse::<Precision>() {
        faults.said(document, &["language_models", "precision"], &without_argument(&error));
    }
    if let Err(error) = Lake::at(&file.lake) {
        faults.said(document, &["lake"], &without_argument(&error));
    }
    for (index, model) in file.models.iter().enumerate() {
        let index = index.to_string();
        if let Some(Err(error)) = model.layers.as_deref().map(layers) {
            faults.said(document, &["models", &index, "layers"], &without_argument(&error));
        }
        if let Err(error) = NeuronSelection::parse(&model.neurons) {
            faults.said(document, &["models", &index, "neurons"], &without_argument(&error));
        }
    }
    if let Some(schedule) = &file.schedule {
        for fault in Timetable::faults(&schedule.cron, &schedule.time_zone) {
            faults.value(document, &["schedule", fault.field], &fault.expected, &fault.got);
        }
    }
    if let Err(error) = queries::pipeline(file.collection.queries.as_deref()) {
        faults.said(document, &["collection", "queries"], &error.to_string());
    }
    faults
}

/// What is named, looked for: corpora, models and their hook points, methods.
async fn names(file: &PipelineFile, document: &DeTable<'_>, session: &Session, faults: &mut Faults<'_>) {
    for (index, source) in file.sources.iter().enumerate() {
        let spec = CorpusSpec { field: source.field.clone(), ..CorpusSpec::new(source.corpus.clone()) };
        if source.corpus == DEFAULT_CORPUS {
            continue;
        }
        if let Err(error) = crate::documents::look_for(&spec).await {
            faults.said(document, &["sources", &index.to_string(), "corpus"], &error.to_string());
        }
    }
    for (index, model) in file.models.iter().enumerate() {
        let index = index.to_string();
        let found = match session.models().get(&model.model) {
            Ok(found) => found,
            Err(error) => {
                faults.said(document, &["models", &index, "model"], &error.to_string());
                continue;
            }
        };
        let (least, most) = (1, found.config().n_context);
        if !(least..=most).contains(&file.collection.window) && file.collection.window > 0 {
            let expected = format!("1 to {most} tokens, the context of model '{}'", found.id());
            faults.value(document, &["collection", "window"], &expected, &file.collection.window.to_string());
        }
        let mut hooks = Vec::new();
        for pattern in model.hook.list() {
            match found.select_hook_points(&pattern) {
                Ok(selected) => hooks.extend(selected),
                Err(error) => faults.said(document, &["models", &index, "hook"], &error.to_string()),
            }
        }
        let wanted = model.layers.as_deref().and_then(|text| layers(text).ok()).unwrap_or_default();
        for layer in wanted.iter().filter(|&&layer| !hooks.iter().any(|hook| hook.layer() == Some(layer))) {
            let expected = format!("layers of '{}' in model '{}'", model.hook.list().join(","), found.id());
            faults.value(document, &["models", &index, "layers"], &expected, &layer.to_string());
        }
        if let Ok(selection) = NeuronSelection::parse(&model.neurons) {
            let chosen = |layer: Option<usize>| wanted.is_empty() || layer.is_some_and(|layer| wanted.contains(&layer));
            let fault = hooks.iter().filter(|hook| chosen(hook.layer())).find_map(|hook| selection.units(hook).err());
            if let Some(error) = fault {
                faults.said(document, &["models", &index, "neurons"], &without_argument(&error));
            }
        }
    }
    let methods = session.methods();
    for name in file.explanations.explainer.list() {
        if let Err(error) = methods.explainer(&name) {
            faults.said(document, &["explanations", "explainer"], &error.to_string());
        }
    }
    for name in file.scores.simulator.list() {
        if let Err(error) = methods.simulator(&name) {
            faults.said(document, &["scores", "simulator"], &error.to_string());
        }
    }
    for name in file.scores.scorer.list() {
        if let Err(error) = methods.judge(&name) {
            faults.said(document, &["scores", "scorer"], &error.to_string());
        }
    }
    go_together(file, document, session, faults);
}

/// Explainers without a simulator that reads what they write.
fn go_together(file: &PipelineFile, document: &DeTable<'_>, session: &Session, faults: &mut Faults<'_>) {
    let Ok(parts) = file.parts(crate::pipeline::settings::Regenerate::Changed, None) else { return };
    let Some(part) = parts.first() else { return };
    // What is wrong with a name was told above.
    if let Err(error @ Error::MethodModel { .. }) =
        crate::pipeline::methods::Methods::find(&part.settings, session.methods())
    {
        let known = file.scores.simulator.list().iter().all(|name| session.methods().simulator(name).is_ok());
        let explained = file.explanations.explainer.list().iter().all(|name| session.methods().explainer(name).is_ok());
        if known && explained {
            faults.said(document, &["scores", "simulator"], &error.to_string());
        }
    }
}

/// The fault without the option of the command line that it names: the field stands before it.
fn without_argument(error: &Error) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((argument, rest)) if argument.starts_with("--") => rest.to_owned(),
        _ => text,
    }
}
