//! A lake in an object store: its tables opened with as few requests as their logs allow.
//!
//! Every question costs a round trip of tens of milliseconds, so what was read is kept: which commit of a table was the newest, and the
//! table as of it. Listing a log from that commit on is one request, which tells whether the table has grown and whether it is still the
//! same table: a commit's entity tag differs from that of a commit of the same number made after the table was removed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Buf;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use url::Url;

use super::lake::TableVersion;
use super::store::{CLOUD_SCHEMES, fault, open_store, shown};
use super::versions::{Commit, CommitRead, LogFiles, put_together, read_commit};
use crate::error::{Error, Result};

/// A lake's own table of prices.
const PRICES: &str = "prices.toml";

/// Commits of a log that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// The store of a lake, and what is known of its tables.
#[derive(Debug)]
pub(crate) struct Bucket {
    root: Url,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The lake's root inside the store.
    pub(crate) prefix: Path,
    known: Mutex<HashMap<String, Known>>,
    /// The text of the lake's own table of prices, once the lake was reached.
    prices: OnceLock<String>,
}

/// A table as it was last seen.
#[derive(Debug, Clone)]
struct Known {
    version: TableVersion,
    table: Option<DeltaTable>,
}

impl Bucket {
    /// The store that an address lies in; nothing is asked yet.
    ///
    /// # Errors
    /// As [`open_store`].
    pub(super) fn open(root: &Url) -> Result<Self> {
        teach_delta();
        let (store, prefix) = open_store(root)?;
        Ok(Self { root: root.clone(), store, prefix, known: Mutex::default(), prices: OnceLock::new() })
    }

    /// A lake in a store of the caller's.
    #[cfg(test)]
    pub(super) fn over(root: &Url, store: Arc<dyn ObjectStore>) -> Self {
        teach_delta();
        let prefix = Path::from_url_path(root.path()).expect("a path");
        Self { root: root.clone(), store, prefix, known: Mutex::default(), prices: OnceLock::new() }
    }

