//! Sparse autoencoders attached to a model: their latents are read like neurons.
//!
//! The hook point of an autoencoder's latents is `<hook point it reads>/<id>`, as in `blocks.8.hook_resid_post/my_sae`. The
//! autoencoders of a lake lie in one folder, each in a folder of its own named by its id; [`Autoencoders`] finds and keeps them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sparse_autoencoders::autoencoder::SparseAutoencoder;
use sparse_autoencoders::files;

use super::directions::Side;
use super::hook_points::HookPoint;
use super::kernels::matmul::{Layout, MatmulScratch, PackedMatrix, matmul};
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// Name of the file, beside the weights, that says what an autoencoder is for.
pub const PLACE_FILE: &str = "place.json";

/// Name of the file that says of an id that it is a crosscoder's, which is no autoencoder of one model.
pub const CROSSCODER_FILE: &str = "crosscoder.json";

/// What an autoencoder is for: which values of which model it reads, and which it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Subject model id.
    pub model: String,
    /// Hook point that it reads.
    pub input_hook_point: String,
    /// Hook point whose values it gives; the same but for transcoders.
    pub output_hook_point: String,
}

/// An autoencoder with its id.
#[derive(Debug)]
pub struct Latents {
    /// Its id, unique in the lake.
    pub id: String,
    /// What it is for.
    pub place: Place,
    /// Configuration and weights.
    pub autoencoder: SparseAutoencoder,
}

impl Latents {
    /// How many latents.
    pub fn n_latents(&self) -> usize {
        self.autoencoder.config.n_latents
    }
}

/// The autoencoders of a lake, each loaded once.
#[derive(Debug)]
pub struct Autoencoders {
    folder: PathBuf,
    loaded: Mutex<HashMap<String, Arc<Latents>>>,
}

impl Autoencoders {
    /// Those in a folder, which may not be there yet.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, loaded: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ids of all that are there, in order; none where there is no folder.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be listed.
    pub fn ids(&self) -> Result<Vec<String>> {
        // Written last: a folder without it is one that was not finished.
        self.ids_with(PLACE_FILE)
    }

    /// Names of the folders with a file.
    fn ids_with(&self, file: &str) -> Result<Vec<String>> {
        let fault = |source| Error::File { path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fault)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            if path.join(file).is_file()
                && let Some(id) = path.file_name().and_then(|name| name.to_str())
            {
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Ids of crosscoders, in order.
    fn crosscoders(&self) -> Result<Vec<String>> {
        self.ids_with(CROSSCODER_FILE)
    }

    /// The autoencoder of that id, loaded now if it was not before.
    ///
    /// # Errors
    /// [`AutoencoderError::Unknown`], or what is wrong with its files.
    pub fn get(&self, id: &str) -> Result<Arc<Latents>> {
        // Held while loading: two callers must not both fill the memory with one autoencoder.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latents) = loaded.get(id) {
            return Ok(Arc::clone(latents));
        }
        let latents = Arc::new(Latents {
            id: id.to_owned(),
            place: self.place(id)?,
            autoencoder: files::load(&self.folder.join(id)).map_err(AutoencoderError::from)?,
        });
        loaded.insert(id.to_owned(), Arc::clone(&latents));
        Ok(latents)
    }

    /// What the autoencoder of that id is for.
    ///
    /// # Errors
    /// As [`Autoencoders::get`].
    pub fn place(&self, id: &str) -> Result<Place> {
        let known = self.ids()?;
        if !known.iter().any(|other| other == id) {
            if self.crosscoders()?.iter().any(|other| other == id) {
                return Err(crosscoder(id));
            }
            return Err(AutoencoderError::Unknown { id: id.to_owned(), known }.into());
        }
        let path = self.folder.join(id).join(PLACE_FILE);
        let text = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|error| {
            AutoencoderError::Unusable { id: id.to_owned(), reason: format!("file '{}': {error}", path.display()) }
                .into()
        })
    }

