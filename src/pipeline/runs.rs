//! The table `runs`: a row before the first commit of a stage, completed when the stage ends.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{col, lit};

use super::queries::Parameter;
use super::settings::Plan;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::hash;
use crate::session::Session;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::writer::TableWriter;

/// Tries at completing a row that another process may be changing too.
const TRIES: usize = 5;

/// Settings that decide the rows of a unit, as paths into the parameters; the others only choose units.
const IDENTITY: [&[&str]; 8] = [
    &["corpus_options", "document_chars"],
    &["corpus_options", "field"],
    &["window_length"],
    &["window_minimum"],
    &["split_strategy"],
    &["seed"],
    &["windows"],
    &["collection", "first_token"],
];

/// One execution of a stage.
#[derive(Debug)]
pub struct Run {
    /// Its id, in the `run` column of every row.
    pub id: String,
    stage: String,
    parameters: String,
    prompt_hash: Option<String>,
    started_at: i64,
    // A unit's numbers are about all documents: with more of them they would be others.
    reads_whole_corpus: bool,
}

impl Run {
    /// A run that starts now.
    pub fn start(step: &Step, plan: &Plan) -> Self {
        let stage = &step.query;
        let used = |name: &String| stage.params.iter().any(|(param, _)| param == name);
        let parameters: serde_json::Map<String, serde_json::Value> = plan
            .parameters()
            .iter()
            .chain(&step.values)
            // The address may hold a password; the corpus id does not.
            .filter(|(name, _)| used(name) && name != "corpus_url")
            .map(|(name, value)| (name.clone(), json_value(value)))
            .collect();
        let parameters = serde_json::Value::Object(parameters).to_string();
        let started_at = now();
        let id = hash::text(&format!("{} {parameters} {started_at} {}", stage.name, std::process::id()));
        Self {
            id,
            stage: stage.name.clone(),
            parameters,
            prompt_hash: step.prompt_hash.clone(),
            started_at,
            reads_whole_corpus: stage.per.is_some(),
        }
    }

    /// Writes the row, without an end: from now on rows of other tables may name the run.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn record(&self, session: &Session, plan: &Plan) -> Result<()> {
        let definition = runs()?;
        // The documents' own stage cannot know what it is about to read.
        let corpus_hash = if self.stage == "00_documents" { None } else { plan.corpus_hash(session).await? };
        let of_model = |value: &str| (self.stage != "00_documents").then(|| value.to_owned());
        let text = |value: Option<String>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let time = |micros: Option<i64>| {
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC")) as ArrayRef
        };
        let columns = vec![
            text(Some(self.id.clone())),
            text(Some(self.stage.clone())),
            text(of_model(plan.model.id())),
            text(Some(plan.settings.corpus_id())),
            text(Some(self.parameters.clone())),
            text(of_model(plan.model.weights_hash())),
            text(of_model(plan.model.tokenizer_hash()?)),
            text(corpus_hash),
            text(self.prompt_hash.clone()),
            text(Some(env!("CARGO_PKG_VERSION").to_owned())),
            Arc::new(Int64Array::from(vec![plan.settings.seed.cast_signed()])),
            time(Some(self.started_at)),
            time(None),
            Arc::new(Int64Array::from(vec![None::<i64>])),
            Arc::new(Float64Array::from(vec![None::<f64>])),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&definition.schema), columns)?;
        let mut writer = TableWriter::open(session.lake(), definition, &self.id).await?;
        writer.write(&batch).await?;
        writer.commit().await
    }

    /// Completes the row.
    ///
    /// # Errors
    /// When the store refuses, time and again.
    pub async fn finish(&self, session: &Session, n_rows: usize, cost: f64) -> Result<()> {
        let definition = runs()?;
        let mut last = Error::internal("no try was made");
        for _ in 0..TRIES {
            let table = session.lake().open_or_create(definition).await?;
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

    /// Refuses to add rows to a table whose rows were made with other settings or other weights under the same names.
    ///
    /// # Errors
    /// [`Error::SettingsChanged`] naming the first difference from the newest run of this stage.
    pub async fn check_settings(&self, session: &Session, plan: &Plan) -> Result<()> {
        let text = |value: &str| Parameter::Text(value.to_owned()).to_sql();
        let sql = format!(
            "SELECT parameters, weights_hash, corpus_hash FROM runs WHERE stage = {} AND corpus = {} AND (model IS NULL OR model = {}) \
             ORDER BY started_at DESC LIMIT 1",
            text(&self.stage),
            text(&plan.settings.corpus_id()),
            text(plan.model.id())
        );
        let batches = session.sql(&sql).await?.collect().await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
        let cell = |index: usize| -> Result<String> {
            let texts = arrow::compute::cast(batch.column(index), &arrow::datatypes::DataType::Utf8)?;
            Ok(texts.as_string::<i32>().iter().next().flatten().unwrap_or_default().to_owned())
        };
        let changed = |setting: &str, expected: String, got: String| Error::SettingsChanged {
            stage: self.stage.clone(),
            setting: setting.to_owned(),
            expected,
            got,
        };
        let weights = cell(1)?;
        if !weights.is_empty() && weights != plan.model.weights_hash() {
            return Err(changed("weights of the model", weights, plan.model.weights_hash().to_owned()));
        }
        let corpus = cell(2)?;
        if self.reads_whole_corpus && !corpus.is_empty() {
            let now = plan.corpus_hash(session).await?.unwrap_or_default();
            if corpus != now {
                return Err(changed("documents of sha256", corpus, now));
            }
        }
        let stored = cell(0)?;
        for setting in IDENTITY {
            if let (Some(expected), Some(got)) = (value_of(&stored, setting), value_of(&self.parameters, setting))
                && expected != got
            {
                return Err(changed(setting.last().unwrap_or(&""), expected, got));
            }
        }
        Ok(())
    }

    /// Whether a run of this stage with the same parameters ended well before.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn finished_before(&self, session: &Session) -> Result<bool> {
        let sql = format!(
            "SELECT count(*) FROM runs WHERE stage = {} AND parameters = {} AND ended_at IS NOT NULL",
            Parameter::Text(self.stage.clone()).to_sql(),
            Parameter::Text(self.parameters.clone()).to_sql()
        );
        let batches = session.sql(&sql).await?.collect().await?;
        Ok(batches.iter().any(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().any(|&n| n > 0)))
    }
}

fn runs() -> Result<&'static TableDefinition> {
    table("runs").ok_or_else(|| Error::internal("no table runs"))
}

/// The value at a path of a JSON object; texts on the way are JSON themselves. `None` where there is none.
fn value_of(parameters: &str, path: &[&str]) -> Option<String> {
    let mut value: serde_json::Value = serde_json::from_str(parameters).ok()?;
    for key in path {
        if let serde_json::Value::String(text) = &value {
            value = serde_json::from_str(text).ok()?;
        }
        value = value.get(key)?.clone();
    }
    Some(value.to_string())
}

fn json_value(parameter: &Parameter) -> serde_json::Value {
    match parameter {
        Parameter::Text(text) => text.as_str().into(),
        Parameter::Integer(integer) => (*integer).into(),
        Parameter::Number(number) => number.parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        Parameter::Expression(expression) => expression.as_str().into(),
    }
}

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
