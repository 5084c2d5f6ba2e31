//! A store whose conditional writes tell the truth after a connection broke.
//!
//! A `put` that must not replace anything is sent, the store does it, and the answer is lost: sent again, it is refused because
//! something is there, namely itself. A commit would then be taken for somebody else's and made a second time; a lease of one's own
//! would be waited for. Therefore whatever is in doubt is read back and compared: what these processes write under conditions (commits
//! of Delta tables, leases) is never the same bytes from two writers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::fault::told;

/// First wait before a write is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A cloud's store with sure conditional writes and faults without secrets.
#[derive(Debug)]
pub(crate) struct SureStore {
    inner: Arc<dyn ObjectStore>,
    patience: Duration,
}

impl fmt::Display for SureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl SureStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, patience: Duration) -> Self {
        Self { inner, patience }
    }

    /// A write under a condition, done once or refused because of somebody else.
    async fn put_under_condition(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let error = match self.inner.put_opts(location, payload.clone(), options.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let refused = matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. });
            if !refused && !matches!(error, Error::Generic { .. }) {
                return Err(error);
            }
            match self.is_ours(location, &payload).await {
                Ok(Some(ours)) => return Ok(ours),
                Ok(None) if refused || start.elapsed() >= self.patience => return Err(error),
                // It did not arrive, or what is there is what was there before.
                Ok(None) => tracing::debug!(%location, %error, "a write did not arrive and is sent again"),
                Err(_) => return Err(error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What a write of these bytes was answered with, if they are there.
    async fn is_ours(&self, location: &Path, payload: &PutPayload) -> Result<Option<PutResult>> {
        let found = match self.inner.get(location).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
        let there = found.bytes().await?;
        let ours = there.len() == payload.content_length() && there == Bytes::from(payload.clone());
        Ok(ours.then_some(PutResult { e_tag, version }))
    }
}

#[async_trait]
impl ObjectStore for SureStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = match options.mode {
            PutMode::Overwrite => self.inner.put_opts(location, payload, options).await,
            PutMode::Create | PutMode::Update(_) => self.put_under_condition(location, payload, options).await,
        };
        done.map_err(told)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await.map_err(told)?;
        Ok(Box::new(SureUpload { upload, store: Arc::clone(&self.inner), location: location.clone(), n_bytes: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await.map_err(told)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations).map_err(told).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).map_err(told).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset).map_err(told).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(told)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(told)
    }
}

/// An upload in parts whose last step tells the truth too: asked twice to put the parts together, a store no longer knows them.
#[derive(Debug)]
struct SureUpload {
    upload: Box<dyn MultipartUpload>,
    store: Arc<dyn ObjectStore>,
    location: Path,
    n_bytes: usize,
}

#[async_trait]
impl MultipartUpload for SureUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.n_bytes += data.content_length();
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let error = match self.upload.complete().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match self.store.head(&self.location).await {
            // Data files have random names: nobody else writes one of this name.
            Ok(found) if found.size == self.n_bytes as u64 => {
                Ok(PutResult { e_tag: found.e_tag, version: found.version })
            }
            _ => Err(told(error)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await.map_err(told)
    }
}

#[cfg(test)]
mod tests;
