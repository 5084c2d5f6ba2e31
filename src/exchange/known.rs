//! Which rows the lake has already, so that importing twice changes nothing.
//!
//! Rows of one unit in one table are committed together, so that any row says that all of them are there. Explanations, and what
//! was measured about them, are known one by one: several files may bring some of one unit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use futures::StreamExt;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::hash;
use crate::pipeline::queries::Parameter;
use crate::session::Session;

/// Rows of a unit that come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Row of `neurons`: written last, so that it also says that the records are there.
    Statistics,
    /// Rows of `activation_records` but those of [`Kept::ScoredRecords`].
    Records,
    /// Rows of `activation_records` that only simulations refer to.
    ScoredRecords,
    /// Rows of `activations`.
    Firings,
    /// Rows of `token_activations`.
    TokenMeans,
    /// Rows of `token_effects`.
    TokenEffects,
    /// Rows of `neuron_links`.
    Links,
    /// Rows of `explanations`, of any method: written last, so that they also say that simulations and scores are there.
    Explanations,
}

/// What is known of one model and corpus; clones share it.
#[derive(Debug, Clone)]
pub struct Known {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    units: HashMap<(Kept, String), HashSet<i32>>,
    // Keys of explanations, simulations and scores.
    rows: HashSet<u64>,
    sequences: HashSet<i64>,
}

impl Known {
    /// Reads the keys of every row that the lake has of this model and corpus.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub async fn load(session: &Session, model: &str, corpus: &str) -> Result<Self> {
        let mut inner = Inner::default();
        let of_model = format!("model = {}", text(model));
        let of_corpus = format!("{of_model} AND corpus = {}", text(corpus));
        let units = [
            (Kept::Statistics, "neurons", of_corpus.clone()),
            (Kept::Records, "activation_records", format!("{of_corpus} AND sample NOT LIKE 'scored%'")),
            (Kept::ScoredRecords, "activation_records", format!("{of_corpus} AND sample LIKE 'scored%'")),
            (Kept::Firings, "activations", of_corpus.clone()),
            (Kept::TokenMeans, "token_activations", of_corpus.clone()),
            (Kept::TokenEffects, "token_effects", of_model.clone()),
            (Kept::Links, "neuron_links", of_model),
            (Kept::Explanations, "explanations", of_corpus.clone()),
        ];
        for (kept, table, condition) in units {
            let sql = format!("SELECT DISTINCT hook_point, neuron FROM {table} WHERE {condition}");
            each_batch(session, &sql, |batch| {
                let hooks = text_column(batch.column(0))?;
                let neurons = batch.column(1).as_primitive::<Int32Type>();
                for (hook, neuron) in hooks.as_string::<i32>().iter().zip(neurons.values()) {
                    inner.claim(kept, hook.unwrap_or_default(), *neuron);
                }
                Ok(())
            })
            .await?;
        }
        let rows = [
            ("explanations", "explanation"),
            ("simulations", "explanation, simulator, simulator_model, scale"),
            ("judgements", "explanation, scorer, scorer_model, split"),
            ("scores", "explanation, scorer, scorer_model, calibration, metric, sample_set, split"),
        ];
        for (table, columns) in rows {
            let sql = format!("SELECT DISTINCT {columns} FROM {table} WHERE {of_corpus}");
            each_batch(session, &sql, |batch| {
                let columns = batch.columns().iter().map(text_column).collect::<Result<Vec<_>>>()?;
                for row in 0..batch.num_rows() {
                    let cells = columns.iter().map(|column| cell(column, row));
                    inner.rows.insert(key(table, cells));
                }
                Ok(())
            })
            .await?;
        }
        let sql = format!("SELECT sequence FROM token_sequences WHERE {of_corpus}");
        each_batch(session, &sql, |batch| {
            inner.sequences.extend(batch.column(0).as_primitive::<Int64Type>().values());
            Ok(())
        })
        .await?;
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// As of a lake without rows.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self { inner: Arc::default() }
    }

    /// Whether the unit's rows of this kind are there.
    pub fn has(&self, kept: Kept, hook_point: &str, neuron: i32) -> bool {
        self.inner.lock().has(kept, hook_point, neuron)
    }

    /// Whether the unit's rows of this kind are to be written by the caller, who is the only one to be told so.
    pub(crate) fn claim(&self, kept: Kept, hook_point: &str, neuron: i32) -> bool {
        self.inner.lock().claim(kept, hook_point, neuron)
    }

    /// As [`Known::claim`], of a row of `explanations`, or of the rows of `simulations` or `scores` that share these cells.
    pub(crate) fn claim_row<'a>(&self, table: &str, cells: impl IntoIterator<Item = &'a str>) -> bool {
        self.inner.lock().rows.insert(key(table, cells))
    }

    /// Whether a row of `token_sequences` is there, or somebody claimed it.
    pub(crate) fn has_sequence(&self, sequence: i64) -> bool {
        self.inner.lock().sequences.contains(&sequence)
    }

    /// As [`Known::claim`], of a row of `token_sequences`.
    pub(crate) fn claim_sequence(&self, sequence: i64) -> bool {
        self.inner.lock().sequences.insert(sequence)
    }
}

impl Inner {
    fn has(&self, kept: Kept, hook_point: &str, neuron: i32) -> bool {
        // A lookup by a borrowed pair would need a type of its own; hook points are few and their names short.
        self.units.get(&(kept, hook_point.to_owned())).is_some_and(|neurons| neurons.contains(&neuron))
    }

    fn claim(&mut self, kept: Kept, hook_point: &str, neuron: i32) -> bool {
        self.units.entry((kept, hook_point.to_owned())).or_default().insert(neuron)
    }
}

fn key<'a>(table: &str, cells: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut joined = table.to_owned();
    for cell in cells {
        joined.push('\u{1f}');
        joined.push_str(cell);
    }
    hash::key(&joined)
}

/// NULL and an empty text are one: no key column is ever empty.
fn cell(column: &ArrayRef, row: usize) -> &str {
    let texts = column.as_string::<i32>();
    if texts.is_null(row) { "" } else { texts.value(row) }
}

fn text_column(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Utf8)?)
}

fn text(value: &str) -> String {
    Parameter::Text(value.to_owned()).to_sql()
}

async fn each_batch(
    session: &Session,
    sql: &str,
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<(), Error> {
    let mut stream = session.sql(sql).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        take(&batch?)?;
    }
    Ok(())
}
