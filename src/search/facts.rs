//! What other tables know of each explanation, beside its row: the columns of the view that change without the text.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Builder, Float64Array, Float64Builder, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{col, lit};
use futures::StreamExt;

use super::build::{SearchIndex, Versions};
use super::disk::sync_folder;
use super::index::{facts_file, segment_folder};
use super::manifest::{Manifest, SegmentEntry};
use super::rows::{BATCH_ROWS, EXPLANATION, FACTS, HOOK_POINT, MODEL, RowsFile, TEXTS, write_rows};
use crate::error::{Error, Result};

/// The view itself, so that the index never knows better than the view.
const SQL: &str = "SELECT model, hook_point, explanation, score, density, max_activation, neuron FROM searchable_explanations \
                   WHERE score IS NOT NULL OR density IS NOT NULL OR max_activation IS NOT NULL";

/// Facts of one explanation.
type Facts = (Option<f64>, Option<f64>, Option<f32>);

/// What there is to be known facts of.
const COUNTS: &str = "SELECT model, hook_point, count(*) AS n, min(neuron) AS first, max(neuron) AS last FROM explanations \
                      GROUP BY model, hook_point ORDER BY model, hook_point";

/// Explanations whose facts are asked for together: joins of them with their scores and units fit into the memory of queries, those of
/// ten million do not. Few where tests are to have several.
const ROWS_OF_A_LOT: u64 = if cfg!(test) { 300 } else { 500_000 };

/// Explanations of some hook points of a model, or of some units of one.
#[derive(Debug, PartialEq)]
pub(super) struct Lot {
    pub(super) model: String,
    pub(super) hook_points: Vec<String>,
    /// The first and the last unit; all of them without.
    pub(super) neurons: Option<(i32, i32)>,
}

/// The explanations of a hook point.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) model: String,
    pub(super) hook_point: String,
    pub(super) n_rows: u64,
    /// The first and the last unit.
    pub(super) neurons: (i32, i32),
}

impl Lot {
    /// All explanations in lots of about so many rows; `counts` in order of models.
    pub(super) fn of(counts: Vec<Count>, rows_of_a_lot: u64) -> Vec<Self> {
        let mut lots: Vec<Self> = Vec::new();
        // Rows that still fit into the last lot.
        let mut room = 0;
        for Count { model, hook_point, n_rows, neurons: (first, last) } in counts {
            if n_rows > rows_of_a_lot {
                let n_parts = n_rows.div_ceil(rows_of_a_lot);
                let n_units = (i64::from(last) - i64::from(first) + 1).unsigned_abs();
                let width = n_units.div_ceil(n_parts) as usize;
                lots.extend((first..=last).step_by(width).map(|from| Self {
                    model: model.clone(),
                    hook_points: vec![hook_point.clone()],
                    neurons: Some((from, last.min(from.saturating_add(width as i32 - 1)))),
                }));
                room = 0;
                continue;
            }
            match lots.last_mut() {
                Some(lot) if lot.model == model && n_rows <= room => lot.hook_points.push(hook_point),
                _ => {
                    lots.push(Self { model, hook_points: vec![hook_point], neurons: None });
                    room = rows_of_a_lot;
                }
            }
            room -= n_rows;
        }
        lots
    }

    fn condition(&self) -> Expr {
        let hook_points = self.hook_points.iter().map(|hook_point| lit(hook_point.as_str())).collect();
        let whole = col("model").eq(lit(self.model.as_str())).and(col("hook_point").in_list(hook_points, false));
        match self.neurons {
            Some((first, last)) => whole.and(col("neuron").between(lit(first), lit(last))),
            None => whole,
        }
    }
}

async fn counts(engine: &SessionContext) -> Result<Vec<Count>> {
    let mut counts = Vec::new();
    for batch in engine.sql(COUNTS).await?.collect().await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (models, hook_points) = (text(0)?, text(1)?);
        let (models, hook_points) = (models.as_string::<i32>(), hook_points.as_string::<i32>());
        let n_rows = batch.column(2).as_primitive::<Int64Type>();
        let (first, last) = (batch.column(3).as_primitive::<Int32Type>(), batch.column(4).as_primitive::<Int32Type>());
        counts.extend((0..batch.num_rows()).map(|row| Count {
            model: models.value(row).to_owned(),
            hook_point: hook_points.value(row).to_owned(),
            n_rows: n_rows.value(row).unsigned_abs(),
            neurons: (first.value(row), last.value(row)),
        }));
    }
    Ok(counts)
}

/// Writes the facts of every segment where tables moved on or segments are new; false when a table moved on meanwhile.
pub(super) async fn update(
    index: &SearchIndex,
    engine: &SessionContext,
    versions: &Versions,
    manifest: &mut Manifest,
) -> Result<bool> {
    let mut plans = Vec::new();
    for lot in Lot::of(counts(engine).await?, ROWS_OF_A_LOT) {
        plans.push(engine.sql(SQL).await?.filter(lot.condition())?);
    }
    // Versions only rise: plans made between two looks that agree read these.
    if index.versions().await? != *versions {
        return Ok(false);
    }
    let mut facts: HashMap<u128, Facts> = HashMap::new();
    for plan in plans {
        let mut rows = plan.execute_stream().await?;
        while let Some(batch) = rows.next().await {
            take_in(&mut facts, &batch?)?;
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

fn take_in(facts: &mut HashMap<u128, Facts>, batch: &RecordBatch) -> Result<()> {
    let texts: Vec<_> = (0..3).map(|i| cast(batch.column(i), &DataType::Utf8)).collect::<Result<_, _>>()?;
    let texts: Vec<_> = texts.iter().map(|array| array.as_string::<i32>()).collect();
    let score = batch.column(3).as_primitive::<Float64Type>();
    let density = batch.column(4).as_primitive::<Float64Type>();
    let max = batch.column(5).as_primitive::<Float32Type>();
    for row in 0..batch.num_rows() {
        let key = digest(&[texts[0].value(row), texts[1].value(row), texts[2].value(row)]);
        let value = |array: &Float64Array| array.is_valid(row).then(|| array.value(row));
        facts.insert(key, (value(score), value(density), max.is_valid(row).then(|| max.value(row))));
    }
    Ok(())
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
