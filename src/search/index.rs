//! The index, open for reading: one immutable state, as a manifest names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};

use super::disk::fault;
use super::manifest::{Manifest, SegmentEntry};
use super::rank::Hit;
use super::rows::{BATCH_ROWS, EXPLANATION, FACTS, RowsFile, TEXTS};
use super::terms::Terms;
use super::vectors::{QueryVector, Vectors};
use crate::error::Result;

/// An open index.
pub(crate) struct Index {
    pub(super) manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// By encoder, in the order of the segments.
    vectors: Vec<(String, Vec<Arc<Vectors>>)>,
}

/// Some explanations with their words.
pub(crate) struct Segment {
    pub(super) number: u64,
    pub(crate) n_rows: usize,
    texts: Arc<RowsFile>,
    facts: RowsFile,
    pub(super) terms: Arc<Terms>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("segments", &self.segments.len()).field("rows", &self.n_rows()).finish()
    }
}

/// Folder of a segment.
pub(super) fn segment_folder(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("segment-{number}"))
}

/// File of a segment's facts.
pub(super) fn facts_file(folder: &Path, segment: u64, facts: u64) -> PathBuf {
    segment_folder(folder, segment).join(format!("facts-{facts}.arrow"))
}

impl Index {
    /// Opens what a manifest names; segments that `before` has open are taken from it.
    pub(super) fn open(folder: &Path, manifest: Manifest, before: Option<&Self>) -> Result<Self> {
        let segments: Vec<_> = manifest
            .segments
            .iter()
            .map(|entry| Segment::open(folder, entry, manifest.facts, before).map(Arc::new))
            .collect::<Result<_>>()?;
        let mut vectors = Vec::new();
        for (encoder, entry) in &manifest.vectors {
            // Newer segments wait for their vectors until somebody searches by meaning.
            if entry.segments.len() != segments.len() {
                continue;
            }
            let known = before.filter(|before| before.manifest.vectors.get(encoder) == Some(entry));
            let known = known.and_then(|before| before.vectors.iter().find(|(name, _)| name == encoder));
            let opened = match known {
                Some((_, opened)) => opened.clone(),
                None => {
                    let open = |(segment, number): (&Arc<Segment>, &u64)| {
                        let folder = segment_folder(folder, segment.number);
                        Vectors::open(&folder, *number, entry.width, segment.n_rows).map(Arc::new)
                    };
                    segments.iter().zip(&entry.segments).map(open).collect::<Result<_>>()?
                }
            };
            vectors.push((encoder.clone(), opened));
        }
        Ok(Self { manifest, segments, vectors })
    }

    /// The same index as it is once it has let go of the floats.
    pub(super) fn without_floats(&self) -> Self {
        let without = |vectors: &Arc<Vectors>| Arc::new(vectors.without_floats());
        let vectors = self.vectors.iter().map(|(name, of)| (name.clone(), of.iter().map(without).collect())).collect();
        Self { manifest: self.manifest.clone(), segments: self.segments.clone(), vectors }
    }

    /// Explanations.
    pub(crate) fn n_rows(&self) -> usize {
        self.manifest.n_rows()
    }

    /// Words of all texts.
    pub(crate) fn n_words(&self) -> u64 {
        self.manifest.segments.iter().map(|segment| segment.n_words).sum()
    }

    /// Vectors of an encoder, by segment.
    pub(super) fn vectors(&self, encoder: &str) -> Result<Vec<&Vectors>> {
        let found = self.vectors.iter().find(|(name, _)| name == encoder);
        let found =
            found.ok_or_else(|| crate::error::Error::internal(format!("no vectors of '{encoder}' in the index")))?;
        Ok(found.1.iter().map(AsRef::as_ref).collect())
    }

    /// The products of the query with rows of a segment, numbered from `first`.
    pub(crate) fn similarities(
        &self,
        encoder: &str,
        segment: usize,
        query: &QueryVector,
        first: u32,
        rows: &[u32],
    ) -> Result<Vec<f32>> {
        let rows: Vec<u32> = rows.iter().map(|row| row + first).collect();
        Ok(self.vectors(encoder)?[segment].similarities(query, &rows))
    }

    /// Length of an encoder's vectors; `None` when there are none.
    pub(crate) fn width(&self, encoder: &str) -> Option<usize> {
        self.manifest.vectors.get(encoder).map(|entry| entry.width)
    }

    /// Share of the exact twenty nearest that the approximate search found when the index was built; `None` where all rows are compared.
    pub(crate) fn recall(&self, encoder: &str) -> Option<f64> {
        let recall = self.manifest.vectors.get(encoder)?.recall?;
        Some(f64::from(recall) / 1_000.0)
    }

    /// Key of the explanation of a hit.
    pub(super) fn key(&self, hit: &Hit) -> Result<&str> {
        let keys = self.segments[hit.segment as usize].strings(hit.row as usize / BATCH_ROWS, EXPLANATION)?;
        Ok(keys.value(hit.row as usize % BATCH_ROWS))
    }
}

impl Segment {
    fn open(folder: &Path, entry: &SegmentEntry, facts: u64, before: Option<&Index>) -> Result<Self> {
        let own = segment_folder(folder, entry.number);
        let known = before.and_then(|before| before.segments.iter().find(|segment| segment.number == entry.number));
        let (texts, terms) = match known {
            Some(known) => (Arc::clone(&known.texts), Arc::clone(&known.terms)),
            None => (
                Arc::new(RowsFile::open(&own.join("texts.arrow"), &TEXTS, entry.n_rows)?),
                Arc::new(Terms::open(&own, entry.n_rows, entry.n_terms, entry.n_postings)?),
            ),
        };
        let facts_file = RowsFile::open(&facts_file(folder, entry.number, facts), &FACTS, entry.n_rows)?;
        Ok(Self { number: entry.number, n_rows: entry.n_rows, texts, facts: facts_file, terms })
    }

    /// Batches of the segment.
    pub(crate) fn n_batches(&self) -> usize {
        self.n_rows.div_ceil(BATCH_ROWS)
    }

    /// Rows of a batch.
    pub(crate) fn batch_rows(&self, batch: usize) -> usize {
        BATCH_ROWS.min(self.n_rows - batch * BATCH_ROWS)
    }

    /// A column of `rows::SCHEMA` of a batch.
    pub(crate) fn column(&self, batch: usize, column: usize) -> Result<&ArrayRef> {
        let n_texts = TEXTS.fields().len();
        match column.checked_sub(n_texts) {
            None => self.texts.column(batch, column),
            Some(fact) => self.facts.column(batch, fact),
        }
    }

    /// A column of text.
    pub(super) fn strings(&self, batch: usize, column: usize) -> Result<&StringArray> {
        let array = self.column(batch, column)?;
        array.as_string_opt::<i32>().filter(|array| array.len() == self.batch_rows(batch)).ok_or_else(|| {
            fault(
                Path::new(&format!("segment-{}", self.number)),
                format!("expected text in column {column} of batch {batch}"),
            )
        })
    }
}
