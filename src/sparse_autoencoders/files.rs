//! Our own format: a folder with `sae.safetensors` (weights, f32, latents as rows) and `sae.json` (configuration).
//!
//! Both are written aside, synced and renamed, weights first. `sae.json` holds the hash of the weights' file, so a
//! folder whose two files are of different autoencoders is found out when it is read.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::autoencoder::{Config, Magnitude, SparseAutoencoder};
use crate::error::{Error, Result};
use crate::tensors::{Tensors, views};

#[cfg(test)]
mod tests;

/// The weights' file in an autoencoder's folder.
pub const WEIGHTS: &str = "sae.safetensors";
/// The configuration's file in an autoencoder's folder.
pub const CONFIG: &str = "sae.json";
/// The version of the format written here.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
    weights_sha256: String,
    config: Config,
}

/// Writes an autoencoder into a folder, made if it is not there; returns the SHA-256 of its weights' file.
///
/// Equal weights and configurations give equal files.
///
/// # Errors
/// [`Error::Io`]; what [`SparseAutoencoder::validate`] says.
pub fn save(autoencoder: &SparseAutoencoder, folder: &Path) -> Result<String> {
    autoencoder.validate()?;
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let path = folder.join(WEIGHTS);
    let hash = write_tensors(&path, views(&tensors(autoencoder), &path)?)?;
    let header = Header { format_version: VERSION, weights_sha256: hash.clone(), config: autoencoder.config.clone() };
    let mut text = serde_json::to_string_pretty(&header)
        .map_err(|error| Error::Io { path: folder.join(CONFIG), source: error.into() })?;
    text.push('\n');
    write_atomically(&folder.join(CONFIG), text.as_bytes())?;
    Ok(hash)
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if a file is damaged, of a later version or not the other's.
pub fn load(folder: &Path) -> Result<SparseAutoencoder> {
    let path = folder.join(CONFIG);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let format = |expected: &str, got: String| Error::Format { path: path.clone(), expected: expected.to_owned(), got };
    let header: Header =
        serde_json::from_str(&text).map_err(|error| format("an autoencoder's configuration", error.to_string()))?;
    if header.format_version != VERSION {
        return Err(format(&format!("format_version {VERSION}"), header.format_version.to_string()));
    }
    let path = folder.join(WEIGHTS);
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let hash = sha256(&bytes);
    if hash != header.weights_sha256 {
        let expected = format!("the weights with SHA-256 {}", header.weights_sha256);
        return Err(Error::Format { path, expected, got: hash });
    }
    let mut tensors = Tensors::from_safetensors(&bytes, &path)?;
    let Config { n_inputs, n_outputs, n_latents, .. } = header.config;
    let take_if = |tensors: &mut Tensors, name: &str, shape: &[usize]| {
        if tensors.has(name) { tensors.take(name, shape).map(Some) } else { Ok(None) }
    };
    let log_scale = take_if(&mut tensors, "r_mag", &[n_latents])?;
    let bias = take_if(&mut tensors, "b_mag", &[n_latents])?;
    let autoencoder = SparseAutoencoder {
        w_enc: tensors.take("W_enc", &[n_latents, n_inputs])?,
        b_enc: tensors.take("b_enc", &[n_latents])?,
        w_dec: tensors.take("W_dec", &[n_latents, n_outputs])?,
        b_dec: tensors.take("b_dec", &[n_outputs])?,
        thresholds: take_if(&mut tensors, "thresholds", &[n_latents])?,
        magnitude: log_scale.zip(bias).map(|(log_scale, bias)| Magnitude { log_scale, bias }),
        w_skip: take_if(&mut tensors, "W_skip", &[n_outputs, n_inputs])?,
        config: header.config,
    };
    tensors.nothing_left()?;
    autoencoder.validate()?;
    Ok(autoencoder)
}

fn tensors(autoencoder: &SparseAutoencoder) -> Vec<(&'static str, Vec<usize>, &[f32])> {
    let Config { n_inputs, n_outputs, n_latents, .. } = autoencoder.config;
    let mut tensors: Vec<(&'static str, Vec<usize>, &[f32])> = vec![
        ("W_enc", vec![n_latents, n_inputs], &autoencoder.w_enc),
        ("b_enc", vec![n_latents], &autoencoder.b_enc),
        ("W_dec", vec![n_latents, n_outputs], &autoencoder.w_dec),
        ("b_dec", vec![n_outputs], &autoencoder.b_dec),
    ];
    if let Some(thresholds) = &autoencoder.thresholds {
        tensors.push(("thresholds", vec![n_latents], thresholds));
    }
    if let Some(magnitude) = &autoencoder.magnitude {
        tensors.push(("r_mag", vec![n_latents], &magnitude.log_scale));
        tensors.push(("b_mag", vec![n_latents], &magnitude.bias));
    }
    if let Some(skip) = &autoencoder.w_skip {
        tensors.push(("W_skip", vec![n_outputs, n_inputs], skip));
    }
    tensors
}

/// All of the SHA-256 of some bytes in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As [`sha256`], of a file.
fn sha256_of(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut some = vec![0; 1 << 20];
    loop {
        match file.read(&mut some)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hasher.update(&some[..n]),
        }
    }
}

/// Writes a file so that after a crash either the old one or the new one is there, whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    atomically(path, |aside| File::create(aside)?.write_all(bytes))
}

/// Writes a safetensors file as [`write_atomically`] does, without a copy of the tensors in memory; returns its SHA-256.
pub(crate) fn write_tensors<S: AsRef<str> + Ord + Display>(
    path: &Path,
    tensors: Vec<(S, TensorView<'_>)>,
) -> Result<String> {
    let mut hash = String::new();
    atomically(path, |aside| {
        // The library makes files that their owner alone may read; here they are as readable as any other.
        let permissions = File::create(aside)?.metadata()?.permissions();
        safetensors::serialize_to_file(tensors, None, aside).map_err(io::Error::other)?;
        fs::set_permissions(aside, permissions)?;
        hash = sha256_of(&mut File::open(aside)?)?;
        Ok(())
    })?;
    Ok(hash)
}

/// Puts what `write` writes aside in a file's place.
fn atomically(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".writing-{}", std::process::id()));
    let aside: PathBuf = path.with_file_name(name);
    let done = write(&aside).and_then(|()| {
        File::open(&aside)?.sync_all()?;
        fs::rename(&aside, path)?;
        // The rename itself lasts only once the folder is on disk.
        match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    });
    done.map_err(|source| {
        // What is left aside is of no use; that it cannot be removed changes nothing about the fault.
        let _ = fs::remove_file(&aside);
        Error::Io { path: path.to_owned(), source }
    })
}
