//! Checkpoints: everything a run needs to go on with the same bits.
//!
//! A folder holds `checkpoint.json` and the state it names, `state-<step>.safetensors`: weights, both of Adam's moments
//! and the counters of dead latents. The state is written and synced first and `checkpoint.json` is renamed into place
//! last, so that after a crash at any moment the folder holds the last whole checkpoint; older states are then removed.
//! The position in the data is the number of steps ([`super::feed`]).

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::config::TrainingConfig;
use super::parameters::Parameters;
use super::trainer::{State, Trainer};
use crate::error::{Error, Result};
use crate::files::{sha256, write_atomically, write_tensors};
use crate::random::Random;

#[cfg(test)]
mod tests;

/// The file that names the state.
pub const CHECKPOINT: &str = "checkpoint.json";
/// The version of the format written here.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
    state: String,
    state_sha256: String,
    config: TrainingConfig,
    step: u64,
    rows: u64,
    random: Random,
    // Bits of floats, since a decimal may read back as a neighbour.
    mse_scale_bits: u64,
    threshold_bits: u64,
    threshold_updates: u64,
    last_threshold_bits: u64,
}

/// Names of the three sets of arrays in a state.
const SETS: [&str; 3] = ["weights", "first_moments", "second_moments"];
const COUNTERS: &str = "rows_since_fired";

impl Trainer {
    /// Writes a checkpoint into a folder, in place of the one that is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn checkpoint(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let state = format!("state-{}.safetensors", self.state.step);
        let path = folder.join(&state);
        let broken = |error: safetensors::SafeTensorError| Error::Io {
            path: path.clone(),
            source: std::io::Error::other(error.to_string()),
        };
        let mut views = Vec::new();
        for (set, parameters) in SETS.iter().zip([&self.parameters, &self.first_moments, &self.second_moments]) {
            for (name, values) in parameters.named() {
                let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
                views.push((format!("{set}.{name}"), view.map_err(broken)?));
            }
        }
        let counters = &self.rows_since_fired;
        let view = TensorView::new(Dtype::U64, vec![counters.len()], bytemuck::cast_slice(counters));
        views.push((COUNTERS.to_owned(), view.map_err(broken)?));
        let state_sha256 = write_tensors(&path, views)?;
        let header = Header {
            format_version: VERSION,
            state: state.clone(),
            state_sha256,
            config: self.config.clone(),
            step: self.state.step,
            rows: self.state.rows,
            random: self.random.clone(),
            mse_scale_bits: self.state.mse_scale.to_bits(),
            threshold_bits: self.state.threshold.to_bits(),
            threshold_updates: self.state.threshold_updates,
            last_threshold_bits: self.state.last_threshold.to_bits(),
        };
        let path = folder.join(CHECKPOINT);
        let text = serde_json::to_string_pretty(&header)
            .map_err(|error| Error::Io { path: path.clone(), source: error.into() })?;
        write_atomically(&path, text.as_bytes())?;
        remove_others(folder, &state)
    }

    /// Goes on from a folder's checkpoint: the next step has the bits it would have had.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if a file is damaged or of a later version.
    pub fn resume(folder: &Path) -> Result<Self> {
        let path = folder.join(CHECKPOINT);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let format = |expected: String, got: String| Error::Format { path: path.clone(), expected, got };
        let header: Header =
            serde_json::from_str(&text).map_err(|error| format("a checkpoint".to_owned(), error.to_string()))?;
        if header.format_version != VERSION {
            return Err(format(format!("format_version {VERSION}"), header.format_version.to_string()));
        }
        header.config.validate()?;
        let path = folder.join(&header.state);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let format = |expected: String, got: String| Error::Format { path: path.clone(), expected, got };
        let hash = sha256(&bytes);
        if hash != header.state_sha256 {
            return Err(format(format!("the state with SHA-256 {}", header.state_sha256), hash));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|error| format("a state".to_owned(), error.to_string()))?;
        let data = |name: &str, kind: Dtype| {
            let view = file.tensor(name).map_err(|_| format(format!("tensor '{name}'"), "none".to_owned()))?;
            if view.dtype() == kind {
                Ok(view.data())
            } else {
                Err(format(format!("tensor '{name}' in {kind:?}"), format!("{:?}", view.dtype())))
            }
        };
        let read = |set: &str| {
            let mut parameters = Parameters::<f32>::default();
            for (name, values) in parameters.named_mut() {
                let data = data(&format!("{set}.{name}"), Dtype::F32)?;
                *values = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            }
            Ok::<_, Error>(parameters)
        };
        let counters = data(COUNTERS, Dtype::U64)?.as_chunks::<8>().0;
        Ok(Self {
            parameters: read(SETS[0])?,
            first_moments: read(SETS[1])?,
            second_moments: read(SETS[2])?,
            rows_since_fired: counters.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
            config: header.config,
            random: header.random,
            state: State {
                step: header.step,
                rows: header.rows,
                mse_scale: f64::from_bits(header.mse_scale_bits),
                threshold: f64::from_bits(header.threshold_bits),
                threshold_updates: header.threshold_updates,
                last_threshold: f64::from_bits(header.last_threshold_bits),
            },
        })
    }
}

/// Removes states that no checkpoint names, and what a crash left half written.
fn remove_others(folder: &Path, state: &str) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let half_written = [".tmp", &format!("{CHECKPOINT}.writing-")].iter().any(|start| name.starts_with(start));
        let ours = name.starts_with("state-") || half_written;
        if ours && name != state {
            fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}
