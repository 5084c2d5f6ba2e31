//! Runs of stages: a row before the first commit of a stage, completed when the stage ends.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::queries::Parameter;
use super::settings::Plan;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::hash;
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

/// The role whose method and prompt a stage's rows come of, by the table it writes.
const WRITERS: [&str; 3] = ["explainer", "simulator", "scorer"];

/// A row of `runs`, as far as runs are compared.
#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) run: String,
    pub(super) stage: String,
    model: Option<String>,
    corpus: Option<String>,
    parameters: String,
    weights_hash: Option<String>,
    corpus_hash: Option<String>,
    prompt_hash: Option<String>,
}

impl StoredRun {
    /// Every run of the lake, the oldest first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(super) async fn all(session: &Session) -> Result<Vec<Self>> {
        let sql = "SELECT run, stage, model, corpus, parameters, weights_hash, corpus_hash, prompt_hash FROM runs ORDER BY started_at";
        let mut runs = Vec::new();
        for batch in session.sql(sql).await?.collect().await? {
            let texts = batch
                .columns()
                .iter()
                .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let text = |column: usize| {
                    let texts = texts[column].as_string::<i32>();
                    texts.is_valid(row).then(|| texts.value(row).to_owned())
                };
                runs.push(Self {
                    run: text(0).unwrap_or_default(),
                    stage: text(1).unwrap_or_default(),
                    model: text(2),
                    corpus: text(3),
                    parameters: text(4).unwrap_or_default(),
                    weights_hash: text(5),
                    corpus_hash: text(6),
                    prompt_hash: text(7),
                });
            }
        }
        Ok(runs)
    }
}

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
        let mut parameters: serde_json::Map<String, serde_json::Value> = plan
            .parameters()
            .iter()
            .chain(&step.values)
            // The address may hold a password; the corpus id does not.
            .filter(|(name, _)| used(name) && name != "corpus_url")
            .map(|(name, value)| (name.clone(), json_value(value)))
            .collect();
        // The query is the method where no prompt is: another text may give other numbers.
        parameters.insert("query".to_owned(), hash::text(&stage.sql).into());
        let parameters = serde_json::Value::Object(parameters).to_string();
        let mut row = RunRow::starting(&stage.name, parameters);
        row.prompt_hash = step.prompt_hash.clone();
        row.corpus = Some(plan.settings.corpus_id());
        row.seed = plan.settings.seed;
        Self { id: row.id.clone(), row, reads_whole_corpus: stage.per.is_some() }
    }

    /// In what the recipe of a stored run differs from that of this one, of the same model and corpus; `None` where it does not.
    pub(super) fn differs_from(&self, stored: &StoredRun, plan: &Plan, corpus_hash: Option<&str>) -> Option<String> {
        if stored.corpus != self.row.corpus || stored.model.as_deref().is_some_and(|model| model != plan.model.id()) {
            return None;
        }
        let other =
            |stored: &Option<String>, now: Option<&str>| stored.is_some() && now.is_some() && stored.as_deref() != now;
        if other(&stored.weights_hash, Some(plan.model.weights_hash())) {
            return Some("the model has other weights".to_owned());
        }
        if self.reads_whole_corpus && other(&stored.corpus_hash, corpus_hash) {
            return Some("the corpus has other documents".to_owned());
        }
        let value = |name: &str| (value_of(&stored.parameters, &[name]), value_of(&self.row.parameters, &[name]));
        // Rows of another method are not this step's, whatever their prompt was.
        let same_method = WRITERS.iter().all(|role| {
            let (then, now) = value(role);
            then == now
        });
        if same_method && other(&stored.prompt_hash, self.row.prompt_hash.as_deref()) {
            return Some("the prompt is another".to_owned());
        }
        for setting in IDENTITY.iter().chain([&["query"].as_slice()]) {
            let (then, now) = (value_of(&stored.parameters, setting), value_of(&self.row.parameters, setting));
            if let (Some(then), Some(now)) = (then, now)
                && then != now
            {
                return Some(match setting.last() {
                    Some(&"query") => "the query of the stage is another".to_owned(),
                    name => format!("{} was {then}, is {now}", name.unwrap_or(&"")),
                });
            }
        }
        None
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
