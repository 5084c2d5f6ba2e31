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
            if !refused && !is_of_the_network(&error) {
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
        let found = match again(self.patience, || self.inner.get(location)).await {
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

/// The client does not repeat what broke off in the middle of an answer, unless it is a file's content: not a list, and not the page that
/// says that a file does not exist. All but conditional writes may be repeated.
#[async_trait]
impl ObjectStore for SureStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = match options.mode {
            PutMode::Overwrite => {
                again(self.patience, || self.inner.put_opts(location, payload.clone(), options.clone())).await
            }
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
        again(self.patience, || self.inner.get_opts(location, options.clone())).await.map_err(told)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, patience) = (Arc::clone(&self.inner), self.patience);
        at_once(async move {
            let paths: Vec<Path> = locations.try_collect().await?;
            let all =
                || inner.delete_stream(futures::stream::iter(paths.clone().into_iter().map(Ok)).boxed()).try_collect();
            again(patience, all).await
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, patience, prefix) = (Arc::clone(&self.inner), self.patience, prefix.cloned());
        at_once(async move { again(patience, || inner.list(prefix.as_ref()).try_collect()).await })
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, patience, prefix) = (Arc::clone(&self.inner), self.patience, prefix.cloned());
        let offset = offset.clone();
        at_once(async move { again(patience, || inner.list_with_offset(prefix.as_ref(), &offset).try_collect()).await })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        again(self.patience, || self.inner.list_with_delimiter(prefix)).await.map_err(told)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(told)
    }
}

/// Does what may be done any number of times until the network lets it, or patience ends.
async fn again<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (start, mut wait) = (Instant::now(), FIRST_WAIT);
    loop {
        match ask().await {
            Err(error) if is_of_the_network(&error) && start.elapsed() < patience => {
                tracing::debug!(%error, "an answer broke off and is asked for again");
            }
            done => return done,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Whether a fault is one of the connection, and not the answer of a store or a lack of credentials.
fn is_of_the_network(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else { return false };
    let text = format!("{source:?} {source}");
    // Where the service of credentials is asked for, the machine has none.
    !["Server returned", "169.254.", "redential"].iter().any(|words| text.contains(words))
}

/// The items of a whole result, or its fault, as a stream.
fn at_once<T: Send + 'static>(
    whole: impl Future<Output = Result<Vec<T>>> + Send + 'static,
) -> BoxStream<'static, Result<T>> {
    let items = futures::stream::once(whole).map_ok(|items| futures::stream::iter(items.into_iter().map(Ok)));
    items.try_flatten().map_err(told).boxed()
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
