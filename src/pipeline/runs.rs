//! Runs of stages: a row before the first commit of a stage, completed when the stage ends.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::queries::Parameter;
use super::settings::Plan;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::tables::runs::RunRow;

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
    row: RunRow,
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
        let mut row = RunRow::starting(&stage.name, parameters);
        row.prompt_hash = step.prompt_hash.clone();
        row.corpus = Some(plan.settings.corpus_id());
        row.seed = plan.settings.seed;
        Self { id: row.id.clone(), row, reads_whole_corpus: stage.per.is_some() }
    }

    /// Writes the row, without an end: from now on rows of other tables may name the run.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn record(&self, session: &Session, plan: &Plan) -> Result<()> {
        let mut row = self.row.clone();
        // The documents' own stage cannot know what it is about to read.
        if row.stage != "00_documents" {
            row.corpus_hash = plan.corpus_hash(session).await?;
            row.model = Some(plan.model.id().to_owned());
            row.weights_hash = Some(plan.model.weights_hash().to_owned());
            row.tokenizer_hash = Some(plan.model.tokenizer_hash()?.to_owned());
        }
        row.record(session.lake()).await
    }

    /// Completes the row.
    ///
    /// # Errors
    /// When the store refuses, time and again.
    pub async fn finish(&self, session: &Session, n_rows: usize, cost: f64) -> Result<()> {
        self.row.finish(session.lake(), n_rows, cost).await
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
            text(&self.row.stage),
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
            stage: self.row.stage.clone(),
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
            if let (Some(expected), Some(got)) = (value_of(&stored, setting), value_of(&self.row.parameters, setting))
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
            Parameter::Text(self.row.stage.clone()).to_sql(),
            Parameter::Text(self.row.parameters.clone()).to_sql()
        );
        let batches = session.sql(&sql).await?.collect().await?;
        Ok(batches.iter().any(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().any(|&n| n > 0)))
    }
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
