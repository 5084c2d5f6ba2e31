//! What a run would ask of language models and of endpoints' encoders: one unit is made up, its calls are counted and multiplied by the
//! units that have no row yet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::SELFTEST;
use super::methods::{Methods, Named};
use super::outdated::AT_ENDPOINT;
use super::queries::{self, Parameter};
use super::selftest;
use super::settings::{Plan, Settings};
use super::steps::{Step, steps};
use crate::completions::LanguageModel;
use crate::completions::estimate::{EncoderEstimator, Estimator, Tally};
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::explain;
use crate::explanations::revision::{N_SENTENCES, SENTENCE_TOKENS};
use crate::functions::{Method, MethodRegistry};
use crate::judgements::judge::{self, Example};
use crate::neurons::selection::NeuronSelection;
use crate::session::Session;
use crate::simulations::simulate;

/// Windows that an explainer is shown.
const N_RECORDS: usize = 5;
/// Tokens of a sentence that is written for a revision, at most.
const SENTENCE_LENGTH: usize = SENTENCE_TOKENS as usize / N_SENTENCES;
/// An explanation of the usual length.
const EXPLANATION: &str = "words and phrases about people who travel over long distances, above all by sea";

/// What one step would ask.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEstimate {
    /// The table it writes, or `self-test`.
    pub table: String,
    /// The method behind it.
    pub method: String,
    /// Units that have no row yet, as far as can be known before the run; 0 for the self-test, which has units of its own.
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

/// What a run with these settings would ask, the self-test first, then step by step; nothing is sent.
///
/// Replies that the store has already are not taken off: they cost nothing when they are asked for again.
///
/// # Errors
/// When a model cannot be loaded or the lake cannot be read.
pub async fn of_run(session: &Session, settings: &Settings) -> Result<Vec<StepEstimate>> {
    let queries = queries::pipeline(settings.queries.as_deref())?;
    let methods = Methods::find(settings, session.methods())?;
    let mut estimates = Vec::new();
    if super::wants_selftest(settings, &steps(&queries, settings, &methods)?, &methods) {
        for (named, tally) in selftest::estimate(&methods, session.methods(), settings.seed).await? {
            estimates.push(estimate(session, SELFTEST, &named.label, named, 0, &tally)?);
        }
    }
    estimates.extend(of_rest(session, settings).await?);
    Ok(estimates)
}

/// As [`of_run`] after the self-test.
///
/// # Errors
/// As [`of_run`].
pub async fn of_rest(session: &Session, settings: &Settings) -> Result<Vec<StepEstimate>> {
    let queries = queries::pipeline(settings.queries.as_deref())?;
    let methods = Methods::find(settings, session.methods())?;
    let plan = Plan::new(session, settings)?;
    let mut n_units = 0;
    for hook in &plan.hook_points {
        n_units += settings.neurons.units(hook)?.units().len() as u64;
    }
    let mut estimates = Vec::new();
    let mut rounds: HashMap<(String, String), u64> = HashMap::new();
    for step in steps(&queries, settings, &methods)? {
        let Some(named) = method_of(&step, &methods).filter(|named| named.asks || named.embeds) else { continue };
        let table = step.query.writes.clone().unwrap_or_default();
        // On split calibration all samples are simulated first, then what each round of revision wrote.
        let on_calibration = step.value("split") == Some(&Parameter::Text("calibration".to_owned()));
        let round = on_calibration.then(|| {
            let explainer = ["explainer", "explainer_model"].map(|name| step.value(name).map(ToString::to_string));
            let round = rounds.entry((format!("{explainer:?}"), named.source.clone())).or_insert(0);
            *round += 1;
            *round - 1
        });
        let revises = step.query.name == "46_revisions";
        let texts_a_unit = match (table.as_str(), round) {
            ("explanations", _) if !revises => settings.samples as u64,
            (_, Some(0)) => settings.samples as u64,
            _ => 1,
        };
        let found = done(session, &plan, &step, &table, round, texts_a_unit).await?;
        let n_texts = (n_units * texts_a_unit).saturating_sub(found.n_texts);
        let mut tally = one_text(&step, &table, named, session.methods(), settings).await?;
        tally.multiply(n_texts);
        let n_left = n_units.saturating_sub(found.n_units);
        estimates.push(estimate(session, &table, &step.label, named, n_left, &tally)?);
        let simulator = simulator_of(&step, &methods).filter(|named| revises && (named.asks || named.embeds));
        if let Some(simulator) = simulator {
            let mut tally = one_revision(simulator, session.methods(), settings).await?;
            tally.multiply(n_texts);
            estimates.push(estimate(session, &table, &simulator.label, simulator, n_left, &tally)?);
        }
    }
    Ok(estimates)
}

