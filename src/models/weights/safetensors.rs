//! Safetensors: one file, several files with an index, or bytes inside the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::safetensors::SliceSafetensors;
use memmap2::Mmap;
use serde::Deserialize;

use super::{TensorSource, checked};
use crate::error::{Error, Result};

/// The bytes of one safetensors file.
enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// Tensors of one or several safetensors files.
pub(crate) struct SafetensorsFiles {
    files: Vec<(PathBuf, Bytes)>,
    /// Which file holds a tensor.
    file_of: BTreeMap<String, usize>,
    /// Named in errors about tensors that no file holds.
    path: PathBuf,
    /// `transformer.` or `model.` where the names have it.
    prefix: &'static str,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsFiles {
    /// The weight files of a folder: `model.safetensors`, or those its index names, in name order.
    pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if single.is_file() {
            return Ok(vec![single]);
        }
        if !index.is_file() {
            let reason =
                "expected model.safetensors or model.safetensors.index.json in the folder, got neither".to_owned();
            return Err(Error::ModelNotFound { path: folder.to_path_buf(), reason });
        }
        let json = std::fs::read(&index).map_err(|source| Error::File { path: index.clone(), source })?;
        let parsed: Index = serde_json::from_slice(&json).map_err(|e| Error::ModelFormat {
            path: index,
            reason: format!("expected an index with a weight_map, got {e}"),
        })?;
        let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Opens the weight files of a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in Self::list(folder)? {
            let fault = |source| Error::File { path: path.clone(), source };
            let file = File::open(&path).map_err(fault)?;
            // SAFETY: the map is read while the model loads and dropped after; whoever changes a model file under a
            // running load gets wrong weights, as with any reader.
            let map = unsafe { Mmap::map(&file) }.map_err(fault)?;
            files.push((path, Bytes::Mapped(map)));
        }
        let path = if files.len() == 1 { files[0].0.clone() } else { folder.join("model.safetensors.index.json") };
        Self::new(files, path)
    }

    /// Opens bytes inside the binary.
    pub(crate) fn embedded(bytes: &'static [u8], path: PathBuf) -> Result<Self> {
        Self::new(vec![(path.clone(), Bytes::Embedded(bytes))], path)
    }

    fn new(files: Vec<(PathBuf, Bytes)>, path: PathBuf) -> Result<Self> {
        let mut file_of = BTreeMap::new();
        for (i, (path, bytes)) in files.iter().enumerate() {
            for (name, _) in parse(path, bytes)?.tensors() {
                file_of.insert(name, i);
            }
        }
        let prefix =
            ["transformer.", "model."].into_iter().find(|p| file_of.keys().any(|k| k.starts_with(p))).unwrap_or("");
        Ok(Self { files, file_of, path, prefix })
    }

    /// The name as it is in the files: with their prefix, except for the unembedding.
    fn stored_name(&self, name: &str) -> String {
        if name.starts_with("lm_head.") { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }
}

fn parse<'a>(path: &Path, bytes: &'a Bytes) -> Result<SliceSafetensors<'a>> {
    SliceSafetensors::new(bytes.as_slice()).map_err(|e| {
        let reason =
            format!("expected a whole safetensors file, got {} bytes: {e} (half downloaded?)", bytes.as_slice().len());
        Error::ModelFormat { path: path.to_path_buf(), reason }
    })
}

impl TensorSource for SafetensorsFiles {
    fn contains(&self, name: &str) -> bool {
        self.file_of.contains_key(&self.stored_name(name))
    }

    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = self.stored_name(name);
        let Some(file) = self.file_of.get(&name) else {
            return Err(Error::TensorMissing { path: self.path.clone(), name, expected: shape.to_vec() });
        };
        let (path, bytes) = &self.files[*file];
        checked(parse(path, bytes)?.load(&name, &Device::Cpu), &name, shape, path)
    }
}
