//! Explanations of anybody, one a line: labels by hand, a spreadsheet, what another program found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::score_columns::score_of;
use super::{COLUMNS, TextFormat};
use crate::error::Result;
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::importer::{Importer, Outlet};
use crate::exchange::known::Known;
use crate::exchange::lines::Input;
use crate::exchange::loose_json;
use crate::exchange::pump::{Pump, pump};
use crate::exchange::source::{Source, blocking};
use crate::exchange::unit::{
    ExchangedExplanation, ExchangedRecord, ExchangedScore, UnitData, UnitKey, Window, layer_of,
};
use crate::hash;

/// The column of activation records, which JSON lines may have.
const RECORDS: &str = "records";

/// What stands for columns that a file has not, or that are empty.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Subject model id.
    pub model: Option<String>,
    /// Hook point.
    pub hook_point: Option<String>,
    /// Corpus id.
    pub corpus: Option<String>,
    /// Who or what wrote the explanations.
    pub explainer: String,
    /// Language model behind the explainer.
    pub explainer_model: Option<String>,
}

/// The explanations that a file has of one model and corpus.
#[derive(Debug)]
pub struct TextReader {
    file: Arc<TextFile>,
    model: String,
    corpus: String,
    // Faults and sizes are told once, however many models there are.
    tells: bool,
}

#[derive(Debug)]
struct TextFile {
    input: Input,
    format: TextFormat,
    defaults: Defaults,
}

type Row = Map<String, Value>;

impl TextReader {
    /// Looks through a file of a folder: a reader for each model and corpus, in alphabetical order.
    ///
    /// # Errors
    /// [`ExchangeError::NoSuchSource`] when there is no such file, and those of reading it.
    pub async fn open(folder: &Source, name: &str, format: TextFormat, defaults: Defaults) -> Result<Vec<Self>> {
        let Some(input) = Input::of(folder, name).await? else {
            let fault = ExchangeError::NoSuchSource {
                source_url: folder.shown_file(name),
                expected: "a file".to_owned(),
                got: "none".to_owned(),
            };
            return Err(fault.into());
        };
        let file = Arc::new(TextFile { input, format, defaults });
        let looked = Arc::clone(&file);
        let mut groups = blocking(move || {
            let mut groups = BTreeSet::new();
            looked.each_row(|row| {
                groups.extend(row.ok().and_then(|(_, row)| looked.group(&row).ok()));
                Ok(())
            })?;
            Ok(groups)
        })
        .await?;
        if groups.is_empty() {
            // Its faults are told all the same.
            groups.insert(Default::default());
        }
        let reader = |(at, (model, corpus))| Self { file: Arc::clone(&file), model, corpus, tells: at == 0 };
        Ok(groups.into_iter().enumerate().map(reader).collect())
    }

    fn read(&self, pump: &mut Pump) -> Result<()> {
        let mut written = Written::default();
        let bad = |fault: Fault, pump: &mut Pump| if self.tells { pump.bad(fault) } else { Ok(()) };
        self.file.each_row(|row| {
            let (line, row) = match row {
                Ok(row) => row,
                Err(fault) => return bad(fault, pump),
            };
            let wrong = |reason: String| Fault::in_line(&self.file.input.shown, line, reason);
            match self.file.group(&row) {
                Err(reason) => return bad(wrong(reason), pump),
                Ok((model, corpus)) if (&model, &corpus) != (&self.model, &self.corpus) => return Ok(()),
                Ok(_) => {}
            }
            for column in row.keys().filter(|column| !is_known(column)) {
                pump.not_kept(format!("column '{column}'"))?;
            }
            match self.unit(row, &mut written) {
                Ok(Some(unit)) => pump.unit(unit),
                Ok(None) => pump.not_kept("second text of the same unit, explainer and sample_no"),
                // Only the reader of its group knows of it.
                Err(reason) => pump.bad(wrong(reason)),
            }
        })?;
        if self.tells { pump.file(self.file.input.size()) } else { Ok(()) }
    }

