//! Rows as JSON.

use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use arrow::json::writer::JsonArray;
use arrow::json::writer::WriterBuilder;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Rows as objects, a field a column, NULL as null. JSON has no NaN and no infinity: they are null too.
pub(crate) fn objects(batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>> {
    let mut writer: ArrayWriter<Vec<u8>> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|error| Error::internal(format!("rows as JSON: {error}")))
}
