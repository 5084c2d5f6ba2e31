//! Rows as JSON, as Arrow writes it.

use arrow::array::RecordBatch;
use arrow::json::writer::{JsonArray, WriterBuilder};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Rows as a JSON array of objects, a field a column, NULL as null. JSON has no NaN and no infinity: they are null too.
///
/// Numbers are written so that reading them gives the same bits.
pub(crate) fn array(batches: &[RecordBatch]) -> Result<String> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text =
        String::from_utf8(writer.into_inner()).map_err(|error| Error::internal(format!("rows as JSON: {error}")))?;
    Ok(if text.is_empty() { "[]".to_owned() } else { text })
}

/// Rows as objects, for pages; a number may differ in its last bit.
pub(crate) fn objects(batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>> {
    serde_json::from_str(&array(batches)?).map_err(|error| Error::internal(format!("rows as JSON: {error}")))
}
