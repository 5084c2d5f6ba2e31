//! `neuronlake schedule`: pipelines at their times, until it is told to end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, watch};

use super::arguments::Arguments;
use super::pipeline::summary;
use super::print;
use super::progress::Verbosity;
use super::run::Bars;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::{Error, Result};
use crate::functions::MethodRegistry;
use crate::pipeline::file::run::{run_file, session};
use crate::pipeline::file::{PipelineFile, ReadFile, Schedule as Times, check};
use crate::pipeline::settings::Regenerate;
use crate::pipeline::timetable::Timetable;
use crate::schedule::clock::SystemClock;
use crate::schedule::{Keeper, Outcome, Work};
use crate::server::auth::Token;
use crate::server::metrics::MetricsServer;
use crate::session::Engine;
use crate::tables::lake::Lake;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake schedule nightly.toml weekly.toml --listen 127.0.0.1:9090
  neuronlake schedule --once nightly.toml")]
pub(crate) struct Schedule {
    /// Pipeline files with a [schedule]; they run one at a time.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Run what is due now, and end: for cron, systemd timers and Kubernetes.
    #[arg(long)]
    once: bool,
    /// Serve Prometheus metrics at /metrics of this address. Anything but a loopback address needs a token in the environment
    /// variable NEURONLAKE_TOKEN.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where queries over tables are computed, in place of the files' own word: 'local', or the workers of a Ballista scheduler, as in
    /// 'ballista://127.0.0.1:50050'.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
}

pub(crate) async fn schedule(arguments: &Arguments, command: &Schedule) -> Result<()> {
    let turn = Arc::new(Turn::new(()));
    let mut pipelines = Vec::new();
    for path in &command.files {
        pipelines.push(Scheduled::open(path, &turn, arguments.quiet, command.engine.clone())?);
    }
    let names: Vec<&str> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(Error::Argument {
            argument: "schedule".to_owned(),
            expected: "pipelines of different names".to_owned(),
            got: (*twice.1).to_owned(),
        });
    }
    let (stopping, stopped) = watch::channel(false);
    let mut server = None;
    if let Some(address) = command.listen {
        let bound = MetricsServer::bind(address, Token::from_environment()?).await?;
        print(&format!("metrics: http://{}/metrics\n", bound.address()?))?;
        server = Some(tokio::spawn(bound.run(stopped.clone())));
    }
    tokio::spawn(async move {
        super::serve::interrupted().await;
        // Nobody listens when everything has ended.
        let _ = stopping.send(true);
    });
    let clock = SystemClock;
    let keepers = pipelines
        .iter()
        .map(|pipeline| Keeper::new(&pipeline.lake, &pipeline.name, pipeline.timetable.clone(), &clock, pipeline))
        .collect::<Result<Vec<_>>>()?;
    if command.once {
        for (keeper, pipeline) in keepers.iter().zip(&pipelines) {
            let outcome = keeper.look(&stopped).await?;
            told(pipeline, outcome)?;
        }
    } else {
        if !arguments.quiet {
            print(&format!("keeping the times of {}\n", names.join(", ")))?;
        }
        join_all(keepers.iter().map(|keeper| keeper.keep(&stopped))).await;
    }
    if let Some(server) = server {
        server.abort();
    }
    Ok(())
}

/// What a single look came to.
fn told(pipeline: &Scheduled, outcome: Outcome) -> Result<()> {
    let name = &pipeline.name;
    match outcome {
        // The summary was printed.
        Outcome::Ran => Ok(()),
        Outcome::NotDue(Some(due)) => print(&format!("'{name}' is due at {}\n", pipeline.timetable.shown(due))),
        Outcome::NotDue(None) => print(&format!("'{name}' is due at no time any more\n")),
        Outcome::Busy => print(&format!("skipped: another process runs '{name}'\n")),
        Outcome::Stopped => Err(Error::Interrupted),
        Outcome::Failed => Err(pipeline.failure.lock().take().unwrap_or(Error::Interrupted)),
    }
}

/// A pipeline file with its times.
struct Scheduled {
    path: PathBuf,
    name: String,
    lake: Lake,
    timetable: Timetable,
    quiet: bool,
    /// Where queries are computed, whatever the file says.
    engine: Option<Engine>,
    /// One run at a time in this process: each takes all of the machine.
    turn: Arc<Turn<()>>,
    asking: Mutex<Option<Arc<MethodRegistry>>>,
    failure: Mutex<Option<Error>>,
}

impl Scheduled {
    fn open(path: &Path, turn: &Arc<Turn<()>>, quiet: bool, engine: Option<Engine>) -> Result<Self> {
        let read = ReadFile::open(path)?;
        check::check_values(&read)?;
        let times: &Times = read.file.schedule.as_ref().ok_or_else(|| Error::Argument {
            argument: format!("file '{}'", path.display()),
            expected: "a [schedule] with a cron expression".to_owned(),
            got: "none".to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            name: read.name(),
            lake: Lake::at(&read.file.lake)?,
            timetable: Timetable::new(&times.cron, &times.time_zone)?,
            quiet,
            engine,
            turn: Arc::clone(turn),
            asking: Mutex::default(),
            failure: Mutex::default(),
        })
    }

    async fn once(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        // Read anew: what was edited since the last run holds from this one on.
        let read = ReadFile::open(&self.path)?.well_formed()?;
        let languages: LanguageModelOptions = read.file.languages()?;
        let file: &PipelineFile = &read.file;
        let engine = self.engine.clone().unwrap_or_else(|| file.engine.clone());
        let engine = session(Lake::reach(&file.lake).await?, languages, engine)?;
        *self.asking.lock() = Some(Arc::clone(engine.methods()));
        let bars = Bars::new(Verbosity::Quiet);
        let report = Box::pin(run_file(&read, &engine, Regenerate::Changed, None, &bars)).await?;
        tracing::info!(
            pipeline = self.name,
            n_rows = report.n_rows(),
            n_calls = report.spent.calls,
            cost = report.spent.dollars,
            seconds = report.took.as_secs_f64(),
            changed = report.changed(),
            "pipeline done"
        );
        if !self.quiet {
            print(&summary(&report, &read))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Work for Scheduled {
    async fn run(&self) -> Result<()> {
        let result = self.once().await;
        // Only told where a single look ends with it; the log has it too.
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let told = Error::Refused { what: format!("pipeline '{}'", self.name), reason: error.to_string() };
                *self.failure.lock() = Some(error);
                Err(told)
            }
        }
    }

    async fn settle(&self) {
        let asking = self.asking.lock().take();
        if let Some(methods) = asking {
            // The query has ended, the calls under way have not: their replies are paid for.
            methods.models().settled().await;
        }
    }
}
