//! `neuronlake serve`: the viewer, the HTTP interface and Flight SQL over one lake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Handle, Runtime};

use super::arguments::{Arguments, ExistingLake, gib, positive};
use super::language::LanguageArguments;
use super::{STACK, print};
use crate::completions::permission::Permission;
use crate::error::{Error, Result};
use crate::models::cache::Models;
use crate::server::auth::Token;
use crate::server::limits::QueryLimits;
use crate::server::{Server, ServerOptions};
use crate::session::{Access, Session, SessionOptions};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake serve
  neuronlake serve --lake ./lake --listen 127.0.0.1:9000 --model ./gpt2 --simulator local:./SmolLM2-135M-Instruct.Q4_1.gguf
  NEURONLAKE_TOKEN=$(openssl rand -hex 16) neuronlake serve --listen 0.0.0.0:8080 --flight 0.0.0.0:8081")]
pub(crate) struct Serve {
    #[command(flatten)]
    lake: ExistingLake,
    /// Address of the viewer and of the HTTP interface; port 0 takes a free one. Anything but a loopback address needs a token in
    /// the environment variable NEURONLAKE_TOKEN.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address of Flight SQL.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    flight: SocketAddr,
    /// Serve no Flight SQL.
    #[arg(long)]
    no_flight: bool,
    /// Subject model that pages and functions may run: 'default' (inside the program), a folder or a file. May be repeated.
    #[arg(long = "model", default_value = "default", value_name = "PATH")]
    models: Vec<String>,
    /// What scores explanations typed into the viewer: a simulator as for 'neuronlake run' [default: embedding, where its encoder is].
    #[arg(long, value_name = "METHOD")]
    simulator: Option<String>,
    /// Let statements change tables and settings, and read files: for people you trust with this machine.
    #[arg(long)]
    allow_write: bool,
    /// Let functions ask endpoints that cost money; --budget says how much.
    #[arg(long)]
    allow_spend: bool,
    /// GiB that the sorts, joins and aggregates of one query may hold.
    #[arg(long, default_value = "1", value_name = "GIB", value_parser = gib)]
    query_memory: usize,
    /// Seconds that one query may compute.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    query_seconds: u64,
    /// Rows that one query may return.
    #[arg(long, default_value_t = 100_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    query_rows: u64,
    /// Queries that run at the same time; the next ones wait.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = positive)]
    queries_at_once: usize,
    /// Units whose pages are made, the best first, while nobody asks for anything [default: 2000; 0 for a lake in an object store, where
    /// each read is paid for].
    #[arg(long, value_name = "N")]
    pages_ahead: Option<usize>,
    #[command(flatten)]
    language: LanguageArguments,
}

/// Units whose pages are made where nothing else is asked for.
const PAGES_AHEAD: usize = 2_000;

pub(crate) async fn serve(arguments: &Arguments, command: &Serve) -> Result<()> {
    let access = if command.allow_write { Access::Full } else { Access::Reading };
    let mut languages = command.language.options()?;
    languages.permission = match command.allow_write {
        true => Permission::Any { spend: command.allow_spend },
        false => {
            // A model behind a method stands after the last @.
            let name = |name: &String| name.rsplit('@').next().unwrap_or(name).to_owned();
            Permission::Listed { spend: command.allow_spend, named: command.simulator.iter().map(name).collect() }
        }
    };
    let models = match command.allow_write {
        true => Models::default(),
        false => Models::only(command.models.clone()),
    };
    let limits = QueryLimits {
        memory: command.query_memory,
        time: Duration::from_secs(command.query_seconds),
        rows: command.query_rows,
        at_once: command.queries_at_once,
        ..QueryLimits::default()
    };
    let options =
        SessionOptions { languages, access, memory_limit: limits.memory, ..SessionOptions::default() }.asked_again();
    let session = Session::open(command.lake.open().await?, Arc::new(models), options)?;
    for model in &command.models {
        session.models().get(model)?;
    }
    let simulator = match &command.simulator {
        Some(name) => {
            session.methods().simulator(name)?;
            Some(name.clone())
        }
        // It costs nothing, where it is.
        None => session.methods().simulator("embedding").is_ok().then(|| "embedding".to_owned()),
    };
    let local = session.lake().local_path().is_some();
    let pages_ahead = command.pages_ahead.unwrap_or(if local { PAGES_AHEAD } else { 0 });
    let engine = Engine::start(arguments.threads)?;
    let options = ServerOptions {
        http: command.listen,
        flight: (!command.no_flight).then_some(command.flight),
        token: Token::from_environment()?,
        access,
        spends: command.allow_spend,
        limits,
        models: command.models.clone(),
        simulator,
        pages_ahead,
    };
    let server = Server::bind(session, options, engine.handle.clone()).await?;
    let mut told = format!("viewer and HTTP interface: http://{}\n", server.http_address()?);
    if let Some(address) = server.flight_address()? {
        told += &format!("Flight SQL: grpc://{address}\n");
    }
    print(&told)?;
    Box::pin(server.run(interrupted())).await
}

/// Threads that queries compute on, apart from those that serve sockets.
struct Engine {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Engine {
    fn start(threads: Option<usize>) -> Result<Self> {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(threads).thread_stack_size(STACK).thread_name("engine").enable_all();
        let runtime = runtime.build().map_err(|source| Error::Output { source })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Waiting for it here would block a thread that serves sockets; what it holds must not be saved.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for Ctrl-C or a request to end.
pub(super) async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending::<()>().await },
        () = terminated => {}
    }
}
