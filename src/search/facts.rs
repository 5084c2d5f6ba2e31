//! What other tables know of each explanation, beside its row: the columns of the view that change without the text.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Builder, Float64Builder, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::build::{SearchIndex, Versions};
use super::disk::sync_folder;
use super::index::{facts_file, segment_folder};
use super::manifest::{Manifest, SegmentEntry};
use super::rows::{BATCH_ROWS, EXPLANATION, FACTS, HOOK_POINT, MODEL, RowsFile, TEXTS, write_rows};
use crate::error::{Error, Result};

/// The view itself, so that the index never knows better than the view.
pub(super) const SQL: &str = "SELECT model, hook_point, explanation, score, density, max_activation FROM searchable_explanations \
                   WHERE score IS NOT NULL OR density IS NOT NULL OR max_activation IS NOT NULL";

/// Facts of one explanation.
type Facts = (Option<f64>, Option<f64>, Option<f32>);

/// A query whose joins sort and spill: ten million explanations hashed do not fit into the memory of queries.
pub(super) async fn spilling(engine: &SessionContext, sql: &str) -> Result<DataFrame> {
    let mut state = engine.state();
    state.config_mut().options_mut().optimizer.prefer_hash_join = false;
    let plan = state.create_logical_plan(sql).await?;
    Ok(DataFrame::new(state, plan))
}

/// Writes the facts of every segment where tables moved on or segments are new; false when a table moved on meanwhile.
pub(super) async fn update(
    index: &SearchIndex,
    engine: &SessionContext,
    versions: &Versions,
    manifest: &mut Manifest,
) -> Result<bool> {
    let plan = spilling(engine, SQL).await?;
    // Versions only rise: the plan, made between two looks that agree, reads these.
    if index.versions().await? != *versions {
        return Ok(false);
    }
    let mut facts: HashMap<u128, Facts> = HashMap::new();
    let mut rows = plan.execute_stream().await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let texts: Vec<_> = (0..3).map(|i| cast(batch.column(i), &DataType::Utf8)).collect::<Result<_, _>>()?;
        let texts: Vec<_> = texts.iter().map(|array| array.as_string::<i32>()).collect();
        let score = batch.column(3).as_primitive::<Float64Type>();
        let density = batch.column(4).as_primitive::<Float64Type>();
        let max = batch.column(5).as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let key = digest(&[texts[0].value(row), texts[1].value(row), texts[2].value(row)]);
            let value = |array: &arrow::array::Float64Array| array.is_valid(row).then(|| array.value(row));
            facts.insert(key, (value(score), value(density), max.is_valid(row).then(|| max.value(row))));
        }
    }
    let number = manifest.take_number();
    let (folder, segments) = (index.folder.clone(), manifest.segments.clone());
    let written = tokio::task::spawn_blocking(move || {
        segments.iter().try_for_each(|segment| write_facts(&folder, segment, number, &facts))
    });
    written.await.map_err(|e| Error::internal(format!("the indexing thread stopped: {e}")))??;
    manifest.facts = number;
    manifest.scores = versions.scores.clone();
    manifest.neurons = versions.neurons.clone();
    Ok(true)
}

fn write_facts(folder: &Path, entry: &SegmentEntry, number: u64, facts: &HashMap<u128, Facts>) -> Result<()> {
    let own = segment_folder(folder, entry.number);
    let texts = RowsFile::open(&own.join("texts.arrow"), &TEXTS, entry.n_rows)?;
    let batches: Vec<RecordBatch> = (0..entry.n_rows.div_ceil(BATCH_ROWS))
        .map(|batch| {
            let text = |column: usize| Ok::<_, Error>(texts.column(batch, column)?.as_string::<i32>());
            let (models, hook_points, keys) = (text(MODEL)?, text(HOOK_POINT)?, text(EXPLANATION)?);
            let n = keys.len();
            let (mut score, mut density) = (Float64Builder::with_capacity(n), Float64Builder::with_capacity(n));
            let mut max = Float32Builder::with_capacity(n);
            for row in 0..n {
                let key = digest(&[models.value(row), hook_points.value(row), keys.value(row)]);
                let found = facts.get(&key).copied().unwrap_or_default();
                score.append_option(found.0);
                density.append_option(found.1);
                max.append_option(found.2);
            }
            let columns =
                vec![Arc::new(score.finish()) as _, Arc::new(density.finish()) as _, Arc::new(max.finish()) as _];
            Ok(RecordBatch::try_new(Arc::clone(&FACTS), columns)?)
        })
        .collect::<Result<_>>()?;
    write_rows(&facts_file(folder, entry.number, number), &FACTS, &batches)?;
    sync_folder(&own)
}

/// 128 bits of some texts: two hashes with fixed keys.
pub(super) fn digest(texts: &[&str]) -> u128 {
    let half = |salt: u64| {
        let mut hasher = std::hash::DefaultHasher::new();
        salt.hash(&mut hasher);
        texts.hash(&mut hasher);
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}
