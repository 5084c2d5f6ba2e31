//! Whether a method can be believed: it is run over planted units, whose true explanations are known.

use std::sync::Arc;

use super::failures::Failures;
use super::methods::{Methods, Named};
use crate::completions::LanguageModel;
use crate::completions::estimate::{Estimator, Tally};
use crate::error::{Error, Result};
use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::explain;
use crate::functions::{Method, MethodRegistry};
use crate::hash;
use crate::judgements::judge::{self, Example, Judge};
use crate::planted::ranking::{Outcome, Ranking, Verdict};
use crate::planted::report::Report;
use crate::planted::trials::{Preset, Trial};
use crate::planted::{PlantedSubject, WEAK, subject};
use crate::scores::classification;
use crate::scores::metric::{Metric, Reason};
use crate::scores::window_sums::WindowSums;
use crate::simulations::simulate;
use crate::simulations::simulator::Simulator;
use crate::token_sequences::split::{Split, SplitStrategy};

/// Tokens of a window, at most, if sentences can be so short: one or two around what the unit does.
const WINDOW: usize = 24;
/// Windows that an explainer is shown.
const N_SHOWN: usize = 5;

/// The planted subject, cut into splits.
struct Planted {
    subject: PlantedSubject,
    train: Vec<usize>,
    valid: Vec<usize>,
    seed: u64,
}

/// Tokens and activations of one unit on some sentences of a document.
struct Window {
    tokens: Vec<String>,
    activations: Vec<f32>,
    fires: bool,
}

impl Planted {
    fn new(seed: u64) -> Result<Self> {
        let subject = subject(seed);
        let strategy = SplitStrategy::parse("document", seed)?;
        let of_split = |split: Split| {
            let documents = subject.documents.iter().enumerate();
            documents
                .filter(|(_, document)| strategy.split_of_document(hash::key(&document.text)) == split)
                .map(|(i, _)| i)
                .collect::<Vec<usize>>()
        };
        let (train, valid) = (of_split(Split::Train), of_split(Split::Valid));
        Ok(Self { subject, train, valid, seed })
    }

    fn window(&self, unit: usize, document: usize) -> Window {
        let excerpt = self.subject.excerpt(unit, document, WINDOW);
        let activations = self.subject.units[unit].activations[document][excerpt.clone()].to_vec();
        let fires = activations.iter().any(|activation| *activation >= WEAK);
        Window { tokens: self.subject.documents[document].tokens[excerpt].to_vec(), activations, fires }
    }

    /// Held-out windows of a unit: those in which it fires, then those in which it does not.
    fn held_out(&self, unit: usize, preset: &Preset) -> Vec<Window> {
        let windows = self.subject.windows(unit, &self.valid, preset.n_windows, self.seed);
        windows.firing.iter().chain(&windows.silent).map(|document| self.window(unit, *document)).collect()
    }

    /// What an explainer is shown of a unit.
    fn evidence(&self, unit: usize) -> Evidence {
        let windows = self.subject.windows(unit, &self.train, N_SHOWN, self.seed);
        let records = |documents: &[usize]| {
            let record = |document: &usize| {
                let window = self.window(unit, *document);
                EvidenceRecord { tokens: window.tokens, activations: window.activations }
            };
            documents.iter().map(record).collect()
        };
        Evidence { records: records(&windows.firing), quiet: records(&windows.silent), promoted: Vec::new() }
    }
}

/// What a self-test found.
#[derive(Debug)]
pub struct Findings {
    /// How each simulator and scorer ranked the true explanation.
    pub report: Report,
    /// What each explainer wrote.
    pub written: Vec<Written>,
}

/// What an explainer wrote about one planted unit.
#[derive(Debug, Clone)]
pub struct Written {
    /// The explainer.
    pub explainer: String,
    /// The unit's name.
    pub unit: String,
    /// The truth.
    pub truth: String,
    /// The text, or why there is none.
    pub text: std::result::Result<String, String>,
    /// Score of the text by the first simulator; `None` where undefined.
    pub score: Option<f64>,
    /// Score of the truth by the same simulator.
    pub score_of_truth: Option<f64>,
}

/// Runs every method over the planted subject.
///
/// # Errors
/// [`Error::MethodModel`] for a method that reads no explanation, and whatever the models behind the methods report.
pub async fn run(methods: &Methods, registry: &MethodRegistry, preset: &Preset, seed: u64) -> Result<Findings> {
    let planted = Planted::new(seed)?;
    let trials = planted.subject.trials(preset, seed);
    let mut report = Report::default();
    let mut written = Vec::new();
    for named in &methods.simulators {
        let method = registry.simulator(&named.source)?;
        let (outcomes, _) = simulated(&method, &planted, preset, &candidates(&trials)).await?;
        report.add(&named.label, &planted.subject, &trials, &outcomes)?;
    }
    for named in &methods.scorers {
        let (outcomes, _) = judged(&registry.judge(&named.source)?, &planted, preset, &trials).await?;
        report.add(&named.label, &planted.subject, &trials, &outcomes)?;
    }
    for named in &methods.explainers {
        let simulator = methods.simulators_of(named)?[0];
        written.extend(explained(named, simulator, registry, &planted, preset, &trials).await?);
    }
    Ok(Findings { report, written })
}

