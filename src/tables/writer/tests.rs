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

#[test]
fn floats_are_stored_byte_by_byte_and_only_rounded_ones_in_a_dictionary() {
    let leaf = |column: &str| ColumnPath::from(vec![column.to_owned(), "list".to_owned(), "element".to_owned()]);
    let of = |name: &str| file_properties(table(name).unwrap()).unwrap();
    let simulations = of("simulations");
    assert!(simulations.dictionary_enabled(&leaf("distribution")));
    assert!(!simulations.dictionary_enabled(&leaf("expected")));
    assert_eq!(simulations.encoding(&leaf("expected")), Some(Encoding::BYTE_STREAM_SPLIT));
    let records = of("activation_records");
    assert_eq!(records.encoding(&leaf("activations")), Some(Encoding::BYTE_STREAM_SPLIT));
    assert_eq!(records.encoding(&ColumnPath::from("max_activation")), Some(Encoding::BYTE_STREAM_SPLIT));
    assert_eq!(records.encoding(&ColumnPath::from("sequence")), None);
}
