//! `store.json`: what a store holds and how it was made.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parts::ValueType;
use super::statistics::Statistics;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::tables::lake::Lake;

/// Folder of all stores inside a lake.
const FOLDER: &str = "_activation_rows";
/// Version of the layout.
const FORMAT: u32 = 1;

/// What decides which rows a store holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// Subject model id.
    pub model: String,
    /// SHA-256 of its weights, hex.
    pub weights_hash: String,
    /// Hook point that was read.
    pub hook_point: String,
    /// Values a row.
    pub width: usize,
    /// Corpus id.
    pub corpus: String,
    /// Splits whose token sequences were read.
    pub splits: Vec<String>,
    /// `keep` or `mask`: whether the first token of a window has a row.
    pub first_token: String,
    /// Rows with a norm above this multiple of the median norm were left out; `None` keeps all.
    pub norm_multiple: Option<f64>,
    /// How values are stored.
    pub values: ValueType,
    /// Version of the table of token sequences.
    pub token_sequences: Option<u64>,
}

/// The whole of `store.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// What decides the rows.
    pub contents: Contents,
    /// Median norm of the first batch of rows, which the norm limit is a multiple of; `None` before there was one.
    pub median_norm: Option<f64>,
    /// Rows; `None` until all are written.
    pub n_rows: Option<u64>,
    /// Rows left out for their norm; `None` until all are written.
    pub n_dropped: Option<u64>,
    /// Mean, spread and norms; `None` until all rows are written.
    pub statistics: Option<Statistics>,
}

impl Manifest {
    /// A store with these contents of which nothing is written.
    pub fn new(contents: Contents) -> Self {
        Self { format: FORMAT, contents, median_norm: None, n_rows: None, n_dropped: None, statistics: None }
    }

    /// The norm above which rows are left out.
    pub fn norm_limit(&self) -> Option<f64> {
        Some(self.contents.norm_multiple? * self.median_norm?)
    }
}

/// A store's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFolder {
    name: String,
    path: PathBuf,
}

impl StoreFolder {
    /// The store of that name, whether or not there is one.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is no plain file name, or for a lake that is not on the local disk.
    pub fn at(lake: &Lake, name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-~".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Error::Argument {
                argument: "--name".to_owned(),
                expected: "letters, digits and any of . _ - ~, not beginning with a dot".to_owned(),
                got: name.to_owned(),
            });
        }
        Ok(Self { name: name.to_owned(), path: root(lake)?.join(name) })
    }

    /// A store that is there.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreUnknown`], and as [`StoreFolder::at`].
    pub fn existing(lake: &Lake, name: &str) -> Result<Self> {
        let store = Self::at(lake, name)?;
        if store.manifest_path().is_file() {
            return Ok(store);
        }
        let known = Self::list(lake)?.into_iter().map(|store| store.name).collect();
        Err(AutoencoderError::StoreUnknown { name: name.to_owned(), known }.into())
    }

    /// Every store of a lake, by name; none where the lake is not on the local disk.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be listed.
    pub fn list(lake: &Lake) -> Result<Vec<Self>> {
        let Ok(root) = root(lake) else { return Ok(Vec::new()) };
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| Error::File { path: root.clone(), source })?,
        };
        let mut stores = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| Error::File { path: root.clone(), source })?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let store = Self { name, path };
            if store.manifest_path().is_file() {
                stores.push(store);
            }
        }
        stores.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stores)
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of the rows in the order of the token sequences.
    pub fn rows_path(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Folder of the rows in the random order of a seed.
    pub fn shuffled_path(&self, seed: u64) -> PathBuf {
        self.path.join(format!("shuffled-{seed}"))
    }

    /// Seeds of the random orders that are whole.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be listed.
    pub fn shuffled_seeds(&self) -> Result<Vec<u64>> {
        let fault = |source| Error::File { path: self.path.clone(), source };
        let mut seeds = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(seed) = name.strip_prefix("shuffled-").and_then(|seed| seed.parse().ok())
                && path.join("shuffle.json").is_file()
            {
                seeds.push(seed);
            }
        }
        seeds.sort_unstable();
        Ok(seeds)
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join("store.json")
    }

    /// What `store.json` says; `None` where there is none.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] when it is not of this version's form, [`Error::File`].
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.manifest_path();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| Error::File { path: path.clone(), source })?,
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| AutoencoderError::StoreFile { path: path.clone(), reason: error.to_string() })?;
        if manifest.format != FORMAT {
            let reason = format!("expected format {FORMAT}, got {}", manifest.format);
            return Err(AutoencoderError::StoreFile { path, reason }.into());
        }
        Ok(Some(manifest))
    }

    /// The manifest of a store that is written to its end.
    ///
    /// # Errors
    /// [`AutoencoderError::StoreFile`] for a store of which a part is missing.
    pub fn whole(&self) -> Result<Manifest> {
        match self.manifest()? {
            Some(manifest) if manifest.n_rows.is_some() => Ok(manifest),
            _ => {
                let reason =
                    "expected a whole store, got one that was cut short; run 'activations store' again".to_owned();
                Err(AutoencoderError::StoreFile { path: self.path.clone(), reason }.into())
            }
        }
    }

    /// Writes `store.json`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest).map_err(|error| Error::internal(error.to_string()))?;
        write_whole(&self.manifest_path(), &text)
    }
}

fn root(lake: &Lake) -> Result<PathBuf> {
    lake.local_path().map(|path| path.join(FOLDER)).ok_or_else(|| Error::Argument {
        argument: "--lake".to_owned(),
        expected: "a lake on the local disk: activations are stored there only".to_owned(),
        got: lake.root().to_string(),
    })
}

/// Writes a small file so that its name never stands for half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let fault = |source| Error::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial).map_err(fault)?;
    std::io::Write::write_all(&mut file, bytes).map_err(fault)?;
    file.sync_all().map_err(fault)?;
    fs::rename(&partial, path).map_err(fault)
}
