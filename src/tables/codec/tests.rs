use arrow::array::{ArrayRef, Int64Array};

use super::*;

#[test]
fn rows_of_this_process_are_not_told_as_a_table_without_any() {
    let numbers = |numbers: Vec<i64>| {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap()
    };
    let (none, some) = (numbers(vec![]), numbers(vec![1]));
    assert!(can_be_told(&none) && matches!(told(&none), Some(Told::Empty)));
    assert!(!can_be_told(&some) && told(&some).is_none());
    let encoded =
        LakeCodec::default().try_encode_table_provider(&TableReference::bare("n"), Arc::new(some), &mut Vec::new());
    assert!(encoded.unwrap_err().to_string().contains("no other can be told of them"));
}
