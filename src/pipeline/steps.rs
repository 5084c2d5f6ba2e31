//! Which queries a run executes, in what order, and with which values of their own.

use super::methods::{Methods, Named};
use super::queries::{Parameter, Query};
use super::settings::{Plan, Settings};
use crate::error::{Error, Result};
use crate::explanations::token_lookup::TOKEN_LOOKUP;
use crate::hash;

/// Units that one execution of a step with a language model takes: enough calls to keep an endpoint busy, few enough that a
/// kill costs little but the calls in flight.
const UNITS_WITH_MODEL: usize = 64;

/// The query that writes every firing of an autoencoder's latents.
pub const ENCODED: &str = "36_encoded_activations";

/// One query with the values that only this execution of it has.
#[derive(Debug, Clone)]
pub struct Step {
    /// The query.
    pub query: Query,
    /// Values of `$names` that differ from step to step.
    pub values: Vec<(String, Parameter)>,
    /// Units to execute it for at a time; `None` for all at once.
    pub units_at_once: Option<usize>,
    /// Whether it asks endpoints. One process does, whatever the engine: the budget, the limits of calls and tokens a minute and what the run
    /// cost are counted there.
    pub pays: bool,
    /// SHA-256 of the prompt template behind it, hex; `None` without a language model.
    pub prompt_hash: Option<String>,
    /// What is shown beside the table's name, such as a method; empty where the table says it all.
    pub label: String,
}

impl Step {
    fn of(query: &Query) -> Self {
        let (values, label) = (Vec::new(), String::new());
        Self { query: query.clone(), values, units_at_once: None, pays: false, prompt_hash: None, label }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.values.push((name.to_owned(), Parameter::Text(value.to_owned())));
        self
    }

    fn of_method(mut self, role: &str, method: &Named) -> Self {
        self.prompt_hash.clone_from(&method.prompt_hash);
        self.units_at_once = method.asks.then_some(UNITS_WITH_MODEL);
        self.pays = method.pays;
        // The token lookup is what a run does by itself: it needs no label.
        if method.method != TOKEN_LOOKUP {
            self.label.clone_from(&method.label);
        }
        self.with(role, &method.method)
            .with(&format!("{role}_model"), &method.model)
            .with(&format!("{role}_source"), &method.source)
    }

    fn about(self, explainer: &Named) -> Self {
        self.with("explainer", &explainer.method).with("explainer_model", &explainer.model)
    }

    /// A round of revision by the explainer's model; `simulator` scores what comes of it.
    fn revision(self, explainer: &Named, simulator: &Named, round: usize) -> Result<Self> {
        if !explainer.asks {
            return Err(Error::MethodModel {
                kind: "explainer",
                method: explainer.method.clone(),
                reason: "expected a language model to revise with, as in openai:gpt-4o".to_owned(),
            });
        }
        let mut step = self.of_method("explainer", explainer).with("simulator_source", &simulator.source);
        step.values.push(("round".to_owned(), Parameter::Integer(round as i64)));
        step.pays |= simulator.pays;
        step.label = format!("{}, round {round}", explainer.label);
        Ok(step)
    }

    /// What two processes that do the same work both call it.
    pub(super) fn work(&self, plan: &Plan, hook_point: &str) -> String {
        // Documents are those of every model.
        let model = if self.query.name == "00_documents" { "" } else { plan.model.id() };
        // Where a model's files lie differs from machine to machine.
        let values = self.values.iter().filter(|(name, _)| !name.ends_with("_source"));
        let values: Vec<String> = values.map(|(name, value)| format!("{name} {value}")).collect();
        let corpus = plan.settings.corpus_id();
        hash::text(&format!("{} {model} {corpus} {hook_point} {}", self.query.name, values.join(" ")))
    }

    /// The value this step gives a name.
    pub fn value(&self, name: &str) -> Option<&Parameter> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// Finds queries by name among those of the pipeline.
struct Files<'a>(&'a [Query]);

impl Files<'_> {
    fn step(&self, name: &str) -> Result<Step> {
        let query = self.0.iter().find(|query| query.name == name);
        query.map(Step::of).ok_or_else(|| Error::internal(format!("no pipeline query '{name}'")))
    }

    fn simulations(&self, explainer: &Named, simulator: &Named, split: &str) -> Result<Step> {
        let file = if simulator.method == TOKEN_LOOKUP { "50_simulations" } else { "52_text_simulations" };
        Ok(self.step(file)?.of_method("simulator", simulator).about(explainer).with("split", split))
    }

    /// Scores ask nothing, whatever made what they score.
    fn scores(&self, file: &str, explainer: &Named, simulator: &Named, split: &str, calibration: &str) -> Result<Step> {
        let step = self.step(file)?.of_method("simulator", simulator).about(explainer);
        let step = step.with("split", split).with("calibration", calibration);
        let label = match calibration {
            "none" => step.label.clone(),
            calibration => format!("{}, {calibration}", simulator.label),
        };
        Ok(Step { units_at_once: None, pays: false, prompt_hash: None, label, ..step })
    }
}

