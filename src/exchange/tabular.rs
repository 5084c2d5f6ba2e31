//! Units as plain tables: the lake's own rows as Parquet, explanations with their scores as CSV or JSON lines.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};

use super::export::filter;
use super::exporter::Exporter;
use super::fault::ExchangeError;
use super::lake_reader;
use super::output::NewFile;
use super::report::{Report, count};
use super::unit::{ExchangedExplanation, ExchangedScore, UnitData};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::tables::check::check_batch;
use crate::tables::definition::{TableDefinition, tables};

/// Sets of windows that a column of scores may be over; scores of single windows are left to Parquet.
const SAMPLE_SETS: [&str; 3] = ["top_and_random", "random_only", "top_only"];

/// Writes a Parquet file a table, with the rows of the selected units and the token sequences that they refer to.
///
/// # Errors
/// When nothing fits the condition, a file is there already, or one cannot be written.
pub async fn write_parquet(session: &Session, condition: Option<&str>, folder: &Path) -> Result<Report> {
    let mut report =
        Report { n_units: lake_reader::selected(session, condition).await?.len() as u64, ..Report::default() };
    let units = format!(
        "SELECT DISTINCT model AS u_model, hook_point AS u_hook_point, neuron AS u_neuron, corpus AS u_corpus \
         FROM exchange_units{}",
        filter(condition)
    );
    for definition in tables() {
        let name = definition.name.as_str();
        let columns: Vec<String> =
            definition.schema.fields().iter().map(|field| format!("t.{}", field.name())).collect();
        let columns = columns.join(", ");
        let of_unit = "u.u_model = t.model AND u.u_hook_point = t.hook_point AND u.u_neuron = t.neuron";
        let sql = if name == "token_sequences" {
            let sequences = |table: &str| {
                format!(
                    "SELECT t.model AS u_model, t.corpus AS u_corpus, t.sequence AS u_sequence FROM {table} t \
                     JOIN ({units}) u ON {of_unit} AND u.u_corpus = t.corpus"
                )
            };
            format!(
                "SELECT {columns} FROM token_sequences t JOIN ({} UNION {}) s ON s.u_model = t.model \
                 AND s.u_corpus = t.corpus AND s.u_sequence = t.sequence ORDER BY t.sequence",
                sequences("activation_records"),
                sequences("simulations")
            )
        } else if definition.schema.field_with_name("hook_point").is_err() {
            // Its rows are not about units.
            continue;
        } else if definition.schema.field_with_name("neuron").is_err() {
            // Autoencoders, whose latents are units of a hook point.
            format!(
                "SELECT {columns} FROM {name} t JOIN (SELECT DISTINCT u_model, u_hook_point FROM ({units}) c) u \
                 ON u.u_model = t.model AND u.u_hook_point = t.hook_point ORDER BY t.model, t.hook_point"
            )
        } else if definition.schema.field_with_name("corpus").is_ok() {
            format!(
                "SELECT {columns} FROM {name} t JOIN ({units}) u ON {of_unit} AND u.u_corpus = t.corpus \
                 ORDER BY t.model, t.layer, t.hook_point, t.neuron"
            )
        } else {
            // Links and token effects are of the model alone, and the latents of crosscoders of no one layer.
            let layer = if definition.schema.field_with_name("layer").is_ok() { "t.layer, " } else { "" };
            format!(
                "SELECT {columns} FROM {name} t JOIN (SELECT DISTINCT u_model, u_hook_point, u_neuron FROM ({units}) c) u \
                 ON {of_unit} ORDER BY t.model, {layer}t.hook_point, t.neuron"
            )
        };
        let n_rows = write_table(session, definition, &sql, &folder.join(format!("{name}.parquet"))).await?;
        if n_rows > 0 {
            report.n_files += 1;
            report.rows.insert(name.to_owned(), n_rows);
        }
    }
    Ok(report)
}

/// Writes the rows of a query as a table's file; no file without rows.
async fn write_table(session: &Session, definition: &TableDefinition, sql: &str, path: &Path) -> Result<u64> {
    let fault = |error: parquet::errors::ParquetError| Error::File {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    };
    let mut rows = session.sql(sql).await?.execute_stream().await?;
    let mut writer: Option<ArrowWriter<NewFile>> = None;
    let mut n_rows = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let batch = check_batch(definition, &batch)?;
        let open = match &mut writer {
            Some(open) => open,
            none => {
                let level = ZstdLevel::try_new(3).map_err(|error| Error::internal(error.to_string()))?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let file = NewFile::create(path)?;
                none.insert(ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(fault)?)
            }
        };
        open.write(&batch).map_err(fault)?;
        n_rows += batch.num_rows() as u64;
    }
    if let Some(writer) = writer {
        writer.into_inner().map_err(fault)?.finish()?;
    }
    Ok(n_rows)
}

/// Which text form explanations are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// A header line, then a line an explanation (RFC 4180).
    Csv,
    /// A JSON object an explanation.
    JsonLines,
    /// A JSON object an explanation, with its unit's activation records.
    JsonLinesWithRecords,
}

/// Writes explanations with their scores as columns into one file.
pub struct TextWriter {
    format: TextFormat,
    file: Option<NewFile>,
    path: PathBuf,
    scores: Vec<String>,
    report: Report,
}

