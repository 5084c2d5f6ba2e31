//! Every batch is checked against its schema file before it is written.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};

use super::definition::TableDefinition;
use crate::error::{Error, Result};

/// The batch with the table's columns in the table's order and types, ready to be written.
///
/// # Errors
/// [`Error::Batch`] naming the column when one is missing, unknown or of another kind, when a NOT NULL column
/// holds a NULL, or when a float is NaN (an undefined number is NULL).
pub fn check_batch(definition: &TableDefinition, batch: &RecordBatch) -> Result<RecordBatch> {
    let fault = |column: &str, expected: String, got: String| Error::Batch {
        table: definition.name.clone(),
        column: column.to_owned(),
        expected,
        got,
    };
    let schema = batch.schema();
    if let Some(extra) = schema.fields().iter().find(|f| definition.schema.field_with_name(f.name()).is_err()) {
        return Err(fault(extra.name(), "a column of the table".to_owned(), "an unknown column".to_owned()));
    }
    let mut columns = Vec::with_capacity(definition.schema.fields().len());
    for field in definition.schema.fields() {
        let array = batch
            .column_by_name(field.name())
            .ok_or_else(|| fault(field.name(), field.data_type().to_string(), "no such column".to_owned()))?;
        let array = convert(field, array).map_err(|got| fault(field.name(), field.data_type().to_string(), got))?;
        if !field.is_nullable() && array.null_count() > 0 {
            let row = (0..array.len()).find(|&row| array.is_null(row)).unwrap_or_default();
            return Err(fault(
                field.name(),
                "a value (NOT NULL)".to_owned(),
                format!("NULL in row {row} of the batch"),
            ));
        }
        if let Some(row) = first_nan(&array) {
            return Err(fault(field.name(), "a number or NULL".to_owned(), format!("NaN in value {row} of the batch")));
        }
        columns.push(array);
    }
    Ok(RecordBatch::try_new(Arc::clone(&definition.schema), columns)?)
}

/// Casts only between encodings of one kind of value; a string never becomes a number, a float never an integer.
fn convert(field: &Field, array: &ArrayRef) -> Result<ArrayRef, String> {
    let (from, to) = (array.data_type(), field.data_type());
    if from == to {
        return Ok(Arc::clone(array));
    }
    if !same_kind(from, to) || !can_cast_types(from, to) {
        return Err(from.to_string());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|e| e.to_string())
}

fn same_kind(from: &DataType, to: &DataType) -> bool {
    use DataType::{Dictionary, Float32, Float64, LargeList, List, Null, Timestamp};
    match (from, to) {
        (Null, _) => true,
        // Delta hands out partition columns as dictionaries.
        (Dictionary(_, values), _) => same_kind(values, to),
        (List(from) | LargeList(from), List(to)) => same_kind(from.data_type(), to.data_type()),
        (Float32 | Float64, Float32 | Float64) => true,
        (Timestamp(..), Timestamp(..)) => true,
        _ => (from.is_integer() && to.is_integer()) || (from.is_string() && to.is_string()) || from == to,
    }
}

fn first_nan(array: &ArrayRef) -> Option<usize> {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().values().iter().position(|v| v.is_nan()),
        DataType::Float64 => array.as_primitive::<Float64Type>().values().iter().position(|v| v.is_nan()),
        DataType::List(_) => first_nan(array.as_list::<i32>().values()),
        _ => None,
    }
}
