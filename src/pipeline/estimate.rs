//! What the steps of a run would ask of language models: one unit is made up, its calls are counted and multiplied.

use std::collections::HashSet;

use super::methods::{Methods, Named};
use super::queries::{self, Parameter};
use super::settings::{Plan, Settings};
use super::steps::{Step, steps};
use crate::completions::LanguageModel;
use crate::completions::estimate::{Estimator, Tally};
use crate::error::{Error, Result};
use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::explain;
use crate::functions::MethodRegistry;
use crate::judgements::judge::{self, Example};
use crate::session::Session;
use crate::simulations::simulate;

/// Windows that an explainer is shown.
const N_RECORDS: usize = 5;
/// An explanation of the usual length.
const EXPLANATION: &str = "words and phrases about people who travel over long distances, above all by sea";

/// What one step would ask.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEstimate {
    /// The table it writes.
    pub table: String,
    /// The method behind it.
    pub method: String,
    /// Units that have no row yet, as far as can be known before the run.
    pub n_units: u64,
    /// Calls.
    pub n_calls: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of their replies, at most.
    pub completion_tokens: u64,
    /// US dollars at most; `None` where no price is known.
    pub dollars: Option<f64>,
}

/// What a run with these settings would ask, step by step; nothing is sent.
///
/// # Errors
/// When a model cannot be loaded or the lake cannot be read.
pub async fn of_run(session: &Session, settings: &Settings) -> Result<Vec<StepEstimate>> {
    let queries = queries::pipeline(settings.queries.as_deref())?;
    let methods = Methods::find(settings, session.methods())?;
    let plan = Plan::new(session, settings)?;
    let mut n_units = 0;
    for hook in &plan.hook_points {
        n_units += settings.neurons.units(hook)?.units().len() as u64;
    }
    let mut estimates = Vec::new();
    let mut calibrated = HashSet::new();
    for step in steps(&queries, settings, &methods)? {
        let mut named = methods.explainers.iter().chain(&methods.simulators).chain(&methods.scorers);
        // A round of revision is labelled with its number after its explainer.
        let is_behind = |named: &&Named| named.asks && step.label.split(", ").next() == Some(named.label.as_str());
        let Some(named) = named.find(is_behind) else { continue };
        if step.units_at_once.is_none() {
            continue;
        }
        let tally = one_unit(&step, named, session.methods(), settings).await?;
        let left = n_units.saturating_sub(done(session, &plan, &step).await?);
        // All samples are simulated on split calibration; of a later round only what it wrote.
        let on_calibration = step.value("split") == Some(&Parameter::Text("calibration".to_owned()));
        let first = on_calibration
            && calibrated.insert((step.value("explainer").map(ToString::to_string), named.source.clone()));
        let n_texts = if first { settings.samples as u64 } else { 1 };
        let times = |n: u64| n * left * n_texts;
        let (prompt_tokens, completion_tokens) = (times(tally.prompt_tokens), times(tally.completion_tokens));
        estimates.push(StepEstimate {
            table: step.query.writes.clone().unwrap_or_default(),
            method: step.label.clone(),
            n_units: left,
            n_calls: times(tally.n_calls),
            prompt_tokens,
            completion_tokens,
            dollars: session.methods().models().dollars(&named.model.parse()?, prompt_tokens, completion_tokens),
        });
    }
    Ok(estimates)
}

