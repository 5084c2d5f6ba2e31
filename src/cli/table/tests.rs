//! Results in every format, with the values that formats get wrong: NULL, NaN, lists, quotes, hostile text.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;

use super::{Format, Layout, ResultWriter, TableWidth, is_broken_pipe};

fn batch() -> RecordBatch {
    let neurons: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(9_007_199_254_740_993)]));
    let scores: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.5), Some(f32::NAN), None]));
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("kings, \"queens\""), Some("a\n\u{1b}[31mb"), Some("")]));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vec![
        Some(vec![Some(0.0), Some(1.5)]),
        None,
        Some(vec![None]),
    ]));
    let columns = [("neuron", neurons), ("score", scores), ("text", texts), ("activations", lists)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("a batch")
}

fn write(batches: &[RecordBatch], format: Format, layout: Layout, width: TableWidth) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ResultWriter::new(&mut out, batch().schema(), format, layout, width).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("rows");
    }
    let n_rows = writer.finish().expect("an end");
    assert_eq!(n_rows, batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    out
}

fn text(batches: &[RecordBatch], format: Format) -> String {
    String::from_utf8(write(batches, format, Layout::Rows, TableWidth::Unlimited)).expect("UTF-8")
}

#[test]
fn tables_are_aligned_and_safe() {
    insta::assert_snapshot!(text(&[batch()], Format::Table), @r#"
               neuron | score | text            | activations
    ------------------+-------+-----------------+-------------
                    7 |   0.5 | kings, "queens" | [0.0, 1.5]
                 NULL |   NaN | a⏎␛[31mb        | NULL
     9007199254740993 |  NULL |                 | [NULL]
    (3 rows)
    "#);
    insta::assert_snapshot!(text(&[], Format::Table), @r"
     neuron | score | text | activations
    --------+-------+------+-------------
    (0 rows)
    ");
}

#[test]
fn a_terminal_narrows_the_widest_columns() {
    let shown = write(&[batch()], Format::Table, Layout::Rows, TableWidth::Terminal(50));
    insta::assert_snapshot!(String::from_utf8(shown).expect("UTF-8"), @r#"
               neuron | score | text      | activati…
    ------------------+-------+-----------+-----------
                    7 |   0.5 | kings, "… | [0.0, 1.…
                 NULL |   NaN | a⏎␛[31mb  | NULL
     9007199254740993 |  NULL |           | [NULL]
    (3 rows)
    "#);
    let shown = write(&[batch()], Format::Table, Layout::Rows, TableWidth::Terminal(1));
    assert!(String::from_utf8(shown).expect("UTF-8").lines().all(|line| line.chars().count() <= 50));
}

#[test]
fn expanded_rows_show_whole_values() {
    let shown = write(&[batch().slice(0, 1)], Format::Table, Layout::Expanded, TableWidth::Terminal(10));
    insta::assert_snapshot!(String::from_utf8(shown).expect("UTF-8"), @r#"
    -- row 1 --
    neuron      | 7
    score       | 0.5
    text        | kings, "queens"
    activations | [0.0, 1.5]
    (1 row)
    "#);
}

#[test]
fn csv_has_a_header_and_lists_as_json() {
    let expected = [
        "neuron,score,text,activations",
        "7,0.5,\"kings, \"\"queens\"\"\",\"[0.0,1.5]\"",
        ",NaN,\"a",
        "\u{1b}[31mb\",",
        "9007199254740993,,,[null]",
        "7,0.5,\"kings, \"\"queens\"\"\",\"[0.0,1.5]\"",
    ];
    let shown = text(&[batch(), batch().slice(0, 1)], Format::Csv);
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    assert_eq!(text(&[], Format::Csv), "neuron,score,text,activations\n");
}

#[test]
fn json_is_an_array_and_jsonl_a_line_a_row() {
    insta::assert_snapshot!(text(&[batch()], Format::Jsonl), @r#"
    {"neuron":7,"score":0.5,"text":"kings, \"queens\"","activations":[0.0,1.5]}
    {"neuron":null,"score":null,"text":"a\n\u001b[31mb","activations":null}
    {"neuron":9007199254740993,"score":null,"text":"","activations":[null]}
    "#);
    assert_eq!(text(&[], Format::Jsonl), "");
    let array: serde_json::Value = serde_json::from_str(&text(&[batch(), batch()], Format::Json)).expect("JSON");
    assert_eq!(array.as_array().map(Vec::len), Some(6));
    assert_eq!(array[2]["neuron"], serde_json::json!(9_007_199_254_740_993_i64));
    assert_eq!(array[1]["activations"], serde_json::Value::Null);
    assert_eq!(text(&[], Format::Json), "[]\n");
}

#[test]
fn parquet_comes_back_as_it_was() {
    let bytes = write(&[batch(), batch()], Format::Parquet, Layout::Rows, TableWidth::Unlimited);
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
    let batches: Vec<_> = reader.expect("a file").build().expect("a reader").collect::<Result<_, _>>().expect("rows");
    let read = arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("a batch");
    assert_eq!(read.num_rows(), 6);
    assert_eq!(read.column(3), batch_twice().column(3));
    assert_eq!(read.schema().fields(), batch().schema().fields());
}

fn batch_twice() -> RecordBatch {
    arrow::compute::concat_batches(&batch().schema(), &[batch(), batch()]).expect("a batch")
}

#[test]
fn many_rows_do_not_wait_for_the_end() {
    let mut out = Vec::new();
    let schema = batch().schema();
    let mut writer =
        ResultWriter::new(&mut out, schema, Format::Table, Layout::Rows, TableWidth::Unlimited).expect("a writer");
    for _ in 0..1_000 {
        writer.write(&batch()).expect("rows");
    }
    writer.finish().expect("an end");
    let shown = String::from_utf8(out).expect("UTF-8");
    assert_eq!(shown.lines().count(), 3_003);
    assert!(shown.ends_with("(3000 rows)\n"));
}

/// An output whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_has_gone_is_told_from_a_failure() {
    for format in [Format::Table, Format::Csv, Format::Json, Format::Jsonl, Format::Parquet] {
        let written = ResultWriter::new(Closed, batch().schema(), format, Layout::Rows, TableWidth::Unlimited)
            .and_then(|mut writer| writer.write(&batch()).and_then(|()| writer.finish()));
        let error = written.expect_err("nobody reads");
        assert!(is_broken_pipe(&error), "{format:?}: {error:?}");
    }
}
