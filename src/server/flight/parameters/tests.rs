//! What is taken for values, and what is not.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, NullArray, StringArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use futures::stream;
use tonic::Code;

use super::*;

async fn encoded(columns: Vec<(&str, ArrayRef)>, options: IpcWriteOptions) -> Vec<FlightData> {
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let encoder = FlightDataEncoderBuilder::new().with_options(options).build(stream::iter([Ok(rows)]));
    encoder.try_collect().await.unwrap()
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    vec![
        ("number", Arc::new(Int64Array::from(vec![Some(7), None]))),
        ("text", Arc::new(StringArray::from(vec!["seven", "nothing"]))),
        ("list", Arc::new(lists)),
    ]
}

async fn taken(messages: Vec<FlightData>, n_expected: usize) -> Result<Option<RecordBatch>, Status> {
    read(stream::iter(messages.into_iter().map(Ok)), n_expected).await
}

#[tokio::test]
async fn values_are_read_as_they_were_sent() {
    let messages = encoded(columns(), IpcWriteOptions::default()).await;
    let mut with_command = vec![FlightData::new()];
    with_command.extend(messages.clone());
    for messages in [messages, with_command] {
        let rows = taken(messages, 3).await.unwrap().unwrap();
        assert_eq!(rows, RecordBatch::try_from_iter(columns()).unwrap());
    }
    assert_eq!(taken(vec![FlightData::new()], 0).await.unwrap(), None);
    assert_eq!(taken(Vec::new(), 3).await.unwrap(), None);
}

#[tokio::test]
async fn too_much_and_too_little_is_refused() {
    let numbers = |n: i64| vec![("n", Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef)];
    let huge: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(MOST_BYTES)]));
    let nulls: ArrayRef = Arc::new(NullArray::new(1 << 40));
    for (columns, n_expected, words) in [
        (numbers(1), 2, "expected values of 2 parameters, got 1"),
        (numbers(1), 0, "expected values of 0 parameters, got 1"),
        (numbers(1001), 1, "expected at most 1000 rows of values"),
        (vec![("n", nulls)], 1, "expected at most 1000 rows of values"),
        (vec![("n", huge)], 1, "expected at most 8388608 bytes of values"),
    ] {
        let messages = encoded(columns, IpcWriteOptions::default()).await;
        let status = taken(messages, n_expected).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, words));
    }
    let none = RecordBatch::try_from_iter(numbers(0)).unwrap();
    let messages = arrow_flight::utils::batches_to_flight_data(&none.schema(), vec![none]).unwrap();
    let status = taken(messages, 1).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "expected a row of values, got none"));
}

/// A length that a sender makes up must not become an allocation.
#[tokio::test]
async fn compressed_values_are_refused() {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let status = taken(encoded(columns(), options).await, 3).await.unwrap_err();
    assert_eq!(status.message(), "expected values without compression");
}

/// The library unwraps what a damaged schema does not hold: that must end here.
#[tokio::test]
async fn damaged_messages_are_refused_and_nothing_else() {
    let messages = encoded(columns(), IpcWriteOptions::default()).await;
    let mut n_refused = 0;
    for at in 0..messages.len() {
        for part in 0..2 {
            let of = |message: &FlightData| match part {
                0 => message.data_header.clone(),
                _ => message.data_body.clone(),
            };
            let whole = of(&messages[at]);
            let flipped = (0..whole.len() * 8).map(|bit| {
                let mut copy = whole.to_vec();
                copy[bit / 8] ^= 1 << (bit % 8);
                copy
            });
            let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
            for bytes in flipped.chain(cut) {
                let mut sent = messages.clone();
                match part {
                    0 => sent[at].data_header = bytes.into(),
                    _ => sent[at].data_body = bytes.into(),
                }
                if let Err(status) = taken(sent, 3).await {
                    assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
                    n_refused += 1;
                }
            }
        }
    }
    assert!(n_refused > 1000, "{n_refused}");
}
