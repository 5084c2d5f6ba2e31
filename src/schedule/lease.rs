//! Who runs a pipeline: a lease in the lake, which one process holds and which runs out with it.
//!
//! A lease is a row of numbered files. Each claim and each renewal makes the next one, and a store makes a file that is there already
//! for nobody (`PutMode::Create`: a hard link on a disk, `If-None-Match` on S3): of two processes that claim at once one is refused.
//! Files are never changed, so nothing but that is asked of a store.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use crate::error::{Error, Result};
use crate::hash;
use crate::tables::lake::Lake;
use crate::tables::store::{open_store, shown};

/// How long a lease lasts that nobody renews.
const LASTS: TimeDelta = TimeDelta::seconds(60);
/// When it is renewed.
const RENEWED_AFTER: TimeDelta = TimeDelta::seconds(15);
/// Files that are left behind the newest: a process that read the list long ago still finds the numbers after it taken.
const KEPT: u64 = 8;

/// Where the files of a pipeline's schedule are.
pub(super) fn folder(lake: &Lake, pipeline: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let (store, root) = open_store(lake.root())?;
    Ok((store, root.join("_schedule").join(pipeline)))
}

pub(super) fn fault(path: &Path, source: object_store::Error) -> Error {
    Error::Store { url: path.to_string(), source: Box::new(source) }
}

/// This machine, by the name it has.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// Whether a holder is a process of this machine that has ended: nobody need wait for its lease to run out.
fn is_gone(holder: &str) -> bool {
    let mut parts = holder.rsplitn(3, ':').skip(1);
    let (process, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let here = of == machine() && process.parse::<u32>().is_ok() && std::path::Path::new("/proc/self").exists();
    here && !std::path::Path::new("/proc").join(process).exists()
}

/// What a file of a lease says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// Who holds it.
    holder: String,
    /// Until when; a lease that was given back ends at once.
    until: DateTime<Utc>,
}

/// The lease of one pipeline.
#[derive(Debug, Clone)]
pub struct Leases {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    lake: String,
    holder: String,
}

/// What came of a claim.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Held(Lease),
    /// It is held by this process.
    Busy(String),
}

/// What came of work that needs the lease.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It was done.
    Done(T),
    /// It was not begun: this process holds the lease.
    Busy(String),
}

impl Leases {
    /// The lease of a pipeline of a lake.
    ///
    /// # Errors
    /// When the lake's store cannot be opened.
    pub fn of(lake: &Lake, pipeline: &str) -> Result<Self> {
        let (store, folder) = folder(lake, pipeline)?;
        let machine = machine();
        // Two loops in one process, or a process whose number is another's after a restart, are different holders.
        let seed = hash::text(&format!("{machine} {} {:p} {:?}", std::process::id(), &folder, Utc::now()));
        let holder = format!("{machine}:{}:{}", std::process::id(), &seed[..8]);
        Ok(Self { store, folder: folder.join("lease"), lake: shown(lake.root()), holder })
    }

