//! Units of a block, and statements of blocks.

use arrow::array::{ArrayRef, Int32Array, StringArray};

use super::*;

fn rows(columns: &[(&str, &[i32])]) -> RecordBatch {
    let column = |(name, values): &(&str, &[i32])| -> (String, ArrayRef) {
        ((*name).to_owned(), Arc::new(Int32Array::from(values.to_vec())))
    };
    RecordBatch::try_from_iter(columns.iter().map(column)).unwrap()
}

fn rows_of(block: &Block, neuron: i64, most: i64) -> Vec<i32> {
    let unit = block.unit(neuron, most).unwrap();
    unit.column(1).as_primitive::<Int32Type>().values().to_vec()
}

#[test]
fn a_unit_has_its_own_rows_and_no_more_than_it_may() {
    let block =
        Block { rows: rows(&[("neuron", &[16, 16, 18, 18, 18, 31]), ("rank", &[0, 1, 0, 1, 2, 0])]), whole: true };
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
