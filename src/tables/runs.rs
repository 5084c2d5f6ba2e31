//! The table `runs`: what every row's `run` column leads to.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::prelude::{col, lit};

use super::definition::{TableDefinition, table};
use super::lake::Lake;
use super::writer::TableWriter;
use crate::error::{Error, Result};
use crate::hash;

/// Tries at completing a row while other processes complete theirs: they may lie in one file.
const TRIES: u32 = 20;
/// Wait after the first try; it doubles up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// A row of `runs`, whoever the run is by.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Its id, in the `run` column of every row.
    pub id: String,
    /// What ran: a pipeline query's name, or `import_<format>`.
    pub stage: String,
    /// Subject model id.
    pub model: Option<String>,
    /// Corpus id.
    pub corpus: Option<String>,
    /// Every parameter, a JSON object; no secrets.
    pub parameters: String,
    /// SHA-256 of the subject model's weights, hex.
    pub weights_hash: Option<String>,
    /// SHA-256 of its tokenizer, hex.
    pub tokenizer_hash: Option<String>,
    /// SHA-256 of the documents in order, hex.
    pub corpus_hash: Option<String>,
    /// SHA-256 of the prompt template, hex.
    pub prompt_hash: Option<String>,
    /// Seed of every draw.
    pub seed: u64,
    /// Microseconds since 1970.
    pub started_at: i64,
}

impl RunRow {
    /// A run of this stage that starts now, of nothing in particular.
    pub fn starting(stage: &str, parameters: String) -> Self {
        let started_at = now();
        let id = hash::text(&format!("{stage} {parameters} {started_at} {}", std::process::id()));
        Self {
            id,
            stage: stage.to_owned(),
            model: None,
            corpus: None,
            parameters,
            weights_hash: None,
            tokenizer_hash: None,
            corpus_hash: None,
            prompt_hash: None,
            seed: 0,
            started_at,
        }
    }

    /// Writes the row, without an end: from now on rows of other tables may name the run.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn record(&self, lake: &Lake) -> Result<()> {
        let definition = runs()?;
        let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let time = |micros: Option<i64>| {
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC")) as ArrayRef
        };
        let columns = vec![
            text(Some(&self.id)),
            text(Some(&self.stage)),
            text(self.model.as_deref()),
            text(self.corpus.as_deref()),
            text(Some(&self.parameters)),
            text(self.weights_hash.as_deref()),
            text(self.tokenizer_hash.as_deref()),
            text(self.corpus_hash.as_deref()),
            text(self.prompt_hash.as_deref()),
            text(Some(env!("CARGO_PKG_VERSION"))),
            Arc::new(Int64Array::from(vec![self.seed.cast_signed()])),
            time(Some(self.started_at)),
            time(None),
            Arc::new(Int64Array::from(vec![None::<i64>])),
            Arc::new(Float64Array::from(vec![None::<f64>])),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&definition.schema), columns)?;
        let mut writer = TableWriter::open(lake, definition, &self.id).await?;
        writer.write(&batch).await?;
        writer.commit().await
    }

    /// Completes the row.
    ///
    /// # Errors
    /// When the store refuses, time and again.
    pub async fn finish(&self, lake: &Lake, n_rows: usize, cost: f64) -> Result<()> {
        let definition = runs()?;
        let mut last = Error::internal("no try was made");
        for tried in 0..TRIES {
            if tried > 0 {
                // Of several processes each waits a time of its own, or they would meet again.
                let share = 0.5 + 0.5 * (hash::key(&format!("{} {tried}", self.id)) as f64 / u64::MAX as f64);
                tokio::time::sleep((FIRST_WAIT * (1 << tried.min(7))).mul_f64(share)).await;
            }
            let table = lake.open_or_create(definition).await?;
            let done = table
                .update()
                .with_predicate(col("run").eq(lit(self.id.as_str())))
                .with_update("ended_at", format!("to_timestamp_micros({})", now()).as_str())
                .with_update("n_rows", lit(n_rows as i64))
                .with_update("cost", lit(cost))
                .await;
            match done {
                Ok(_) => return Ok(()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

fn runs() -> Result<&'static TableDefinition> {
    table("runs").ok_or_else(|| Error::internal("no table runs"))
}

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
