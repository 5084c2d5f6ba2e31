//! The right to work on something of a lake alone: of several processes one works, the others wait and find it done.
//!
//! On the local disk it is a locked file, which the operating system unlocks when its process ends, however it ends. In an object store
//! it is an object that only one process can have made, by a write that never replaces anything; its holder rewrites it from time to
//! time, and whoever sees it unchanged for longer than the holder promised takes it over, by a write that replaces only what was seen.
//! Nobody compares clocks. A holder that was killed on the same machine is recognised at once.
//!
//! A lease keeps work and money from being spent twice. That rows are not written twice does not hang on it: a holder that was stopped
//! for minutes goes on as if it held the lease, and its commit is refused ([`super::writer::Origin`]).

mod holder;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::holder::Holder;
use super::bucket::Bucket;
use super::lake::Lake;
use crate::error::{Error, Result};
use crate::hash;

/// Folder of the leases inside the lake.
const FOLDER: &str = "_leases";
/// Seconds after which an unchanged lease is taken for that of a dead process.
const SECONDS: &str = "NEURONLAKE_LEASE_SECONDS";
/// Where the variable is not set.
const DEFAULT_SECONDS: f64 = 60.0;
/// Shortest and longest wait between two looks at a lease that somebody holds.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What came of asking for a lease without waiting for it.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is ours.
    Held(Lease),
    /// This process, by its machine and number, holds it and is at work.
    Busy(String),
}

/// The right to work on something alone, until it is released or dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// A file that this process has locked.
    File(Option<HeldFile>),
    /// An object that this process rewrites in a task.
    Object(Option<HeldObject>),
}

#[derive(Debug)]
struct HeldFile {
    file: File,
    path: PathBuf,
    /// The lake's folder, where the lease made it: one that is still empty goes with the lease.
    made: Option<PathBuf>,
}

impl HeldFile {
    /// A file that this process has just locked; it says so in the file, for whoever asks.
    fn of_this_process(file: File, path: PathBuf, made: Option<PathBuf>, name: &str) -> Self {
        let me = Holder::this_process(name, seconds()).written();
        let said = file.set_len(0).and_then(|()| (&file).write_all(&me));
        if let Err(error) = said {
            // The lock holds without it.
            tracing::debug!(path = %path.display(), %error, "a lease does not say who holds it");
        }
        Self { file, path, made }
    }

    /// Leaves no trace: a run that is refused has written nothing. Folders that hold something stay.
    fn remove(self) {
        // Under the lock: whoever waits finds that the name is gone and makes a new file.
        let _ = std::fs::remove_file(&self.path);
        drop(self.file);
        if let Some(folder) = self.path.parent() {
            let _ = std::fs::remove_dir(folder);
        }
        if let Some(root) = self.made {
            let _ = std::fs::remove_dir(root);
        }
    }
}

#[derive(Debug)]
struct HeldObject {
    bucket: Arc<Bucket>,
    path: Path,
    beat: JoinHandle<()>,
    me: Holder,
    renewal: watch::Receiver<Renewal>,
}

/// What came of the last renewal.
#[derive(Debug, Clone, Copy)]
enum Renewal {
    /// It was renewed then, by a clock that only goes forward and by one that also counts the time a machine sleeps.
    At(Instant, SystemTime),
    /// Another process has taken the lease over.
    Lost,
}

impl Renewal {
    fn now() -> Self {
        Self::At(Instant::now(), SystemTime::now())
    }

    /// Whether nobody can have taken the lease over.
    fn surely_holds(self, seconds: f64) -> bool {
        match self {
            Self::Lost => false,
            // A clock that was set back tells nothing.
            Self::At(instant, time) => {
                time.elapsed().is_ok_and(|passed| instant.elapsed().max(passed).as_secs_f64() < seconds)
            }
        }
    }
}

impl Lease {
    /// Waits until nobody else holds the lease of this name.
    ///
    /// # Errors
    /// When the disk or the store refuses.
    pub(crate) async fn take(lake: &Lake, name: &str) -> Result<Self> {
        Self::take_telling(lake, name, &|| ()).await
    }

    /// As [`Lease::take`]; `waits` is called once if another process holds it.
    ///
    /// # Errors
    /// As [`Lease::take`].
    pub(crate) async fn take_telling(lake: &Lake, name: &str, waits: &(dyn Fn() + Send + Sync)) -> Result<Self> {
        let file = format!("{}.lease", hash::text(name));
        let held = match (lake.bucket(), lake.local_path()) {
            (Some(bucket), _) => {
                let path = bucket.prefix.clone().join(FOLDER).join(file);
                Held::Object(Some(take_object(bucket, path, name, waits).await?))
            }
            (None, Some(root)) => {
                let made = (!root.exists()).then(|| root.clone());
                let path = root.join(FOLDER).join(file);
                let file = lock_telling(path.clone(), name, waits).await?;
                Held::File(Some(HeldFile::of_this_process(file, path, made, name)))
            }
            (None, None) => return Err(Error::internal("a lake that is neither a folder nor a bucket")),
        };
        Ok(Self { held })
    }

