//! The export: explanations and what judges and simulators said of each window, in delphi's files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::config::{Extra, N_QUANTILES};
use super::hook;
use super::scored::{JUDGES, SIMULATION, SimulationExtra, UnitExtra};
use crate::error::{Error, Result};
use crate::exchange::exporter::Exporter;
use crate::exchange::extra::{ActivationExtra, Name, ScoreExtra};
use crate::exchange::fault::ExchangeError;
use crate::exchange::output::NewFile;
use crate::exchange::report::{Report, count};
use crate::exchange::unit::{
    ExchangedExplanation, ExchangedJudgement, ExchangedRecord, ExchangedSimulation, UnitData, UnitKey, Window,
};
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;
use crate::token_sequences::split::Split;

/// An export as a folder `results/<name>`; [`super::write_latents::write`] adds what `activations` holds.
#[derive(Debug)]
pub struct Delphi {
    root: PathBuf,
    model: Option<(String, String)>,
    explainer: Option<(String, Option<String>)>,
    modules: BTreeMap<String, Module>,
    scorers: BTreeSet<&'static str>,
    report: Report,
}

/// A simulation, the unit's values in tenths, and the file's words for both.
type Scored<'a> = (&'a ExchangedSimulation, Vec<f32>, Value);

/// A module whose units are exported.
#[derive(Debug, Clone)]
pub(super) struct Module {
    pub(super) hook_point: String,
    pub(super) neurons: BTreeSet<i32>,
}

