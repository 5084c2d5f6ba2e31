//! The command line: what faces people at a terminal. Only this folder prints.

mod activations;
mod arguments;
mod cluster;
mod cost;
mod demo;
pub mod escape;
mod estimate;
mod export;
pub mod heatmap;
mod history;
mod hooks;
mod import;
mod import_formats;
mod index;
mod language;
mod likeness;
mod logging;
mod maintain;
mod pipeline;
pub mod progress;
pub mod prompt;
mod pull;
mod query;
mod run;
mod sae;
mod schedule;
mod search;
mod search_arguments;
mod selftest;
mod serve;
mod sql;
pub mod table;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::error::{Error, Result};
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;
use arguments::{Arguments, Command};

/// Runs the command of the process's arguments: 0 when it did what was asked, 1 when it failed, 2 for wrong usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    silence_caught_panics();
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // Fails only when a pool exists, and this is the first thing that makes one.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(threads).thread_stack_size(STACK).enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report(&Error::Output { source }),
    };
    // Spans are sent by the runtime's connections.
    let traces = runtime.block_on(async { logging::init(&arguments) });
    let result = runtime.block_on(async {
        tokio::select! {
            result = Box::pin(dispatch(&arguments)) => result,
            () = interrupted(&arguments.command) => Err(Error::Interrupted),
        }
    });
    // A pass of the model on a blocking thread notices at its next batch that nobody waits for it; it holds nothing that
    // must be saved.
    drop(traces);
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if table::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Bytes of a thread's stack, of which memory holds what is used. Plans are taken apart by recursion, by crates that are built without optimisation:
/// the two megabytes that threads have by themselves did not suffice for a scheduler that was sent the scores with ablation.
const STACK: usize = 16 << 20;

/// Waits for Ctrl-C; for ever at the SQL prompt, where the key stops a statement and not the program.
async fn interrupted(command: &Command) {
    let prompts = matches!(command, Command::Sql(sql) if sql.query.is_none() && sql.file.is_none());
    // A server, a worker and a schedule end what is under way by themselves.
    let prompts = prompts
        || matches!(command, Command::Serve(_) | Command::Scheduler(_) | Command::Worker(_) | Command::Schedule(_));
    if prompts || tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn dispatch(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Demo(command) => demo::demo(arguments, command).await,
        Command::Run(command) => run::run(arguments, command).await,
        Command::Sql(command) => sql::sql(arguments, command).await,
        Command::Query(command) => query::query(arguments, command).await,
        Command::Search(command) => search::search(arguments, command).await,
        Command::Index(command) => index::index(arguments, command).await,
        Command::Hooks(command) => hooks::hooks(command),
        Command::Like(command) => likeness::like(arguments, command).await,
        Command::Fires(command) => likeness::fires(command).await,
        Command::Serve(command) => serve::serve(arguments, command).await,
        Command::Scheduler(command) => cluster::scheduler(arguments, command).await,
        Command::Worker(command) => cluster::worker(arguments, command).await,
        Command::Selftest(command) => selftest::selftest(command).await,
        Command::Cost(command) => cost::cost(command).await,
        Command::Import(command) => import::run(arguments, command).await,
        Command::Export(command) => export::run(command).await,
        Command::Activations(command) => Box::pin(activations::activations(arguments, command)).await,
        Command::Sae(command) => Box::pin(sae::sae(arguments, command)).await,
        Command::Pipeline(command) => pipeline::pipeline(arguments, command).await,
        Command::Schedule(command) => schedule::schedule(arguments, command).await,
        Command::History(command) => history::history(command).await,
        Command::Diff(command) => history::diff(command).await,
        Command::Maintain(command) => maintain::maintain(command).await,
        Command::Pull(command) => pull::pull(arguments, command).await,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "neuronlake", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Opens the engine over a lake.
fn open(lake: Lake, options: SessionOptions) -> Result<Session> {
    Session::open(lake, Arc::new(Models::default()), options)
}

/// Writes to stdout; a reader who left early is no fault.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| Error::Output { source })
}

/// The one line an error gets.
fn report(error: &Error) -> ExitCode {
    let text = with_cause(error);
    let line: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // In one piece: a thread that is still ending may write too. Nothing can be done when stderr is closed.
    let _ = std::io::stderr().write_all(format!("error: {}\n", line.join(" ")).as_bytes());
    ExitCode::from(error.exit_code())
}

/// The error and, unless it says so itself, the cause at the bottom of it.
fn with_cause(error: &Error) -> String {
    let error = error.itself();
    let text = error.to_string();
    let mut root: &dyn std::error::Error = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    match root.to_string() {
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    }
}

/// Delta Lake aborts an upload that failed and catches the panic this is when the upload was all but done: nothing for a
/// person to read, the error itself follows.
fn silence_caught_panics() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|at| at.file()).unwrap_or_default();
        if !(place.contains("object_store") && place.ends_with("buffered.rs")) {
            others(panic);
        }
    }));
}
