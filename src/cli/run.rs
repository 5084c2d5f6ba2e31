//! `neuronlake run`: the pipeline, with a progress bar a stage.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::arguments::{Arguments, Run};
use super::progress::{Stage, StageProgress, Verbosity};
use super::{estimate, open, print};
use crate::completions::language_models::LanguageModelOptions;
use crate::error::{Error, Result};
use crate::neurons::selection::NeuronSelection;
use crate::pipeline::file::run::BATCH_ROWS;
use crate::pipeline::settings::Settings;
use crate::pipeline::steps::Step;
use crate::pipeline::{self, Observer, StageReport};
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

pub(crate) async fn run(arguments: &Arguments, command: &Run) -> Result<()> {
    let settings = settings(command)?;
    let lake = Lake::reach(&command.lake).await?;
    let languages = LanguageModelOptions { counts_only: command.dry_run, ..command.language.options()? };
    let engine = command.engine.clone();
    let session =
        open(lake, SessionOptions { batch_rows: BATCH_ROWS, languages, engine, ..SessionOptions::default() })?;
    if command.dry_run {
        return estimate::estimate(&session, &settings).await;
    }
    let reports = run_pipeline(arguments, &session, &settings).await?;
    if !arguments.quiet {
        print(&summary(&reports, &command.lake))?;
    }
    Ok(())
}

/// A session whose batches suit the wide rows of the pipeline.
pub(crate) fn pipeline_session(lake: Lake, languages: LanguageModelOptions) -> Result<Session> {
    open(lake, SessionOptions { batch_rows: BATCH_ROWS, languages, ..SessionOptions::default() })
}

/// Runs the stages under progress bars.
pub(crate) async fn run_pipeline(
    arguments: &Arguments,
    session: &Session,
    settings: &Settings,
) -> Result<Vec<StageReport>> {
    let bars = Bars::new(arguments.verbosity());
    pipeline::run(session, settings, &bars).await
}

/// What was done, one line a stage.
fn summary(reports: &[StageReport], lake: &str) -> String {
    let took: Duration = reports.iter().map(|report| report.took).sum();
    let mut text = stage_lines(reports);
    let n_rows: usize = reports.iter().map(|report| report.n_rows).sum();
    if n_rows == 0 {
        text.push_str("nothing was missing: every unit was there already\n");
    }
    text.push_str(&format!("lake '{lake}', {:.1} s in all", took.as_secs_f64()));
    let n_calls: u64 = reports.iter().map(|report| report.n_calls).sum();
    if n_calls > 0 {
        let cost: f64 = reports.iter().map(|report| report.cost).sum();
        let n_unpriced: u64 = reports.iter().map(|report| report.n_unpriced).sum();
        text.push_str(&format!(", {n_calls} calls, {}", told_cost(n_calls, n_unpriced, cost)));
    }
    if let Some(slowest) = reports.iter().max_by_key(|report| report.took).filter(|_| n_rows > 0) {
        text.push_str(&format!("; slowest: {} ({:.1} s)", slowest.stage, slowest.took.as_secs_f64()));
    }
    text.push('\n');
    text.push_str(&warnings(reports));
    text
}

/// What calls cost, and of how many that is not known: no price is not the price 0.
pub(super) fn told_cost(n_calls: u64, n_unpriced: u64, dollars: f64) -> String {
    match n_unpriced {
        0 => format!("{dollars:.4} usd"),
        _ if n_unpriced >= n_calls => "cost unknown (no price of the model in prices.toml)".to_owned(),
        _ => format!("{dollars:.4} usd and the unknown cost of {n_unpriced} calls (no price in prices.toml)"),
    }
}

/// A line for each step of which not one row has a result.
pub(super) fn warnings(reports: &[StageReport]) -> String {
    let all_failed = reports.iter().filter(|report| report.failures.all_failed());
    let warning = |report: &StageReport| {
        let told = report.failures.told().unwrap_or_default();
        format!("warning: not one row of {} has a result: {told}\n", titled(&report.table, &report.label))
    };
    all_failed.map(warning).collect()
}