/// Units of the step's output that are there already.
async fn done(session: &Session, plan: &Plan, step: &Step) -> Result<u64> {
    let text = |name: &str| step.value(name).map(Parameter::to_sql);
    let mut conditions = vec![
        format!("model = {}", Parameter::Text(plan.model.id().to_owned()).to_sql()),
        format!("corpus = {}", Parameter::Text(plan.settings.corpus_id()).to_sql()),
    ];
    for role in ["explainer", "simulator", "scorer"] {
        let writes = step.value(&format!("{role}_source")).is_some();
        if let (true, Some(method), Some(model)) = (writes, text(role), text(&format!("{role}_model"))) {
            conditions.push(format!("{role} = {method} AND COALESCE({role}_model, '') = {model}"));
        }
    }
    if let (Some(split), true) = (text("split"), step.query.writes.as_deref() != Some("explanations")) {
        conditions.push(format!("split = {split}"));
    }
    let table = step.query.writes.as_deref().unwrap_or_default();
    let sql = format!(
        "SELECT count(*) FROM (SELECT DISTINCT hook_point, neuron FROM {table} WHERE {})",
        conditions.join(" AND ")
    );
    let batches = session.sql(&sql).await?.collect().await?;
    let count = batches
        .first()
        .map(|batch| arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(batch.column(0)).value(0));
    Ok(count.unwrap_or(0).max(0) as u64)
}

/// Calls for one unit.
async fn one_unit(step: &Step, named: &Named, registry: &MethodRegistry, settings: &Settings) -> Result<Tally> {
    let tokens: Vec<String> =
        (0..settings.window_length).map(|i| if i == 0 { "The" } else { " word" }.to_owned()).collect();
    let activations: Vec<f32> = (0..tokens.len()).map(|i| if i % 16 == 5 { 1.0 } else { 0.0 }).collect();
    let nothing = || Error::internal("a step that asks has a model");
    // Top and random windows, for the explanation and for its control.
    let n_windows = 2 * settings.windows;
    let estimator = match step.query.writes.as_deref() {
        Some("explanations") => {
            let method = registry.explainer(&named.source)?;
            let estimator = Estimator::new(method.model.ok_or_else(nothing)?);
            let record = EvidenceRecord { tokens, activations };
            let evidence = Evidence {
                records: vec![record.clone(); N_RECORDS],
                quiet: vec![record; N_RECORDS],
                promoted: vec![" word".to_owned(); 10],
            };
            let task = |sample_no: usize| explain::Task { evidence: evidence.clone(), sample_no: sample_no as u32 };
            // A round of revision asks twice, once for sentences and once for a text, with prompts about as long.
            let n_calls = if step.query.name == "46_revisions" { 2 } else { settings.samples };
            let tasks: Vec<explain::Task> = (0..n_calls).map(task).collect();
            // Empty replies cannot be read, which is no fault here: only what was asked counts.
            let _ = explain::explain_all(method.method, Some(&estimator as &dyn LanguageModel), &tasks).await;
            estimator
        }
        Some("judgements") => {
            let method = registry.judge(&named.source)?;
            let estimator = Estimator::new(method.model.ok_or_else(nothing)?);
            let example = |i: usize| Example {
                tokens: tokens.clone(),
                activations: activations.clone(),
                activating: i < n_windows / 2,
            };
            let examples: Vec<Example> = (0..n_windows).map(example).collect();
            let n_texts = if method.method.reads_explanation() { 2 } else { 1 };
            let task = |i: usize| judge::Task {
                explanation: format!("{EXPLANATION} {i}"),
                examples: examples.clone(),
                seed: settings.seed,
            };
            let tasks: Vec<judge::Task> = (0..n_texts).map(task).collect();
            let _ = judge::judge_all(method.method, Some(&estimator as &dyn LanguageModel), None, &tasks).await;
            estimator
        }
        _ => {
            let method = registry.simulator(&named.source)?;
            let estimator = Estimator::new(method.model.ok_or_else(nothing)?);
            let task = |_| simulate::Task { explanation: EXPLANATION.to_owned(), tokens: tokens.clone() };
            let tasks: Vec<simulate::Task> = (0..2 * n_windows).map(task).collect();
            let model = Some(&estimator as &dyn LanguageModel);
            let _ = simulate::simulate_all(method.method, model, None, &tasks).await;
            estimator
        }
    };
    Ok(estimator.tally())
}
