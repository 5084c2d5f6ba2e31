//! Keeps the index in step with its tables: asked before every query, it compares versions and builds what differs.
//!
//! A build goes on under a file lock, so that of several processes one builds and the others wait and find it done. New files are
//! written beside the old ones, and the manifest is renamed into its place at the end: a reader sees the old state or the new one, and
//! a build that is killed leaves files that the next one removes.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::compute::BatchCoalescer;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::{cast, col};
use futures::StreamExt;
use parking_lot::Mutex;

use super::disk::{fault, sync_folder};
use super::error::SearchError;
use super::facts;
use super::index::{Index, segment_folder};
use super::manifest::{Manifest, SegmentEntry, Version};
use super::rows::{BATCH_ROWS, SEGMENT_ROWS, TEXT, TEXTS, write_rows};
use super::terms::write_terms;
use crate::error::{Error, Result};
use crate::tables::definition::{TableDefinition, table};
use crate::tables::files::{data_files, scan_files};
use crate::tables::lake::Lake;

/// How often a build is begun again because a table moved on meanwhile, or files went while they were opened.
const TRIES: usize = 8;

/// Segments beside those that are full; with more of them all are built anew.
const SMALL_SEGMENTS: usize = 32;

/// The index of one lake, for one session.
#[derive(Debug)]
pub(crate) struct SearchIndex {
    pub(super) lake: Lake,
    pub(super) folder: PathBuf,
    open: Mutex<Option<Arc<Index>>>,
}

/// The newest versions of the tables that searches read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) explanations: Version,
    pub(super) scores: Version,
    pub(super) neurons: Version,
}

impl Versions {
    fn are_of(&self, manifest: &Manifest) -> bool {
        self.explanations == manifest.explanations && self.facts_are_of(manifest)
    }

    fn facts_are_of(&self, manifest: &Manifest) -> bool {
        self.scores == manifest.scores && self.neurons == manifest.neurons
    }
}

impl SearchIndex {
    pub(crate) fn new(lake: &Lake) -> Self {
        Self { lake: lake.clone(), folder: lake.search_path(), open: Mutex::new(None) }
    }

    pub(super) async fn versions(&self) -> Result<Versions> {
        Ok(Versions {
            explanations: self.lake.version(definition("explanations")?).await?,
            scores: self.lake.version(definition("scores")?).await?,
            neurons: self.lake.version(definition("neurons")?).await?,
        })
    }