impl Delphi {
    /// An export into this folder.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            model: None,
            explainer: None,
            modules: BTreeMap::new(),
            scorers: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// Model, corpus and modules of the units that came.
    pub(super) fn exported(&self) -> Option<(&str, &str, &BTreeMap<String, Module>)> {
        self.model.as_ref().map(|(model, corpus)| (model.as_str(), corpus.as_str(), &self.modules))
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn write(&mut self, unit: UnitData) -> Result<()> {
        let module = self.module(&unit.unit)?;
        let UnitData { unit: key, records, explanations, token_means, token_effects, links, .. } = unit;
        for (kind, n) in [
            ("token_activations", token_means.len()),
            ("token_effects", token_effects.len()),
            ("neuron_links", links.len()),
        ] {
            self.not_kept(kind, n);
        }
        self.report.n_units += 1;
        let mut used = BTreeSet::new();
        let name = format!("{module}_latent{}", key.neuron);
        let safe = name.replace('/', "--");
        let mut done = false;
        for explanation in &explanations {
            let by = (explanation.explainer.clone(), explanation.explainer_model.clone());
            if done || *self.explainer.get_or_insert_with(|| by.clone()) != by || explanation.sample_no != 0 {
                self.not_kept("explanation beside the first explainer's first one", 1);
                continue;
            }
            done = true;
            self.file(&format!("explanations/{name}.txt"), &explanation.text.as_str().into())?;
            count(&mut self.report.rows, "explanations");
            let extra = UnitExtra { scores: explanation.scores.iter().map(ScoreExtra::of).collect() };
            self.file(&format!("neuronlake/{safe}.json"), &json!(extra))?;
            explanation.scores.iter().for_each(|_| count(&mut self.report.rows, "scores"));
            self.judgements(&safe, explanation, &records, &mut used)?;
            self.simulations(&safe, explanation, &records, &mut used)?;
        }
        self.not_kept("activation_records that no judge or simulator saw", records.len() - used.len());
        Ok(())
    }

    /// The module of a unit, after a look at whether the run can hold it.
    fn module(&mut self, key: &UnitKey) -> Result<String> {
        let refused = |reason: String| {
            let unit = format!("{} {} {}", key.model, key.hook_point, key.neuron);
            Err(ExchangeError::NotExpressible { unit, format: "delphi", reason }.into())
        };
        let of = (key.model.clone(), key.corpus.clone());
        let held = self.model.get_or_insert_with(|| of.clone());
        if *held != of {
            return refused(format!(
                "a run is about one model and corpus, and this one about '{}' and '{}'",
                held.0, held.1
            ));
        }
        let name = hook::module(&key.hook_point);
        let new = || Module { hook_point: key.hook_point.clone(), neurons: BTreeSet::new() };
        let module = self.modules.entry(name.clone()).or_insert_with(new);
        if module.hook_point != key.hook_point {
            return refused(format!("module '{name}' holds hook point '{}' already", module.hook_point));
        }
        module.neurons.insert(key.neuron);
        Ok(name)
    }

    fn not_kept(&mut self, what: &str, n: usize) {
        (0..n).for_each(|_| count(&mut self.report.not_kept, what));
    }

    fn file(&mut self, path: &str, content: &Value) -> Result<()> {
        let text = content.to_string();
        NewFile::write(&self.root.join(path), text.as_bytes())?;
        self.report.n_files += 1;
        self.report.n_bytes += text.len() as u64;
        Ok(())
    }

    fn judgements(
        &mut self,
        safe: &str,
        explanation: &ExchangedExplanation,
        records: &[ExchangedRecord],
        used: &mut BTreeSet<usize>,
    ) -> Result<()> {
        let mut by_judge: BTreeMap<&'static str, (Option<&str>, Vec<Value>)> = BTreeMap::new();
        for judgement in &explanation.judgements {
            let ExchangedJudgement { scorer, scorer_model, sample, rank, split, window, .. } = judgement;
            let Some((folder, _)) = JUDGES.iter().find(|(_, ours)| ours == scorer) else {
                self.not_kept("judgement of a judge that delphi has not", 1);
                continue;
            };
            let Some(place) = place(records, sample, *rank, *split) else {
                self.not_kept("judgement of a window without an activation record", 1);
                continue;
            };
            let (model, windows) = by_judge.entry(folder).or_insert_with(|| (scorer_model.as_deref(), Vec::new()));
            if *model != scorer_model.as_deref() {
                self.not_kept("judgement by a second model", 1);
                continue;
            }
            used.insert(place);
            let activating = judgement.activating;
            windows.push(json!({
                "str_tokens": window.tokens().collect::<Vec<_>>(),
                "activations": records[place].activations,
                "distance": if activating { quantile(sample) } else { -1 },
                "activating": activating,
                "prediction": judgement.predicted,
                "probability": judgement.value,
                "correct": judgement.predicted.map(|predicted| predicted == activating),
                "neuronlake": record_extra(sample, *rank, *split, window),
            }));
        }
        for (folder, (_, windows)) in by_judge {
            self.scorers.insert(folder);
            windows.iter().for_each(|_| count(&mut self.report.rows, "judgements"));
            self.file(&format!("scores/{folder}/{safe}.txt"), &windows.into())?;
        }
        Ok(())
    }

    fn simulations(
        &mut self,
        safe: &str,
        explanation: &ExchangedExplanation,
        records: &[ExchangedRecord],
        used: &mut BTreeSet<usize>,
    ) -> Result<()> {
        let Some(first) = explanation.simulations.first() else { return Ok(()) };
        let method = |simulation: &ExchangedSimulation| {
            (simulation.simulator.clone(), simulation.simulator_model.clone(), simulation.scale.clone())
        };
        let of_first = method(first);
        let mut chosen = Vec::new();
        for simulation in &explanation.simulations {
            let place = place(records, &simulation.sample, simulation.rank, simulation.split);
            match place {
                _ if method(simulation) != of_first => self.not_kept("simulation by a second simulator", 1),
                Some(place) => {
                    used.insert(place);
                    chosen.push((simulation, &records[place]));
                }
                None => self.not_kept("simulation of a window without an activation record", 1),
            }
        }
        if chosen.is_empty() {
            return Ok(());
        }
        let largest = chosen.iter().flat_map(|(_, record)| &record.activations).copied().fold(0.0, f32::max);
        let mut groups: BTreeMap<i64, Vec<Scored>> = BTreeMap::new();
        for (simulation, record) in chosen {
            let quantile = if is_random(&simulation.sample) { -1 } else { quantile(&simulation.sample) };
            let tenths: Vec<f32> = record.activations.iter().map(|value| tenth(*value, largest)).collect();
            let window = json!({
                "distance": quantile,
                "simulation": {
                    "tokens": simulation.window.tokens().collect::<Vec<_>>(),
                    "expected_activations": simulation.expected,
                    "activation_scale": "simulated_normalized_activations",
                    "distribution_values": [], "distribution_probabilities": [], "uncalibrated_simulation": null,
                },
                "true_activations": tenths.iter().map(|tenth| *tenth as i64).collect::<Vec<_>>(),
                "ev_correlation_score": correlation([(simulation, &tenths)])?,
                "rsquared_score": 0, "absolute_dev_explained_score": 0,
                "neuronlake": SimulationExtra {
                    record: record_extra(&simulation.sample, simulation.rank, simulation.split, &simulation.window),
                    simulator: simulation.simulator.clone(),
                    simulator_model: simulation.simulator_model.clone(),
                    scale: simulation.scale.clone(),
                    actual: record.activations.clone(),
                    distribution: simulation.distribution.clone(),
                },
            });
            count(&mut self.report.rows, "simulations");
            groups.entry(quantile).or_default().push((simulation, tenths, window));
        }
        let group = |distance: i64, windows: &[&Scored]| -> Result<Value> {
            let score = correlation(windows.iter().map(|(simulation, tenths, _)| (*simulation, tenths)))?;
            Ok(json!({
                "distance": distance,
                "scored_sequence_simulations": windows.iter().map(|(.., window)| window).collect::<Vec<_>>(),
                "ev_correlation_score": score, "rsquared_score": 0, "absolute_dev_explained_score": 0,
            }))
        };
        let mut scored = Vec::new();
        for (quantile, windows) in groups.iter().filter(|(quantile, _)| **quantile >= 0) {
            scored.push(group(quantile + 1, &windows.iter().collect::<Vec<_>>())?);
        }
        // All windows together, those that activate first.
        let all: Vec<_> =
            groups.iter().filter(|(q, _)| **q >= 0).chain(groups.get_key_value(&-1)).flat_map(|(_, w)| w).collect();
        scored.push(group(0, &all)?);
        self.scorers.insert(SIMULATION);
        self.file(&format!("scores/{SIMULATION}/{safe}.txt"), &scored.into())
    }

    fn run_config(&mut self) -> Result<()> {
        let Some((model, corpus)) = self.model.clone() else { return Ok(()) };
        let saes: BTreeSet<&str> =
            self.modules.values().map(|module| module.hook_point.split_once('/').map_or("", |(_, sae)| sae)).collect();
        let explainer_model = self.explainer.as_ref().and_then(|(_, model)| model.clone());
        let (provider, name) = match explainer_model.as_deref().and_then(|model| model.split_once(':')) {
            Some((provider, name)) => (provider.to_owned(), name.to_owned()),
            None => ("offline".to_owned(), explainer_model.clone().unwrap_or_default()),
        };
        let extra = Extra {
            hook_points: self.modules.iter().map(|(name, module)| (name.clone(), module.hook_point.clone())).collect(),
            corpus: corpus.clone(),
            explainer: self.explainer.as_ref().map(|(explainer, _)| explainer.clone()),
            explainer_model,
        };
        let config = json!({
            "cache_cfg": {"dataset_repo": corpus, "dataset_split": "", "dataset_name": "", "dataset_column": "text"},
            "constructor_cfg": {"example_ctx_len": 32, "min_examples": 0, "non_activating_source": "random"},
            "sampler_cfg": {"n_quantiles": N_QUANTILES},
            "model": model, "sparse_model": saes.into_iter().collect::<Vec<_>>().join(","),
            "hookpoints": self.modules.keys().collect::<Vec<_>>(),
            "explainer_model": name, "explainer_provider": provider, "explainer": "default",
            "scorers": self.scorers, "name": "", "max_latents": null,
            "neuronlake": extra,
        });
        self.file("run_config.json", &config)
    }
}

#[async_trait]
impl Exporter for Delphi {
    async fn unit(&mut self, unit: UnitData) -> Result<()> {
        self.write(unit)
    }

