//! A worker: asks the scheduler for tasks and runs them, with the lake's functions and files.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;

use super::results;
use super::scheduler::fault;
use super::stores::Stores;
use crate::error::{Error, Result};
use crate::session::Session;

/// Seconds for which a worker tries to reach its scheduler when it starts.
const CONNECT_SECONDS: u16 = 30;
/// Seconds between two words to the scheduler.
const HEARTBEAT_SECONDS: u64 = 5;

/// What a worker may use.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Host and port of the scheduler.
    pub scheduler: SocketAddr,
    /// The address at which other workers fetch what this one computed; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Tasks at the same time.
    pub tasks: usize,
    /// Bytes that the sorts, joins and aggregates of all tasks may hold before they spill.
    pub memory: u64,
    /// Folder for shuffles and spills.
    pub work: PathBuf,
}

/// Runs tasks until the process is asked to end.
///
/// # Errors
/// When the scheduler is not to be reached, or the address is taken.
pub async fn work(session: &Session, options: WorkerOptions) -> Result<()> {
    let state = session.context().state();
    let functions = BallistaFunctionRegistry {
        scalar_functions: state.scalar_functions().clone(),
        aggregate_functions: state.aggregate_functions().clone(),
        window_functions: state.window_functions().clone(),
        ..BallistaFunctionRegistry::default()
    };
    let folder = options.work.clone();
    let work_dir = options.work.to_str().ok_or_else(|| Error::Argument {
        argument: "--work".to_owned(),
        expected: "a folder whose name is UTF-8".to_owned(),
        got: options.work.display().to_string(),
    })?;
    let config = ExecutorProcessConfig {
        bind_host: options.listen.ip().to_string(),
        external_host: Some(options.listen.ip().to_string()),
        port: free_port(options.listen)?,
        // Named in the registration and unused: tasks are asked for, not sent.
        grpc_port: 0,
        scheduler_host: options.scheduler.ip().to_string(),
        scheduler_port: options.scheduler.port(),
        scheduler_connect_timeout_seconds: CONNECT_SECONDS,
        vcores: options.tasks,
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(work_dir.to_owned()),
        job_data_clean_up_interval_seconds: 600,
        job_data_ttl_seconds: 24 * 3_600,
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        memory_pool_size: Some(options.memory),
        override_function_registry: Some(Arc::new(functions)),
        override_arrow_flight_service: Some(results::provider()),
        override_runtime_producer: Some(Arc::new(move |_| {
            RuntimeEnvBuilder::new()
                .with_temp_file_path(folder.clone())
                .with_object_store_registry(Arc::new(Stores::default()))
                .build_arc()
        })),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config)).await.map_err(fault)
}

/// The port to listen at. Ballista binds it by number, so a free one is looked up first.
fn free_port(listen: SocketAddr) -> Result<u16> {
    if listen.port() != 0 {
        return Ok(listen.port());
    }
    let found = TcpListener::bind((listen.ip(), 0)).and_then(|listener| listener.local_addr());
    Ok(found.map_err(|source| Error::Listen { address: listen, source })?.port())
}