    /// The hook points of the latents of all autoencoders that read one of `bases` of a model and whose ids fit a pattern.
    ///
    /// # Errors
    /// [`AutoencoderError::Unusable`] for one whose width is not that of what it reads.
    pub(crate) fn hook_points(
        &self,
        model: &str,
        bases: &[HookPoint],
        fits: impl Fn(&str) -> bool,
    ) -> Result<Vec<HookPoint>> {
        let mut found = Vec::new();
        for id in self.ids()?.into_iter().filter(|id| fits(id)) {
            let place = self.place(&id)?;
            if place.model != model {
                continue;
            }
            for base in bases.iter().filter(|base| base.name() == place.input_hook_point) {
                found.push(HookPoint::of_latents(base, self.get(&id)?)?);
            }
        }
        match self.crosscoders()?.into_iter().find(|id| fits(id)) {
            Some(id) if found.is_empty() => Err(crosscoder(&id)),
            _ => Ok(found),
        }
    }
}

/// The error of a crosscoder where an autoencoder is wanted.
fn crosscoder(id: &str) -> Error {
    let reason = "expected an autoencoder of one model, got a crosscoder, whose latents read several models at once; what tells them \
                  apart is in table crosscoder_latents and view latent_differences";
    AutoencoderError::Unusable { id: id.to_owned(), reason: reason.to_owned() }.into()
}

/// Latents whose most similar ones are looked for together.
const ROWS: usize = 256;

/// For each latent of `one` from `first` on, `n` at most, the latent of `other` whose weights on a side are most similar by cosine, and the
/// cosine, -1..1; of equal ones the lower index. Of an autoencoder with itself, the latent's own row is left out. `None` for a latent
/// without weights but zeros, and where there is no other latent.
///
/// # Errors
/// [`AutoencoderError::Unusable`] for two whose weights are not of the same width.
pub fn most_similar(one: &Latents, other: &MostSimilar, first: usize, n: usize) -> Result<Vec<Option<(u32, f32)>>> {
    let (rows, width) = other.side.weights(&one.autoencoder);
    if width != other.width {
        let reason = format!("expected weights of {} values, as '{}' has, got {width}", other.width, other.id);
        return Err(AutoencoderError::Unusable { id: one.id.clone(), reason }.into());
    }
    let last = one.n_latents().min(first + n);
    let chunks: Vec<usize> = (first..last).step_by(ROWS).collect();
    let found: Vec<Vec<Option<(u32, f32)>>> = chunks
        .into_par_iter()
        .map_init(MatmulScratch::default, |scratch, start| {
            let end = last.min(start + ROWS);
            let unit = unit_rows(&rows[start * width..end * width], width);
            let mut cosines = vec![0.0; (end - start) * other.matrix.columns()];
            matmul(&unit, &other.matrix, &[], &mut cosines, scratch);
            let rows = cosines.chunks_exact(other.matrix.columns()).zip(unit.chunks_exact(width)).enumerate();
            rows.map(|(row, (cosines, unit))| {
                if unit.iter().all(|value| *value == 0.0) {
                    return None;
                }
                let own = (one.id == other.id).then_some(start + row);
                let others = cosines.iter().enumerate().filter(|(latent, _)| Some(*latent) != own);
                let best = others.reduce(|best, next| if next.1 > best.1 { next } else { best });
                best.map(|(latent, cosine)| (latent as u32, cosine.clamp(-1.0, 1.0)))
            })
            .collect()
        })
        .collect();
    Ok(found.concat())
}

/// The weights of all latents of an autoencoder on one side, made ready for [`most_similar`].
#[derive(Debug)]
pub struct MostSimilar {
    id: String,
    side: Side,
    width: usize,
    /// Rows of length 1, as columns.
    matrix: PackedMatrix,
}

impl MostSimilar {
    /// Of an autoencoder's encoder or decoder rows.
    pub fn new(latents: &Latents, side: Side) -> Self {
        let (rows, width) = side.weights(&latents.autoencoder);
        let unit = unit_rows(rows, width);
        let matrix = PackedMatrix::new(&unit, width, latents.n_latents(), Layout::ColumnsByDepth);
        Self { id: latents.id.clone(), side, width, matrix }
    }
}

impl Side {
    /// The rows of all latents, and how long each is.
    fn weights(self, autoencoder: &SparseAutoencoder) -> (&[f32], usize) {
        match self {
            Self::Input => (&autoencoder.w_enc, autoencoder.config.n_inputs),
            Self::Output => (&autoencoder.w_dec, autoencoder.config.n_outputs),
        }
    }
}

/// Rows divided by their norm; zeros stay zeros.
fn unit_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let mut unit = rows.to_vec();
    for row in unit.chunks_exact_mut(width) {
        let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
    }
    unit
}