/// What the rest of a run may take at most. Replies that are kept already are not taken off.
pub(super) async fn rest_in_words(session: &Session, settings: &Settings) -> String {
    let steps = match of_rest(session, settings).await {
        Ok(steps) => steps,
        Err(error) => {
            tracing::debug!(%error, "the rest of a run cannot be estimated");
            return "what the rest would cost is not known yet".to_owned();
        }
    };
    let tokens: u64 = steps.iter().map(|step| step.prompt_tokens + step.completion_tokens).sum();
    let dollars = steps.iter().try_fold(0.0, |sum, step| Some(sum + step.dollars?));
    let dollars = dollars.map_or_else(String::new, |dollars| format!(" ({dollars:.4} usd)"));
    format!("at most {tokens} tokens{dollars} for the rest of the run")
}

fn estimate(
    session: &Session,
    table: &str,
    method: &str,
    named: &Named,
    n_units: u64,
    tally: &Tally,
) -> Result<StepEstimate> {
    let Tally { n_calls, prompt_tokens, completion_tokens } = *tally;
    let dollars = session.methods().models().dollars(&named.model.parse()?, prompt_tokens, completion_tokens);
    let (table, method) = (table.to_owned(), method.to_owned());
    Ok(StepEstimate { table, method, n_units, n_calls, prompt_tokens, completion_tokens, dollars })
}

/// The role of the method that makes a table's rows.
fn role(table: &str) -> Option<&'static str> {
    match table {
        "explanations" => Some("explainer"),
        "simulations" => Some("simulator"),
        "judgements" => Some("scorer"),
        _ => None,
    }
}

/// The method that makes a step's rows, where the step asks it anything.
fn method_of<'a>(step: &Step, methods: &'a Methods) -> Option<&'a Named> {
    let role = role(step.query.writes.as_deref()?)?;
    let named = match role {
        "explainer" => &methods.explainers,
        "simulator" => &methods.simulators,
        _ => &methods.scorers,
    };
    let source = step.value(&format!("{role}_source"))?;
    named.iter().find(|named| *source == Parameter::Text(named.source.clone()))
}

/// The simulator that a round of revision decides by.
fn simulator_of<'a>(step: &Step, methods: &'a Methods) -> Option<&'a Named> {
    let source = step.value("simulator_source")?;
    methods.simulators.iter().find(|named| *source == Parameter::Text(named.source.clone()))
}

/// What a step has made already, of the selected units.
struct Found {
    /// Explanations, or explanations simulated or judged.
    n_texts: u64,
    /// Units that have all of theirs.
    n_units: u64,
}

