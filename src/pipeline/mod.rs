//! The stages, run in the order of their files: bind parameters, stream rows, commit whole units.

pub mod estimate;
pub mod methods;
pub mod planted_lake;
pub mod queries;
pub mod runs;
pub mod selftest;
pub mod settings;
pub mod stage;
pub mod steps;

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::pipeline::methods::Methods;
use crate::pipeline::settings::{Plan, Settings};
use crate::pipeline::steps::{Step, steps};
use crate::session::Session;

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
    /// US dollars paid to language models.
    pub cost: f64,
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
    // Steps left out by --from and --to ask nothing, and so need no trust.
    if !settings.force && steps.iter().any(|step| step.units_at_once.is_some()) {
        selftest::check(&methods, session.methods(), settings.seed).await?;
    }
    observer.run_started(steps.len());
    let mut reports = Vec::with_capacity(steps.len());
    for step in &steps {
        observer.stage_started(step);
        let start = Instant::now();
        let paid_before = session.methods().models().spent().dollars;
        let done = stage::run(session, step, &plan, observer).await;
        if done.is_err() {
            // The query has ended, the calls under way have not: their replies are paid for.
            session.methods().models().settled().await;
        }
        let n_rows = done?;
        let report = StageReport {
            stage: step.query.name.clone(),
            table: step.query.writes.clone().unwrap_or_default(),
            label: step.label.clone(),
            n_rows,
            cost: session.methods().models().spent().dollars - paid_before,
            took: start.elapsed(),
        };
        observer.stage_finished(&report);
        reports.push(report);
    }
    if settings.to.is_none() {
        session.scratch().remove_finished()?;
    }
    Ok(reports)
}
