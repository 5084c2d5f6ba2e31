//! What a query sees: every table of the lake at its newest version, and the views over them.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{MemTable, ViewTable};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use parking_lot::RwLock;

use super::definition::{table, tables};
use super::lake::Lake;

/// A named query that is present in every session.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The view's name.
    pub(crate) name: String,
    /// Its SELECT statement.
    pub(crate) sql: String,
}

/// Keeps the rows of some views.
#[async_trait]
pub(crate) trait Materialised: Send + Sync + std::fmt::Debug {
    /// The rows of a view, where they are kept and in step with its tables.
    async fn provider(&self, view: &str) -> Result<Option<Arc<dyn TableProvider>>>;
}

/// The lake's tables and views. A name is resolved when a query is planned, so each query sees one whole version of
/// each table, and the next query the next.
pub(crate) struct LakeSchema {
    lake: Lake,
    views: Vec<View>,
    materialised: Arc<dyn Materialised>,
    // Views are planned in the session that asks; the session owns this schema, hence weak.
    session: OnceLock<Weak<RwLock<SessionState>>>,
}

impl std::fmt::Debug for LakeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeSchema").field("lake", &self.lake).finish_non_exhaustive()
    }
}

impl LakeSchema {
    pub(crate) fn new(lake: Lake, views: Vec<View>, materialised: Arc<dyn Materialised>) -> Self {
        Self { lake, views, materialised, session: OnceLock::new() }
    }

    /// Names the session that plans the views; called once, by the session itself.
    pub(crate) fn attach(&self, context: &SessionContext) {
        // A second call would name the same session.
        let _ = self.session.set(context.state_weak_ref());
    }

    async fn plan_view(&self, view: &View) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(state) = self.session.get().and_then(Weak::upgrade) else {
            return Ok(None);
        };
        let state = state.read().clone();
        let plan = state.create_logical_plan(&view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.clone())))))
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let views = self.views.iter().map(|view| view.name.clone());
        tables().iter().map(|table| table.name.clone()).chain(views).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(view) = self.views.iter().find(|view| view.name == name) {
            return match self.materialised.provider(name).await? {
                Some(rows) => Ok(Some(rows)),
                None => self.plan_view(view).await,
            };
        }
        let Some(definition) = table(name) else {
            return Ok(None);
        };
        Ok(Some(match self.lake.open(definition).await? {
            Some(stored) => stored.table_provider().await?,
            None => Arc::new(MemTable::try_new(Arc::clone(&definition.schema), vec![vec![]])?),
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        table(name).is_some() || self.views.iter().any(|view| view.name == name)
    }
}
