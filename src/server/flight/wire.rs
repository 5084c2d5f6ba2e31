//! Batches as messages: types that every client reads, and sizes that every client takes.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::fault;
use crate::error::{Error, Result};

/// Bytes of values in one message, but for a single row that is larger: clients of gRPC take 4 MiB unless told otherwise.
const LARGEST: usize = 1 << 20;

/// A schema as it is sent: no dictionaries, views or runs, which some clients cannot read.
pub(super) fn sent_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(sent_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema of rows of several runs: a column that one run knows to hold no NULL may do so in the next.
pub(super) fn of_any_run(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn sent_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(sent_type(field.data_type())))
}

fn sent_type(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => sent_type(values),
        DataType::RunEndEncoded(_, values) => sent_type(values.data_type()),
        // The encoder of arrow-flight makes lists of large ones too.
        DataType::List(item) | DataType::ListView(item) | DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::List(sent_field(item))
        }
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(sent_field(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(sent_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(sent_field(entries), *sorted),
        other => other.clone(),
    }
}

/// The stream of messages for these rows; a row is encoded when the reader is ready for it.
pub(super) fn messages(
    schema: &Schema,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let schema = sent_schema(schema);
    let sent = Arc::clone(&schema);
    let pieces = batches
        .map(move |batch| batch.and_then(|batch| as_sent(&batch, &sent)))
        .map_err(|error| FlightError::from(fault::status(&error)))
        .map_ok(|batch| stream::iter(pieces(batch).into_iter().map(Ok)))
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // It measures whole buffers, also those of which a batch holds a slice; pieces are small enough.
        .with_max_flight_data_size(usize::MAX)
        .build(pieces)
        .map_err(Status::from)
        .boxed()
}

/// The batch in the types that are sent.
fn as_sent(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        let (expected, got) = (schema.fields().len(), batch.num_columns());
        return Err(Error::internal(format!("a batch has {got} columns, its schema {expected}")));
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The batch in pieces of at most [`LARGEST`] bytes, or of one row.
fn pieces(batch: RecordBatch) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let mut rest = vec![batch];
    while let Some(batch) = rest.pop() {
        let rows = batch.num_rows();
        if rows > 1 && batch.columns().iter().map(|column| size(column)).sum::<usize>() > LARGEST {
            rest.push(batch.slice(rows / 2, rows - rows / 2));
            rest.push(batch.slice(0, rows / 2));
        } else {
            pieces.push(batch);
        }
    }
    pieces
}

/// Bytes that an array takes in a message; a slice of a large array counts as what it shows of it.
fn size(array: &dyn Array) -> usize {
    let shown = |offsets: &[i32], values: &dyn Array| {
        let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
        size_of_val(offsets) + size(&values.slice(first, last - first))
    };
    let nulls = array.nulls().map_or(0, |_| array.len() / 8);
    nulls
        + match array.data_type() {
            DataType::List(_) => shown(array.as_list::<i32>().value_offsets(), array.as_list::<i32>().values()),
            DataType::Map(..) => shown(array.as_map().value_offsets(), array.as_map().entries()),
            DataType::FixedSizeList(..) => size(array.as_fixed_size_list().values()),
            DataType::Struct(_) => array.as_struct().columns().iter().map(|column| size(column)).sum(),
            _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()),
        }
}

#[cfg(test)]
mod tests;