/// Refuses methods with a language model behind them that cannot tell true explanations from false ones, before any work.
///
/// # Errors
/// [`Error::Untrustworthy`] for the first, with the commonest reason where scores are missing, and whatever the models report.
pub async fn check(methods: &Methods, registry: &MethodRegistry, seed: u64) -> Result<()> {
    let preset = Preset::SMALL;
    let asking = |named: &&Named| named.asks;
    if methods.simulators.iter().chain(&methods.scorers).filter(asking).count() == 0 {
        return Ok(());
    }
    let planted = Planted::new(seed)?;
    let trials = planted.subject.trials(&preset, seed);
    let refuse = |kind: &'static str, named: &Named, outcomes: &[Vec<Outcome>], failures: &Failures| -> Result<()> {
        let ranking = Ranking::of(&trials, outcomes)?;
        tracing::info!(method = named.label, found = ranking.found(), "self-test");
        match ranking.verdict() {
            Verdict::CanTell => Ok(()),
            Verdict::CannotTell | Verdict::Undecided => {
                let failed = failures.told().map_or_else(String::new, |told| format!("; of the windows {told}"));
                let found = format!("{}{failed}", ranking.found());
                Err(Error::Untrustworthy { kind, method: named.label.clone(), found })
            }
        }
    };
    for named in methods.simulators.iter().filter(asking) {
        let method = registry.simulator(&named.source)?;
        let (outcomes, failures) = simulated(&method, &planted, &preset, &candidates(&trials)).await?;
        refuse("simulator", named, &outcomes, &failures)?;
    }
    for named in methods.scorers.iter().filter(asking) {
        let method = registry.judge(&named.source)?;
        if method.method.reads_explanation() {
            let (outcomes, failures) = judged(&method, &planted, &preset, &trials).await?;
            refuse("scorer", named, &outcomes, &failures)?;
        }
    }
    Ok(())
}

/// What [`check`] asks of each method's model; nothing is sent. Empty where no method has one.
///
/// # Errors
/// As for finding the methods.
pub async fn estimate<'a>(
    methods: &'a Methods,
    registry: &MethodRegistry,
    seed: u64,
) -> Result<Vec<(&'a Named, Tally)>> {
    let preset = Preset::SMALL;
    let planted = Planted::new(seed)?;
    let trials = planted.subject.trials(&preset, seed);
    let nothing = || Error::internal("a method that asks has a model");
    let mut tallies = Vec::new();
    for named in methods.simulators.iter().filter(|named| named.asks) {
        let found = registry.simulator(&named.source)?;
        let counting = Arc::new(Estimator::new(found.model.clone().ok_or_else(nothing)?));
        let method = Method { model: Some(Arc::clone(&counting) as Arc<dyn LanguageModel>), ..found };
        // Empty replies cannot be read, which is no fault here: only what was asked counts.
        let _ = simulated(&method, &planted, &preset, &candidates(&trials)).await;
        tallies.push((named, counting.tally()));
    }
    for named in methods.scorers.iter().filter(|named| named.asks) {
        let found = registry.judge(&named.source)?;
        if found.method.reads_explanation() {
            let counting = Arc::new(Estimator::new(found.model.clone().ok_or_else(nothing)?));
            let method = Method { model: Some(Arc::clone(&counting) as Arc<dyn LanguageModel>), ..found };
            let _ = judged(&method, &planted, &preset, &trials).await;
            tallies.push((named, counting.tally()));
        }
    }
    Ok(tallies)
}

/// Texts to score, `[trials, candidates]`, with the unit of each trial.
fn candidates(trials: &[Trial]) -> Vec<(usize, Vec<String>)> {
    let texts = |trial: &Trial| trial.candidates.iter().map(|candidate| candidate.text().to_owned()).collect();
    trials.iter().map(|trial| (trial.unit, texts(trial))).collect()
}

