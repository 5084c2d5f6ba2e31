use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;

#[test]
fn rows_of_this_process_are_not_told_as_a_table_without_any() {
    let numbers = |numbers: Vec<i64>| {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap()
    };
    let (none, some) = (numbers(vec![]), numbers(vec![1]));
    assert!(can_be_told(&none) && matches!(told(&none).unwrap(), Some(Told::Empty)));
    assert!(!can_be_told(&some) && told(&some).unwrap().is_none());
    let encoded =
        LakeCodec::default().try_encode_table_provider(&TableReference::bare("n"), Arc::new(some), &mut Vec::new());
    assert!(encoded.unwrap_err().to_string().contains("no other can be told of them"));
}

#[tokio::test]
async fn rows_that_are_sent_along_arrive_as_they_were() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
    let rows = RecordBatch::try_from_iter_with_nullable([("key", column, true)]).unwrap();
    let (name, sent) = (TableReference::bare("keys"), Arc::new(SentRows::new(rows.clone()).unwrap()));
    assert!(can_be_told(sent.as_ref()));
    let (codec, mut bytes) = (LakeCodec::default(), Vec::new());
    codec.try_encode_table_provider(&name, sent, &mut bytes).unwrap();
    let got = codec.try_decode_table_provider(&bytes, &name, rows.schema(), &TaskContext::default()).unwrap();
    let got = (got.as_ref() as &dyn Any).downcast_ref::<MemTable>().unwrap();
    assert_eq!(got.batches[0].read().await.as_slice(), [rows]);
}