impl TextWriter {
    /// A writer of one file; its columns are the kinds of scores that the selected units have.
    ///
    /// # Errors
    /// When the file is there already or cannot be made.
    pub async fn open(session: &Session, condition: Option<&str>, path: &Path, format: TextFormat) -> Result<Self> {
        let mut writer = Self {
            format,
            file: Some(NewFile::create(path)?),
            path: path.to_owned(),
            scores: score_columns(session, condition).await?,
            report: Report { n_files: 1, ..Report::default() },
        };
        if format == TextFormat::Csv {
            let columns = COLUMNS.iter().map(|column| (*column).to_owned()).chain(writer.scores.iter().cloned());
            let line = columns.map(|column| csv_field(&column)).collect::<Vec<_>>().join(",");
            writer.line(&line)?;
        }
        Ok(writer)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let path = self.path.clone();
        let file = self.file.as_mut().ok_or_else(|| Error::internal("the file is finished"))?;
        writeln!(file, "{line}").map_err(|source| Error::File { path, source })?;
        self.report.n_bytes += line.len() as u64 + 1;
        Ok(())
    }
}

/// What stands before the scores.
const COLUMNS: [&str; 9] =
    ["model", "hook_point", "layer", "neuron", "corpus", "explainer", "explainer_model", "sample_no", "text"];

#[async_trait]
impl Exporter for TextWriter {
    async fn unit(&mut self, unit: UnitData) -> Result<()> {
        self.report.n_units += 1;
        let records = match self.format {
            TextFormat::JsonLinesWithRecords => Some(records(&unit)),
            TextFormat::Csv | TextFormat::JsonLines => None,
        };
        for explanation in &unit.explanations {
            let mut row = row(&unit, explanation);
            for column in &self.scores {
                let value = explanation.scores.iter().find(|score| score_column(score).as_ref() == Some(column));
                row.insert(column.clone(), json!(value.and_then(|score| score.value)));
            }
            let line = match self.format {
                TextFormat::Csv => {
                    let cells = COLUMNS.iter().copied().chain(self.scores.iter().map(String::as_str));
                    cells.map(|column| csv_value(&row[column])).collect::<Vec<_>>().join(",")
                }
                TextFormat::JsonLines | TextFormat::JsonLinesWithRecords => {
                    if let Some(records) = &records {
                        row.insert("records".to_owned(), records.clone());
                    }
                    Value::Object(row).to_string()
                }
            };
            self.line(&line)?;
            count(&mut self.report.rows, "explanations");
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<Report> {
        if let Some(file) = self.file.take() {
            file.finish()?;
        }
        Ok(std::mem::take(&mut self.report))
    }
}

fn row(unit: &UnitData, explanation: &ExchangedExplanation) -> Map<String, Value> {
    let key = &unit.unit;
    let cells = [
        json!(key.model),
        json!(key.hook_point),
        json!(key.layer),
        json!(key.neuron),
        json!(key.corpus),
        json!(explanation.explainer),
        json!(explanation.explainer_model),
        json!(explanation.sample_no),
        json!(explanation.text),
    ];
    COLUMNS.iter().map(|column| (*column).to_owned()).zip(cells).collect()
}

fn records(unit: &UnitData) -> Value {
    let records = unit.records.iter().map(|record| {
        json!({
            "sample": record.sample,
            "split": record.split.as_str(),
            "rank": record.rank,
            "tokens": record.window.tokens().collect::<Vec<_>>(),
            "activations": record.activations,
        })
    });
    records.collect()
}

/// The column that a score stands in; `None` for scores of single windows.
fn score_column(score: &ExchangedScore) -> Option<String> {
    let model = score.scorer_model.as_deref();
    column_name([
        &score.scorer,
        model.unwrap_or_default(),
        &score.calibration,
        score.split.as_str(),
        &score.metric,
        &score.sample_set,
    ])
}

/// `scorer@model metric sample_set`, and calibration and split where they are not the usual ones.
fn column_name([scorer, model, calibration, split, metric, sample_set]: [&str; 6]) -> Option<String> {
    if !SAMPLE_SETS.contains(&sample_set) {
        return None;
    }
    let mut name = scorer.to_owned();
    if !model.is_empty() {
        name += &format!("@{model}");
    }
    name += &format!(" {metric} {sample_set}");
    if calibration != "none" {
        name += &format!(" {calibration}");
    }
    if split != "valid" {
        name += &format!(" {split}");
    }
    Some(name)
}

async fn score_columns(session: &Session, condition: Option<&str>) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT s.scorer, COALESCE(s.scorer_model, ''), s.calibration, s.split, s.metric, s.sample_set \
         FROM scores s JOIN (SELECT model, hook_point, neuron, corpus FROM exchange_units{}) u \
         ON u.model = s.model AND u.hook_point = s.hook_point AND u.neuron = s.neuron AND u.corpus = s.corpus",
        filter(condition)
    );
    let mut names = BTreeSet::new();
    for batch in session.read_only_sql(&sql).await?.collect().await? {
        let columns =
            batch.columns().iter().map(|column| cast(column, &DataType::Utf8)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut cells = [""; 6];
            for (cell, column) in cells.iter_mut().zip(&columns) {
                *cell = column.as_string::<i32>().value(row);
            }
            names.extend(column_name(cells));
        }
    }
    Ok(names.into_iter().collect())
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => csv_field(text),
        other => other.to_string(),
    }
}

fn csv_field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Refuses a place that holds anything, before work is done for it.
///
/// # Errors
/// [`ExchangeError::OutputExists`].
pub fn check_new(path: &Path) -> Result<()> {
    let taken = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
        Ok(_) => true,
        Err(_) => false,
    };
    match taken {
        true => Err(ExchangeError::OutputExists { file: path.display().to_string() }.into()),
        false => Ok(()),
    }
}
