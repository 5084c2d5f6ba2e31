//! The folder that collections wait in, shared by all processes of this machine that work on one lake.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::tables::lake::Lake;

/// A lake's folder for collections; nobody removes it while a session uses it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: PathBuf,
    used: Mutex<Option<File>>,
}

impl Scratch {
    /// The folder of a lake; nothing is made yet.
    pub(crate) fn of(lake: &Lake) -> Self {
        Self { path: lake.scratch_path(), lock: lake.scratch_lock_path(), used: Mutex::new(None) }
    }

    /// Makes a collection's folder and keeps it from being removed until this session says that it has finished.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub(super) fn folder(&self, key: &str) -> Result<PathBuf> {
        let mut used = self.used.lock();
        if used.is_none() {
            let file = self.open()?;
            // Waits for a process that is removing the folder, which takes no time.
            file.lock_shared().map_err(|source| Error::File { path: self.lock.clone(), source })?;
            *used = Some(file);
        }
        let folder = self.path.join(key);
        std::fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// Removes what the passes of a finished run left, unless another process uses the folder: it will remove it.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be removed.
    pub fn remove_finished(&self) -> Result<()> {
        let mut used = self.used.lock();
        *used = None;
        if !self.path.exists() {
            return Ok(());
        }
        let file = self.open()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(Error::File { path: self.lock.clone(), source }),
        }
        match std::fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { path: self.path.clone(), source: e })
            }
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<File> {
        let fault = |source| Error::File { path: self.lock.clone(), source };
        if let Some(folder) = self.lock.parent() {
            std::fs::create_dir_all(folder).map_err(fault)?;
        }
        File::options().write(true).create(true).truncate(false).open(&self.lock).map_err(fault)
    }
}
