//! Files come back as they went in.

use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn batch(from: i32, n: i32) -> RecordBatch {
    let numbers = from..from + n;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int32Array::from_iter_values(numbers.clone()))),
        (
            "text",
            Arc::new(StringArray::from_iter(numbers.clone().map(|i| (i % 3 != 0).then(|| format!("a,\"b\"\n{i}"))))),
        ),
        ("value", Arc::new(Float64Array::from_iter(numbers.clone().map(|i| (i % 5 != 0).then(|| f64::from(i) / 3.0))))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                numbers.map(|i| (i % 2 == 0).then(|| vec![Some(i), None])),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn file(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = Encoder::new(format, batch(0, 0).schema()).unwrap();
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend(encoder.write(batch).unwrap());
    }
    bytes.extend(encoder.finish().unwrap());
    bytes
}

#[test]
fn parquet_reads_back_equal() {
    let batches = [batch(0, 1_000), batch(1_000, 7)];
    let read = |batches: &[RecordBatch]| {
        let bytes = Bytes::from(file(Format::Parquet, batches));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let schema = Arc::clone(reader.schema());
        let rows: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
        concat_batches(&schema, &rows).unwrap()
    };
    assert_eq!(read(&batches), concat_batches(&batch(0, 0).schema(), &batches).unwrap());
    assert_eq!(read(&[]), batch(0, 0), "no rows, and still the columns");
}

#[test]
fn csv_and_json_tell_null_and_lists() {
    let text = String::from_utf8(file(Format::Csv, &[batch(0, 2), batch(2, 1)])).unwrap();
    assert_eq!(
        text,
        "number,text,value,list\n0,,,\"[0,null]\"\n1,\"a,\"\"b\"\"\n1\",0.3333333333333333,\n2,\"a,\"\"b\"\"\n2\",0.6666666666666666,\"[2,null]\"\n"
    );
    assert_eq!(file(Format::Csv, &[]), b"number,text,value,list\n");
    let rows: serde_json::Value = serde_json::from_slice(&file(Format::Json, &[batch(0, 1), batch(1, 1)])).unwrap();
    assert_eq!(
        rows,
        serde_json::json!([
            { "number": 0, "text": null, "value": null, "list": [0, null] },
            { "number": 1, "text": "a,\"b\"\n1", "value": 0.3333333333333333, "list": null },
        ])
    );
    assert_eq!(file(Format::Json, &[]), b"[]");
}
