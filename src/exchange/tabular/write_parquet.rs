//! The lake's own rows, a Parquet file a table.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::exchange::export::filter;
use crate::exchange::lake_reader;
use crate::exchange::output::NewFile;
use crate::exchange::report::Report;
use crate::pipeline::queries::Parameter;
use crate::session::Session;
use crate::tables::check::check_batch;
use crate::tables::definition::{TableDefinition, table, tables};

/// Writes a Parquet file a table, with the rows of the selected units, the token sequences that they refer to and the runs that wrote them.
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
    let mut runs = BTreeSet::new();
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
        write_table(session, definition, &sql, folder, &mut runs, &mut report).await?;
    }
    let definition = table("runs").ok_or_else(|| Error::internal("no table runs"))?;
    let ids: Vec<String> = runs.into_iter().map(|run| Parameter::Text(run).to_sql()).collect();
    let sql = format!("SELECT * FROM runs WHERE run IN ({}) ORDER BY started_at, run", ids.join(", "));
    write_table(session, definition, &sql, folder, &mut BTreeSet::new(), &mut report).await?;
    Ok(report)
}

/// Writes the rows of a query as a table's file, and notes which runs they are from; no file without rows.
async fn write_table(
    session: &Session,
    definition: &TableDefinition,
    sql: &str,
    folder: &Path,
    runs: &mut BTreeSet<String>,
    report: &mut Report,
) -> Result<()> {
    let path = &folder.join(format!("{}.parquet", definition.name));
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
        note_runs(&batch, runs);
        n_rows += batch.num_rows() as u64;
    }
    if let Some(writer) = writer {
        writer.into_inner().map_err(fault)?.finish()?;
        report.n_files += 1;
        report.rows.insert(definition.name.clone(), n_rows);
    }
    Ok(())
}

fn note_runs(batch: &RecordBatch, runs: &mut BTreeSet<String>) {
    let Some(column) = batch.column_by_name("run") else { return };
    // Neighbours are of one run, mostly.
    let mut last = None;
    for run in column.as_string::<i32>().iter() {
        if run != last {
            runs.extend(run.map(str::to_owned));
            last = run;
        }
    }
}