    /// Takes the lease, unless another process is at work under it. In a bucket that is seen by the holder's next renewal, so the answer
    /// takes up to a third of the time after which a lease runs out; one that is not renewed for all of it is taken over.
    ///
    /// # Errors
    /// As [`Lease::take`].
    pub(crate) async fn ask(lake: &Lake, name: &str) -> Result<Asked> {
        let file = format!("{}.lease", hash::text(name));
        let held = match (lake.bucket(), lake.local_path()) {
            (Some(bucket), _) => {
                let path = bucket.prefix.clone().join(FOLDER).join(file);
                match ask_object(bucket, path, name, Patience::UntilRenewed, &|| ()).await? {
                    Ok(object) => Held::Object(Some(object)),
                    Err(holder) => return Ok(Asked::Busy(holder.told())),
                }
            }
            (None, Some(root)) => {
                let made = (!root.exists()).then(|| root.clone());
                let path = root.join(FOLDER).join(file);
                match lock_now(&path)? {
                    Some(file) => Held::File(Some(HeldFile::of_this_process(file, path, made, name))),
                    None => return Ok(Asked::Busy(told_in(&path))),
                }
            }
            (None, None) => return Err(Error::internal("a lake that is neither a folder nor a bucket")),
        };
        Ok(Asked::Held(Self { held }))
    }