/// The steps of a run, in order.
///
/// # Errors
/// [`Error::Argument`] for a stage that does not exist, [`Error::MethodModel`] for methods that do not go together.
pub fn steps(queries: &[Query], settings: &Settings, methods: &Methods) -> Result<Vec<Step>> {
    let files = Files(queries);
    let mut steps = Vec::new();
    for query in queries {
        // Explanations, simulations and scores are made once a method, below.
        if query.params.iter().any(|(name, _)| matches!(name.as_str(), "explainer" | "simulator" | "scorer")) {
            continue;
        }
        let wanted = match (query.writes.as_deref(), query.name.as_str()) {
            (Some("activations"), ENCODED) => settings.encode,
            (Some("activations"), _) => settings.firings_above.is_some(),
            _ => true,
        };
        if wanted {
            steps.push(Step::of(query));
        }
    }
    for explainer in &methods.explainers {
        let file = if explainer.method == TOKEN_LOOKUP { "40_explanations" } else { "42_record_explanations" };
        steps.push(files.step(file)?.of_method("explainer", explainer));
        let simulators = methods.simulators_of(explainer)?;
        for round in 0..=settings.revisions {
            if round > 0 {
                steps.push(files.step("46_revisions")?.revision(explainer, simulators[0], round)?);
            }
            // Every round ends with scores on split calibration: they choose what stands.
            for simulator in &simulators {
                steps.extend(calibration_steps(&files, settings, explainer, simulator)?);
            }
        }
        for simulator in &simulators {
            steps.extend(simulator_steps(&files, settings, explainer, simulator)?);
        }
        for scorer in &methods.scorers {
            let score = |file: &str| -> Result<Step> {
                let step = files.step(file)?.of_method("scorer", scorer).about(explainer);
                Ok(step.with("split", &settings.score_split))
            };
            steps.push(score("54_judgements")?);
            let scores = score("62_judgement_scores")?;
            steps.push(Step { units_at_once: None, pays: false, prompt_hash: None, ..scores });
        }
    }
    between(steps, queries, settings)
}

/// Simulations and scores on split calibration, where something is chosen or fitted by them.
fn calibration_steps(
    files: &Files<'_>,
    settings: &Settings,
    explainer: &Named,
    simulator: &Named,
) -> Result<Vec<Step>> {
    let fits =
        settings.calibration != "none" || (settings.ablation && ablation_calibration(settings, simulator) != "none");
    if settings.samples <= 1 && settings.revisions == 0 && !fits {
        return Ok(Vec::new());
    }
    let split = "calibration";
    Ok(vec![
        files.simulations(explainer, simulator, split)?,
        files.scores("60_scores", explainer, simulator, split, "none")?,
    ])
}

fn simulator_steps(files: &Files<'_>, settings: &Settings, explainer: &Named, simulator: &Named) -> Result<Vec<Step>> {
    let split = settings.score_split.as_str();
    let scores = |file: &str, calibration: &str| files.scores(file, explainer, simulator, split, calibration);
    let mut steps = vec![files.simulations(explainer, simulator, split)?, scores("60_scores", "none")?];
    if settings.calibration != "none" {
        steps.push(scores("60_scores", &settings.calibration)?);
    }
    if settings.ablation {
        steps.push(scores("64_ablation_scores", ablation_calibration(settings, simulator))?);
    }
    Ok(steps)
}

/// Values that replace activations must be in their units: the token lookup's are, others are brought there.
fn ablation_calibration<'a>(settings: &'a Settings, simulator: &Named) -> &'a str {
    match settings.calibration.as_str() {
        _ if simulator.method == TOKEN_LOOKUP => "none",
        "none" => "linear",
        chosen => chosen,
    }
}

/// The steps from `--from` to `--to`.
fn between(steps: Vec<Step>, queries: &[Query], settings: &Settings) -> Result<Vec<Step>> {
    let tables = || {
        let mut names: Vec<&str> = queries.iter().filter_map(|query| query.writes.as_deref()).collect();
        names.dedup();
        names.join(", ")
    };
    let index = |query: &Query| queries.iter().position(|other| other.name == query.name).unwrap_or(usize::MAX);
    let bound = |argument: &str, name: &str, last: bool| {
        let of_name = |query: &&Query| query.name == name || query.writes.as_deref() == Some(name);
        let found = if last { queries.iter().rfind(of_name) } else { queries.iter().find(of_name) };
        found.map(index).ok_or_else(|| Error::Argument {
            argument: argument.to_owned(),
            expected: format!("a stage ({})", tables()),
            got: name.to_owned(),
        })
    };
    let from = settings.from.as_deref().map_or(Ok(0), |name| bound("--from", name, false))?;
    let to = settings.to.as_deref().map_or(Ok(usize::MAX), |name| bound("--to", name, true))?;
    if from > to {
        return Err(Error::Argument {
            argument: "--from".to_owned(),
            expected: "a stage not after --to".to_owned(),
            got: settings.from.clone().unwrap_or_default(),
        });
    }
    Ok(steps.into_iter().filter(|step| (from..=to).contains(&index(&step.query))).collect())
}