    /// The unit of a row with its one explanation; `None` when an explanation of the same key was there before.
    fn unit(&self, mut row: Row, written: &mut Written) -> Result<Option<UnitData>, String> {
        let defaults = &self.file.defaults;
        let hook_point = self.file.required(&row, "hook_point", defaults.hook_point.as_deref(), "--hook")?;
        let layer = layer_of(&hook_point);
        let neuron = whole(&row, "neuron")?.ok_or("column 'neuron': expected a whole number from 0, got none")?;
        if let Some(told) = whole(&row, "layer")?.filter(|told| Some(*told) != layer) {
            return Err(format!("column 'layer': expected that of '{hook_point}', got {told}"));
        }
        let text = text(&row, "text").ok_or("column 'text': expected an explanation, got none")?;
        let explainer = self::text(&row, "explainer").unwrap_or_else(|| defaults.explainer.clone());
        let explainer_model = self::text(&row, "explainer_model").or_else(|| defaults.explainer_model.clone());
        let writer = format!("{hook_point}\u{1f}{neuron}\u{1f}{explainer}\u{1f}{explainer_model:?}");
        let Some(sample_no) = written.number(&writer, whole(&row, "sample_no")?) else { return Ok(None) };
        let mut scores = Vec::new();
        for (column, value) in &row {
            let Some(score) = score_of(column) else { continue };
            if let Some(value) =
                number(value).map_err(|got| format!("column '{column}': expected a number of at most 1, got {got}"))?
            {
                scores.push(ExchangedScore { value: Some(value), ..score });
            }
        }
        let records = match row.remove(RECORDS) {
            Some(records) => records_of(records)?,
            None => Vec::new(),
        };
        let (model, corpus) = (self.model.clone(), self.corpus.clone());
        let mut explanation = ExchangedExplanation::new(explainer, explainer_model, sample_no, text);
        explanation.scores = scores;
        Ok(Some(UnitData {
            unit: UnitKey { model, hook_point, layer, neuron, corpus },
            statistics: None,
            records,
            explanations: vec![explanation],
            token_means: Vec::new(),
            token_effects: Vec::new(),
            links: Vec::new(),
        }))
    }
}

#[async_trait]
impl Importer for TextReader {
    type Part = ();

    fn format(&self) -> &'static str {
        match self.file.format {
            TextFormat::Csv => "csv",
            TextFormat::JsonLines | TextFormat::JsonLinesWithRecords => "jsonl",
        }
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn corpus(&self) -> &str {
        &self.corpus
    }

    fn parameters(&self) -> Value {
        let Defaults { model, hook_point, corpus, explainer, explainer_model } = &self.file.defaults;
        serde_json::json!({
            "source": self.file.input.shown, "model": model, "hook_point": hook_point, "corpus": corpus,
            "explainer": explainer, "explainer_model": explainer_model,
        })
    }

    async fn parts(&self, _known: &Known) -> Result<Vec<()>> {
        Ok(vec![()])
    }

    async fn read(&self, (): (), _known: &Known, out: &mut Outlet) -> Result<()> {
        let reader = Self {
            file: Arc::clone(&self.file),
            model: self.model.clone(),
            corpus: self.corpus.clone(),
            tells: self.tells,
        };
        pump(out, move |pump| reader.read(pump)).await
    }
}

impl TextFile {
    /// Hands on every row with its 1-based line, and what is no row.
    fn each_row(&self, mut take: impl FnMut(Result<(usize, Row), Fault>) -> Result<()>) -> Result<()> {
        match self.format {
            TextFormat::Csv => self.each_record(take),
            TextFormat::JsonLines | TextFormat::JsonLinesWithRecords => {
                let mut lines = self.input.lines()?;
                loop {
                    let (line, row) = match lines.next() {
                        Ok(None) => return Ok(()),
                        Ok(Some((line, text))) => (line, row_of(text).map_err(|error| error.to_string())),
                        // What follows in the file cannot be read.
                        Err((line, reason)) => return take(Err(Fault::in_line(&self.input.shown, line, reason))),
                    };
                    let of_line = |reason: String| {
                        Fault::in_line(&self.input.shown, line, reason.replace("at line 1 column", "at column"))
                    };
                    take(row.map(|row| (line, row)).map_err(of_line))?;
                }
            }
        }
    }