    /// The index if it is in step with the tables as they are now; never builds.
    ///
    /// # Errors
    /// When tables' logs or the index's files cannot be read.
    pub(crate) async fn fresh(&self) -> Result<Option<Arc<Index>>> {
        let versions = self.versions().await?;
        for _ in 0..TRIES {
            let before = self.open.lock().clone();
            if let Some(index) = &before
                && versions.are_of(&index.manifest)
            {
                return Ok(before);
            }
            let Some(manifest) = Manifest::read(&self.folder)? else { return Ok(None) };
            if !versions.are_of(&manifest) {
                return Ok(None);
            }
            if let Some(index) = self.adopt(manifest)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The index in step with the tables, built where it is not.
    ///
    /// # Errors
    /// When tables cannot be read or files written; [`SearchError::Moving`] when the tables never stand still.
    pub(crate) async fn current(&self, engine: &SessionContext) -> Result<Arc<Index>> {
        if let Some(index) = self.fresh().await? {
            return Ok(index);
        }
        let _lock = self.lock("lock").await?;
        for _ in 0..TRIES {
            // Whoever held the lock before may have built it.
            if let Some(index) = self.fresh().await? {
                return Ok(index);
            }
            if let Some(manifest) = self.update(engine).await? {
                self.publish(&manifest)?;
            }
        }
        let tables = "explanations, scores and neurons".to_owned();
        Err(SearchError::Moving { tables, tries: TRIES }.into())
    }

    /// Removes the index; the next query builds it.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(crate) async fn clear(&self) -> Result<()> {
        let _lock = self.lock("lock").await?;
        self.publish(&Manifest::empty())?;
        *self.open.lock() = None;
        Ok(())
    }

    /// Waits until no other process builds.
    pub(super) async fn lock(&self, name: &str) -> Result<File> {
        let (folder, name) = (self.folder.clone(), name.to_owned());
        let taken = tokio::task::spawn_blocking(move || {
            let path = folder.join(name);
            let take = || {
                std::fs::create_dir_all(&folder)?;
                let file = File::options().create(true).truncate(false).write(true).open(&path)?;
                file.lock()?;
                Ok(file)
            };
            take().map_err(|e: std::io::Error| fault(&path, e))
        });
        taken.await.map_err(|e| Error::internal(format!("the waiting thread stopped: {e}")))?
    }

    /// Opens a manifest's files; `None` when they went because a newer manifest took its place.
    pub(super) fn adopt(&self, manifest: Manifest) -> Result<Option<Arc<Index>>> {
        let before = self.open.lock().clone();
        match Index::open(&self.folder, manifest.clone(), before.as_deref()) {
            Ok(index) => {
                let index = Arc::new(index);
                *self.open.lock() = Some(Arc::clone(&index));
                Ok(Some(index))
            }
            Err(_) if Manifest::read(&self.folder)?.as_ref() != Some(&manifest) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a manifest the current one, and removes files that no manifest names any more. Only under the lock.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<()> {
        manifest.write(&self.folder)?;
        let entries = std::fs::read_dir(&self.folder).map_err(|e| fault(&self.folder, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_prefix("segment-")) else { continue };
            let segment = manifest.segments.iter().position(|segment| segment.number.to_string() == number);
            // What cannot be removed now is found again by the next build.
            match segment {
                None => drop(std::fs::remove_dir_all(entry.path())),
                Some(segment) => remove_stale(&entry.path(), manifest, segment),
            }
        }
        Ok(())
    }

    /// Builds what differs from the tables; `None` when they moved on meanwhile.
    async fn update(&self, engine: &SessionContext) -> Result<Option<Manifest>> {
        let versions = self.versions().await?;
        let mut manifest = Manifest::read(&self.folder)?.unwrap_or_else(Manifest::empty);
        // Numbers of files that a killed build left are not used again: readers of older manifests may have them open.
        self.skip_numbers(&mut manifest)?;
        if versions.explanations != manifest.explanations
            && !self.update_texts(engine, &versions, &mut manifest).await?
        {
            return Ok(None);
        }
        let is_current = facts::update(self, engine, &versions, &mut manifest).await?;
        Ok(is_current.then_some(manifest))
    }

    fn skip_numbers(&self, manifest: &mut Manifest) -> Result<()> {
        let entries = std::fs::read_dir(&self.folder).map_err(|e| fault(&self.folder, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("segment-")).and_then(|n| n.parse().ok());
            manifest.next = manifest.next.max(number.unwrap_or(0));
        }
        Ok(())
    }

    /// Adds what is new in table `explanations`, or reads all of it where rows went or changed.
    async fn update_texts(
        &self,
        engine: &SessionContext,
        versions: &Versions,
        manifest: &mut Manifest,
    ) -> Result<bool> {
        let table = self.lake.open(definition("explanations")?).await?;
        if table.as_ref().and_then(|table| table.version()) != versions.explanations.as_ref().map(|v| v.number) {
            return Ok(false);
        }
        let files = table.as_ref().map(data_files).transpose()?.unwrap_or_default();
        let names: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let only_grew = manifest.files.iter().all(|name| names.contains(name.as_str()));
        let n_full = manifest.n_rows() / SEGMENT_ROWS;
        if !only_grew || manifest.segments.len() > n_full + SMALL_SEGMENTS {
            *manifest = Manifest::empty_after(manifest.next);
        }
        let known: HashSet<&str> = manifest.files.iter().map(String::as_str).collect();
        let new: Vec<_> = files.iter().filter(|file| !known.contains(file.name.as_str())).cloned().collect();
        if let Some(table) = table.filter(|_| !new.is_empty()) {
            let rows = engine.read_table(scan_files(&table, new).await?)?;
            let columns = TEXTS.fields().iter().map(|f| cast(col(f.name()), f.data_type().clone()).alias(f.name()));
            let rows = rows.filter(col("text").is_not_null())?.select(columns.collect::<Vec<_>>())?;
            let mut rows = rows.execute_stream().await?;
            let mut batches = BatchCoalescer::new(Arc::clone(&TEXTS), BATCH_ROWS);
            let mut full = Vec::new();
            loop {
                let next = rows.next().await.transpose()?;
                let is_last = next.is_none();
                match next {
                    Some(batch) => {
                        batches.push_batch(RecordBatch::try_new(Arc::clone(&TEXTS), batch.columns().to_vec())?)?
                    }
                    None => batches.finish_buffered_batch()?,
                }
                while let Some(batch) = batches.next_completed_batch() {
                    full.push(batch);
                    if full.len() * BATCH_ROWS == SEGMENT_ROWS {
                        self.add_segment(manifest, std::mem::take(&mut full)).await?;
                    }
                }
                if is_last {
                    break;
                }
            }
            if !full.is_empty() {
                self.add_segment(manifest, full).await?;
            }
        }
        manifest.files = files.into_iter().map(|file| file.name).collect();
        manifest.explanations = versions.explanations.clone();
        Ok(true)
    }

    async fn add_segment(&self, manifest: &mut Manifest, batches: Vec<RecordBatch>) -> Result<()> {
        let number = manifest.take_number();
        let folder = segment_folder(&self.folder, number);
        let written = tokio::task::spawn_blocking(move || write_segment(&folder, number, &batches)).await;
        manifest.segments.push(written.map_err(|e| Error::internal(format!("the indexing thread stopped: {e}")))??);
        Ok(())
    }
}

/// The definition of one of the lake's tables.
pub(super) fn definition(name: &str) -> Result<&'static TableDefinition> {
    table(name).ok_or_else(|| Error::internal(format!("no table {name}")))
}

fn write_segment(folder: &Path, number: u64, batches: &[RecordBatch]) -> Result<SegmentEntry> {
    std::fs::create_dir_all(folder).map_err(|e| fault(folder, e))?;
    write_rows(&folder.join("texts.arrow"), &TEXTS, batches)?;
    let texts: Vec<&StringArray> = batches.iter().map(|batch| batch.column(TEXT).as_string::<i32>()).collect();
    let sizes = write_terms(folder, &texts)?;
    sync_folder(folder)?;
    Ok(SegmentEntry {
        number,
        n_rows: batches.iter().map(RecordBatch::num_rows).sum(),
        n_terms: sizes.n_terms,
        n_postings: sizes.n_postings,
        n_words: sizes.n_words,
    })
}

/// Facts and vectors of a segment that the manifest no longer names.
fn remove_stale(folder: &Path, manifest: &Manifest, segment: usize) {
    let facts = format!("facts-{}.", manifest.facts);
    let kept: Vec<String> = std::iter::once(facts)
        .chain(manifest.vectors.values().filter_map(|v| Some(format!("vectors-{}.", v.segments.get(segment)?))))
        .collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if (name.starts_with("facts-") || name.starts_with("vectors-")) && !kept.iter().any(|k| name.starts_with(k)) {
            // As for segments: the next build tries again.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
