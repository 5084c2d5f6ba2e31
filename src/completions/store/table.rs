//! The table `completions`: what files of lines become.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, TimestampMicrosecondType};
use deltalake::DeltaTable;
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Row;
use crate::completions::model_name::ModelName;
use crate::error::{Error, Result};
use crate::tables::definition::{TableDefinition, table};
use crate::tables::lake::Lake;
use crate::tables::writer::{Origin, TableWriter, opened_after};

/// How often lines are moved while other processes move theirs.
const TRIES: usize = 20;

/// Rows of one batch.
const BATCH: usize = 4_096;

fn definition() -> Result<&'static TableDefinition> {
    table("completions").ok_or_else(|| Error::internal("no table 'completions'"))
}

/// The rows of one model.
pub(super) async fn rows_of(lake: &Lake, name: &ModelName) -> Result<Vec<Row>> {
    let engine = name.engine.to_string();
    let mut rows = Vec::new();
    let Some(stored) = lake.open(definition()?).await? else { return Ok(rows) };
    each_batch(&stored, None, |batch| {
        let (engines, models) = (texts(&batch, "engine")?, texts(&batch, "model")?);
        let wanted: BooleanArray =
            (0..batch.num_rows()).map(|i| Some(engines.value(i) == engine && models.value(i) == name.model)).collect();
        rows.extend(read_rows(&filter_record_batch(&batch, &wanted)?)?);
        Ok(())
    })
    .await?;
    Ok(rows)
}

/// Writes the rows whose key the table does not hold, in one commit; their number.
pub(super) async fn append_new(lake: &Lake, rows: Vec<Row>) -> Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut tried = 1;
    loop {
        match append_missing(lake, &rows).await {
            // Another process moved lines meanwhile, maybe these.
            Err(Error::Overtaken { .. }) if tried < TRIES => tried += 1,
            done => return done,
        }
    }
}

async fn append_missing(lake: &Lake, rows: &[Row]) -> Result<usize> {
    let keys: HashMap<&str, usize> = rows.iter().enumerate().map(|(i, row)| (row.completion.as_str(), i)).collect();
    let stored = lake.open(definition()?).await?;
    let mut there = HashSet::new();
    if let Some(stored) = &stored {
        each_batch(stored, Some("completion"), |batch| {
            let stored = texts(&batch, "completion")?;
            there.extend(stored.iter().flatten().filter_map(|key| keys.get(key).copied()));
            Ok(())
        })
        .await?;
    }
    let fresh: Vec<&Row> = rows.iter().enumerate().filter(|(i, _)| !there.contains(i)).map(|(_, row)| row).collect();
    if fresh.is_empty() {
        return Ok(0);
    }
    let origin = Origin { run: "completions".to_owned(), work: Some("completions".to_owned()) };
    let mut writer = TableWriter::over(opened_after(lake, definition()?, stored).await?, definition()?, origin)?;
    for part in fresh.chunks(BATCH) {
        writer.write(&batch_of(part)?).await?;
    }
    writer.commit().await?;
    Ok(fresh.len())
}

async fn each_batch(
    stored: &DeltaTable,
    column: Option<&str>,
    mut visit: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let paths: Vec<_> = stored.snapshot()?.log_data().into_iter().map(|file| file.object_store_path()).collect();
    let store = stored.object_store();
    for path in paths {
        let fault = |reason: String| Error::CompletionStore { path: path.to_string().into(), reason };
        let bytes = async { store.get(&path).await?.bytes().await }.await.map_err(|e| fault(e.to_string()))?;
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| fault(e.to_string()))?;
        if let Some(column) = column {
            let mask = ProjectionMask::columns(builder.parquet_schema(), [column]);
            builder = builder.with_projection(mask);
        }
        let reader = builder.with_batch_size(BATCH).build().map_err(|e| fault(e.to_string()))?;
        for batch in reader {
            visit(batch?)?;
        }
    }
    Ok(())
}

fn column(batch: &RecordBatch, name: &str, wanted: &DataType) -> Result<ArrayRef> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("table 'completions' without column '{name}'")))?;
    Ok(cast(column, wanted)?)
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    Ok(column(batch, name, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn read_rows(batch: &RecordBatch) -> Result<Vec<Row>> {
    let text = |name: &str| texts(batch, name);
    let number = |name: &str| -> Result<Int32Array> {
        Ok(column(batch, name, &DataType::Int32)?.as_primitive::<Int32Type>().clone())
    };
    let (completion, engine, model, endpoint) =
        (text("completion")?, text("engine")?, text("model")?, text("endpoint")?);
    let (purpose, request, reply, finish) = (text("purpose")?, text("request")?, text("reply")?, text("finish")?);
    let (sample_no, prompt, answer) = (number("sample_no")?, number("prompt_tokens")?, number("completion_tokens")?);
    let tokens = text("reply_tokens")?;
    let cost = column(batch, "cost", &DataType::Float64)?;
    let cost = cost.as_primitive::<Float64Type>();
    let definition = definition()?;
    let created = column(batch, "created_at", definition.schema.field_with_name("created_at")?.data_type())?;
    let created = created.as_primitive::<TimestampMicrosecondType>();
    let maybe = |array: &StringArray, i: usize| array.is_valid(i).then(|| array.value(i).to_owned());
    let count = |array: &Int32Array, i: usize| array.is_valid(i).then(|| array.value(i).cast_unsigned());
    let row = |i: usize| Row {
        completion: completion.value(i).to_owned(),
        engine: engine.value(i).to_owned(),
        model: model.value(i).to_owned(),
        endpoint: maybe(&endpoint, i),
        purpose: purpose.value(i).to_owned(),
        sample_no: sample_no.value(i).cast_unsigned(),
        request: request.value(i).to_owned(),
        reply: reply.value(i).to_owned(),
        finish: finish.value(i).to_owned(),
        prompt_tokens: count(&prompt, i),
        completion_tokens: count(&answer, i),
        cost: cost.is_valid(i).then(|| cost.value(i)),
        reply_tokens: maybe(&tokens, i),
        created_at: created.value(i),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn batch_of(rows: &[&Row]) -> Result<RecordBatch> {
    let text = |of: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(row)).collect::<StringArray>())
    };
    let number = |of: fn(&Row) -> Option<u32>| -> ArrayRef {
        // More than an INT holds cannot come from a model.
        Arc::new(rows.iter().map(|row| of(row).map(|n| i32::try_from(n).unwrap_or(i32::MAX))).collect::<Int32Array>())
    };
    let created = rows.iter().map(|row| Some(row.created_at)).collect::<TimestampMicrosecondArray>();
    let columns = vec![
        text(|row| Some(&row.completion)),
        text(|row| Some(&row.engine)),
        text(|row| Some(&row.model)),
        text(|row| row.endpoint.as_deref()),
        text(|row| Some(&row.purpose)),
        number(|row| Some(row.sample_no)),
        text(|row| Some(&row.request)),
        text(|row| Some(&row.reply)),
        text(|row| Some(&row.finish)),
        number(|row| row.prompt_tokens),
        number(|row| row.completion_tokens),
        Arc::new(rows.iter().map(|row| row.cost).collect::<Float64Array>()),
        text(|row| row.reply_tokens.as_deref()),
        Arc::new(created.with_timezone("UTC")),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&definition()?.schema), columns)?)
}
