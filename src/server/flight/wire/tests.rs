//! Sizes of messages.

use arrow::array::{ArrayRef, Int32Array, ListArray, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn lists(n_rows: usize, length: usize) -> ListArray {
    ListArray::from_iter_primitive::<Int32Type, _, _>((0..n_rows).map(|_| Some((0..length as i32).map(Some))))
}

#[test]
fn a_slice_counts_as_what_it_shows() {
    let texts: StringArray = (0..1000).map(|at| Some(format!("{at:0100}"))).collect();
    assert_eq!(size(&texts), 1000 * 100 + 1001 * 4);
    assert_eq!(size(&texts.slice(10, 2)), 200 + 3 * 4);
    let lists = lists(100, 50);
    assert_eq!(size(&lists), 101 * 4 + 100 * 50 * 4);
    assert_eq!(size(&lists.slice(99, 1)), 2 * 4 + 50 * 4);
}

#[test]
fn pieces_hold_all_rows_in_order_and_are_small() {
    let long: StringArray = (0..100).map(|at| Some("x".repeat(at * 1000))).collect();
    let numbers = Int32Array::from_iter_values(0..100);
    let whole = batch(vec![("long", Arc::new(long)), ("number", Arc::new(numbers))]);
    let parts = pieces(whole.clone());
    assert!(parts.len() > 4);
    assert!(parts.iter().all(|part| part.columns().iter().map(|column| size(column)).sum::<usize>() <= LARGEST));
    assert_eq!(arrow::compute::concat_batches(&whole.schema(), &parts).unwrap(), whole);

    let huge = batch(vec![("one", Arc::new(StringArray::from(vec!["x".repeat(3 * LARGEST), String::new()])))]);
    assert_eq!(pieces(huge).iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1]);
    let rows = lists(10_000, 500).slice(5_000, 10);
    assert_eq!(pieces(batch(vec![("lists", Arc::new(rows))])).len(), 1, "a small slice of a large array is not cut");
    let none = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(3)),
    );
    assert_eq!(pieces(none.unwrap())[0].num_rows(), 3);
}

#[tokio::test]
async fn no_message_of_views_repeats_their_buffers() {
    let texts: StringViewArray = (0..20_000).map(|at| Some(format!("{at:0200}"))).collect();
    let rows = batch(vec![("view", Arc::new(texts))]);
    let schema = rows.schema();
    let sent: Vec<FlightData> = messages(&schema, stream::iter([Ok(rows)])).try_collect().await.unwrap();
    let bytes: usize = sent.iter().map(|message| message.data_body.len()).sum();
    assert!(sent.len() > 3 && bytes < 5_000_000, "{} messages, {bytes} bytes", sent.len());
    assert!(sent.iter().all(|message| message.data_body.len() < 2 * LARGEST));
}

#[tokio::test]
async fn a_batch_that_is_not_as_promised_is_our_fault() {
    let rows = batch(vec![("number", Arc::new(Int32Array::from(vec![1])))]);
    let sent: Result<Vec<FlightData>, Status> =
        messages(&Schema::empty(), stream::iter([Ok(rows)])).try_collect().await;
    assert_eq!(sent.unwrap_err().code(), tonic::Code::Internal);
}
