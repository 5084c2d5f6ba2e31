//! `neuronlake pipeline check|run`: a run that a file describes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::Arguments;
use super::run::Bars;
use super::{estimate, print};
use crate::error::Result;
use crate::pipeline::file::run::{RunReport, run_file, session};
use crate::pipeline::file::{ReadFile, check};
use crate::pipeline::settings::Regenerate;
use crate::schedule::{Alone, alone};
use crate::session::Engine;
use crate::tables::lake::Lake;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake pipeline check pipeline.toml
  neuronlake pipeline run pipeline.toml
  neuronlake pipeline run pipeline.toml --only scores --full
  neuronlake pipeline run pipeline.toml --engine ballista://127.0.0.1:50050")]
pub(crate) struct Pipeline {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say everything that is wrong with a pipeline file; nothing is computed and nothing asked.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Run a pipeline file: what is missing, and what changed.
    Run(PipelineRun),
}

#[derive(Debug, Args)]
struct PipelineRun {
    /// The file.
    file: PathBuf,
    /// Only this stage: a table's name.
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
    /// Make everything anew, not what changed alone; older versions of the tables stay readable.
    #[arg(long)]
    full: bool,
    /// Print what language models would be asked and what it may cost, and ask nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where queries over tables are computed, in place of the file's own word: 'local', or the workers of a scheduler, as in
    /// 'ballista://127.0.0.1:50050'.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
}

pub(crate) async fn pipeline(arguments: &Arguments, command: &Pipeline) -> Result<()> {
    match &command.action {
        Action::Check { file } => {
            let read = ReadFile::open(file)?;
            let engine = session_to_check(&read)?;
            check::check(&read, &engine).await?;
            let (n_models, n_sources) = (read.file.models.len(), read.file.sources.len());
            print(&format!(
                "'{}' is a pipeline: {} over {}\n",
                read.name(),
                counted(n_models, "model", "models"),
                counted(n_sources, "corpus", "corpora")
            ))
        }
        Action::Run(command) => run(arguments, command).await,
    }
}

/// A lake and settings that do not stand in the way of finding what else is wrong.
fn session_to_check(read: &ReadFile) -> Result<crate::session::Session> {
    let lake = Lake::at(&read.file.lake).or_else(|_| Lake::at("./lake"))?;
    // Nothing is computed, so nothing is sent.
    session(lake, check::counting(), Engine::Local)
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

async fn run(arguments: &Arguments, command: &PipelineRun) -> Result<()> {
    let read = ReadFile::open(&command.file)?;
    check::check_values(&read)?;
    let regenerate = if command.full { Regenerate::All } else { Regenerate::Changed };
    let mut languages = read.file.languages()?;
    languages.counts_only = command.dry_run;
    let engine = command.engine.clone().unwrap_or_else(|| read.file.engine.clone());
    let engine = session(Lake::reach(&read.file.lake).await?, languages, engine)?;
    if command.dry_run {
        for part in read.file.parts(regenerate, command.only.as_deref())? {
            print(&format!("model '{}', corpus '{}'\n", part.settings.model, part.settings.corpus_id()))?;
            estimate::estimate(&engine, &part.settings).await?;
        }
        return Ok(());
    }
    let bars = Bars::new(arguments.verbosity());
    let work = Box::pin(run_file(&read, &engine, regenerate, command.only.as_deref(), &bars));
    match alone(engine.lake(), &read.name(), work).await? {
        Alone::Done(report) => {
            let report = report?;
            if arguments.quiet { Ok(()) } else { print(&summary(&report, &read)) }
        }
        Alone::Busy(holder) => {
            tracing::warn!(pipeline = read.name(), holder, "skipped: another process runs it");
            print(&format!("skipped: pipeline '{}' is being run by {holder}\n", read.name()))
        }
    }
}

/// What was done, one line a stage, and all of it in the last ones.
pub(super) fn summary(report: &RunReport, read: &ReadFile) -> String {
    let mut text = String::new();
    for part in &report.parts {
        text.push_str(&format!("model '{}', corpus '{}'\n", part.model, part.corpus));
        text.push_str(&super::run::stage_lines(&part.stages));
    }
    for table in report.maintained.iter().filter(|table| table.changed()) {
        text.push_str(&super::maintain::line(table));
    }
    if !report.changed() {
        text.push_str("nothing changed: every row was there already, and made of what is there now\n");
    }
    let n_units: u64 = report.stages().filter(|s| s.table == "scores").map(|stage| stage.n_units).sum();
    text.push_str(&format!(
        "pipeline '{}', lake '{}': {} rows, {} scored, {}, {:.1} s",
        read.name(),
        read.file.lake,
        report.n_rows(),
        counted(n_units as usize, "unit", "units"),
        counted(report.spent.calls as usize, "call", "calls"),
        report.took.as_secs_f64()
    ));
    if report.spent.dollars > 0.0 || report.spent.unpriced_calls > 0 {
        let spent = &report.spent;
        let told = super::run::told_cost(spent.calls, spent.unpriced_calls, spent.dollars);
        text.push_str(&format!(", {told}"));
    }
    if let Some(slowest) = report.stages().max_by_key(|stage| stage.took).filter(|stage| stage.n_rows > 0) {
        text.push_str(&format!("; slowest: {} ({:.1} s)", slowest.stage, slowest.took.as_secs_f64()));
    }
    text.push('\n');
    for part in &report.parts {
        text.push_str(&super::run::warnings(&part.stages));
    }
    text
}