/// What a step has made already. What the endpoint failed at does not count: it will be asked again.
async fn done(
    session: &Session,
    plan: &Plan,
    step: &Step,
    table: &str,
    round: Option<u64>,
    texts_a_unit: u64,
) -> Result<Found> {
    let text = |value: &str| Parameter::Text(value.to_owned()).to_sql();
    let value = |name: &str| step.value(name).map_or_else(|| "''".to_owned(), Parameter::to_sql);
    let hooks: Vec<String> = plan.hook_points.iter().map(|hook| text(hook.name())).collect();
    if hooks.is_empty() {
        return Ok(Found { n_texts: 0, n_units: 0 });
    }
    let mut conditions = vec![
        format!("t.model = {}", text(plan.model.id())),
        format!("t.corpus = {}", text(&plan.settings.corpus_id())),
        format!("t.hook_point IN ({})", hooks.join(", ")),
        format!(
            "e.explainer = {} AND COALESCE(e.explainer_model, '') = {}",
            value("explainer"),
            value("explainer_model")
        ),
    ];
    if let NeuronSelection::Ranges(ranges) = &plan.settings.neurons {
        let range =
            |range: &std::ops::RangeInclusive<u32>| format!("t.neuron BETWEEN {} AND {}", range.start(), range.end());
        conditions.push(format!("({})", ranges.iter().map(range).collect::<Vec<_>>().join(" OR ")));
    }
    if let Some(role) = role(table).filter(|_| table != "explanations") {
        let model = value(&format!("{role}_model"));
        conditions.push(format!("t.{role} = {} AND COALESCE(t.{role}_model, '') = {model}", value(role)));
        conditions.push(format!(
            "t.split = {}",
            step.value("split").map_or_else(|| text(&plan.settings.score_split), Parameter::to_sql)
        ));
    }
    let samples = plan.settings.samples;
    // Of a round of revision what it wrote; where the best of several is chosen all of the first round; else whatever was chosen.
    conditions.extend(match (table, step.value("round"), round) {
        ("explanations", Some(Parameter::Integer(round)), _) => Some(format!("e.round = {round}")),
        ("explanations", ..) | (_, _, Some(0)) => Some(format!("e.round = 0 AND e.sample_no < {samples}")),
        (_, _, Some(round)) => Some(format!("e.round = {round}")),
        _ => None,
    });
    let source = match table {
        "explanations" => "explanations e JOIN explanations t ON t.explanation = e.explanation".to_owned(),
        _ => format!("{table} t JOIN explanations e ON e.explanation = t.explanation"),
    };
    let sql = format!(
        "SELECT CAST(COALESCE(sum(CASE WHEN n < {texts_a_unit} THEN n ELSE {texts_a_unit} END), 0) AS BIGINT) AS n_texts, \
         count(*) FILTER (WHERE n >= {texts_a_unit}) AS n_units FROM (SELECT hook_point, neuron, count(*) AS n FROM \
         (SELECT t.hook_point, t.neuron, e.explanation FROM {source} AND e.model = t.model AND e.hook_point = t.hook_point WHERE {} \
         GROUP BY t.hook_point, t.neuron, e.explanation HAVING count(*) FILTER (WHERE {AT_ENDPOINT}) = 0) \
         GROUP BY hook_point, neuron)",
        conditions.join(" AND ")
    );
    let batches = session.sql(&sql).await?.collect().await?;
    let number = |column: usize| {
        let value = batches.first().map(|batch| batch.column(column).as_primitive::<Int64Type>().value(0));
        value.unwrap_or(0).max(0) as u64
    };
    Ok(Found { n_texts: number(0), n_units: number(1) })
}

/// Whatever counts in the place of a method's model or encoder.
enum Counter {
    Model(Arc<Estimator>),
    Encoder(Arc<EncoderEstimator>),
}

impl Counter {
    fn of<M: Copy>(method: &Method<M>) -> Result<(Self, Method<M>)> {
        let nothing = || Error::internal("a step that asks has a model or an encoder");
        if let Some(model) = &method.model {
            let counting = Arc::new(Estimator::new(Arc::clone(model)));
            let model: Arc<dyn LanguageModel> = Arc::<Estimator>::clone(&counting);
            return Ok((Self::Model(counting), Method { method: method.method, model: Some(model), encoder: None }));
        }
        let counting = Arc::new(EncoderEstimator::new(method.encoder.as_ref().ok_or_else(nothing)?.name()));
        let encoder: Arc<dyn TextEncoder> = Arc::<EncoderEstimator>::clone(&counting);
        Ok((Self::Encoder(counting), Method { method: method.method, model: None, encoder: Some(encoder) }))
    }

    fn tally(&self) -> Tally {
        match self {
            Self::Model(model) => model.tally(),
            Self::Encoder(encoder) => encoder.tally(),
        }
    }
}

/// Made-up windows. For an encoder, which is asked for each different word once, all words are different; language models are asked
/// for each window anyhow.
fn window(number: usize, length: usize) -> Vec<String> {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    let word = |i: usize| {
        let n = number * length + i;
        let word: String = [n / 17_576, n / 676, n / 26, n].into_iter().map(letter).collect();
        if i == 0 { word } else { format!(" {word}") }
    };
    (0..length).map(word).collect()
}

