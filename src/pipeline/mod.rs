//! The stages, run in the order of their files: bind parameters, stream rows, commit whole units.

pub mod estimate;
pub mod failures;
pub mod file;
pub mod history;
pub mod methods;
mod outdated;
pub mod planted_lake;
pub mod queries;
pub mod runs;
pub mod selftest;
pub mod settings;
pub mod stage;
pub mod steps;
pub mod timetable;

use std::time::{Duration, Instant};

use tracing::Instrument;

use crate::completions::budget::Spent;
use crate::error::Result;
use crate::metrics::metrics;
use crate::pipeline::failures::Failures;
use crate::pipeline::methods::Methods;
use crate::pipeline::settings::{Plan, Settings};
use crate::pipeline::steps::{Step, steps};
use crate::session::Session;

/// What the trial of methods on planted units is called among the stages.
pub const SELFTEST: &str = "self-test";

/// What one step did.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// Its file name, e.g. `60_scores`.
    pub stage: String,
    /// The table it writes.
    pub table: String,
    /// The method, where the table takes rows of several.
    pub label: String,
    /// Rows written now; 0 when everything was there already.
    pub n_rows: usize,
    /// Explanations, units or documents whose rows were taken away, because what they were made of is gone.
    pub n_removed: usize,
    /// Units that rows were written of.
    pub n_units: u64,
    /// Calls of language models that were answered now.
    pub n_calls: u64,
    /// US dollars paid to language models, as far as prices are known.
    pub cost: f64,
    /// Those of the calls whose price is not known.
    pub n_unpriced: u64,
    /// Rows without a result.
    pub failures: Failures,
    /// Time it took.
    pub took: Duration,
}

/// Told about steps as they go; all calls come from one task.
pub trait Observer: Send + Sync {
    /// A run begins, with so many steps.
    fn run_started(&self, n_steps: usize);
    /// A step begins.
    fn stage_started(&self, step: &Step);
    /// Another process does the same step on this lake; its end is waited for. Silence by default.
    fn stage_waits(&self, _step: &Step) {}
    /// So much of so much is done, in the words of `unit`; a total of 0 means unknown.
    fn stage_advanced(&self, step: &Step, done: u64, total: u64, unit: &str);
    /// A step ended well.
    fn stage_finished(&self, report: &StageReport);
}

/// Runs the steps that the settings name; a step computes only what is missing.
///
/// # Errors
/// The first fault of any step. Whatever was committed stays, and the next run goes on from there.
pub async fn run(session: &Session, settings: &Settings, observer: &dyn Observer) -> Result<Vec<StageReport>> {
    let queries = queries::pipeline(settings.queries.as_deref())?;
    let methods = Methods::find(settings, session.methods())?;
    let steps = steps(&queries, settings, &methods)?;
    let plan = Plan::new(session, settings)?;
    let mut reports = Vec::with_capacity(steps.len() + 1);
    if wants_selftest(settings, &steps, &methods) {
        let (start, before) = (Instant::now(), session.methods().models().spent());
        selftest::check(&methods, session.methods(), settings.seed).await?;
        reports.push(selftest_report(&before, &session.methods().models().spent(), start.elapsed()));
    }
    observer.run_started(steps.len());
    for step in &steps {
        observer.stage_started(step);
        let start = Instant::now();
        let before = session.methods().models().spent();
        let (table, label) = (step.query.writes.clone().unwrap_or_default(), step.label.as_str());
        let span = tracing::info_span!(
            "stage",
            stage = step.query.name,
            table,
            method = label,
            n_rows = tracing::field::Empty
        );
        let done = stage::run(session, step, &plan, observer).instrument(span.clone()).await;
        if done.is_err() {
            // The query has ended, the calls under way have not: their replies are paid for.
            session.methods().models().settled().await;
        }
        let done = done?;
        span.record("n_rows", done.n_rows);
        let spent = session.methods().models().spent();
        let report = StageReport {
            stage: step.query.name.clone(),
            table,
            label: step.label.clone(),
            n_rows: done.n_rows,
            n_removed: done.n_removed,
            n_units: done.n_units,
            n_calls: spent.calls - before.calls,
            cost: spent.dollars - before.dollars,
            n_unpriced: spent.unpriced_calls - before.unpriced_calls,
            failures: done.failures,
            took: start.elapsed(),
        };
        if let Some(failed) = report.failures.told() {
            let (table, method) = (report.table.as_str(), report.label.as_str());
            match report.failures.all_failed() {
                true => tracing::warn!(table, method, failed, "not one row has a result"),
                false => tracing::info!(table, method, failed, "some rows have no result"),
            }
        }
        metrics().stage(&report.stage, report.took, report.cost);
        metrics().units(&report.table).inc_by(report.n_units);
        metrics().model_calls(
            report.n_calls,
            spent.from_store - before.from_store,
            spent.prompt_tokens - before.prompt_tokens,
            spent.completion_tokens - before.completion_tokens,
        );
        tracing::info!(
            stage = report.stage,
            method = report.label,
            n_rows = report.n_rows,
            n_units = report.n_units,
            n_calls = report.n_calls,
            cost = report.cost,
            seconds = report.took.as_secs_f64(),
            "stage ended"
        );
        observer.stage_finished(&report);
        reports.push(report);
    }
    if settings.to.is_none() {
        session.scratch().remove_finished()?;
    }
    Ok(reports)
}

/// Whether methods are tried on planted units first: those that ask a language model, unless the user trusts them. Steps left out by
/// `--from` and `--to` ask nothing, and so need no trust.
fn wants_selftest(settings: &Settings, steps: &[Step], methods: &Methods) -> bool {
    !settings.force
        && steps.iter().any(|step| step.units_at_once.is_some())
        && methods.simulators.iter().chain(&methods.scorers).any(|method| method.asks)
}

/// The self-test as a line among the stages.
fn selftest_report(before: &Spent, spent: &Spent, took: Duration) -> StageReport {
    StageReport {
        stage: SELFTEST.to_owned(),
        table: SELFTEST.to_owned(),
        label: String::new(),
        n_rows: 0,
        n_removed: 0,
        n_units: 0,
        n_calls: spent.calls - before.calls,
        cost: spent.dollars - before.dollars,
        n_unpriced: spent.unpriced_calls - before.unpriced_calls,
        failures: Failures::default(),
        took,
    }
}
