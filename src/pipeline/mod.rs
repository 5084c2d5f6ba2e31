//! The stages, run in the order of their files: bind parameters, stream rows, commit whole units.

pub mod queries;
pub mod runs;
pub mod settings;
pub mod stage;

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::functions::remove_finished;
use crate::pipeline::queries::Query;
use crate::pipeline::settings::{Plan, Settings};
use crate::session::Session;

/// What one stage did.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// Its file name, e.g. `60_scores`.
    pub stage: String,
    /// The table it writes.
    pub table: String,
    /// Rows written now; 0 when everything was there already.
    pub n_rows: usize,
    /// Time it took.
    pub took: Duration,
}

/// Told about stages as they go; all calls come from one task.
pub trait Observer: Send + Sync {
    /// A stage begins.
    fn stage_started(&self, stage: &Query);
    /// So much of so much is done, in the words of `unit`; a total of 0 means unknown.
    fn stage_advanced(&self, stage: &Query, done: u64, total: u64, unit: &str);
    /// A stage ended well.
    fn stage_finished(&self, report: &StageReport);
}

/// Runs the stages that the settings name; a stage computes only what is missing.
///
/// # Errors
/// The first fault of any stage. Whatever was committed stays, and the next run goes on from there.
pub async fn run(session: &Session, settings: &Settings, observer: &dyn Observer) -> Result<Vec<StageReport>> {
    let queries = queries::pipeline(settings.queries.as_deref())?;
    let wanted = stages(&queries, settings)?;
    let plan = Plan::new(session, settings)?;
    let mut reports = Vec::with_capacity(wanted.len());
    for query in wanted {
        observer.stage_started(query);
        let start = Instant::now();
        let n_rows = stage::run(session, query, &plan, observer).await?;
        let report = StageReport {
            stage: query.name.clone(),
            table: query.writes.clone().unwrap_or_default(),
            n_rows,
            took: start.elapsed(),
        };
        observer.stage_finished(&report);
        reports.push(report);
    }
    if settings.to.is_none() {
        remove_finished(&session.lake().scratch_path())?;
    }
    Ok(reports)
}

/// The stages from `--from` to `--to`; the optional one only when it was asked for.
fn stages<'a>(queries: &'a [Query], settings: &Settings) -> Result<Vec<&'a Query>> {
    let position = |argument: &str, name: &str| {
        queries.iter().position(|query| query.name == name || query.writes.as_deref() == Some(name)).ok_or_else(|| {
            Error::Argument {
                argument: argument.to_owned(),
                expected: format!(
                    "a stage ({})",
                    queries.iter().filter_map(|q| q.writes.as_deref()).collect::<Vec<_>>().join(", ")
                ),
                got: name.to_owned(),
            }
        })
    };
    let from = settings.from.as_deref().map_or(Ok(0), |name| position("--from", name))?;
    let to = settings.to.as_deref().map_or(Ok(queries.len() - 1), |name| position("--to", name))?;
    if from > to {
        return Err(Error::Argument {
            argument: "--from".to_owned(),
            expected: "a stage not after --to".to_owned(),
            got: settings.from.clone().unwrap_or_default(),
        });
    }
    Ok(queries[from..=to]
        .iter()
        .filter(|query| settings.firings_above.is_some() || query.writes.as_deref() != Some("activations"))
        .collect())
}
