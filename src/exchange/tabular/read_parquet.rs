//! The lake's own rows out of the Parquet files of an export, with the runs that wrote them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use futures::StreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use serde_json::json;
use tokio::fs::File;

use crate::error::{Error, Result};
use crate::exchange::fault::{ExchangeError, Fault};
use crate::exchange::import::Watch;
use crate::exchange::report::{Report, count};
use crate::hash;
use crate::pipeline::queries::Parameter;
use crate::session::Session;
use crate::tables::check::check_batch;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::lease::Lease;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;

/// Rows read at a time: those of records are large.
const ROWS_AT_ONCE: usize = 1_024;
/// Parquet bytes after which rows are committed.
const CHUNK_BYTES: usize = 96 << 20;

/// Tables in the order in which they are read, what others refer to first, each with the columns whose values its rows come under: where
/// the lake has a row with the same values, and of the same model, it has them all.
const TABLES: [(&str, &[&str]); 14] = [
    ("runs", &["run"]),
    ("token_sequences", &["corpus", "sequence"]),
    ("activations", &["hook_point", "neuron", "corpus"]),
    ("activation_records", &["hook_point", "neuron", "corpus", "sample"]),
    ("token_activations", &["hook_point", "neuron", "corpus"]),
    ("token_effects", &["hook_point", "neuron"]),
    ("neuron_links", &["hook_point", "neuron"]),
    ("crosscoder_latents", &["crosscoder", "hook_point", "neuron"]),
    ("autoencoder_metrics", &["autoencoder", "hook_point", "corpus", "split", "metric", "first_token", "parameters"]),
    ("simulations", &["explanation", "simulator", "simulator_model", "scale", "control", "split"]),
    ("judgements", &["explanation", "scorer", "scorer_model", "control", "split"]),
    ("scores", &["explanation", "scorer", "scorer_model", "calibration", "metric", "sample_set", "split"]),
    ("neurons", &["hook_point", "neuron", "corpus"]),
    ("explanations", &["explanation"]),
];

/// Adds the rows of a folder's files that the lake has not; `watch` is told how many tables are done of how many.
///
/// All files are looked at before the first row is written. Rows keep their column `run`, whose rows of `runs` come along; the import has a row
/// of its own there. Memory holds the keys of the lake's rows of the models that come, and 96 MiB of rows.
///
/// # Errors
/// [`ExchangeError::NoSuchSource`] for a folder without files of tables; [`ExchangeError::BadFile`] for one whose columns or values are others
/// than its table's: what was committed stays, and the same command goes on from there.
pub async fn read_parquet(session: &Session, folder: &Path, watch: Watch<'_>) -> Result<Report> {
    let lease = Lease::take(session.lake(), "import parquet").await?;
    let report = read_alone(session, folder, watch).await;
    lease.release().await;
    report
}

async fn read_alone(session: &Session, folder: &Path, watch: Watch<'_>) -> Result<Report> {
    let mut report = Report::default();
    let mut files = Vec::new();
    for (name, keys) in TABLES {
        let path = folder.join(format!("{name}.parquet"));
        if path.is_file() {
            let definition = table(name).ok_or_else(|| Error::internal(format!("no table {name}")))?;
            files.push(TableFile::open(path, definition, keys).await?);
        }
    }
    note_others(folder, &mut report)?;
    if files.is_empty() {
        let fault = ExchangeError::NoSuchSource {
            source_url: folder.display().to_string(),
            expected: "a folder of 'neuronlake export parquet', with files such as explanations.parquet".to_owned(),
            got: "none of them".to_owned(),
        };
        return Err(fault.into());
    }
    let run = RunRow::starting("import_parquet", json!({ "source": folder.display().to_string() }).to_string());
    let mut written = Written { session, run, recorded: false, units: HashSet::new() };
    let total = files.len() as u64;
    let mut done = Ok(());
    for (at, file) in files.into_iter().enumerate() {
        done = written.table(file, &mut report).await;
        if done.is_err() {
            break;
        }
        watch(at as u64 + 1, total, &report);
    }
    if written.recorded {
        written.run.finish(session.lake(), report.n_rows() as usize, 0.0).await?;
    }
    report.n_units = written.units.len() as u64;
    done.map(|()| report)
}

/// Counts files that are of no table that is read.
fn note_others(folder: &Path, report: &mut Report) -> Result<()> {
    let fault = |source| Error::File { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        let of_table = |name: &str| TABLES.iter().any(|(table, _)| *table == name);
        match name.strip_suffix(".parquet") {
            Some("sparse_autoencoders") => {
                count(
                    &mut report.not_kept,
                    "sparse_autoencoders.parquet: weights travel by 'sae export' and 'sae import'",
                );
            }
            Some(table) if !of_table(table) => count(&mut report.not_kept, &format!("{name}: no such table")),
            _ => {}
        }
    }
    Ok(())
}

/// One table's file, whose columns are the table's.
struct TableFile {
    path: PathBuf,
    definition: &'static TableDefinition,
    keys: &'static [&'static str],
    rows: ParquetRecordBatchStream<File>,
}

