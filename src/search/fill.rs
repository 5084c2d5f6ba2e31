//! Computes the vectors that are missing from table `explanation_vectors`, some thousand texts at a time.
//!
//! What is committed stays: an indexing that is killed goes on where it was. A text is embedded once, however many
//! explanations share it inside a lot; an endpoint's vectors are also kept in `completions` and never paid for twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Float32Builder, ListBuilder, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::execution::context::SessionContext;
use datafusion::prelude::{col, lit};
use futures::StreamExt;

use super::align::{places, vector_key};
use super::build::{SearchIndex, definition};
use super::error::SearchError;
use super::index::Index;
use super::rows::{BATCH_ROWS, EXPLANATION, TEXT};
use crate::embeddings::TextEncoder;
use crate::error::Result;
use crate::hash;
use crate::tables::lease::Lease;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;

/// Texts that are embedded together.
const LOT: usize = 2_048;

/// Time after which vectors are committed: what a kill can cost.
const COMMIT_AFTER: Duration = Duration::from_secs(20);

/// Times that filling and aligning are tried while explanations are being written.
const TRIES: usize = 8;

/// Told how many of the missing vectors are done, and of how many.
pub(crate) type Progress<'a> = &'a (dyn Fn(usize, usize) + Send + Sync);

impl SearchIndex {
    /// The index in step with the tables, with the encoder's vectors of all rows; missing ones are computed.
    ///
    /// # Errors
    /// As [`SearchIndex::current`], and whatever the encoder reports.
    pub(crate) async fn with_vectors(
        &self,
        engine: &SessionContext,
        encoder: &dyn TextEncoder,
        progress: Progress<'_>,
    ) -> Result<Arc<Index>> {
        for _ in 0..TRIES {
            let index = self.current(engine).await?;
            if index.n_rows() == 0 || self.has_vectors(&index, encoder.name()).await? {
                return Ok(index);
            }
            // Another process may have aligned them since this one opened the index, and nothing may be missing.
            if self.align(engine, encoder.name()).await? {
                continue;
            }
            let lease = Lease::take(&self.lake, "explanation_vectors").await?;
            let filled = fill(self, engine, &index, encoder, progress).await;
            lease.release().await;
            filled?;
        }
        let tables = "explanations and explanation_vectors".to_owned();
        Err(SearchError::Moving { tables, tries: TRIES }.into())
    }
}

async fn fill(
    search: &SearchIndex,
    engine: &SessionContext,
    index: &Index,
    encoder: &dyn TextEncoder,
    progress: Progress<'_>,
) -> Result<()> {
    let stored = stored(search, engine, encoder.name()).await?;
    let mut missing: Vec<(u32, u32)> = Vec::new();
    for (number, segment) in index.segments.iter().enumerate() {
        let places = places(segment, number as u32)?;
        missing
            .extend(places.iter().filter(|(key, ..)| !stored.contains(key)).map(|(_, segment, row)| (*segment, *row)));
    }
    drop(stored);
    let total = missing.len();
    if total == 0 {
        return Ok(());
    }
    progress(0, total);
    let run = RunRow::starting("explanation_vectors", serde_json::json!({ "encoder": encoder.name() }).to_string());
    run.record(&search.lake).await?;
    let mut writer = TableWriter::open(&search.lake, definition("explanation_vectors")?, &run.id).await?;
    let mut committed_at = Instant::now();
    let mut done = 0;
    let mut width = None;
    for lot in missing.chunks(LOT) {
        let mut keys = Vec::with_capacity(lot.len());
        let mut texts: Vec<String> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut chosen = Vec::with_capacity(lot.len());
        for (segment, row) in lot {
            let segment = &index.segments[*segment as usize];
            let (batch, row) = (*row as usize / BATCH_ROWS, *row as usize % BATCH_ROWS);
            keys.push(segment.strings(batch, EXPLANATION)?.value(row));
            let text = segment.strings(batch, TEXT)?.value(row);
            let number = *numbers.entry(text).or_insert_with(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            });
            chosen.push(number);
        }
        let vectors = encoder.embed_all(&texts).await?;
        let hashes: Vec<String> = texts.iter().map(|text| hash::text(text)).collect();
        for vector in &vectors {
            let expected = *width.get_or_insert(vector.len());
            if vector.len() != expected || vector.is_empty() {
                let encoder = encoder.name().to_owned();
                return Err(SearchError::Width { encoder, expected, got: vector.len() }.into());
            }
        }
        let mut lists =
            ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
        for number in &chosen {
            lists.values().append_slice(&vectors[*number]);
            lists.append(true);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![encoder.name(); chosen.len()])),
            Arc::new(StringArray::from(keys)),
            Arc::new(StringArray::from_iter_values(chosen.iter().map(|number| hashes[*number].as_str()))),
            Arc::new(lists.finish()),
            Arc::new(StringArray::from(vec![run.id.as_str(); chosen.len()])),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&definition("explanation_vectors")?.schema), columns)?).await?;
        done += lot.len();
        if committed_at.elapsed() > COMMIT_AFTER {
            writer.commit().await?;
            committed_at = Instant::now();
        }
        progress(done, total);
    }
    writer.commit().await?;
    // What an endpoint took stands in `completions`.
    run.finish(&search.lake, done, 0.0).await
}

/// What the table holds vectors of.
async fn stored(search: &SearchIndex, engine: &SessionContext, encoder: &str) -> Result<HashSet<u128>> {
    let mut found = HashSet::new();
    let Some(table) = search.lake.open(definition("explanation_vectors")?).await? else { return Ok(found) };
    let rows = engine.read_table(table.table_provider().await?)?;
    let rows = rows.filter(col("encoder").eq(lit(encoder)))?.select(vec![col("explanation"), col("text_hash")])?;
    let mut rows = rows.execute_stream().await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (keys, hashes) = (text(0)?, text(1)?);
        let (keys, hashes) = (keys.as_string::<i32>(), hashes.as_string::<i32>());
        found.extend((0..batch.num_rows()).map(|row| vector_key(keys.value(row), hashes.value(row))));
    }
    Ok(found)
}
