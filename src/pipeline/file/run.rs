//! A pipeline file, run: every model over every corpus, then maintenance where the file asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Part, ReadFile, check};
use crate::completions::budget::Spent;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::Result;
use crate::models::cache::Models;
use crate::pipeline::settings::Regenerate;
use crate::pipeline::{Observer, StageReport, run};
use crate::session::{Engine, Session, SessionOptions};
use crate::tables::lake::Lake;
use crate::tables::maintenance::{Maintenance, TableReport, maintain};

/// Rows of a batch: a unit with its windows is tens of kilobytes, so batches are small.
pub const BATCH_ROWS: usize = 1_024;

/// What a run of a file did.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// Each model over each corpus, with its stages.
    pub parts: Vec<PartReport>,
    /// What language models were asked, and what it cost.
    pub spent: Spent,
    /// Tables that maintenance found work at.
    pub maintained: Vec<TableReport>,
    /// All of it.
    pub took: Duration,
}

/// One model over one corpus.
#[derive(Debug, Clone)]
pub struct PartReport {
    /// The model as the file names it.
    pub model: String,
    /// The corpus, without a password.
    pub corpus: String,
    /// What its stages did.
    pub stages: Vec<StageReport>,
}

impl RunReport {
    /// All stages of all parts.
    pub fn stages(&self) -> impl Iterator<Item = &StageReport> {
        self.parts.iter().flat_map(|part| &part.stages)
    }

    /// Rows written.
    pub fn n_rows(&self) -> usize {
        self.stages().map(|stage| stage.n_rows).sum()
    }

    /// Whether anything in the lake is another than before.
    pub fn changed(&self) -> bool {
        self.stages().any(|stage| stage.n_rows > 0 || stage.n_removed > 0)
    }
}

/// Opens the session that runs a file; models are loaded on first use.
///
/// # Errors
/// When what the file says of language models cannot be used.
pub fn session(lake: Lake, languages: LanguageModelOptions, engine: Engine) -> Result<Session> {
    let options = SessionOptions { batch_rows: BATCH_ROWS, languages, engine, ..SessionOptions::default() };
    Session::open(lake, Arc::new(Models::default()), options)
}

/// Runs a file: what is missing, and what is out of date, or everything.
///
/// # Errors
/// [`crate::Error::PipelineFile`] for a file that cannot be used, before anything is computed; then the first fault of any stage.
/// What was committed stays.
pub async fn run_file(
    read: &ReadFile,
    session: &Session,
    regenerate: Regenerate,
    only: Option<&str>,
    observer: &dyn Observer,
) -> Result<RunReport> {
    check::check_values(read)?;
    let start = Instant::now();
    let mut report = RunReport::default();
    for Part { settings, .. } in read.file.parts(regenerate, only)? {
        let stages = Box::pin(run(session, &settings, observer)).await?;
        report.parts.push(PartReport { model: settings.model.clone(), corpus: settings.corpus_id(), stages });
    }
    report.spent = session.methods().models().spent();
    if read.file.retention.maintain {
        report.maintained =
            maintain(session.here().context(), session.lake(), &Maintenance::keeping(read.file.retention.days)).await?;
    }
    report.took = start.elapsed();
    Ok(report)
}