    /// Returns when the lease is another's, which happens only where this process was stopped for longer than its lease lasts.
    pub(crate) async fn lost(&self) {
        if let Held::Object(Some(object)) = &self.held {
            let mut renewal = object.renewal.clone();
            // A task that ended otherwise says nothing any more.
            if renewal.wait_for(|renewal| matches!(renewal, Renewal::Lost)).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Lets others in. One that cannot be removed runs out by itself.
    pub(crate) async fn release(mut self) {
        match &mut self.held {
            Held::File(file) => {
                if let Some(file) = file.take() {
                    file.remove();
                }
            }
            Held::Object(object) => {
                if let Some(object) = object.take() {
                    object.remove().await;
                }
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.held {
            Held::File(file) => {
                if let Some(file) = file.take() {
                    file.remove();
                }
            }
            Held::Object(object) => {
                if let Some(object) = object.take()
                    && let Ok(runtime) = tokio::runtime::Handle::try_current()
                {
                    runtime.spawn(object.remove());
                }
            }
        }
    }
}

impl HeldObject {
    async fn remove(self) {
        self.beat.abort();
        // After this the task writes nothing more.
        let _ = self.beat.await;
        let renewal = *self.renewal.borrow();
        if !renewal.surely_holds(self.me.seconds) && !is_of(&self.bucket, &self.path, &self.me).await {
            // To give back what is another's would let a third one in.
            return;
        }
        if let Err(error) = self.bucket.store.delete(&self.path).await {
            tracing::debug!(path = %self.path, %error, "a lease was not removed");
        }
    }
}

/// Waits until nobody else has a file locked, and locks it; it is made where it is missing.
///
/// # Errors
/// [`Error::File`] when the disk refuses.
pub(crate) async fn lock_file(path: PathBuf, name: &str) -> Result<File> {
    lock_telling(path, name, &|| ()).await
}

async fn lock_telling(path: PathBuf, name: &str, waits: &(dyn Fn() + Send + Sync)) -> Result<File> {
    let mut wait = LOOK_AGAIN.0;
    loop {
        if let Some(file) = lock_now(&path)? {
            return Ok(file);
        }
        if wait == LOOK_AGAIN.0 {
            tracing::info!(lease = name, "another process works on it; waiting");
            waits();
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_AGAIN.1);
    }
}

/// Locks a file, which is made where it is missing; `None` while another has it locked.
fn lock_now(path: &std::path::Path) -> Result<Option<File>> {
    let fault = |source| Error::File { path: path.to_owned(), source };
    loop {
        let file = match open(path) {
            Ok(file) => file,
            // Its holder removed the folder between two steps of ours.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.parent().is_some_and(|at| !at.exists()) => {
                std::thread::yield_now();
                continue;
            }
            Err(e) => return Err(fault(e)),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            // A holder removed it just before.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
    }
}

/// Who says in a file that he holds it.
fn told_in(path: &std::path::Path) -> String {
    let holder = std::fs::read(path).ok().and_then(|text| Holder::read(&text));
    holder.map_or_else(|| "another process".to_owned(), |holder| holder.told())
}

fn open(path: &std::path::Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().write(true).create(true).truncate(false).open(path)
}

/// Whether a path still stands for a file that was opened by it.
#[cfg(unix)]
fn is_at(file: &File, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(opened), Ok(there)) => (opened.dev(), opened.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// As above where files that are open cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, path: &std::path::Path) -> bool {
    path.exists()
}

/// How long one waits for a lease that another process holds.
#[derive(Clone, Copy, PartialEq)]
enum Patience {
    /// Until it is free.
    Endless,
    /// Until its holder renews it, and so is seen to be at work.
    UntilRenewed,
}

async fn take_object(
    bucket: &Arc<Bucket>,
    path: Path,
    name: &str,
    waits: &(dyn Fn() + Send + Sync),
) -> Result<HeldObject> {
    let taken = ask_object(bucket, path, name, Patience::Endless, waits).await?;
    taken.map_err(|_| Error::internal("endless patience came to an end"))
}

/// The lease, or who is at work under it.
async fn ask_object(
    bucket: &Arc<Bucket>,
    path: Path,
    name: &str,
    patience: Patience,
    waits: &(dyn Fn() + Send + Sync),
) -> Result<std::result::Result<HeldObject, Holder>> {
    let fault = |error: StoreError| bucket.fault(&error);
    let me = Holder::this_process(name, seconds());
    // What was seen last, since when, and how long its holder may leave it unchanged.
    let mut seen: Option<(Option<String>, Instant)> = None;
    let mut wait = LOOK_AGAIN.0;
    loop {
        match put(bucket, &path, &me, PutMode::Create).await {
            Ok(done) => return Ok(Ok(hold(bucket, path, me, done))),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(fault(error)),
        }
        let found = match bucket.store.get(&path).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(fault(error)),
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let holder = Holder::read(&found.bytes().await.map_err(fault)?);
        match &seen {
            Some((tag, since)) if *tag == version.e_tag => {
                let promised = holder.as_ref().map_or(seconds(), |holder| holder.seconds);
                if since.elapsed().as_secs_f64() > promised
                    && let Some(object) = take_over(bucket, &path, &me, version).await?
                {
                    return Ok(Ok(object));
                }
            }
            _ => {
                if holder.as_ref().is_some_and(Holder::is_gone)
                    && let Some(object) = take_over(bucket, &path, &me, version.clone()).await?
                {
                    return Ok(Ok(object));
                }
                if let (Some(_), Some(holder), Patience::UntilRenewed) = (&seen, holder, patience) {
                    return Ok(Err(holder));
                }
                if seen.is_none() && patience == Patience::Endless {
                    tracing::info!(lease = name, "another process works on it; waiting");
                    waits();
                }
                seen = Some((version.e_tag, Instant::now()));
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_AGAIN.1);
    }
}

/// Takes the place of a holder that is gone; `None` when another process did, or the holder lives.
async fn take_over(bucket: &Arc<Bucket>, path: &Path, me: &Holder, seen: UpdateVersion) -> Result<Option<HeldObject>> {
    match put(bucket, path, me, PutMode::Update(seen)).await {
        Ok(done) => Ok(Some(hold(bucket, path.clone(), me.clone(), done))),
        Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. }) => {
            Ok(None)
        }
        Err(error) => Err(bucket.fault(&error)),
    }
}

async fn put(bucket: &Bucket, path: &Path, holder: &Holder, mode: PutMode) -> Result<PutResult, StoreError> {
    let payload = PutPayload::from(holder.written());
    bucket.store.put_opts(path, payload, PutOptions::from(mode)).await
}

/// Whether an object says that this holder has it.
async fn is_of(bucket: &Bucket, path: &Path, holder: &Holder) -> bool {
    let Ok(found) = bucket.store.get(path).await else { return false };
    let Ok(text) = found.bytes().await else { return false };
    Holder::read(&text).is_some_and(|found| found.is(holder))
}

/// Rewrites the object until it is released, or somebody else's.
fn hold(bucket: &Arc<Bucket>, path: Path, mut me: Holder, first: PutResult) -> HeldObject {
    let every = Duration::from_secs_f64(me.seconds / 3.0);
    let (own, at) = (Arc::clone(bucket), path.clone());
    let (renewed, renewal) = watch::channel(Renewal::now());
    let holder = me.clone();
    let beat = tokio::spawn(async move {
        let mut version = UpdateVersion::from(first);
        loop {
            tokio::time::sleep(every).await;
            me.beat += 1;
            match put(&own, &at, &me, PutMode::Update(version.clone())).await {
                Ok(done) => {
                    version = UpdateVersion::from(done);
                    renewed.send_replace(Renewal::now());
                }
                Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) => {
                    tracing::warn!(lease = me.name, "another process took the lease over; it was not renewed in time");
                    renewed.send_replace(Renewal::Lost);
                    return;
                }
                Err(error) => tracing::warn!(lease = me.name, %error, "the lease was not renewed"),
            }
        }
    });
    HeldObject { bucket: Arc::clone(bucket), path, beat, me: holder, renewal }
}

fn seconds() -> f64 {
    let asked = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    asked.filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0).unwrap_or(DEFAULT_SECONDS)
}

#[cfg(test)]
mod tests;
