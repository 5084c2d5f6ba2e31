//! Which engine computes a query: this process, or workers that a Ballista scheduler hands tasks to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::config::BALLISTA_SHUFFLE_COMPRESSION_CODEC;
use ballista_core::extension::{SessionConfigExt, SessionStateExt};
use ballista_core::planner::BallistaQueryPlanner;
use datafusion::catalog::Session as Planning;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as EngineResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::LogicalPlanNode;
use serde::Deserialize;

use super::Session;
use crate::tables::codec::{LakeCodec, can_be_told};
use crate::tables::scan::FolderColumns;

/// Where queries are computed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Engine {
    /// In this process.
    #[default]
    Local,
    /// By the workers of the Ballista scheduler at this host and port.
    Ballista(String),
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| text.to_owned())
        };
        match text.strip_prefix("ballista://").map(|rest| address(rest.trim_end_matches('/'))) {
            Some(Some(address)) => Ok(Self::Ballista(address)),
            None if text == "local" => Ok(Self::Local),
            _ => Err(format!(
                "expected 'local' or the scheduler's address, as in 'ballista://127.0.0.1:50050', got '{text}'"
            )),
        }
    }
}

impl TryFrom<String> for Engine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ballista(address) => write!(f, "ballista://{address}"),
        }
    }
}

impl Engine {
    /// How this engine's tables show the columns whose values are names of folders.
    pub(super) fn folder_columns(&self) -> FolderColumns {
        match self {
            Self::Local => FolderColumns::Dictionaries,
            Self::Ballista(_) => FolderColumns::Texts,
        }
    }

    /// The state of a session that computes here, changed to compute on this engine. Functions are registered after it: Ballista puts
    /// its own list, DataFusion's, in the place of what it finds.
    pub(super) fn upgrade(&self, state: SessionState) -> EngineResult<SessionState> {
        let Self::Ballista(address) = self else { return Ok(state) };
        let url = format!("http://{address}");
        let config = state.config().clone().upgrade_for_ballista();
        // What workers hand on is mostly floats, which hardly shrink, and a batch is some twenty buffers, each of them compressed alone: that
        // took longer than computing scores.
        let config = config.set_str(BALLISTA_SHUFFLE_COMPRESSION_CODEC, "none");
        let remote =
            BallistaQueryPlanner::with_extension(url.clone(), config.ballista_config(), Arc::new(LakeCodec::default()));
        let planner = Planner { remote, local: Here::default() };
        SessionStateBuilder::new_from_existing(state)
            .with_config(config.with_ballista_query_planner(Arc::new(planner)))
            .build()
            .upgrade_for_ballista(url)
    }
}

impl Session {
    /// The functions and tables of this session under the settings of a client.
    pub(crate) fn state_with(&self, config: SessionConfig) -> SessionState {
        SessionStateBuilder::new_from_existing(self.context.state()).with_config(config).build()
    }

    /// Whether queries go to workers.
    pub(crate) fn has_workers(&self) -> bool {
        self.engine != Engine::Local
    }

    /// The same lake with every query computed in this process: for small questions, which take workers longer to be told than to answer.
    pub(crate) fn here(&self) -> Self {
        if !self.has_workers() {
            return self.clone();
        }
        let state =
            SessionStateBuilder::new_from_existing(self.context.state()).with_query_planner(Arc::new(Here::default()));
        Self { context: SessionContext::new_with_state(state.build()), engine: Engine::Local, ..self.clone() }
    }

    /// The same engine with queries that are not cut: each is one task of one worker, which hands nothing to another.
    pub(crate) fn in_one_task(&self) -> Self {
        let config = self.context.state().config().clone().with_target_partitions(1);
        Self { context: SessionContext::new_with_state(self.state_with(config)), ..self.clone() }
    }
}

/// Plans for this process.
#[derive(Default)]
struct Here {
    planner: DefaultPhysicalPlanner,
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Here")
    }
}

#[async_trait]
impl QueryPlanner for Here {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Planning,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        self.planner.create_physical_plan(plan, session).await
    }
}

/// Sends to the workers what reads tables of the lake and nothing else; what only this process can do, it does, and what workers would do
/// wrongly.
struct Planner {
    remote: BallistaQueryPlanner<LogicalPlanNode>,
    local: Here,
}

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner").field("remote", &self.remote).finish_non_exhaustive()
    }
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Planning,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        match (is_of_lake(plan)?, plan) {
            (true, LogicalPlan::Projection(last)) if adds_constants(last) => {
                let rows = self.remote.create_physical_plan(&last.input, session).await?;
                let names = last.schema.fields().iter().map(|field| field.name().clone());
                let columns =
                    last.expr.iter().zip(names).map(|(expr, name)| {
                        Ok((session.create_physical_expr(expr.clone(), last.input.schema())?, name))
                    });
                Ok(Arc::new(ProjectionExec::try_new(columns.collect::<EngineResult<Vec<_>>>()?, rows)?))
            }
            (true, _) => self.remote.create_physical_plan(plan, session).await,
            (false, _) => self.local.create_physical_plan(plan, session).await,
        }
    }
}

/// Whether the last thing that a query does is to add what is the same in all rows: this process does it, and workers send the rest. Of a
/// stage's rows the names of model, hook point, corpus and run are half.
fn adds_constants(last: &Projection) -> bool {
    let unnamed = |expr: &Expr| expr.clone().unalias_nested().data;
    let mut n_columns = 0;
    let plain = last.expr.iter().all(|expr| match unnamed(expr) {
        Expr::Column(_) => {
            n_columns += 1;
            true
        }
        expr => matches!(expr, Expr::Literal(..)),
    });
    plain && n_columns > 0 && n_columns < last.expr.len()
}

fn is_of_lake(plan: &LogicalPlan) -> EngineResult<bool> {
    let (mut tables, mut others) = (0, 0);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(TableScan { source, .. }) => match source_as_provider(source) {
                Ok(rows) if can_be_told(rows.as_ref()) => tables += 1,
                _ => others += 1,
            },
            // Of a union whose parts come from several stages Ballista 55.0 hands rows out more than once.
            LogicalPlan::Union(_) => others += 1,
            LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => others += 1,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables > 0 && others == 0)
}
