//! A lake in a store that lies in memory.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use object_store::memory::InMemory;

use super::*;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

fn documents() -> &'static TableDefinition {
    table("documents").unwrap()
}

/// A batch of documents with these numbers.
fn rows(numbers: &[i64]) -> RecordBatch {
    let column = |field: &arrow::datatypes::Field| -> ArrayRef {
        match field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from(numbers.to_vec())),
            _ => Arc::new(StringArray::from(vec!["a b"; numbers.len()])),
        }
    };
    let columns = documents().schema.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(Arc::clone(&documents().schema), columns).unwrap()
}

async fn write(lake: &Lake, numbers: &[i64]) {
    let mut writer = TableWriter::open(lake, documents(), "a run").await.unwrap();
    writer.write(&rows(numbers)).await.unwrap();
    writer.commit().await.unwrap();
}

fn n_files(table: &DeltaTable) -> usize {
    table.snapshot().unwrap().log_data().into_iter().count()
}

#[tokio::test]
async fn a_table_is_followed_from_commit_to_commit() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (reader, writer) = (Lake::over("s3://bucket/a/b", Arc::clone(&store)), Lake::over("s3://bucket/a/b", store));
    assert_eq!(
        (reader.version(documents()).await.unwrap(), reader.open(documents()).await.unwrap().is_none()),
        (None, true)
    );
    let mut before = None;
    // Delta Lake writes a checkpoint on the way.
    for number in 1..=104 {
        write(&writer, &[number]).await;
        if number % 13 == 1 {
            let version = reader.version(documents()).await.unwrap().unwrap();
            assert_eq!(version.number, number as u64);
            assert_ne!(before.replace(version.clone()), Some(version));
            assert_eq!(n_files(&reader.open(documents()).await.unwrap().unwrap()), number as usize);
        }
    }
    let commits = reader.commits(documents()).await.unwrap();
    assert_eq!(commits.len(), 105);
    assert!(commits.iter().all(|commit| commit.readable));
    assert_eq!((commits[7].n_rows_added, commits[7].run.as_deref()), (Some(1), Some("a run")));
    assert_eq!(n_files(&reader.open_version(documents(), "7").await.unwrap()), 7);
    // Another process that knows nothing yet reads from the checkpoint.
    let log = writer.bucket().unwrap().log("documents");
    let names: Vec<ObjectMeta> = writer.bucket().unwrap().store.list(Some(&log)).try_collect().await.unwrap();
    assert!(names.iter().any(|meta| meta.location.as_ref().contains(".checkpoint.")), "no checkpoint was written");
    let another = Lake::over("s3://bucket/a/b", Arc::clone(&writer.bucket().unwrap().store));
    assert_eq!(n_files(&another.open(documents()).await.unwrap().unwrap()), 104);
}

#[tokio::test]
async fn a_table_made_anew_is_another_table() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (reader, writer) =
        (Lake::over("s3://bucket/a", Arc::clone(&store)), Lake::over("s3://bucket/a", Arc::clone(&store)));
    write(&writer, &[1]).await;
    let first = reader.version(documents()).await.unwrap().unwrap();
    assert_eq!(n_files(&reader.open(documents()).await.unwrap().unwrap()), 1);
    let all: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    for meta in all {
        store.delete(&meta.location).await.unwrap();
    }
    assert_eq!(reader.version(documents()).await.unwrap(), None);
    write(&writer, &[2]).await;
    let second = reader.version(documents()).await.unwrap().unwrap();
    assert_eq!(first.number, second.number);
    assert_ne!(first, second);
    assert_eq!(n_files(&reader.open(documents()).await.unwrap().unwrap()), 1);
}

#[tokio::test]
async fn a_version_whose_file_was_removed_is_not_readable() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let lake = Lake::over("s3://bucket/a", Arc::clone(&store));
    write(&lake, &[1]).await;
    let all: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let first = all.into_iter().find(|meta| meta.location.as_ref().ends_with(".parquet")).unwrap().location;
    write(&lake, &[2]).await;
    let opened = lake.open(documents()).await.unwrap().unwrap();
    let (opened, _) = opened.delete().with_predicate("document = 1").await.unwrap();
    let there = lake.commits(documents()).await.unwrap();
    assert!(there.iter().all(|commit| commit.readable), "{there:?}");
    drop(opened);
    // The file of the first rows goes, as when a table is cleaned up.
    store.delete(&first).await.unwrap();
    let readable: Vec<bool> = lake.commits(documents()).await.unwrap().iter().map(|commit| commit.readable).collect();
    assert_eq!(readable, [true, false, false, true]);
}

#[test]
fn a_lake_in_a_bucket_keeps_files_of_this_machine_in_the_cache() {
    let lake = Lake::at("s3://bucket/some/where").unwrap();
    assert_eq!((lake.root().as_str(), lake.local_path()), ("s3://bucket/some/where/", None));
    let other = Lake::at("s3://bucket/else").unwrap();
    for (path, others) in [(lake.scratch_path(), other.scratch_path()), (lake.search_path(), other.search_path())] {
        assert_ne!(path, others);
        assert!(path.to_str().unwrap().contains("neuronlake/lakes/bucket-"), "{}", path.display());
    }
    assert_eq!(
        Lake::at("https://name:secret@host/x?signature=y").unwrap_err().to_string(),
        "--lake: expected a folder or bucket: a path, file://, s3://, gs://, az:// or abfss://, got 'https://name@host/x'"
    );
}