    async fn finish(&mut self) -> Result<Report> {
        self.run_config()?;
        Ok(std::mem::take(&mut self.report))
    }
}

fn place(records: &[ExchangedRecord], sample: &str, rank: i32, split: Split) -> Option<usize> {
    records.iter().position(|record| (record.sample.as_str(), record.rank, record.split) == (sample, rank, split))
}

fn record_extra(sample: &str, rank: i32, split: Split, window: &Window) -> ActivationExtra {
    ActivationExtra { sample: sample.to_owned(), rank, split: Name(split), token_ids: window.token_ids.clone() }
}

fn is_random(sample: &str) -> bool {
    sample.trim_start_matches("scored_").starts_with("random")
}

/// Quantile of a sample as delphi numbers them: from the strongest on.
fn quantile(sample: &str) -> i64 {
    let number =
        sample.trim_start_matches("scored_").strip_prefix("quantile_").and_then(|number| number.parse::<i64>().ok());
    number.map_or(0, |number| (i64::from(N_QUANTILES) - 1 - number).max(0))
}

/// A value in tenths of the largest, rounded up, as delphi shows it to a simulator's score.
fn tenth(value: f32, largest: f32) -> f32 {
    (value * 10.0 / largest.max(1e-6)).ceil().clamp(0.0, 10.0)
}

/// The correlation over all tokens of some windows: a number, or `"nan"` where there is none.
fn correlation<'a>(windows: impl IntoIterator<Item = (&'a ExchangedSimulation, &'a Vec<f32>)>) -> Result<Value> {
    let mut sums = WindowSums::default();
    for (simulation, tenths) in windows {
        let whole: Option<Vec<f32>> = simulation.expected.iter().copied().collect();
        if let Some(whole) = whole.filter(|whole| whole.len() == tenths.len()) {
            sums = sums.merge(&WindowSums::of(tenths, &whole)?);
        }
    }
    Ok(Metric::EvCorrelation.value(&sums).map_or_else(|_| Value::from("nan"), Value::from))
}

/// A fault that only a bug can make.
pub(super) fn internal(reason: &str) -> Error {
    Error::internal(reason)
}