/// Rows and time of each stage.
pub(super) fn stage_lines(reports: &[StageReport]) -> String {
    let mut text = format!("{:<20} {:>12} {:>9}\n", "table", "rows written", "seconds");
    for report in reports {
        let seconds = report.took.as_secs_f64();
        text.push_str(&format!("{:<20} {:>12} {seconds:>9.1}", report.table, report.n_rows));
        let failed = report.failures.told().unwrap_or_default();
        for part in [&report.label, &paid(report), &failed].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(&format!("  {part}"));
        }
        text.push('\n');
    }
    text
}

/// Dollars, where any were paid; the calls of the self-test, which writes no rows, too.
fn paid(report: &StageReport) -> String {
    let mut parts = Vec::new();
    if report.table == pipeline::SELFTEST {
        parts.push(format!("{} calls", report.n_calls));
    }
    if report.n_unpriced > 0 {
        parts.push("cost unknown".to_owned());
    } else if report.cost > 0.0 {
        parts.push(format!("{:.4} usd", report.cost));
    }
    parts.join(", ")
}

/// A table with the method whose rows it takes.
fn titled(table: &str, label: &str) -> String {
    if label.is_empty() { table.to_owned() } else { format!("{table} ({label})") }
}

fn settings(command: &Run) -> Result<Settings> {
    let argument = |argument: &str, expected: &str, got: String| Error::Argument {
        argument: argument.to_owned(),
        expected: expected.to_owned(),
        got,
    };
    if let Some(level) = command.firings_above
        && !(0.0..1.0).contains(&level)
    {
        return Err(argument("--firings-above", "a quantile from 0 to 1, such as 0.99", level.to_string()));
    }
    Ok(Settings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        field: command.field.clone(),
        limit: command.limit,
        document_chars: command.document_chars,
        hooks: command.hooks.clone(),
        layers: command.layers.as_ref().map(|layers| layers.0.clone()).unwrap_or_default(),
        neurons: NeuronSelection::parse(&command.neurons)?,
        window_length: command.window_length,
        split_strategy: command.split.clone(),
        first_token: command.first_token,
        seed: command.seed,
        windows: command.windows,
        explainers: command.explainers.clone(),
        simulators: command.simulators.clone(),
        scorers: command.scorers.clone(),
        samples: command.samples,
        revisions: command.revisions,
        calibration: command.calibration.clone(),
        ablation: command.ablation,
        force: command.force,
        firings_above: command.firings_above,
        encode: command.encode,
        memory_limit: command.memory,
        from: command.from.clone(),
        to: command.to.clone(),
        queries: command.queries.clone(),
        ..Settings::default()
    })
}

/// Shows stages as progress bars.
pub(super) struct Bars {
    verbosity: Verbosity,
    progress: Mutex<Option<StageProgress>>,
    stage: Mutex<Option<Shown>>,
}

struct Shown {
    bar: Stage,
    unit: String,
    done: u64,
}

impl Bars {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, progress: Mutex::new(None), stage: Mutex::new(None) }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Option<Shown>) -> R) -> R {
        change(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Bars {
    fn run_started(&self, n_steps: usize) {
        let progress = StageProgress::new(n_steps, self.verbosity);
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn stage_started(&self, step: &Step) {
        let name = step.query.writes.clone().unwrap_or_default();
        let unit = step.query.unit.clone().unwrap_or_else(|| "row".to_owned());
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bar = progress.map(|progress| progress.stage(&titled(&name, &step.label), &format!("{unit}s"), None));
        self.with(|shown| *shown = bar.map(|bar| Shown { bar, unit, done: 0 }));
    }

    fn stage_waits(&self, _: &Step) {
        self.with(|shown| {
            if let Some(shown) = shown {
                shown.bar.note("another process does this step; waiting for it");
            }
        });
    }

    fn stage_advanced(&self, _: &Step, done: u64, total: u64, unit: &str) {
        self.with(|shown| {
            let Some(shown) = shown else { return };
            if shown.unit != unit {
                // A pass of the model counts windows first, then its units are written.
                shown.bar.recount(&format!("{unit}s"));
                unit.clone_into(&mut shown.unit);
                shown.done = 0;
            }
            if total > 0 {
                shown.bar.set_total(total);
            }
            shown.bar.advance(done.saturating_sub(shown.done));
            shown.done = done.max(shown.done);
        });
    }

    fn stage_finished(&self, _: &StageReport) {
        if let Some(shown) = self.with(Option::take) {
            shown.bar.finish();
        }
    }
}
