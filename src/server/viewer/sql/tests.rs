//! What a complaint says and where it points, and what cells show.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, StringArray};
use arrow::datatypes::Int32Type;

use super::*;

#[test]
fn a_complaint_points_at_its_place() {
    let check = |sql: &str, detail: &str, words: &str, place: Option<(usize, usize, &str)>| {
        let complaint = Complaint::new(sql, detail);
        assert_eq!(complaint.detail, words);
        let got = complaint.place.map(|place| (place.line, place.column, place.after));
        assert_eq!(got, place.map(|(line, column, after)| (line, column, after.to_owned())), "{detail}");
    };
    check(
        "SELECT 1\nFROM WHERE",
        "SQL error: Expected: identifier, found: WHERE at Line: 2, Column: 6",
        "Expected: identifier, found: WHERE",
        Some((2, 6, "WHERE")),
    );
    check(
        "SELECT 'a",
        "SQL error: Unterminated string literal at Line: 1, Column: 8",
        "Unterminated string literal",
        Some((1, 8, "'a")),
    );
    check(
        "SELECT neuron\nFROM score",
        "Error during planning: table 'lake.main.score' not found",
        "table 'lake.main.score' not found",
        Some((2, 6, "score")),
    );
    check(
        "SELECT s.valu FROM scores s",
        "Schema error: No field named s.valu. Did you mean 's.value'?",
        "No field named s.valu. Did you mean 's.value'?",
        Some((1, 10, "valu FROM scores s")),
    );
    check("SELECT f(1)", "Error during planning: Invalid function 'f'.", "Invalid function 'f'.", Some((1, 8, "f(1)")));
    check("SELECT 1", "stopped after 60 s", "stopped after 60 s", None);
    // Places past the end, and none at all, are no faults.
    check(
        "SELECT",
        "Expected: an expression, found: EOF at Line: 1, Column: 99",
        "Expected: an expression, found: EOF",
        Some((1, 99, "")),
    );
    check("SELECT", "odd at Line: 7, Column: 1", "odd", None);
    check("SELECT", "odd at Line: 0, Column: 0", "odd", None);
}

#[test]
fn cells_are_cut_linked_and_empty_where_null() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("model", Arc::new(StringArray::from(vec![Some("a/b"), None]))),
        ("hook_point", Arc::new(StringArray::from(vec!["blocks.0.mlp.hook_post"; 2]))),
        ("neuron", Arc::new(Int32Array::from(vec![7, 8]))),
        ("text", Arc::new(StringArray::from(vec!["ä".repeat(SHOWN_CHARACTERS + 1), "ä".repeat(SHOWN_CHARACTERS)]))),
        ("value", Arc::new(Float64Array::from(vec![None, Some(0.5)]))),
        ("nothing", Arc::new(arrow::array::NullArray::new(2))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let rows = cells(&batch.schema(), &[batch]).unwrap();
    let text = |row: usize, column: usize| rows[row][column].text.as_deref();
    assert_eq!(rows[0][2].link.as_deref(), Some("/neuron/a%2Fb/blocks.0.mlp.hook_post/7"));
    assert_eq!(rows[1][2].link, None, "without a model there is no such page");
    assert!(rows[0].iter().enumerate().all(|(column, cell)| column == 2 || cell.link.is_none()));
    assert_eq!((text(0, 3).unwrap().chars().count(), rows[0][3].cut), (SHOWN_CHARACTERS, true));
    assert!(!rows[1][3].cut);
    assert_eq!((text(0, 4), text(1, 4)), (None, Some("0.5")));
    assert_eq!((text(0, 5), text(1, 5)), (None, None));
    assert_eq!((text(0, 6), text(1, 6)), (Some("[1, ]"), None));
}