    /// Takes the lease, unless another holds it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim(&self, now: DateTime<Utc>) -> Result<Claim> {
        loop {
            let newest = self.newest().await?;
            let mut next = 0;
            if let Some((number, path)) = newest {
                let Some(entry) = self.read(&path).await? else { continue };
                // One that lasts longer than leases do was written by a clock that is not ours.
                if entry.until > now && entry.until <= now + LASTS * 2 && !is_gone(&entry.holder) {
                    return Ok(Claim::Busy(entry.holder));
                }
                next = number + 1;
            }
            if self.put(next, now + LASTS).await? {
                return Ok(Claim::Held(Lease { leases: self.clone(), number: Mutex::new(next) }));
            }
        }
    }

    /// Does a piece of work under the lease, and renews it meanwhile.
    ///
    /// # Errors
    /// When the store fails; [`Error::Refused`] when the lease is lost while the work goes on, which is then dropped.
    pub async fn with<T>(&self, clock: &dyn Clock, work: impl Future<Output = T>) -> Result<Outcome<T>> {
        let lease = match self.claim(clock.now()).await? {
            Claim::Held(lease) => lease,
            Claim::Busy(holder) => return Ok(Outcome::Busy(holder)),
        };
        let done = tokio::select! {
            done = work => done,
            lost = lease.keep(clock) => {
                lost?;
                let reason = "another process took its lease; what was committed stays".to_owned();
                return Err(Error::Refused { what: "the rest of the run".to_owned(), reason });
            }
        };
        lease.release(clock.now()).await?;
        Ok(Outcome::Done(done))
    }

    /// Makes the file of a number: whether it is ours and the newest.
    async fn put(&self, number: u64, until: DateTime<Utc>) -> Result<bool> {
        let path = self.folder.clone().join(format!("{number:020}.json"));
        let entry = Entry { holder: self.holder.clone(), until };
        let text = serde_json::to_vec(&entry).map_err(|e| Error::internal(e.to_string()))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, text.into(), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                // A store that made the file and lost its answer is asked again by its client, and then says that it is there.
                let ours =
                    self.read(&path).await?.is_some_and(|entry| entry.holder == self.holder && entry.until == until);
                if !ours {
                    return Ok(false);
                }
            }
            Err(error) => return Err(fault(&path, error)),
        }
        // Whoever slept since it looked may have made a number that others went past long ago.
        Ok(self.newest().await?.is_some_and(|(newest, _)| newest == number))
    }

    async fn newest(&self) -> Result<Option<(u64, Path)>> {
        let list = self.store.list(Some(&self.folder));
        let files: Vec<_> = list.try_collect().await.map_err(|e| fault(&self.folder, e))?;
        let number = |path: &Path| path.filename()?.strip_suffix(".json")?.parse::<u64>().ok();
        let mut numbers: Vec<(u64, Path)> =
            files.into_iter().filter_map(|file| Some((number(&file.location)?, file.location))).collect();
        numbers.sort();
        let newest = numbers.pop();
        if let Some((newest, _)) = &newest {
            for (_, old) in numbers.iter().filter(|(number, _)| number + KEPT < *newest) {
                // Another process may have removed it.
                let _ = self.store.delete(old).await;
            }
        }
        Ok(newest)
    }

    async fn read(&self, path: &Path) -> Result<Option<Entry>> {
        let bytes = match self.store.get(path).await {
            Ok(found) => found.bytes().await.map_err(|e| fault(path, e))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(fault(path, error)),
        };
        let entry = serde_json::from_slice(&bytes).map_err(|error| Error::Argument {
            argument: format!("file '{path}' of lake '{}'", self.lake),
            expected: "a lease, as this program wrote it".to_owned(),
            got: error.to_string(),
        })?;
        Ok(Some(entry))
    }
}

/// A lease that is ours until it runs out.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    number: Mutex<u64>,
}

impl Lease {
    /// Renews it before it runs out, for ever; returns when it is no longer ours.
    ///
    /// # Errors
    /// When the store fails so often that the lease may have run out.
    pub async fn keep(&self, clock: &dyn Clock) -> Result<()> {
        let mut until = clock.now() + LASTS;
        loop {
            clock.wait(clock.now() + RENEWED_AFTER).await;
            let now = clock.now();
            match self.renew(now).await {
                Ok(true) => until = now + LASTS,
                Ok(false) => return Ok(()),
                // The next try may go better, while the lease lasts.
                Err(error) if now + RENEWED_AFTER < until => tracing::warn!(%error, "lease not renewed yet"),
                Err(error) => return Err(error),
            }
        }
    }

    async fn renew(&self, now: DateTime<Utc>) -> Result<bool> {
        let next = *self.number.lock() + 1;
        let renewed = self.leases.put(next, now + LASTS).await?;
        if renewed {
            *self.number.lock() = next;
        }
        Ok(renewed)
    }

    /// Gives it back, unless another has it by now.
    ///
    /// # Errors
    /// When the store fails; it then runs out by itself.
    pub async fn release(self, now: DateTime<Utc>) -> Result<()> {
        let next = *self.number.lock() + 1;
        self.leases.put(next, now).await?;
        Ok(())
    }
}
