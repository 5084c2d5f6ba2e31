//! Runs the `.slt` files below this folder, each with a session of its own over one small lake that the library makes.
//!
//! `cargo test --test slt NAME` runs the files whose path holds NAME; with UPDATE_SLT=1 the results found are written
//! into the files, to be read before they are committed. Inside SQL a file may say `\i examples/score_by_layer k=v`,
//! which stands for that file of `queries/`. A value NULL is shown as NULL, an empty text as (empty), a line break as \n.

use std::error::Error as StdError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use neuronlake::autoencoders::example::{EXAMPLE, EXAMPLE_HOOK, publish_example};
use neuronlake::models::cache::Models;
use neuronlake::neurons::selection::NeuronSelection;
use neuronlake::pipeline::queries::{self, Parameter};
use neuronlake::pipeline::settings::Settings;
use neuronlake::pipeline::steps::{ENCODED, Step};
use neuronlake::pipeline::{self, Observer, StageReport};
use neuronlake::session::{Session, SessionOptions};
use neuronlake::tables::lake::Lake;
use neuronlake::{Error, Result};
use sqllogictest::strict_column_validator;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner, default_normalizer, default_validator};

type Failure = Box<dyn StdError>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(n_failed) => say(&format!("{n_failed} .slt files failed")),
        Err(error) => say(&error.to_string()),
    }
}

fn say(text: &str) -> ExitCode {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

/// Runs the files that the arguments name; the number of those that failed.
async fn run() -> std::result::Result<usize, Failure> {
    // Flags are for the standard test harness, whose place this program takes.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(0);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files = Vec::new();
    slt_files(&folder, &mut files)?;
    files.retain(|path| wanted.is_empty() || wanted.iter().any(|name| path.to_string_lossy().contains(name)));
    files.sort();

    let lake_folder = tempfile::tempdir()?;
    let lake = Lake::at(&lake_folder.path().to_string_lossy())?;
    let models = Arc::new(Models::default());
    fill(&lake, &models).await?;

    let update = std::env::var_os("UPDATE_SLT").is_some();
    let mut n_failed = 0;
    for path in &files {
        let connect = || async { Engine::open(&lake, &models) };
        let mut runner = Runner::new(connect);
        runner.with_column_validator(strict_column_validator);
        let shown = path.strip_prefix(&folder)?.display();
        let outcome = match update {
            true => {
                let done =
                    runner.update_test_file(path, " ", default_validator, default_normalizer, strict_column_validator);
                done.await.map_err(|error| error.to_string())
            }
            false => runner.run_file_async(path).await.map_err(|error| error.display(false).to_string()),
        };
        match outcome {
            Ok(()) => writeln!(std::io::stderr(), "slt {shown} ... ok")?,
            Err(message) => {
                n_failed += 1;
                writeln!(std::io::stderr(), "slt {shown} ... FAILED\n{message}\n")?;
            }
        }
    }
    writeln!(std::io::stderr(), "slt: {} files, {n_failed} failed", files.len())?;
    Ok(n_failed)
}

fn slt_files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            slt_files(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "slt") {
            found.push(path);
        }
    }
    Ok(())
}

/// Every stage, on forty texts, two layers and sixteen units of each.
async fn fill(lake: &Lake, models: &Arc<Models>) -> Result<()> {
    let session = Session::open(lake.clone(), Arc::clone(models), SessionOptions::default())?;
    let settings = Settings {
        limit: Some(40),
        layers: vec![0, 1],
        neurons: NeuronSelection::parse("0-15")?,
        firings_above: Some(0.99),
        explainers: vec!["token_lookup".to_owned(), "n2g".to_owned()],
        scorers: vec!["embedding".to_owned()],
        ..Settings::default()
    };
    pipeline::run(&session, &settings, &Silent).await?;
    example_autoencoder(&session).await
}

/// The autoencoder of the examples, in a layer that nothing else is asked about, and all its firings.
async fn example_autoencoder(session: &Session) -> Result<()> {
    publish_example(session).await?;
    let settings = Settings {
        limit: Some(40),
        hooks: vec![format!("{EXAMPLE_HOOK}/{EXAMPLE}")],
        encode: true,
        from: Some(ENCODED.to_owned()),
        to: Some(ENCODED.to_owned()),
        ..Settings::default()
    };
    pipeline::run(session, &settings, &Silent).await.map(drop)
}

struct Silent;

impl Observer for Silent {
    fn run_started(&self, _: usize) {}
    fn stage_started(&self, _: &Step) {}
    fn stage_advanced(&self, _: &Step, _: u64, _: u64, _: &str) {}
    fn stage_finished(&self, _: &StageReport) {}
}

struct Engine {
    session: Session,
}

impl Engine {
    fn open(lake: &Lake, models: &Arc<Models>) -> Result<Self> {
        Ok(Self { session: Session::open(lake.clone(), Arc::clone(models), SessionOptions::default())? })
    }
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let frame = self.session.sql(&include(sql)?).await?;
        let types: Vec<_> = frame.schema().fields().iter().map(|field| column_type(field.data_type())).collect();
        let batches = frame.collect().await?;
        if types.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in &batches {
            let columns = batch.columns().iter().map(cells).collect::<Result<Vec<_>>>()?;
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "neuronlake"
    }
}

/// The text with every `\i FOLDER/NAME k=v …` replaced by that query; it ends at a closing bracket or with its line.
fn include(sql: &str) -> Result<String> {
    let Some((before, rest)) = sql.split_once("\\i ") else { return Ok(sql.to_owned()) };
    let mut quoted = false;
    let end = rest.find(|c: char| {
        quoted ^= c == '\'';
        !quoted && matches!(c, ')' | '\n')
    });
    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
    Ok(format!("{before}{}{}", included(line)?, include(after)?))
}

/// The statement of `FOLDER/NAME k=v …`; a value with spaces stands in single quotes.
fn included(line: &str) -> Result<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (c, _) if c.is_whitespace() && !quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    let place = words.first().map_or("", String::as_str);
    let fault = || Error::QueryUnknown { name: place.to_owned(), nearest: None };
    let (folder, name) = place.split_once('/').ok_or_else(fault)?;
    let query = queries::find(name)?;
    if query.kind.folder() != folder {
        return Err(fault());
    }
    let values = words.iter().skip(1).filter_map(|word| word.split_once('='));
    let values: Vec<_> = values.map(|(name, value)| (name.to_owned(), Parameter::parse(value))).collect();
    query.bind(&values)
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        DataType::Dictionary(_, values) => column_type(values),
        other if other.is_string() => DefaultColumnType::Text,
        other if other.is_integer() => DefaultColumnType::Integer,
        other if other.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Any,
    }
}

fn cells(column: &ArrayRef) -> Result<Vec<String>> {
    if column_type(column.data_type()) == DefaultColumnType::Text {
        let texts = cast(column, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        return Ok(texts.iter().map(|text| shown(text.unwrap_or("NULL"))).collect());
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options)?;
    Ok((0..column.len()).map(|row| shown(&formatter.value(row).to_string())).collect())
}

fn shown(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { text.replace('\n', "\\n") }
}
