//! Values for the parameters of a statement, as clients send them.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use datafusion::common::ScalarValue;
use futures::{FutureExt, Stream, TryStreamExt};
use tonic::Status;

use super::fault;
use crate::server::limits::STALL;

/// Bytes of values at most.
const MOST_BYTES: usize = 8 << 20;
/// Rows of values at most; a statement is run once a row.
const MOST_ROWS: usize = 1_000;

/// The columns that a client is told to send. A type that cannot be told is said to be text, which JDBC's setString can send; whatever
/// comes is taken as it is.
pub(super) fn schema(parameters: &[(String, Option<DataType>)]) -> Schema {
    let field = |(name, of): &(String, Option<DataType>)| {
        let of = of.clone().filter(|of| *of != DataType::Null).unwrap_or(DataType::Utf8);
        Field::new(format!("${name}"), of, true)
    };
    Schema::new(parameters.iter().map(field).collect::<Vec<_>>())
}

/// Reads rows of values; `None` where the client sent no columns.
///
/// # Errors
/// INVALID_ARGUMENT for what cannot be read, for too much, and for a number of columns that is not `n_expected`.
pub(super) async fn read(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + Unpin + 'static,
    n_expected: usize,
) -> Result<Option<RecordBatch>, Status> {
    // Whatever bytes come, the worst they do is to be refused.
    let reading = AssertUnwindSafe(tokio::time::timeout(STALL, decoded(messages))).catch_unwind();
    let batches = match reading.await {
        Ok(Ok(batches)) => batches?,
        Ok(Err(_)) => return Err(Status::aborted("given up: the values of the parameters did not come")),
        Err(_) => return Err(fault::unreadable("parameters", "they are no Arrow data")),
    };
    let Some(first) = batches.first() else { return Ok(None) };
    let rows = concat_batches(&first.schema(), &batches).map_err(|error| fault::unreadable("parameters", error))?;
    if rows.num_columns() == 0 && n_expected == 0 {
        return Ok(None);
    }
    if rows.num_columns() != n_expected {
        let got = rows.num_columns();
        return Err(Status::invalid_argument(format!("expected values of {n_expected} parameters, got {got}")));
    }
    match rows.num_rows() {
        0 => Err(Status::invalid_argument("expected a row of values, got none")),
        _ => Ok(Some(rows)),
    }
}

async fn decoded(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + Unpin + 'static,
) -> Result<Vec<RecordBatch>, Status> {
    let mut n_bytes = 0;
    let messages = messages.and_then(move |message| {
        n_bytes += message.data_header.len() + message.data_body.len();
        let checked = match n_bytes > MOST_BYTES {
            true => Err(Status::invalid_argument(format!("expected at most {MOST_BYTES} bytes of values"))),
            false => sound(message),
        };
        std::future::ready(checked)
    });
    // A first message may hold nothing but the command.
    let messages = messages.try_filter(|message| std::future::ready(!message.data_header.is_empty()));
    let mut stream = FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
    let (mut batches, mut n_rows) = (Vec::new(), 0_usize);
    let unreadable = |error| match error {
        FlightError::Tonic(status) => *status,
        error => fault::unreadable("parameters", error),
    };
    while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
        n_rows = n_rows.saturating_add(batch.num_rows());
        if n_rows > MOST_ROWS {
            return Err(Status::invalid_argument(format!("expected at most {MOST_ROWS} rows of values")));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// Refuses compressed values, whose length is whatever their sender says, and buffers that do not lie in the message.
fn sound(message: FlightData) -> Result<FlightData, Status> {
    if message.data_header.is_empty() {
        return Ok(message);
    }
    let header = root_as_message(&message.data_header).map_err(|error| fault::unreadable("parameters", error))?;
    let batch = header.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let Some(batch) = header.header_as_record_batch().or(batch) else { return Ok(message) };
    if batch.compression().is_some() {
        return Err(Status::invalid_argument("expected values without compression"));
    }
    let end = |offset: i64, length: i64| usize::try_from(offset).ok()?.checked_add(usize::try_from(length).ok()?);
    let inside = |offset, length| end(offset, length).is_some_and(|end| end <= message.data_body.len());
    let buffers = batch.buffers().into_iter().flatten();
    let nodes = batch.nodes().into_iter().flatten();
    let sound = buffers.into_iter().all(|buffer| inside(buffer.offset(), buffer.length()))
        && nodes.into_iter().all(|node| (0..=node.length()).contains(&node.null_count()));
    match sound {
        true => Ok(message),
        false => Err(fault::unreadable("parameters", "buffers outside of their message")),
    }
}

/// One row of values by the names of the parameters.
///
/// # Errors
/// INVALID_ARGUMENT for a type that no parameter takes.
pub(super) fn row(
    parameters: &[(String, Option<DataType>)],
    values: &RecordBatch,
    row: usize,
) -> Result<Vec<(String, ScalarValue)>, Status> {
    let values = parameters.iter().zip(values.columns()).map(|((name, _), column)| {
        let value = ScalarValue::try_from_array(column, row);
        value.map(|value| (name.clone(), value)).map_err(|error| fault::unreadable("parameters", error))
    });
    values.collect()
}

#[cfg(test)]
mod tests;
