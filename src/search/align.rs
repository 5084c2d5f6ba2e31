//! Vectors of table `explanation_vectors` brought beside the rows of the index.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, ToByteSlice};
use datafusion::execution::context::SessionContext;
use datafusion::prelude::col;
use futures::StreamExt;
use memmap2::MmapMut;
use rayon::prelude::*;

use super::build::{SearchIndex, definition};
use super::disk::{fault, numbers, sync_folder};
use super::error::SearchError;
use super::facts::digest;
use super::index::{Index, Segment, segment_folder};
use super::manifest::{Manifest, VectorsEntry};
use super::nearest::{EXACT_ROWS, Search, nearest};
use super::rows::{BATCH_ROWS, EXPLANATION, TEXT};
use super::vectors::{QueryVector, file, write_quantised};
use crate::error::{Error, Result};
use crate::hash;
use crate::tables::files::{data_files, scan_files};

/// Vectors of the index that the approximate search is tried with.
const RECALL_QUERIES: usize = 64;

/// How many of the nearest are compared.
const RECALL_AT: usize = 20;

/// A row of the index by what its vector is stored under.
type Place = (u128, u32, u32);

/// What a row's vector is stored under.
pub(super) fn vector_key(explanation: &str, text_hash: &str) -> u128 {
    digest(&[explanation, text_hash])
}

/// Places of a segment's rows.
pub(super) fn places(segment: &Segment, number: u32) -> Result<Vec<Place>> {
    let batches: Vec<Vec<Place>> = (0..segment.n_batches())
        .into_par_iter()
        .map(|batch| {
            let (keys, texts) = (segment.strings(batch, EXPLANATION)?, segment.strings(batch, TEXT)?);
            let place = |row: usize| {
                let key = vector_key(keys.value(row), &hash::text(texts.value(row)));
                (key, number, (batch * BATCH_ROWS + row) as u32)
            };
            Ok((0..keys.len()).map(place).collect())
        })
        .collect::<Result<_>>()?;
    Ok(batches.concat())
}

/// The floats of a segment while they are being filled.
struct Filling {
    map: MmapMut,
    present: Vec<bool>,
}

impl SearchIndex {
    /// Whether the index has an encoder's vectors for all rows, as the table has them now.
    pub(super) async fn has_vectors(&self, index: &Index, encoder: &str) -> Result<bool> {
        let Some(entry) = index.manifest.vectors.get(encoder) else { return Ok(false) };
        let version = self.lake.version(definition("explanation_vectors")?).await?;
        Ok(entry.version == version && entry.segments.len() == index.segments.len())
    }

    /// Brings the table's vectors beside the rows. Returns whether all rows have one; if not, the index stays as it was.
    pub(super) async fn align(&self, engine: &SessionContext, encoder: &str) -> Result<bool> {
        let _lock = self.lock("lock").await?;
        let Some(mut manifest) = Manifest::read(&self.folder)? else { return Ok(false) };
        let vectors = definition("explanation_vectors")?;
        let version = self.lake.version(vectors).await?;
        let table = self.lake.open(vectors).await?;
        if table.as_ref().and_then(|table| table.version()) != version.as_ref().map(|version| version.number) {
            return Ok(false);
        }
        let Some(index) = self.adopt(manifest.clone())? else { return Ok(false) };
        let files = table.as_ref().map(data_files).transpose()?.unwrap_or_default();
        let files: Vec<_> = files.into_iter().filter(|file| file.partition("encoder") == Some(encoder)).collect();
        let names: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let known =
            manifest.vectors.get(encoder).filter(|known| known.files.iter().all(|f| names.contains(f.as_str())));
        let mut entry = match known {
            Some(known) => known.clone(),
            None => VectorsEntry { version: None, width: 0, files: Vec::new(), segments: Vec::new(), recall: None },
        };
        let first_new = entry.segments.len();
        entry.version = version;
        entry.files = files.iter().map(|file| file.name.clone()).collect();
        if first_new < index.segments.len() {
            let new = &index.segments[first_new..];
            let Some(table) = table else { return Ok(false) };
            let rows = engine.read_table(scan_files(&table, files).await?)?;
            let rows = rows.select(vec![col("explanation"), col("text_hash"), col("vector")])?;
            let Some(width) = self.fill_new(rows, encoder, new, &mut manifest, &mut entry).await? else {
                return Ok(false);
            };
            entry.width = width;
        }
        manifest.vectors.insert(encoder.to_owned(), entry);
        if manifest.n_rows() > EXACT_ROWS {
            // Opened before it is published: files that nobody else knows of yet.
            let opened = Arc::new(Index::open(&self.folder, manifest.clone(), Some(&index))?);
            let name = encoder.to_owned();
            let recall = tokio::task::spawn_blocking(move || measured_recall(&opened, &name)).await;
            let recall = recall.map_err(|e| Error::internal(format!("the indexing thread stopped: {e}")))??;
            // Read by nobody from now on: what takes most room goes, before the manifest says what was found without it.
            for (segment, number) in
                index.segments.iter().zip(manifest.vectors.get(encoder).iter().flat_map(|e| &e.segments))
            {
                remove_floats(&file(&segment_folder(&self.folder, segment.number), *number, "floats"))?;
            }
            if let Some(entry) = manifest.vectors.get_mut(encoder) {
                entry.recall = Some((recall * 1_000.0).round() as u32);
            }
        }
        self.publish(&manifest)?;
        Ok(self.adopt(manifest)?.is_some())
    }

