use std::sync::Arc;

use arrow::array::{Int64Array, ListArray};

use super::*;
use crate::token_sequences::split::Split;

fn window(sequence: i64, n_tokens: usize) -> OwnedWindow {
    OwnedWindow { sequence, document: 0, split: Split::Train, token_ids: vec![0; n_tokens], recordable: true }
}

fn batch(rows: &[(i64, &[f32])]) -> RecordBatch {
    let sequences: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
    let lists = rows.iter().map(|row| Some(row.1.iter().copied().map(Some)));
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
    RecordBatch::try_from_iter([
        ("sequence", Arc::new(sequences) as arrow::array::ArrayRef),
        ("activations", Arc::new(lists)),
    ])
    .unwrap()
}

#[test]
fn rows_of_workers_are_put_in_the_order_of_windows() {
    let windows = [window(3, 2), window(5, 1)];
    // Hook points of one and of two units; the second window comes first and a window may be cut by a batch.
    let batches = [batch(&[(5, &[9.0]), (3, &[1.0, 2.0]), (5, &[7.0, 8.0])]), batch(&[(3, &[3.0, 4.0, 5.0, 6.0])])];
    let found = tiles(&windows, &[1, 2], &batches).unwrap();
    assert_eq!(found, [vec![1.0, 2.0, 9.0], vec![3.0, 4.0, 5.0, 6.0, 7.0, 8.0]]);
}

#[test]
fn a_window_that_is_not_what_was_asked_for_is_refused() {
    let missing = tiles(&[window(3, 1)], &[1], &[batch(&[(4, &[1.0])])]).unwrap_err().to_string();
    assert!(missing.contains("token sequence 3 on a worker: expected 1 hook points, got 0"), "{missing}");
    let short = tiles(&[window(3, 2)], &[1], &[batch(&[(3, &[1.0])])]).unwrap_err().to_string();
    assert!(short.contains("expected 2 activations, got 1"), "{short}");
}
