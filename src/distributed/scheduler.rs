//! The scheduler: takes plans from clients, cuts them into stages and hands tasks to workers.

use std::net::SocketAddr;
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::tables::codec::LakeCodec;

/// Seconds without a word from a worker after which its tasks go to others.
const WORKER_TIMEOUT_SECONDS: u64 = 20;
/// Seconds between two looks for workers that are gone.
const WORKER_CHECK_SECONDS: u64 = 2;

/// A scheduler that is bound to its address.
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
    session: Session,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Binds a scheduler; `session` is an engine of this process, whose functions it plans with.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn bind(address: SocketAddr, session: Session) -> Result<Self> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|source| Error::Listen { address, source })?;
        Ok(Self { listener, address, session })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self) -> Result<()> {
        let session = self.session;
        let config = SchedulerConfig {
            bind_host: self.address.ip().to_string(),
            external_host: self.address.ip().to_string(),
            bind_port: self.address.port(),
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            executor_timeout_seconds: WORKER_TIMEOUT_SECONDS,
            expire_dead_executor_interval_seconds: WORKER_CHECK_SECONDS,
            no_executors_grace_period_seconds: WORKER_TIMEOUT_SECONDS,
            override_logical_codec: Some(Arc::new(LakeCodec::default())),
            override_session_builder: Some(Arc::new(move |config| Ok(session.state_with(config)))),
            ..SchedulerConfig::default()
        };
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(fault)?;
        let server = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config));
        start_grpc_service_with_listener(self.listener, server.await.map_err(fault)?).await.map_err(fault)
    }
}

/// What Ballista could not do.
pub(super) fn fault(error: ballista_core::error::BallistaError) -> Error {
    datafusion::error::DataFusionError::External(Box::new(error)).into()
}
