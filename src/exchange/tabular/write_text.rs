//! Explanations with their scores as columns, in one file.

use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::COLUMNS;
use super::score_columns::{self, column_of};
use crate::error::{Error, Result};
use crate::exchange::exporter::Exporter;
use crate::exchange::output::NewFile;
use crate::exchange::report::{Report, count};
use crate::exchange::unit::{ExchangedExplanation, UnitData};
use crate::session::Session;

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
            scores: score_columns::of_units(session, condition).await?,
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
                let value = explanation.scores.iter().find(|score| column_of(score).as_ref() == Some(column));
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
