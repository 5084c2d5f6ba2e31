//! Where files come from: a local folder, or a folder of an object store or web server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;
use url::Url;

use super::fault::ExchangeError;
use crate::error::{Error, Result};
use crate::tables::store::{open_store, shown};

/// Times a file is asked for when its body breaks off; a store's own client repeats refused requests.
const TRIES: u32 = 4;
/// Wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A folder, read file by file by paths relative to it.
#[derive(Debug, Clone)]
pub struct Source {
    place: Place,
    shown: String,
}

#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    Store {
        store: Arc<dyn ObjectStore>,
        root: object_store::path::Path,
        // Requests under way at a time, over all clones.
        slots: Arc<Semaphore>,
    },
}

impl Source {
    /// The folder at a local path or URL; at most `concurrency` requests go to a store at a time.
    ///
    /// # Errors
    /// [`ExchangeError::NoSuchSource`] for a local path that is no folder; [`Error::Store`] for an address that cannot be used.
    pub fn open(address: &str, concurrency: usize) -> Result<Self> {
        let remote = Url::parse(address).ok().filter(|url| address.contains("://") && url.scheme() != "file");
        if let Some(url) = remote {
            let (store, root) = open_store(&url)?;
            let slots = Arc::new(Semaphore::new(concurrency.max(1)));
            let shown = shown(&url).trim_end_matches('/').to_owned();
            return Ok(Self { place: Place::Store { store, root, slots }, shown });
        }
        let path = match Url::parse(address) {
            Ok(url) if url.scheme() == "file" => url.to_file_path().unwrap_or_else(|()| PathBuf::from(address)),
            _ => PathBuf::from(address),
        };
        let got = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(_) => Some("a file".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        let shown = address.trim_end_matches('/').to_owned();
        match got {
            None => Ok(Self { place: Place::Local(path), shown }),
            Some(got) => {
                Err(ExchangeError::NoSuchSource { source_url: shown, expected: "a folder".to_owned(), got }.into())
            }
        }
    }

    /// The folder below this one.
    #[must_use]
    pub fn folder(&self, path: &str) -> Self {
        let place = match &self.place {
            Place::Local(root) => Place::Local(root.join(path)),
            Place::Store { store, root, slots } => {
                Place::Store { store: Arc::clone(store), root: joined(root, path), slots: Arc::clone(slots) }
            }
        };
        Self { place, shown: format!("{}/{path}", self.shown) }
    }

    /// The folder's address as it may be shown and stored: without secrets.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A file's address as it may be shown and stored.
    pub fn shown_file(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }

    /// The folder on this machine, for formats whose reader maps files into memory; `None` for a store.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(root) => Some(root),
            Place::Store { .. } => None,
        }
    }

    /// One file, or `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::File`] or [`ExchangeError::Fetch`] when it is there and cannot be read.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let mut files = self.get_all(vec![path.to_owned()]).await?;
        Ok(files.pop().flatten())
    }

    /// Several files, in the order asked for; `None` for each that is not there.
    ///
    /// Files of a local folder are read by one blocking task, files of a store at the same time.
    ///
    /// # Errors
    /// As [`Source::get`]; the first of them.
    pub async fn get_all(&self, paths: Vec<String>) -> Result<Vec<Option<Bytes>>> {
        match &self.place {
            Place::Local(root) => {
                let root = root.clone();
                blocking(move || paths.iter().map(|path| read_local(&root.join(path))).collect()).await
            }
            Place::Store { .. } => {
                let at_once = paths.len().max(1);
                futures::stream::iter(paths)
                    .map(|path| async move { self.fetch(&path).await })
                    .buffered(at_once)
                    .try_collect()
                    .await
            }
        }
    }

    async fn fetch(&self, path: &str) -> Result<Option<Bytes>> {
        let Place::Store { store, root, slots } = &self.place else {
            return Err(Error::internal("a local file is not fetched"));
        };
        let file = joined(root, path);
        let mut wait = FIRST_WAIT;
        for number in 1.. {
            let slot = slots.acquire().await.map_err(|error| Error::internal(error.to_string()))?;
            let got = match store.get(&file).await {
                Ok(found) => {
                    let expected = found.meta.size;
                    match found.bytes().await {
                        Ok(bytes) if bytes.len() as u64 == expected => return Ok(Some(bytes)),
                        Ok(bytes) => format!("expected {expected} bytes, got {}", bytes.len()),
                        Err(error) => cause(&error),
                    }
                }
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => cause(&error),
            };
            drop(slot);
            if number == TRIES {
                return Err(ExchangeError::Fetch { file: self.shown_file(path), reason: got }.into());
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(Error::internal("unreachable: the last try returns"))
    }

    /// Paths, relative to this folder, of all files below `folder` (`""` for all), sorted by name.
    ///
    /// # Errors
    /// [`ExchangeError::CannotList`] where the store has no listing; `needed_for` is the format that wants one.
    pub async fn list(&self, folder: &str, needed_for: &str) -> Result<Vec<String>> {
        let mut paths = match &self.place {
            Place::Local(root) => {
                let (root, folder) = (root.clone(), folder.to_owned());
                blocking(move || list_local(&root, &folder)).await?
            }
            Place::Store { store, root, .. } => {
                let below = joined(root, folder);
                let listed: Vec<_> = store.list(Some(&below)).try_collect().await.map_err(|error| match error {
                    // A web server without WebDAV refuses the method.
                    error if self.shown.starts_with("http") => {
                        tracing::debug!(%error, "no listing");
                        ExchangeError::CannotList { folder: self.shown_file(folder), needed_for: needed_for.to_owned() }
                    }
                    error => ExchangeError::Fetch { file: self.shown_file(folder), reason: cause(&error) },
                })?;
                let relative = |file: object_store::ObjectMeta| {
                    let parts = file.location.prefix_match(root)?;
                    Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
                };
                listed.into_iter().filter_map(relative).collect()
            }
        };
        paths.sort();
        Ok(paths)
    }
}

/// Runs work that holds a thread off the threads of the asynchronous tasks.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::internal(error.to_string())),
        },
    }
}

fn joined(root: &object_store::path::Path, path: &str) -> object_store::path::Path {
    path.split('/').filter(|part| !part.is_empty()).fold(root.clone(), |root, part| root.join(part))
}

fn read_local(path: &Path) -> Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    Ok(read_into(path, &mut bytes)?.then(|| bytes.into()))
}

/// Reads a file of this machine in place of what the buffer held; `false` when it is not there.
///
/// # Errors
/// [`Error::File`] when it is there and cannot be read.
pub(crate) fn read_into(path: &Path, buffer: &mut Vec<u8>) -> Result<bool> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    use std::io::Read;
    buffer.clear();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_end(buffer)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

fn list_local(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let fault = |source| Error::File { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(fault)?.is_dir() {
                folders.push(path);
            } else if let Ok(below) = path.strip_prefix(root) {
                found.push(below.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

/// What is at the bottom of a store's error, without its own frame and without addresses that may hold secrets.
fn cause(error: &object_store::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(inner) = root.source() {
        root = inner;
    }
    root.to_string()
}
