//! What a query sees: every table of the lake at its newest version, and the views over them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{MemTable, ViewTable};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use parking_lot::{Mutex, RwLock};

use super::definition::{TableDefinition, table, tables};
use super::kept_columns::KeptColumns;
use super::lake::{Lake, TableVersion};
use super::scan::{self, FolderColumns};
use super::versions::split_version;
use crate::error::Error;

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
/// each table, and the next query the next. A quoted name with a number, `"scores@12"`, is that version of a table.
pub(crate) struct LakeSchema {
    lake: Lake,
    views: Vec<View>,
    materialised: Arc<dyn Materialised>,
    folders: FolderColumns,
    kept: Option<Arc<KeptColumns>>,
    // Views are planned in the session that asks; the session owns this schema, hence weak.
    session: OnceLock<Weak<RwLock<SessionState>>>,
    // Reading a long log takes longer than most queries; its newest commit says whether it is still the log that was read.
    opened: Mutex<HashMap<&'static str, Opened>>,
}

/// A table as it was read, and at which version.
struct Opened {
    version: TableVersion,
    rows: Arc<dyn TableProvider>,
}

impl std::fmt::Debug for LakeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeSchema").field("lake", &self.lake).finish_non_exhaustive()
    }
}

impl LakeSchema {
    pub(crate) fn new(
        lake: Lake,
        views: Vec<View>,
        materialised: Arc<dyn Materialised>,
        folders: FolderColumns,
        kept: Option<Arc<KeptColumns>>,
    ) -> Self {
        Self { lake, views, materialised, folders, kept, session: OnceLock::new(), opened: Mutex::default() }
    }

    /// Names the session that plans the views; called once, by the session itself.
    pub(crate) fn attach(&self, context: &SessionContext) {
        // A second call would name the same session.
        let _ = self.session.set(context.state_weak_ref());
    }

    /// A table at its newest version.
    async fn newest(&self, definition: &'static TableDefinition) -> Result<Arc<dyn TableProvider>> {
        let version = self.lake.version(definition).await?;
        if let (Some(version), Some(kept)) = (&version, self.opened.lock().get(definition.name.as_str()))
            && kept.version == *version
        {
            return Ok(Arc::clone(&kept.rows));
        }
        let Some(stored) = self.lake.open(definition).await? else {
            return Ok(Arc::new(MemTable::try_new(Arc::clone(&definition.schema), vec![vec![]])?));
        };
        let rows = scan::rows(&stored, self.folders, self.kept.clone()).await?;
        // What was committed, or made anew, in between may or may not be in what was read.
        if let Some(version) = version
            && stored.version() == Some(version.number)
            && self.lake.version(definition).await?.as_ref() == Some(&version)
        {
            self.opened.lock().insert(&definition.name, Opened { version, rows: Arc::clone(&rows) });
        }
        Ok(rows)
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
        let (base, version) = split_version(name);
        match (table(base), version) {
            (Some(definition), None) => self.newest(definition).await.map(Some),
            (Some(definition), Some(version)) => {
                let stored = self.lake.open_version(definition, version).await?;
                Ok(Some(scan::rows(&stored, self.folders, self.kept.clone()).await?))
            }
            (None, Some(version)) if self.views.iter().any(|view| view.name == base) => Err(Error::Argument {
                argument: format!("table '{name}'"),
                expected: format!("a table: '{base}' is a view, which has no versions"),
                got: version.to_owned(),
            }
            .into()),
            (None, _) => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        table(split_version(name).0).is_some() || self.views.iter().any(|view| view.name == name)
    }
}
