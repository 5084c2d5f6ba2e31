//! How far a timetable was kept: a small file in the lake, written by whoever holds the lease.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::lake::Lake;
use crate::tables::store::open_store;

/// What is known of the last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Times up to this one were kept, skipped, or stood for by a later run.
    pub(super) kept_until: DateTime<Utc>,
    /// When the last run began.
    pub(super) started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub(super) ended_at: Option<DateTime<Utc>>,
    /// Times before it that nobody was there for.
    pub(super) n_missed: usize,
    /// Times that came while it ran.
    pub(super) n_skipped: usize,
    /// Why it failed, where it did.
    pub(super) error: Option<String>,
}

impl State {
    /// Of a pipeline that no scheduler saw before.
    pub(super) fn beginning(now: DateTime<Utc>) -> Self {
        Self { kept_until: now, started_at: None, ended_at: None, n_missed: 0, n_skipped: 0, error: None }
    }
}

/// The state of one pipeline.
pub(super) struct States {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl States {
    pub(super) fn of(lake: &Lake, pipeline: &str) -> Result<Self> {
        let (store, root) = open_store(lake.root())?;
        Ok(Self { store, path: root.join("_schedule").join(pipeline).join("state.json") })
    }

    pub(super) async fn load(&self) -> Result<Option<State>> {
        let bytes = match self.store.get(&self.path).await {
            Ok(found) => found.bytes().await.map_err(|e| fault(&self.path, e))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(fault(&self.path, error)),
        };
        let state = serde_json::from_slice(&bytes).map_err(|error| Error::Argument {
            argument: format!("file '{}'", self.path),
            expected: "the state of a schedule, as this program wrote it".to_owned(),
            got: error.to_string(),
        })?;
        Ok(Some(state))
    }

    pub(super) async fn save(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|e| Error::internal(e.to_string()))?;
        self.store.put(&self.path, text.into()).await.map_err(|e| fault(&self.path, e))?;
        Ok(())
    }
}

fn fault(path: &Path, source: object_store::Error) -> Error {
    Error::Store { url: path.to_string(), source: Box::new(source) }
}
