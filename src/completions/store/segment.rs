//! The files of lines: one a living process, locked while it lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::queue::{self, Queue};
use super::{Row, fault};
use crate::error::{Error, Result};

/// The file of this process, made when the first line comes.
#[derive(Debug)]
pub(super) struct Segment {
    folder: PathBuf,
    queue: Queue,
    file: Mutex<Option<(File, PathBuf)>>,
}

impl Segment {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, queue: Queue::default(), file: Mutex::default() }
    }

    /// Comes back when the line is on disk. Lines that come while others are being written share the next write and sync.
    pub(super) async fn append(self: &Arc<Self>, line: String) -> Result<()> {
        let added = self.queue.add(line);
        if added.nobody_stores {
            // Not waited for: lines of others must reach the disk although this caller may be dropped.
            let segment = Arc::clone(self);
            tokio::task::spawn_blocking(move || segment.write_queue());
        }
        let refused = |reason: String| Error::CompletionStore { path: self.folder.clone(), reason };
        added.done.await.map_err(|_| refused("the writer ended".to_owned()))?.map_err(refused)
    }

    fn write_queue(&self) {
        while let Some(lines) = self.queue.take() {
            let outcome = self.write(&queue::bytes(&lines)).map_err(|e| e.to_string());
            queue::tell(lines, &outcome);
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut place = self.file.lock();
        let (mut file, path) = match place.take() {
            Some(open) => open,
            None => create(&self.folder)?,
        };
        // After a fault the file is left as it is, cut last line and all, and the next lines go into another.
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|e| fault(&path, &e))?;
        *place = Some((file, path));
        Ok(())
    }

    /// Closes the file and thereby unlocks it; the next line goes into another.
    pub(super) fn finish(&self) {
        *self.file.lock() = None;
    }
}

/// A new locked file. Under another name until it is locked: one that is not would be taken for that of a dead process.
fn create(folder: &Path) -> Result<(File, PathBuf)> {
    std::fs::create_dir_all(folder).map_err(|e| fault(folder, &e))?;
    for n in 0_u32.. {
        let path = folder.join(format!("{}-{n}.jsonl", std::process::id()));
        let unlocked = path.with_extension("new");
        if path.exists() {
            continue;
        }
        let file = match OpenOptions::new().append(true).create_new(true).open(&unlocked) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(fault(&unlocked, &e)),
        };
        file.lock().map_err(|e| fault(&unlocked, &e))?;
        // A link, not a new name: it never takes the place of another's file.
        let linked = std::fs::hard_link(&unlocked, &path);
        std::fs::remove_file(&unlocked).map_err(|e| fault(&unlocked, &e))?;
        match linked {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(fault(&path, &e)),
        }
        // The name must survive a power cut as the lines do; where a folder cannot be synced, nothing can be done.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        return Ok((file, path));
    }
    Err(Error::internal("no free name for a file of replies"))
}

/// Waits until no other process folds, and keeps others from it until the file is dropped.
pub(super) fn lock_folding(folder: &Path) -> Result<File> {
    let path = folder.join("fold.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| fault(&path, &e))?;
    file.lock().map_err(|e| fault(&path, &e))?;
    Ok(file)
}

/// Files whose process has ended or closed them, in the order of their names.
pub(super) fn finished(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths(folder)? {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(fault(&path, &e)),
        };
        match file.try_lock() {
            Ok(()) => found.push(path),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(fault(&path, &e)),
        }
    }
    Ok(found)
}

/// The lines of every file, living or not.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if folder.is_dir() {
        for path in paths(folder)? {
            rows.extend(read(&path)?);
        }
    }
    Ok(rows)
}

/// The lines of a file; a last line without an end was being written when its process was killed, and is no line.
pub(super) fn read(path: &Path) -> Result<Vec<Row>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        // Another process moved it into the table, where it is read next.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(path, &e)),
    };
    rows(path, &bytes)
}

/// As [`read`], of bytes that were read.
pub(super) fn rows(path: &Path, bytes: &[u8]) -> Result<Vec<Row>> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_slice(line).map_err(|e| Error::CompletionStore {
                path: path.to_owned(),
                reason: format!("line {}: expected a stored reply, got something else: {e}", i + 1),
            })
        })
        .collect()
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = entries
        .map_err(|e| fault(folder, &e))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    paths.sort();
    Ok(paths)
}
