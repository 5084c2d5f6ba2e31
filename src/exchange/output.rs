//! Files that appear whole or not at all, and never in place of another.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::fault::ExchangeError;
use crate::error::{Error, Result};

/// A file that gets its name when it is complete.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    hidden: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file, with the folders above it.
    ///
    /// # Errors
    /// [`ExchangeError::OutputExists`] when it is there already.
    pub fn create(path: &Path) -> Result<Self> {
        let fault = |source| Error::File { path: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            return Err(ExchangeError::OutputExists { file: path.display().to_string() }.into());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(fault)?;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hidden = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let writer = BufWriter::with_capacity(1 << 16, File::create(&hidden).map_err(fault)?);
        Ok(Self { path: path.to_owned(), hidden, writer: Some(writer) })
    }

    /// Writes a whole file at once.
    ///
    /// # Errors
    /// As [`NewFile::create`] and [`NewFile::finish`].
    pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = Self::create(path)?;
        file.write_all(bytes).map_err(|source| Error::File { path: path.to_owned(), source })?;
        file.finish()
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`ExchangeError::OutputExists`] when another file got it meanwhile.
    pub fn finish(mut self) -> Result<()> {
        let fault = |source| Error::File { path: self.path.clone(), source };
        if let Some(mut writer) = self.writer.take() {
            writer.flush().map_err(fault)?;
        }
        // A link does not replace, as a rename would.
        match std::fs::hard_link(&self.hidden, &self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(ExchangeError::OutputExists { file: self.path.display().to_string() }.into())
            }
            // Some file systems have no links.
            Err(_) => std::fs::rename(&self.hidden, &self.path).map_err(fault),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // A file that was not finished leaves nothing; of one that was, this is the second name.
        let _ = std::fs::remove_file(&self.hidden);
    }
}
