//! SHA-256 of files, for provenance.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// SHA-256 of several byte strings one after another, in hexadecimal.
pub(crate) fn of_bytes(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hexadecimal(hasher)
}

/// SHA-256 of several files one after another, in hexadecimal; read in pieces.
pub(crate) fn of_files(paths: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let fault = |source| Error::File { path: path.clone(), source };
        let mut file = File::open(path).map_err(fault)?;
        loop {
            match file.read(&mut buffer).map_err(fault)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
    }
    Ok(hexadecimal(hasher))
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
