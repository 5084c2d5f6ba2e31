//! Checkpoints of trainings from one reading: a folder `step-<step>` that appears whole, with one inside for each autoencoder.

use std::fs;
use std::path::{Path, PathBuf};

use sparse_autoencoders::training::placed::Placed;
use sparse_autoencoders::training::trainer::Trainer;

use super::Wanted;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// The newest checkpoint of a folder, `None` where there is none.
pub(super) fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let fault = |source| Error::File { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(fault)?,
    };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(step) = name.strip_prefix("step-").and_then(|step| step.parse().ok()) {
            newest = newest.max(Some((step, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// The trainings of a checkpoint, in the order they are wanted in.
pub(super) fn load(checkpoint: &Path, wanted: &[Wanted]) -> Result<Vec<Trainer>> {
    let load = |wanted: &Wanted| -> Result<Trainer> {
        let trainer = Trainer::resume(&checkpoint.join(&wanted.id)).map_err(AutoencoderError::from)?;
        if *trainer.config() != wanted.config {
            return Err(Error::internal(format!("checkpoint '{}' of other settings", checkpoint.display())));
        }
        Ok(trainer)
    };
    wanted.iter().map(load).collect()
}

/// Writes a checkpoint of all trainings, whole or not at all; the one before goes.
pub(super) fn save(folder: &Path, wanted: &[Wanted], trainings: &mut [Placed], step: u64) -> Result<()> {
    let partial = folder.join("partial");
    let fault = |source| Error::File { path: partial.clone(), source };
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    fs::create_dir_all(&partial).map_err(fault)?;
    for (wanted, training) in wanted.iter().zip(trainings) {
        let trainer = training.fetch().map_err(AutoencoderError::from)?;
        trainer.checkpoint(&partial.join(&wanted.id)).map_err(AutoencoderError::from)?;
    }
    let before = newest(folder)?;
    let path = folder.join(format!("step-{step:012}"));
    if before.as_ref() == Some(&path) {
        return fs::remove_dir_all(&partial).map_err(fault);
    }
    fs::rename(&partial, &path).map_err(fault)?;
    match before {
        Some(before) => fs::remove_dir_all(&before).map_err(|source| Error::File { path: before.clone(), source }),
        None => Ok(()),
    }
}
