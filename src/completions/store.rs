//! Replies that outlive the process: on disk before they are used, then part of the table `completions`.
//!
//! A living process appends one JSON line a reply to its own file in `<lake>/_completions/` (`segment`), many replies to one
//! `fdatasync`; where the lake is in an object store the lines that wait become one object of a name of its own (`objects`), which is
//! there, whole, when the replies are used. [`CompletionStore::fold`] moves the files of processes that ended, and what this one wrote so far, into the table
//! (`store/table.rs`): the lines are committed before their file is removed, and a key that the table holds is not written again, so a
//! kill between the two leaves neither a gap nor a second row, and of two processes that move the same lines the second's commit is refused.
//!
//! In memory a reply takes its text and about 300 bytes; the replies of a model are read when the first one is asked for.

mod objects;
mod queue;
mod segment;
mod table;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use self::objects::Objects;
use self::segment::Segment;
use super::model_name::ModelName;
use crate::error::{Error, Result};
use crate::tables::lake::Lake;

/// One row of `completions`, and one line of a file waiting to be part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) completion: String,
    pub(super) engine: String,
    pub(super) model: String,
    pub(super) endpoint: Option<String>,
    pub(super) purpose: String,
    pub(super) sample_no: u32,
    pub(super) request: String,
    pub(super) reply: String,
    pub(super) finish: String,
    pub(super) prompt_tokens: Option<u32>,
    pub(super) completion_tokens: Option<u32>,
    pub(super) cost: Option<f64>,
    pub(super) reply_tokens: Option<String>,
    /// Microseconds since 1970.
    pub(super) created_at: i64,
}

/// What is kept in memory of a row.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) reply: Box<str>,
    pub(super) finish: Box<str>,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
    pub(super) cost: Option<f64>,
    pub(super) reply_tokens: Option<Box<str>>,
}

impl From<Row> for Kept {
    fn from(row: Row) -> Self {
        Self {
            reply: row.reply.into(),
            finish: row.finish.into(),
            prompt_tokens: row.prompt_tokens.unwrap_or_default(),
            completion_tokens: row.completion_tokens.unwrap_or_default(),
            cost: row.cost,
            reply_tokens: row.reply_tokens.map(Into::into),
        }
    }
}

type Replies = HashMap<String, Arc<Kept>>;

/// Where replies wait for the table.
#[derive(Debug, Clone)]
enum Waiting {
    /// Files of a folder.
    Files(PathBuf, Arc<Segment>),
    /// Objects of a bucket.
    Objects(Arc<Objects>),
}

/// The stored replies of one lake. Shared by everything in a process that asks language models.
#[derive(Debug)]
pub struct CompletionStore {
    lake: Lake,
    waiting: Waiting,
    // By the model's full name; a model is there once its replies were read.
    models: RwLock<HashMap<String, Replies>>,
    reading: Mutex<()>,
    n_served: AtomicU64,
    paying: TaskTracker,
}

impl CompletionStore {
    /// The store of a lake; nothing is read or made yet.
    ///
    /// # Errors
    /// [`Error::CompletionStore`] for a lake that is neither on a local disk nor in an object store.
    pub fn open(lake: &Lake) -> Result<Self> {
        let waiting = match (lake.bucket(), lake.local_path()) {
            (Some(bucket), _) => Waiting::Objects(Arc::new(Objects::new(bucket))),
            (None, Some(root)) => {
                let folder = root.join("_completions");
                Waiting::Files(folder.clone(), Arc::new(Segment::new(folder)))
            }
            (None, None) => {
                let reason = "expected a lake on a local disk or in an object store".to_owned();
                return Err(Error::CompletionStore { path: PathBuf::from(lake.root().path()), reason });
            }
        };
        Ok(Self {
            lake: lake.clone(),
            waiting,
            models: RwLock::default(),
            reading: Mutex::default(),
            n_served: AtomicU64::new(0),
            paying: TaskTracker::new(),
        })
    }