impl TableFile {
    async fn open(path: PathBuf, definition: &'static TableDefinition, keys: &'static [&'static str]) -> Result<Self> {
        let file = File::open(&path).await.map_err(|source| Error::File { path: path.clone(), source })?;
        let builder = ParquetRecordBatchStreamBuilder::new(file).await;
        let rows = builder.and_then(|builder| builder.with_batch_size(ROWS_AT_ONCE).build());
        let rows = rows.map_err(|error| bad(&path, &error))?;
        check_batch(definition, &RecordBatch::new_empty(Arc::clone(rows.schema())))
            .map_err(|error| bad(&path, &error))?;
        Ok(Self { path, definition, keys, rows })
    }
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> Error {
    ExchangeError::BadFile(Fault::of(path.display().to_string(), error.to_string())).into()
}

/// What was written so far.
struct Written<'a> {
    session: &'a Session,
    run: RunRow,
    recorded: bool,
    // Keys of units that rows were written of.
    units: HashSet<u64>,
}

impl Written<'_> {
    /// Adds the rows of a file that the lake had not.
    async fn table(&mut self, mut file: TableFile, report: &mut Report) -> Result<()> {
        let lake = self.session.lake();
        let name = file.definition.name.as_str();
        let of_model = file.definition.schema.field_with_name("model").is_ok() && name != "runs";
        let unit: &[&str] = match file.definition.schema.field_with_name("neuron") {
            Ok(_) => &["model", "hook_point", "neuron"],
            Err(_) => file.keys,
        };
        let mut known: HashMap<String, HashSet<u64>> = HashMap::new();
        let mut writer: Option<TableWriter> = None;
        let mut n_rows = 0;
        while let Some(batch) = file.rows.next().await {
            let batch = batch.map_err(|error| bad(&file.path, &error))?;
            let batch = check_batch(file.definition, &batch).map_err(|error| bad(&file.path, &error))?;
            let models = if of_model { keys_text(&batch, &["model"])? } else { vec![String::new(); batch.num_rows()] };
            for model in &models {
                if !known.contains_key(model) {
                    known.insert(model.clone(), self.known(name, of_model.then_some(model), file.keys).await?);
                }
            }
            let keys = keys_text(&batch, file.keys)?;
            let is_new = models.iter().zip(&keys).map(|(model, key)| !known[model].contains(&hash::key(key)));
            let batch = filter_record_batch(&batch, &is_new.collect::<BooleanArray>())?;
            if batch.num_rows() == 0 {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                none => {
                    if !self.recorded {
                        self.run.record(lake).await?;
                        self.recorded = true;
                    }
                    none.insert(TableWriter::open(lake, file.definition, &self.run.id).await?)
                }
            };
            let units = keys_text(&batch, unit)?;
            if unit.contains(&"neuron") {
                self.units.extend(units.iter().map(|unit| hash::key(unit)));
            }
            n_rows += batch.num_rows() as u64;
            // Rows of one unit say that all of them are there, so they are never in two commits.
            let end = units.iter().rposition(|other| other != &units[units.len() - 1]).map_or(0, |at| at + 1);
            if writer.pending_bytes() > CHUNK_BYTES && end > 0 {
                writer.write(&batch.slice(0, end)).await?;
                writer.commit().await?;
                writer.write(&batch.slice(end, batch.num_rows() - end)).await?;
            } else {
                writer.write(&batch).await?;
            }
        }
        if let Some(mut writer) = writer {
            writer.commit().await?;
            report.rows.insert(name.to_owned(), n_rows);
        }
        report.n_files += 1;
        report.n_bytes += std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        Ok(())
    }

    /// The keys of the lake's rows of a model.
    async fn known(&self, table: &str, model: Option<&String>, keys: &[&str]) -> Result<HashSet<u64>> {
        let of_model = model.map(|model| format!(" WHERE model = {}", Parameter::Text(model.clone()).to_sql()));
        let sql = format!("SELECT DISTINCT {} FROM {table}{}", keys.join(", "), of_model.unwrap_or_default());
        let mut found = HashSet::new();
        let mut rows = self.session.sql(&sql).await?.execute_stream().await?;
        while let Some(batch) = rows.next().await {
            found.extend(keys_text(&batch?, keys)?.iter().map(|key| hash::key(key)));
        }
        Ok(found)
    }
}

/// The values of these columns as one text a row, with a separator between them; NULL is an empty text.
fn keys_text(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<String>> {
    let mut keys = vec![String::new(); batch.num_rows()];
    for (at, column) in columns.iter().enumerate() {
        let values: ArrayRef = cast(batch.column(batch.schema().index_of(column)?), &DataType::Utf8)?;
        let values = values.as_string::<i32>();
        for (row, key) in keys.iter_mut().enumerate() {
            if at > 0 {
                key.push('\u{1f}');
            }
            if !values.is_null(row) {
                key.push_str(values.value(row));
            }
        }
    }
    Ok(keys)
}
