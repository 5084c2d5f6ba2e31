//! `neuronlake scheduler` and `neuronlake worker`: queries past one machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::arguments::{Arguments, ExistingLake, gib, positive};
use super::language::LanguageArguments;
use super::serve::interrupted;
use super::{open, print};
use crate::distributed;
use crate::distributed::worker::WorkerOptions;
use crate::error::{Error, Result};
use crate::session::SessionOptions;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake scheduler --lake s3://bucket/lake
  neuronlake sql --engine ballista://127.0.0.1:50050 --lake s3://bucket/lake \"SELECT count(*) FROM scores\"")]
pub(crate) struct Scheduler {
    #[command(flatten)]
    lake: ExistingLake,
    /// Where clients and workers reach it; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    network: Network,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  neuronlake worker --scheduler 127.0.0.1:50050 --lake s3://bucket/lake --tasks 4")]
pub(crate) struct Worker {
    #[command(flatten)]
    lake: ExistingLake,
    /// The scheduler that hands out tasks.
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS")]
    scheduler: SocketAddr,
    /// Where other workers fetch what this one computed; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Tasks at the same time [default: one a core].
    #[arg(long, value_name = "N", value_parser = positive)]
    tasks: Option<usize>,
    /// GiB that the sorts, joins and aggregates of all tasks may hold.
    #[arg(long, default_value = "2", value_name = "GIB", value_parser = gib)]
    memory: usize,
    /// Folder for what stages hand to each other and for what does not fit into memory [default: one that is removed at the end].
    #[arg(long, value_name = "FOLDER")]
    work: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    language: LanguageArguments,
}

/// Who may reach a scheduler or worker.
#[derive(Debug, Args)]
struct Network {
    /// Allow an address beyond this machine. Whoever reaches it can run queries with this process's rights: there is no password, so
    /// the network must keep others out.
    #[arg(long)]
    trusted_network: bool,
}

impl Network {
    fn check(&self, listen: SocketAddr) -> Result<()> {
        if listen.ip().is_loopback() || self.trusted_network {
            return Ok(());
        }
        Err(Error::Argument {
            argument: "--listen".to_owned(),
            expected: "a loopback address, or --trusted-network: whoever reaches it can run queries".to_owned(),
            got: listen.to_string(),
        })
    }
}

pub(crate) async fn scheduler(_: &Arguments, command: &Scheduler) -> Result<()> {
    command.network.check(command.listen)?;
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    let scheduler = distributed::scheduler::Scheduler::bind(command.listen, session).await?;
    print(&format!("scheduler: ballista://{}\n", scheduler.address()))?;
    tokio::select! {
        served = scheduler.serve() => served,
        () = interrupted() => Ok(()),
    }
}

pub(crate) async fn worker(arguments: &Arguments, command: &Worker) -> Result<()> {
    command.network.check(command.listen)?;
    let languages = command.language.options()?;
    let session = open(command.lake.open().await?, SessionOptions { languages, ..SessionOptions::default() })?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let own = Folder::new(command.work.clone())?;
    let options = WorkerOptions {
        scheduler: command.scheduler,
        listen: command.listen,
        tasks: command.tasks.or(arguments.threads).unwrap_or_else(cores),
        memory: command.memory as u64,
        work: own.path.clone(),
    };
    print(&format!("worker: {} at a time for ballista://{}\n", options.tasks, options.scheduler))?;
    distributed::worker::work(&session, options).await
}

/// The worker's folder; one that nobody named goes at the end.
struct Folder {
    path: PathBuf,
    named: bool,
}

impl Folder {
    fn new(named: Option<PathBuf>) -> Result<Self> {
        let path = named
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(format!("neuronlake-worker-{}", std::process::id())));
        std::fs::create_dir_all(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Self { path, named: named.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.named {
            // What is left is a temporary folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