/// Calls for one text of one unit.
async fn one_text(
    step: &Step,
    table: &str,
    named: &Named,
    registry: &MethodRegistry,
    settings: &Settings,
) -> Result<Tally> {
    // Top and random windows.
    let n_windows = 2 * settings.windows;
    let windows: Vec<Vec<String>> =
        (0..n_windows.max(2 * N_RECORDS)).map(|i| window(i, settings.window_length)).collect();
    let activations: Vec<f32> = (0..settings.window_length).map(|i| if i % 16 == 5 { 1.0 } else { 0.0 }).collect();
    // Empty replies cannot be read, which is no fault here: only what was asked counts.
    let counter = match table {
        "explanations" => {
            let (counter, method) = Counter::of(&registry.explainer(&named.source)?)?;
            let record =
                |tokens: &Vec<String>| EvidenceRecord { tokens: tokens.clone(), activations: activations.clone() };
            let evidence = Evidence {
                records: windows[..N_RECORDS].iter().map(record).collect(),
                quiet: windows[N_RECORDS..2 * N_RECORDS].iter().map(record).collect(),
                promoted: vec![" word".to_owned(); 10],
            };
            let task = |sample_no: u32| explain::Task { evidence: evidence.clone(), sample_no };
            // A round of revision asks twice, once for sentences and once for a text, with prompts about as long.
            let n_calls = if step.query.name == "46_revisions" { 2 } else { 1 };
            let tasks: Vec<explain::Task> = (0..n_calls).map(task).collect();
            let _ = explain::explain_all(method.method, method.model.as_deref(), &tasks).await;
            counter
        }
        "judgements" => {
            let (counter, method) = Counter::of(&registry.judge(&named.source)?)?;
            let example = |(i, tokens): (usize, &Vec<String>)| Example {
                tokens: tokens.clone(),
                activations: activations.clone(),
                activating: i < n_windows / 2,
            };
            let examples: Vec<Example> = windows.iter().take(n_windows).enumerate().map(example).collect();
            // The unit's own text, and as a control another's.
            let n_texts = if method.method.reads_explanation() { 2 } else { 1 };
            let task = |i: usize| judge::Task {
                explanation: format!("{EXPLANATION} {i}"),
                examples: examples.clone(),
                seed: settings.seed,
            };
            let tasks: Vec<judge::Task> = (0..n_texts).map(task).collect();
            let _ = judge::judge_all(method.method, method.model.as_deref(), method.encoder.as_deref(), &tasks).await;
            counter
        }
        _ => {
            // The unit's own text, and as a control another's.
            let windows = windows.iter().take(n_windows);
            let tasks = (0..2).flat_map(|text| windows.clone().map(move |tokens| simulation(text, tokens)));
            return simulated(named, registry, tasks.collect()).await;
        }
    };
    Ok(counter.tally())
}

/// Simulations of one round of revision of one text: of the old text on each sentence written for it, and of both texts on the windows of
/// split calibration.
async fn one_revision(named: &Named, registry: &MethodRegistry, settings: &Settings) -> Result<Tally> {
    let sentences = (0..N_SENTENCES).map(|number| window(number, SENTENCE_LENGTH));
    let mut tasks: Vec<simulate::Task> = sentences.map(|tokens| simulation(0, &tokens)).collect();
    for number in N_SENTENCES..N_SENTENCES + 2 * settings.windows {
        let tokens = window(number, settings.window_length);
        tasks.extend((0..2).map(|text| simulation(text, &tokens)));
    }
    simulated(named, registry, tasks).await
}

fn simulation(text: usize, tokens: &[String]) -> simulate::Task {
    simulate::Task { explanation: format!("{EXPLANATION} {text}"), tokens: tokens.to_vec() }
}

async fn simulated(named: &Named, registry: &MethodRegistry, tasks: Vec<simulate::Task>) -> Result<Tally> {
    let (counter, Method { method, model, encoder }) = Counter::of(&registry.simulator(&named.source)?)?;
    // Empty replies cannot be read, which is no fault here: only what was asked counts.
    let _ = simulate::simulate_all(method, model.as_deref(), encoder.as_deref(), &tasks).await;
    Ok(counter.tally())
}