    /// Writes the vectors of new segments; `None` when a row has none. The width of the vectors.
    async fn fill_new(
        &self,
        rows: datafusion::dataframe::DataFrame,
        encoder: &str,
        new: &[Arc<Segment>],
        manifest: &mut Manifest,
        entry: &mut VectorsEntry,
    ) -> Result<Option<usize>> {
        let number = manifest.take_number();
        let mut wanted: Vec<Place> = Vec::new();
        for (i, segment) in new.iter().enumerate() {
            wanted.extend(places(segment, i as u32)?);
        }
        wanted.par_sort_unstable();
        let mut filling: Vec<Filling> = Vec::new();
        let mut width = entry.width;
        let mut rows = rows.execute_stream().await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
            let (keys, hashes) = (text(0)?, text(1)?);
            let (keys, hashes) = (keys.as_string::<i32>(), hashes.as_string::<i32>());
            let list = DataType::List(Arc::new(Field::new("element", DataType::Float32, true)));
            let lists = cast(batch.column(2), &list)?;
            let lists = lists.as_list::<i32>();
            let floats = lists.values().as_primitive::<Float32Type>();
            let ends = lists.value_offsets();
            for row in 0..batch.num_rows() {
                let vector = &floats.values()[ends[row] as usize..ends[row + 1] as usize];
                if width == 0 {
                    width = vector.len();
                }
                if vector.len() != width || width == 0 {
                    let encoder = encoder.to_owned();
                    return Err(SearchError::Width { encoder, expected: width, got: vector.len() }.into());
                }
                if filling.is_empty() {
                    filling = self.open_filling(new, number, width)?;
                }
                let key = vector_key(keys.value(row), hashes.value(row));
                let first = wanted.partition_point(|(wanted, ..)| *wanted < key);
                for (_, segment, row) in wanted[first..].iter().take_while(|(wanted, ..)| *wanted == key) {
                    let into = &mut filling[*segment as usize];
                    let start = *row as usize * width * size_of::<f32>();
                    into.map[start..start + width * size_of::<f32>()].copy_from_slice(vector.to_byte_slice());
                    into.present[*row as usize] = true;
                }
            }
        }
        if filling.iter().any(|filling| filling.present.contains(&false)) || filling.is_empty() {
            return Ok(None);
        }
        let folders: Vec<_> = new.iter().map(|segment| segment_folder(&self.folder, segment.number)).collect();
        let written = tokio::task::spawn_blocking(move || -> Result<()> {
            for (folder, filling) in folders.iter().zip(filling) {
                let path = file(folder, number, "floats");
                filling.map.flush().map_err(|e| fault(&path, e))?;
                drop(filling.map);
                let floats = numbers::<f32>(&path, filling.present.len() * width)?;
                write_quantised(folder, number, width, &floats, &filling.present)?;
                sync_folder(folder)?;
            }
            Ok(())
        });
        written.await.map_err(|e| Error::internal(format!("the indexing thread stopped: {e}")))??;
        entry.segments.extend(new.iter().map(|_| number));
        Ok(Some(width))
    }

    fn open_filling(&self, new: &[Arc<Segment>], number: u64, width: usize) -> Result<Vec<Filling>> {
        let open = |segment: &Arc<Segment>| {
            let path = file(&segment_folder(&self.folder, segment.number), number, "floats");
            let map = || {
                let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
                file.set_len((segment.n_rows * width * size_of::<f32>()) as u64)?;
                // SAFETY: the file's number is new and the lock is held: nobody else has it open.
                unsafe { MmapMut::map_mut(&file) }
            };
            let map = map().map_err(|e: std::io::Error| fault(&path, e))?;
            Ok(Filling { map, present: vec![false; segment.n_rows] })
        };
        new.iter().map(open).collect()
    }
}

fn remove_floats(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(path, error)),
        _ => Ok(()),
    }
}

/// The share of the exact nearest that the approximate search finds without floats, over vectors of the index itself, which do
/// not count. What is exact is found by the floats, as long as they are there.
pub(super) fn measured_recall(index: &Index, encoder: &str) -> Result<f64> {
    let vectors = index.vectors(encoder)?;
    let rough = index.without_floats();
    let everything = vec![None; vectors.len()];
    let (mut found, mut wanted) = (0, 0);
    for i in 0..RECALL_QUERIES {
        let place = i * (index.n_rows() / RECALL_QUERIES);
        let (mut segment, mut row) = (0, place);
        while row >= index.segments[segment].n_rows {
            row -= index.segments[segment].n_rows;
            segment += 1;
        }
        let query = QueryVector::new(&vectors[segment].row(row));
        let near = |index: &Index, search| nearest(index, encoder, &query, &everything, RECALL_AT + 1, search);
        let itself = |hit: &super::rank::Hit| (hit.segment as usize, hit.row as usize) == (segment, row);
        let approximate: HashSet<_> =
            near(&rough, Search::Approximate)?.iter().map(|hit| (hit.segment, hit.row)).collect();
        for hit in near(index, Search::Exact)?.iter().filter(|hit| !itself(hit)).take(RECALL_AT) {
            wanted += 1;
            found += usize::from(approximate.contains(&(hit.segment, hit.row)));
        }
    }
    Ok(found as f64 / wanted.max(1) as f64)
}
