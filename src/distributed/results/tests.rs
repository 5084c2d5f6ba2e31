use arrow::array::{FixedSizeBinaryArray, Int64Array};

use super::*;

#[test]
fn rows_are_sent_in_pieces_of_what_they_themselves_take() {
    let wide: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter((0..100).map(|_| [7_u8; 92])).unwrap());
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let batch = RecordBatch::try_from_iter([("wide", wide), ("number", numbers)]).unwrap();
    let check = |batch: &RecordBatch, bytes: usize, expected: &[usize]| {
        let pieces: Vec<RecordBatch> = pieces(batch.clone(), bytes).collect();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), expected, "of {bytes} bytes");
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &pieces).unwrap(), *batch);
    };
    check(&batch, 10_000, &[100]);
    check(&batch, 5_000, &[50, 50]);
    check(&batch, 4_000, &[34, 34, 32]);
    // Ten rows in the memory of a hundred are ten rows.
    check(&batch.slice(20, 10), 1_000, &[10]);
    // A row goes whole, however large.
    check(&batch.slice(0, 2), 1, &[1, 1]);
}

#[test]
fn a_task_without_rows_sends_none() {
    let none: ArrayRef = Arc::new(Int64Array::from_iter_values([]));
    assert_eq!(pieces(RecordBatch::try_from_iter([("n", none)]).unwrap(), 1).count(), 0);
}
