//! What the index on disk was built from, and which files are part of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::{fault, replace};
use crate::error::Result;
use crate::tables::lake::TableVersion;

/// Layout of the files; another one is built anew.
const FORMAT: u32 = 1;

/// File of the manifest inside the index's folder.
const NAME: &str = "manifest.json";

/// A table's version, `None` for a table that was never written.
pub(super) type Version = Option<TableVersion>;

/// The whole index, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// Of table `explanations`, all of whose texts are in the segments.
    pub(super) explanations: Version,
    /// Data files of that version, with their deletion vectors.
    pub(super) files: Vec<String>,
    /// Of the tables that the facts come from: scores and neurons.
    pub(super) scores: Version,
    pub(super) neurons: Version,
    /// Number of the facts; part of their files' names.
    pub(super) facts: u64,
    pub(super) segments: Vec<SegmentEntry>,
    /// By encoder.
    pub(super) vectors: BTreeMap<String, VectorsEntry>,
    /// The next number for a segment, facts or vectors: none is ever used twice.
    pub(super) next: u64,
}

/// Some explanations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentEntry {
    pub(super) number: u64,
    pub(super) n_rows: usize,
    pub(super) n_terms: usize,
    pub(super) n_postings: usize,
    /// Words of all its texts.
    pub(super) n_words: u64,
}

/// The vectors of one encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VectorsEntry {
    /// Of table `explanation_vectors`.
    pub(super) version: Version,
    pub(super) width: usize,
    /// Data files of the table that hold this encoder's vectors.
    pub(super) files: Vec<String>,
    /// By segment, in the order of the segments: the number in the names of its vector files.
    pub(super) segments: Vec<u64>,
    /// Share of the exact twenty nearest that the approximate search found, in thousandths; `None` where all are compared exactly.
    pub(super) recall: Option<u32>,
}

impl Manifest {
    pub(super) fn empty() -> Self {
        Self { format: FORMAT, ..Self::default() }
    }

    /// No rows; numbers go on where another manifest ended.
    pub(super) fn empty_after(next: u64) -> Self {
        Self { next, ..Self::empty() }
    }

    /// The manifest in a folder; `None` where there is none that this build can use.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault(&path, e)),
        };
        // A manifest that is not whole JSON cannot come from a build that was killed: it is renamed into its place.
        let manifest: Option<Self> = serde_json::from_str(&text).ok();
        Ok(manifest.filter(|manifest| manifest.format == FORMAT))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| fault(folder, e))?;
        replace(&folder.join(NAME), &text)
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn n_rows(&self) -> usize {
        self.segments.iter().map(|segment| segment.n_rows).sum()
    }
}