    /// Asks the store for the first time: names of the folders right below the lake's root. A table of prices there is read.
    ///
    /// # Errors
    /// [`Error::LakeStore`] when the store refuses.
    pub(super) async fn reach(&self) -> Result<BTreeSet<String>> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await.map_err(|e| self.fault(&e))?;
        if let Some(prices) = listed.objects.iter().find(|meta| meta.location.filename() == Some(PRICES)) {
            let bytes = async { self.store.get(&prices.location).await?.bytes().await };
            let bytes = bytes.await.map_err(|e| self.fault(&e))?;
            // The first text stays: prices do not change while a command runs.
            let _ = self.prices.set(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(listed.common_prefixes.iter().filter_map(|path| Some(path.filename()?.to_owned())).collect())
    }

    /// The lake's own table of prices, and its address; the text is there once the lake was reached and has one.
    pub(crate) fn prices(&self) -> (String, Option<&str>) {
        (format!("{}{PRICES}", shown(&self.root)), self.prices.get().map(String::as_str))
    }

    /// The newest commit of a table; `None` when it was never written.
    ///
    /// # Errors
    /// [`Error::LakeStore`] when the store refuses.
    pub(super) async fn version(&self, table: &str) -> Result<Option<TableVersion>> {
        Ok(self.look(table).await?.map(|(version, _)| version))
    }

    /// The newest version of a table, from what is known of it where that is still so.
    ///
    /// # Errors
    /// When the store refuses or the log cannot be read.
    pub(super) async fn newest(&self, table: &str) -> Result<Option<DeltaTable>> {
        let Some((version, known)) = self.look(table).await? else { return Ok(None) };
        let opened = match known {
            Some(known) if known.version() == Some(version.number) => return Ok(Some(known)),
            Some(mut known) => match known.update_state().await {
                Ok(()) => Some(known),
                // Whatever was kept does not fit the log: it is read anew.
                Err(error) => {
                    tracing::debug!(table, %error, "a table kept in memory is read anew");
                    None
                }
            },
            None => None,
        };
        let opened = match opened {
            Some(opened) => opened,
            None => match self.builder(table)?.load().await {
                Ok(opened) => opened,
                Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        if opened.version() == Some(version.number) {
            self.known.lock().insert(table.to_owned(), Known { version, table: Some(opened.clone()) });
        }
        Ok(Some(opened))
    }

    /// What opens a table, over the one store of the lake.
    pub(super) fn builder(&self, table: &str) -> Result<DeltaTableBuilder> {
        let url = self.root.join(&format!("{table}/")).map_err(|e| Error::internal(e.to_string()))?;
        Ok(DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(Arc::clone(&self.store), url))
    }

    /// Every commit of a table's log, oldest first.
    ///
    /// # Errors
    /// When the store refuses or a commit is no JSON.
    pub(super) async fn commits(&self, table: &str) -> Result<Vec<Commit>> {
        let log = self.log(table);
        let listed: Vec<ObjectMeta> = self.store.list(Some(&log)).try_collect().await.map_err(|e| self.fault(&e))?;
        let mut files = LogFiles::default();
        for meta in listed {
            files.add(meta.location.filename().unwrap_or_default(), meta.location.clone());
        }
        let first = files.first_readable();
        let reads: Vec<_> = files.commits.into_iter().map(|(version, path)| self.commit(version, path)).collect();
        let read: Vec<CommitRead> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        // One listing, where a look at each removed file could be thousands of requests.
        let mut there: Option<BTreeSet<String>> = None;
        if read.iter().any(|commit| !commit.removed.is_empty()) {
            let folder = self.prefix.clone().join(table);
            let all: Vec<ObjectMeta> =
                self.store.list(Some(&folder)).try_collect().await.map_err(|e| self.fault(&e))?;
            let below = |meta: &ObjectMeta| Some(Path::from_iter(meta.location.prefix_match(&folder)?).to_string());
            there = Some(all.iter().filter_map(below).collect());
        }
        let is_there = |path: &str| {
            // Paths in the log are written as in an address.
            let decoded = Path::from_url_path(path).map(String::from);
            there.as_ref().is_none_or(|there| there.contains(path) || decoded.is_ok_and(|path| there.contains(&path)))
        };
        Ok(put_together(first, read, is_there))
    }

    async fn commit(&self, version: u64, path: Path) -> Result<CommitRead> {
        let bytes = async { self.store.get(&path).await?.bytes().await }.await.map_err(|e| self.fault(&e))?;
        read_commit(version, bytes.reader()).map_err(|source| Error::File { path: path.to_string().into(), source })
    }

    /// A fault of the store, told of the lake.
    pub(crate) fn fault(&self, error: &object_store::Error) -> Error {
        Error::LakeStore { lake: shown(&self.root), reason: fault::reason(error) }
    }

    fn log(&self, table: &str) -> Path {
        self.prefix.clone().join(table).join("_delta_log")
    }

    /// The newest commit, and the table as of an earlier one of the same table.
    async fn look(&self, table: &str) -> Result<Option<(TableVersion, Option<DeltaTable>)>> {
        let known = self.known.lock().get(table).cloned();
        if let Some(known) = known {
            let since = self.commits_since(table, known.version.number).await?;
            // The commit that was the newest is the first of those listed, unless it is another table by now.
            if since.first() == Some(&known.version)
                && let Some(newest) = since.into_iter().next_back()
            {
                return Ok(Some((newest, known.table)));
            }
            self.known.lock().remove(table);
        }
        let newest = self.commits_since(table, 0).await?.into_iter().next_back();
        let Some(newest) = newest else { return Ok(None) };
        self.known.lock().insert(table.to_owned(), Known { version: newest.clone(), table: None });
        Ok(Some((newest, None)))
    }

    /// The commits of a log from a number on, in order.
    async fn commits_since(&self, table: &str, number: u64) -> Result<Vec<TableVersion>> {
        let log = self.log(table);
        // Names that begin with the number come after the number alone.
        let offset = log.clone().join(format!("{number:020}"));
        let mut listed = self.store.list_with_offset(Some(&log), &offset);
        let mut commits = Vec::new();
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|e| self.fault(&e))?;
            let number =
                meta.location.filename().and_then(|name| name.strip_suffix(".json")).and_then(|n| n.parse().ok());
            if let Some(number) = number {
                let commit = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
                commits.push(TableVersion { number, commit });
            }
        }
        commits.sort_by_key(|commit| commit.number);
        Ok(commits)
    }
}

/// Logs whose commits are writes that never replace anything; our stores keep to that condition.
struct ConditionalWrites;

impl LogStoreFactory for ConditionalWrites {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed_store, root_store, location, options))
    }
}

/// Tells Delta Lake once how logs in clouds are written.
fn teach_delta() {
    static TAUGHT: OnceLock<()> = OnceLock::new();
    TAUGHT.get_or_init(|| {
        for scheme in CLOUD_SCHEMES {
            if let Ok(url) = Url::parse(&format!("{scheme}://")) {
                logstore_factories().insert(url, Arc::new(ConditionalWrites));
            }
        }
    });
}

#[cfg(test)]
mod tests;
