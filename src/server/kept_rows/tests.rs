//! Units of a block, and statements of blocks.

use arrow::array::{ArrayRef, Int32Array, StringArray};

use super::*;

fn rows(columns: &[(&str, &[i32])]) -> RecordBatch {
    let column = |(name, values): &(&str, &[i32])| -> (String, ArrayRef) {
        ((*name).to_owned(), Arc::new(Int32Array::from(values.to_vec())))
    };
    RecordBatch::try_from_iter(columns.iter().map(column)).unwrap()
}

fn rows_of(block: &RecordBatch, neuron: i64, most: i64) -> Vec<i32> {
    let unit = unit(block, neuron, most).unwrap();
    unit.column(1).as_primitive::<Int32Type>().values().to_vec()
}

#[test]
fn a_unit_has_its_own_rows_and_no_more_than_it_may() {
    let block = rows(&[("neuron", &[16, 16, 18, 18, 18, 31]), ("rank", &[0, 1, 0, 1, 2, 0])]);
    let cases =
        [(16, 10, vec![0, 1]), (17, 10, vec![]), (18, 10, vec![0, 1, 2]), (18, 2, vec![0, 1]), (31, 1, vec![0])];
    for (neuron, most, expected) in cases {
        assert_eq!(rows_of(&block, neuron, most), expected, "neuron {neuron}, {most} rows");
    }
}

#[test]
fn rows_without_numbers_are_a_bug_of_ours() {
    assert!(numbers(&rows(&[("unit", &[1])])).is_err());
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    assert!(numbers(&RecordBatch::try_from_iter([("neuron", texts)]).unwrap()).is_err());
    assert_eq!(numbers(&rows(&[("neuron", &[1, 2])])).unwrap(), [1, 2]);
}

#[test]
fn a_statement_is_of_one_unit_or_of_its_block() {
    let query = queries::find("neuron_effects").unwrap();
    assert_eq!(most_rows(query).unwrap(), 200);
    let text = |text: &str| Parameter::Text(text.to_owned());
    let values = [("model", text("m")), ("hook_point", text("h"))];
    let sql = bound(query, &values, (16, 31), 3_200).unwrap();
    assert!(sql.contains("BETWEEN 16 AND 31") && sql.contains("LIMIT 3200"), "{sql}");
}

#[test]
fn blocks_are_as_wide_as_their_units_are_small() {
    let cases = [
        // Nothing was found: nothing stands against the widest.
        (0, WIDEST, WIDEST),
        (BLOCK_BYTES / 1_024, WIDEST, 1_024),
        (BLOCK_BYTES / 1_024 + 1, WIDEST, 512),
        (BLOCK_BYTES / 64, WIDEST, 64),
        (BLOCK_BYTES / 64, 40, 32),
        (BLOCK_BYTES, WIDEST, NARROWEST),
        (usize::MAX, WIDEST, NARROWEST),
    ];
    for (unit_bytes, widest, expected) in cases {
        assert_eq!(width(unit_bytes, widest), expected, "{unit_bytes} bytes a unit, at most {widest} units");
    }
    assert_eq!(widths(100).collect::<Vec<_>>(), [64, 32, 16]);
}

#[test]
fn what_is_read_tells_how_large_units_are_and_a_large_one_is_forgotten() {
    let state = Arc::new(LakeState::of(&crate::tables::lake::Lake::at("/nonexistent").unwrap()));
    let kept = KeptRows::of(&state);
    let read = |neurons: &[i32], bytes: usize| {
        let batch = rows(&[("neuron", neurons)]);
        Read { schema: batch.schema(), batches: vec![batch], bytes }
    };
    let seen = |name| kept.unit_bytes.lock().get(name).copied();
    kept.learn("records", &read(&[1, 1, 2, 5], 3_000)).unwrap();
    assert_eq!((seen("records"), seen("scores")), (Some(1_000), None));
    kept.learn("records", &read(&[8], 8_000)).unwrap();
    assert_eq!(seen("records"), Some(8_000));
    kept.learn("records", &read(&[9], 1_000)).unwrap();
    assert_eq!(seen("records"), Some(6_000));
    // No rows are small rows.
    kept.learn("scores", &read(&[], 0)).unwrap();
    assert_eq!(seen("scores"), Some(0));
}

#[tokio::test]
async fn one_caller_reads_the_first_block_and_the_others_know_its_width() {
    let state = Arc::new(LakeState::of(&crate::tables::lake::Lake::at("/nonexistent").unwrap()));
    let kept = KeptRows::of(&state);
    let (first, guard) = kept.width("records", WIDEST).await;
    assert!(guard.is_some());
    let others = async { futures::join!(kept.width("records", WIDEST), kept.width("records", 100)) };
    let reading = async {
        kept.unit_bytes.lock().insert("records", BLOCK_BYTES / 256);
        drop(guard);
    };
    let ((wide, none), (narrower, no_more)) = futures::join!(others, reading).0;
    assert_eq!((first, wide, narrower), (NARROWEST, 256, 64));
    assert!(none.is_none() && no_more.is_none());
}

#[test]
fn statements_with_other_values_have_other_keys() {
    let text = |text: &str| Parameter::Text(text.to_owned());
    let key = |model: &str, hook_point: &str| {
        let values = [("model", text(model)), ("hook_point", text(hook_point))];
        Statement::new("neuron_effects", &values, None).unwrap().key()
    };
    assert_eq!(key("m", "h"), key("m", "h"));
    assert_ne!(key("m", "h"), key("h", "m"));
    assert_ne!(key("m'\nhook_point = 'h", "h"), key("m", "h'\nhook_point = 'h"));
    let values = [("model", text("m")), ("hook_point", text("h"))];
    let of = |call: &'static str| {
        let call = move |first: i64, last: i64| format!("{call}({first}, {last})");
        let in_place = InPlace { table: "token_effects", call: &call, end: 20, widest: 100 };
        let statement = Statement::new("neuron_effects", &values, Some(in_place)).unwrap();
        (statement.key(), statement.sql((16, 19), 10).unwrap())
    };
    let ((a, sql), (b, _)) = (of("weights"), of("others"));
    assert_ne!(a, b);
    assert!(sql.contains("FROM weights(16, 19)"), "{sql}");
}

#[test]
fn every_query_of_units_says_how_many_rows_a_unit_has() {
    let of_units = queries::of_kind(queries::Kind::Viewer)
        .filter(|query| query.params.iter().any(|(name, _)| name == "first_neuron"));
    let mut n_queries = 0;
    for query in of_units {
        n_queries += 1;
        most_rows(query).unwrap();
        assert!(query.sql.contains("LIMIT $rows"), "{}", query.name);
        assert!(query.params.iter().any(|(name, _)| name == "last_neuron"), "{}", query.name);
    }
    assert_eq!(n_queries, 12);
}