    /// Reads a model's replies, unless that was done before.
    ///
    /// # Errors
    /// When the table or a file of lines cannot be read.
    pub(super) async fn load(&self, name: &ModelName) -> Result<()> {
        let id = name.to_string();
        let _reading = self.reading.lock().await;
        if self.models.read().contains_key(&id) {
            return Ok(());
        }
        // What killed processes left; where it cannot be moved, it is read from where it is.
        if let Err(error) = self.fold().await {
            tracing::warn!(%error, "replies wait outside the table");
        }
        let mut replies = Replies::new();
        // What waits first: what another process moves into the table meanwhile is then seen twice and not missed.
        let waiting = match &self.waiting {
            Waiting::Files(folder, _) => {
                let folder = folder.clone();
                blocking(move || segment::read_all(&folder)).await?
            }
            Waiting::Objects(objects) => objects.read_all().await?.1,
        };
        let is_wanted = |row: &Row| row.engine == name.engine.to_string() && row.model == name.model;
        for row in waiting.into_iter().filter(is_wanted) {
            replies.insert(row.completion.clone(), Arc::new(row.into()));
        }
        for row in table::rows_of(&self.lake, name).await? {
            replies.insert(row.completion.clone(), Arc::new(row.into()));
        }
        tracing::debug!(model = %name, n_replies = replies.len(), "stored replies read");
        self.models.write().insert(id, replies);
        Ok(())
    }

    /// A stored reply of a model that was loaded.
    pub(super) fn get(&self, name: &ModelName, key: &str) -> Option<Arc<Kept>> {
        self.models.read().get(&name.to_string())?.get(key).map(Arc::clone)
    }

    /// A call was answered from here.
    pub(super) fn served(&self) {
        self.n_served.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were answered from here and therefore not made.
    pub fn n_served(&self) -> u64 {
        self.n_served.load(Ordering::Relaxed)
    }

    /// Number of replies of a model that are stored, of those that were read or written by this process.
    pub fn n_loaded(&self, name: &ModelName) -> usize {
        self.models.read().get(&name.to_string()).map_or(0, HashMap::len)
    }

    /// Puts a reply on disk or into the bucket, and only then where it is found.
    ///
    /// # Errors
    /// [`Error::CompletionStore`] when the disk or the bucket refuses.
    pub(super) async fn append(&self, name: &ModelName, row: Row) -> Result<Arc<Kept>> {
        let line = serde_json::to_string(&row).map_err(|e| Error::internal(e.to_string()))?;
        match &self.waiting {
            Waiting::Files(_, segment) => segment.append(line).await?,
            Waiting::Objects(objects) => objects.append(line).await?,
        }
        let key = row.completion.clone();
        let kept = Arc::new(Kept::from(row));
        self.models.write().entry(name.to_string()).or_default().insert(key, Arc::clone(&kept));
        Ok(kept)
    }

    /// Runs a call that is paid for in a task of its own.
    pub(super) fn pay<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.paying.spawn(call)
    }

    /// Waits for the calls under way, also those whose query has ended: their replies are paid for.
    pub async fn settled(&self) {
        self.paying.close();
        self.paying.wait().await;
        self.paying.reopen();
    }

    /// Moves the lines of this process, and of all that ended, into the table `completions`; the number of rows written. Objects of
    /// living processes are moved too: nothing is ever added to them.
    ///
    /// # Errors
    /// When a file is damaged before its last line, or the table cannot be written; nothing is lost then.
    pub async fn fold(&self) -> Result<usize> {
        match &self.waiting {
            Waiting::Files(folder, segment) => self.fold_files(folder.clone(), Arc::clone(segment)).await,
            Waiting::Objects(objects) => {
                let (paths, rows) = objects.read_all().await?;
                let n_written = table::append_new(&self.lake, once_each(rows)).await?;
                objects.remove(paths).await;
                Ok(n_written)
            }
        }
    }

    async fn fold_files(&self, folder: PathBuf, segment: Arc<Segment>) -> Result<usize> {
        if !folder.is_dir() {
            return Ok(0);
        }
        // One process at a time: the table is then the same when it is looked at and when it is written.
        let (lock, finished) = blocking(move || {
            segment.finish();
            let lock = segment::lock_folding(&folder)?;
            Ok((lock, segment::finished(&folder)?))
        })
        .await?;
        let mut rows: Vec<Row> = Vec::new();
        for file in &finished {
            let path = file.clone();
            rows.extend(blocking(move || segment::read(&path)).await?);
        }
        let n_written = table::append_new(&self.lake, once_each(rows)).await?;
        blocking(move || {
            for path in &finished {
                std::fs::remove_file(path).map_err(|e| fault(path, &e))?;
            }
            drop(lock);
            Ok(())
        })
        .await?;
        Ok(n_written)
    }
}

/// The first row of each key.
fn once_each(mut rows: Vec<Row>) -> Vec<Row> {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.completion.clone()));
    rows
}

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn fault(path: &Path, error: &std::io::Error) -> Error {
    Error::CompletionStore { path: path.to_owned(), reason: error.to_string() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("store of replies: {e}")))?
}
