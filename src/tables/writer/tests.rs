//! Writers that add to one table at the same time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use object_store::memory::InMemory;

use super::*;
use crate::tables::definition::table;

fn documents() -> &'static TableDefinition {
    table("documents").unwrap()
}

fn rows(number: i64) -> RecordBatch {
    let column = |field: &arrow::datatypes::Field| -> ArrayRef {
        match field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from(vec![number])),
            _ => Arc::new(StringArray::from(vec!["a b"])),
        }
    };
    let columns = documents().schema.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(Arc::clone(&documents().schema), columns).unwrap()
}

/// Opens a writer as a stage does: it looks first, and writes later.
async fn begin(lake: &Lake, seen: Option<DeltaTable>, work: &str, number: i64) -> Result<TableWriter> {
    let origin = Origin { run: "run".to_owned(), work: Some(work.to_owned()) };
    let mut writer = TableWriter::over(opened_after(lake, documents(), seen).await?, documents(), origin)?;
    writer.write(&rows(number)).await?;
    Ok(writer)
}

async fn n_files(lake: &Lake) -> usize {
    lake.open(documents()).await.unwrap().map_or(0, |table| table.snapshot().unwrap().log_data().into_iter().count())
}

#[tokio::test]
async fn of_two_writers_of_the_same_work_the_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let local = Lake::at(folder.path().to_str().unwrap()).unwrap();
    for lake in [local, Lake::over("s3://bucket/lake", Arc::new(InMemory::new()))] {
        // Before the table is there …
        let nothing = lake.open(documents()).await.unwrap();
        assert!(nothing.is_none());
        let mut first = begin(&lake, None, "a", 1).await.unwrap();
        let mut second = begin(&lake, None, "a", 1).await.unwrap();
        first.commit().await.unwrap();
        assert!(matches!(second.commit().await, Err(Error::Overtaken { .. })));
        assert!(matches!(begin(&lake, None, "a", 1).await, Err(Error::Overtaken { .. })));
        assert_eq!(n_files(&lake).await, 1);

        // … and when it is.
        let seen = lake.open(documents()).await.unwrap();
        let mut first = begin(&lake, seen.clone(), "a", 2).await.unwrap();
        let mut other = begin(&lake, seen.clone(), "b", 3).await.unwrap();
        first.commit().await.unwrap();
        other.commit().await.unwrap();
        assert!(matches!(begin(&lake, seen, "a", 2).await.unwrap().commit().await, Err(Error::Overtaken { .. })));
        assert_eq!(n_files(&lake).await, 3);

        // A writer does not stand in its own way.
        first.write(&rows(4)).await.unwrap();
        first.commit().await.unwrap();
        let seen = Some(first.into_table());
        begin(&lake, seen, "a", 5).await.unwrap().commit().await.unwrap();
        assert_eq!(n_files(&lake).await, 5);
    }
}

#[tokio::test]
async fn rows_of_one_partition_and_of_several_go_to_their_own_files() {
    let definition = documents();
    let batch = |corpora: &[&str]| {
        let column = |field: &arrow::datatypes::Field| -> ArrayRef {
            match (field.name().as_str(), field.data_type()) {
                ("corpus", _) => Arc::new(StringArray::from(corpora.to_vec())),
                (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(0..corpora.len() as i64)),
                _ => Arc::new(StringArray::from(vec!["text"; corpora.len()])),
            }
        };
        let columns = definition.schema.fields().iter().map(|field| column(field)).collect();
        RecordBatch::try_new(Arc::clone(&definition.schema), columns).unwrap()
    };
    assert_eq!(partition_of(definition, &batch(&["a b", "a b"])), Some(vec![("corpus", "a b")]));
    assert_eq!(partition_of(definition, &batch(&["a", "b", "a"])), None);
    assert_eq!(partition_of(table("runs").unwrap(), &batch(&["a"])), None, "a table that is not partitioned");

    let lake = Lake::over("s3://bucket/lake", Arc::new(InMemory::new()));
    let mut writer = TableWriter::open(&lake, definition, "run").await.unwrap();
    for corpora in [&["a b", "a b"][..], &["c", "a b", "c"], &["c"]] {
        writer.write(&batch(corpora)).await.unwrap();
    }
    writer.commit().await.unwrap();
    let table = lake.open(definition).await.unwrap().unwrap();
    let mut files: Vec<(String, Option<usize>)> = (table.snapshot().unwrap().log_data().into_iter())
        .map(|file| (file.path().split('/').next().unwrap().to_owned(), file.num_records()))
        .collect();
    files.sort();
    assert_eq!(files, [("corpus=a%20b".to_owned(), Some(3)), ("corpus=c".to_owned(), Some(3))]);
}

#[test]
fn floats_that_repeat_are_stored_in_a_dictionary_and_others_byte_by_byte() {
    use arrow::array::{Float32Array, Float32Builder, Int32Array, ListBuilder};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let definition = table("activation_records").unwrap();
    let encodings = |value: &dyn Fn(usize) -> f32| {
        const ROWS: usize = 1_500;
        const LENGTH: usize = 64;
        let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
            match field.data_type() {
                DataType::Int64 => Arc::new(Int64Array::from_iter_values(0..ROWS as i64)),
                DataType::Int32 => Arc::new(Int32Array::from(vec![1; ROWS])),
                DataType::Float32 => Arc::new(Float32Array::from_iter_values((0..ROWS).map(value))),
                DataType::List(element) => {
                    let mut lists = ListBuilder::new(Float32Builder::new()).with_field(Arc::clone(element));
                    for row in 0..ROWS {
                        (0..LENGTH).for_each(|i| lists.values().append_value(value(row * LENGTH + i)));
                        lists.append(true);
                    }
                    Arc::new(lists.finish())
                }
                _ => Arc::new(StringArray::from(vec!["a"; ROWS])),
            }
        };
        let columns = definition.schema.fields().iter().map(column).collect();
        let batch = RecordBatch::try_new(Arc::clone(&definition.schema), columns).unwrap();
        let mut bytes = Vec::new();
        let properties = file_properties(definition).unwrap();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let metadata = Arc::clone(reader.metadata());
        let rows: Vec<RecordBatch> = reader.with_batch_size(ROWS).build().unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [batch]);
        let columns = metadata.row_group(0).columns();
        let leaf = columns.iter().find(|column| column.column_path().string().starts_with("activations")).unwrap();
        (leaf.encodings().collect::<Vec<_>>(), leaf.compressed_size())
    };
    let (few, size_of_few) = encodings(&|i| (i % 1_000) as f32 / 1e3);
    assert!(few.contains(&Encoding::RLE_DICTIONARY) && !few.contains(&Encoding::BYTE_STREAM_SPLIT), "{few:?}");
    let (many, size_of_many) = encodings(&|i| (i as f32).sqrt().fract());
    assert!(many.contains(&Encoding::BYTE_STREAM_SPLIT), "{many:?}");
    assert!(size_of_few * 2 < size_of_many, "{size_of_few} {size_of_many}");
}
