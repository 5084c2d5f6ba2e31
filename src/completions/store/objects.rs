//! Replies in an object store: each object holds the lines that waited together, is written once and never changed.
//!
//! A line is used when its object is in the bucket: the machine may vanish at any moment. While one object is being written the next lines
//! gather, so that the number of requests does not grow with the number of calls in flight.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt, PutPayload};

use super::queue::{self, Queue};
use super::{Row, now};
use crate::error::{Error, Result};
use crate::hash;
use crate::tables::bucket::Bucket;

/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// The objects of one lake, and the lines that wait to become one.
#[derive(Debug)]
pub(super) struct Objects {
    bucket: Arc<Bucket>,
    folder: Path,
    /// Part of the names of this store's objects; nobody else has it.
    own: String,
    n_written: AtomicU64,
    queue: Queue,
}

/// Stores that this process opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Objects {
    pub(super) fn new(bucket: &Arc<Bucket>) -> Self {
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        // Chance from the standard library, which seeds every table of keys with it.
        let chance = RandomState::new().hash_one((std::process::id(), now(), number));
        let own = hash::text(&format!("{chance} {} {} {number}", std::process::id(), now()));
        let folder = bucket.prefix.clone().join("_completions");
        Self { bucket: Arc::clone(bucket), folder, own, n_written: AtomicU64::new(0), queue: Queue::default() }
    }

    /// Comes back when the line is in the bucket.
    pub(super) async fn append(self: &Arc<Self>, line: String) -> Result<()> {
        let added = self.queue.add(line);
        if added.nobody_stores {
            // Not waited for: lines of others must be stored although this caller may be dropped.
            let objects = Arc::clone(self);
            tokio::spawn(async move { objects.write_queue().await });
        }
        let refused = |reason: String| Error::CompletionStore { path: self.folder.to_string().into(), reason };
        added.done.await.map_err(|_| refused("the writer ended".to_owned()))?.map_err(refused)
    }

    async fn write_queue(&self) {
        while let Some(lines) = self.queue.take() {
            let number = self.n_written.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.clone().join(format!("{}-{number:08}.jsonl", self.own));
            let payload = PutPayload::from(queue::bytes(&lines));
            let outcome = self.bucket.store.put(&path, payload).await.map(drop).map_err(|e| e.to_string());
            queue::tell(lines, &outcome);
        }
    }

    /// The lines of every object, and the objects.
    pub(super) async fn read_all(&self) -> Result<(Vec<Path>, Vec<Row>)> {
        let listed = self.bucket.store.list(Some(&self.folder));
        let mut found: Vec<ObjectMeta> = listed.try_collect().await.map_err(|e| self.bucket.fault(&e))?;
        found.retain(|meta| meta.location.as_ref().ends_with(".jsonl"));
        found.sort_by(|a, b| a.location.cmp(&b.location));
        let paths: Vec<Path> = found.into_iter().map(|meta| meta.location).collect();
        let reads: Vec<_> = paths.iter().cloned().map(|path| self.read(path)).collect();
        let rows: Vec<Vec<Row>> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        Ok((paths, rows.into_iter().flatten().collect()))
    }

    async fn read(&self, path: Path) -> Result<Vec<Row>> {
        let bytes = match async { self.bucket.store.get(&path).await?.bytes().await }.await {
            Ok(bytes) => bytes,
            // Another process moved it into the table, where it is read next.
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.bucket.fault(&error)),
        };
        super::segment::rows(std::path::Path::new(path.as_ref()), &bytes)
    }

    /// Removes objects whose lines are in the table; what stays is moved again by the next process, to no effect.
    pub(super) async fn remove(&self, paths: Vec<Path>) {
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let removed: Result<Vec<Path>, StoreError> = self.bucket.store.delete_stream(paths).try_collect().await;
        if let Err(error) = removed {
            tracing::debug!(%error, "objects of replies that are in the table were not removed");
        }
    }
}