    fn each_record(&self, mut take: impl FnMut(Result<(usize, Row), Fault>) -> Result<()>) -> Result<()> {
        let mut reader = csv::Reader::from_reader(self.input.open()?);
        let fault = |error: &csv::Error| {
            let line = error.position().map(|position| position.line() as usize);
            Fault { line, ..Fault::of(&self.input.shown, error.to_string()) }
        };
        let columns = match reader.headers() {
            Ok(columns) => columns.clone(),
            Err(error) => return take(Err(fault(&error))),
        };
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let ends = error.is_io_error();
                    take(Err(fault(&error)))?;
                    if ends {
                        return Ok(());
                    }
                    continue;
                }
            };
            let line = record.position().map_or(0, |position| position.line() as usize);
            let cells = columns.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            take(Ok((line, cells.map(|(column, cell)| (column.to_owned(), Value::from(cell))).collect())))?;
        }
        Ok(())
    }

    /// Model and corpus of a row.
    fn group(&self, row: &Row) -> Result<(String, String), String> {
        Ok((
            self.required(row, "model", self.defaults.model.as_deref(), "--model")?,
            self.required(row, "corpus", self.defaults.corpus.as_deref(), "--corpus")?,
        ))
    }

    fn required(&self, row: &Row, column: &str, default: Option<&str>, flag: &str) -> Result<String, String> {
        text(row, column)
            .or_else(|| default.map(str::to_owned))
            .ok_or_else(|| format!("column '{column}': expected a value, or {flag} for rows without one, got none"))
    }
}

/// Explanations that came before, by who wrote them of what.
#[derive(Default)]
struct Written {
    next: HashMap<u64, i32>,
    keys: HashSet<u64>,
}

impl Written {
    /// The number of an explanation, the next one where none is told; `None` when its number was there before.
    fn number(&mut self, writer: &str, told: Option<i32>) -> Option<i32> {
        let next = self.next.entry(hash::key(writer)).or_default();
        let number = told.unwrap_or(*next);
        *next = (*next).max(number.saturating_add(1));
        self.keys.insert(hash::key(&format!("{writer}\u{1f}{number}"))).then_some(number)
    }
}

/// An object's fields. Numbers stay text: the parser would round some of 17 digits to a neighbour.
fn row_of(json: &[u8]) -> Result<Row, serde_json::Error> {
    let fields: BTreeMap<String, Box<RawValue>> = loose_json::parse(json)?;
    let value = |text: &str| match text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        true => Ok(Value::from(text)),
        false => serde_json::from_str(text),
    };
    fields.into_iter().map(|(column, raw)| Ok((column, value(raw.get())?))).collect()
}

fn is_known(column: &str) -> bool {
    COLUMNS.contains(&column) || column == RECORDS || score_of(column).is_some()
}

/// A cell that is not empty.
fn text(row: &Row, column: &str) -> Option<String> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        other => Some(other.to_string()),
    }
}

fn whole(row: &Row, column: &str) -> Result<Option<i32>, String> {
    let Some(told) = text(row, column) else { return Ok(None) };
    match told.trim().parse() {
        Ok(number) if number >= 0 => Ok(Some(number)),
        _ => Err(format!("column '{column}': expected a whole number from 0, got '{told}'")),
    }
}

/// The value of a score, or what stands in its place.
fn number(value: &Value) -> Result<Option<f64>, String> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite() && *number <= 1.0).map(Some).ok_or_else(|| value.to_string())
}

#[derive(Deserialize)]
struct RecordRow {
    sample: String,
    split: String,
    rank: i32,
    tokens: Vec<String>,
    activations: Vec<f32>,
}

fn records_of(value: Value) -> Result<Vec<ExchangedRecord>, String> {
    let rows: Vec<RecordRow> = serde_json::from_value(value).map_err(|error| format!("field '{RECORDS}': {error}"))?;
    let record = |row: RecordRow| {
        let (n_tokens, n_values) = (row.tokens.len(), row.activations.len());
        if n_tokens != n_values {
            return Err(format!("field '{RECORDS}': expected an activation a token, got {n_values} for {n_tokens}"));
        }
        Ok(ExchangedRecord {
            split: row.split.parse().map_err(|error| format!("field '{RECORDS}': {error}"))?,
            sample: row.sample,
            rank: row.rank,
            window: Window::of(row.tokens.iter().map(String::as_str)),
            activations: row.activations,
        })
    };
    rows.into_iter().map(record).collect()
}
