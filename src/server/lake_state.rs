//! Whether the lake is still what it was.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::sync::Mutex;

use crate::error::Result;
use crate::hash;
use crate::tables::definition::tables;
use crate::tables::lake::Lake;

/// How long the lake is taken to be as it was when last looked at.
const TRUSTED: Duration = Duration::from_millis(250);

/// The same for a lake in an object store, where a look is a request a table, each of which is paid for.
const TRUSTED_REMOTE: Duration = Duration::from_secs(2);

/// A number that changes with any table of the lake: what was found under one number holds while it is the same.
#[derive(Debug)]
pub(crate) struct LakeState {
    lake: Lake,
    trusted: Duration,
    known: Mutex<Option<(Instant, u64)>>,
}

impl LakeState {
    pub(crate) fn of(lake: &Lake) -> Self {
        let trusted = if lake.local_path().is_some() { TRUSTED } else { TRUSTED_REMOTE };
        Self { lake: lake.clone(), trusted, known: Mutex::default() }
    }

    /// The number, as of a moment ago.
    ///
    /// # Errors
    /// When a table's log cannot be read.
    pub(crate) async fn number(&self) -> Result<u64> {
        let mut known = self.known.lock().await;
        if let Some((at, number)) = *known
            && at.elapsed() < self.trusted
        {
            return Ok(number);
        }
        // At the same time: in an object store each is a round trip.
        let versions = try_join_all(tables().iter().map(|table| self.lake.version(table))).await?;
        let number = hash::number(format!("{versions:?}").as_bytes());
        *known = Some((Instant::now(), number));
        Ok(number)
    }
}