/// The correlation of simulated with planted activations, over all windows of a unit together.
async fn simulated(
    method: &Method<Simulator>,
    planted: &Planted,
    preset: &Preset,
    texts: &[(usize, Vec<String>)],
) -> Result<(Vec<Vec<Outcome>>, Failures)> {
    if matches!(method.method, Simulator::TokenLookup) {
        return Err(Error::MethodModel {
            kind: "simulator",
            method: method.method.to_string(),
            reason: "expected one that reads explanations: it reads its own table only".to_owned(),
        });
    }
    let mut tasks = Vec::new();
    let windows: Vec<Vec<Window>> = texts.iter().map(|(unit, _)| planted.held_out(*unit, preset)).collect();
    for ((_, texts), windows) in texts.iter().zip(&windows) {
        for text in texts {
            let task = |window: &Window| simulate::Task { explanation: text.clone(), tokens: window.tokens.clone() };
            tasks.extend(windows.iter().map(task));
        }
    }
    let results =
        simulate::simulate_all(method.method, method.model.as_deref(), method.encoder.as_deref(), &tasks).await?;
    let mut failures = Failures::default();
    results.iter().for_each(|result| failures.one(result.as_ref().err().map(|failure| failure.reason.as_str())));
    let mut results = results.into_iter();
    let mut outcomes = Vec::with_capacity(texts.len());
    for ((_, texts), windows) in texts.iter().zip(&windows) {
        let mut of_trial = Vec::with_capacity(texts.len());
        for _ in texts {
            let mut sums = Vec::new();
            for (window, simulation) in windows.iter().zip(results.by_ref()) {
                let Ok(simulation) = simulation else { continue };
                let pairs = window.activations.iter().zip(&simulation.expected).filter_map(|(a, e)| Some((*a, (*e)?)));
                let (actual, expected): (Vec<f32>, Vec<f32>) = pairs.unzip();
                sums.push(WindowSums::of(&actual, &expected)?);
            }
            of_trial.push(match Metric::EvCorrelation.value(&WindowSums::merged(&sums)) {
                Ok(value) => Outcome::from(Some(value)),
                Err(Reason::ConstantSimulation) => Outcome::Flat,
                Err(_) => Outcome::Missing,
            });
        }
        outcomes.push(of_trial);
    }
    Ok((outcomes, failures))
}

/// The judge's headline metric over the windows of a unit.
async fn judged(
    method: &Method<Judge>,
    planted: &Planted,
    preset: &Preset,
    trials: &[Trial],
) -> Result<(Vec<Vec<Outcome>>, Failures)> {
    if !method.method.reads_explanation() {
        return Err(Error::MethodModel {
            kind: "scorer",
            method: method.method.to_string(),
            reason: "expected one that reads explanations: it scores the records only".to_owned(),
        });
    }
    let mut tasks = Vec::new();
    for trial in trials {
        let examples: Vec<Example> = planted
            .held_out(trial.unit, preset)
            .into_iter()
            .map(|w| Example { tokens: w.tokens, activations: w.activations, activating: w.fires })
            .collect();
        for candidate in &trial.candidates {
            let explanation = candidate.text().to_owned();
            tasks.push(judge::Task { explanation, examples: examples.clone(), seed: planted.seed });
        }
    }
    let judged = judge::judge_all(method.method, method.model.as_deref(), method.encoder.as_deref(), &tasks).await?;
    let headline = method.method.metrics()[0];
    let mut failures = Failures::default();
    judged.iter().flatten().for_each(|judgement| failures.one(judgement.reason.as_deref()));
    let mut scores = tasks.iter().zip(judged).map(|(task, judgements)| {
        let judgements: Vec<classification::Judged> = task
            .examples
            .iter()
            .zip(&judgements)
            .map(|(example, judgement)| classification::Judged {
                activating: example.activating,
                predicted: judgement.predicted,
                value: judgement.value,
            })
            .collect();
        let summaries = classification::summaries(&judgements, None);
        let summary = summaries.iter().find(|summary| summary.metric.as_str() == headline);
        Outcome::from(summary.and_then(|summary| summary.value.ok()))
    });
    let outcomes = trials.iter().map(|trial| scores.by_ref().take(trial.candidates.len()).collect()).collect();
    Ok((outcomes, failures))
}

async fn explained(
    named: &Named,
    simulator: &Named,
    registry: &MethodRegistry,
    planted: &Planted,
    preset: &Preset,
    trials: &[Trial],
) -> Result<Vec<Written>> {
    let explainer = registry.explainer(&named.source)?;
    let task = |trial: &Trial| explain::Task { evidence: planted.evidence(trial.unit), sample_no: 0 };
    let tasks: Vec<explain::Task> = trials.iter().map(task).collect();
    let model: Option<Arc<dyn LanguageModel>> = explainer.model.clone();
    let texts = explain::explain_all(explainer.method, model.as_deref(), &tasks).await?;
    let truth = |trial: &Trial| planted.subject.units[trial.unit].rule.explanation.to_owned();
    let scored: Vec<(usize, Vec<String>)> = trials
        .iter()
        .zip(&texts)
        .map(|(trial, text)| {
            let own = text.as_ref().map(|written| written.text.clone()).unwrap_or_default();
            (trial.unit, vec![own, truth(trial)])
        })
        .collect();
    let (scores, _) = simulated(&registry.simulator(&simulator.source)?, planted, preset, &scored).await?;
    let number = |outcome: &Outcome| match outcome {
        Outcome::Score(score) => Some(*score),
        Outcome::Flat | Outcome::Missing => None,
    };
    Ok(trials
        .iter()
        .zip(texts)
        .zip(scores)
        .map(|((trial, text), scores)| Written {
            explainer: named.label.clone(),
            unit: planted.subject.units[trial.unit].rule.name.to_owned(),
            truth: truth(trial),
            score: text.as_ref().ok().and_then(|_| number(&scores[0])),
            score_of_truth: number(&scores[1]),
            text: text.map(|written| written.text).map_err(|failure| failure.reason),
        })
        .collect())
}
