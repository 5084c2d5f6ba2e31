//! What is left alone, what is exchanged, and who wins.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};

use super::*;
use crate::tables::definition::table;
use crate::tables::writer::TableWriter;

/// More rows than a batch of a scan holds, so that threads could change their order.
const MANY: i64 = 40_000;

fn lake_of(folder: &tempfile::TempDir) -> Lake {
    Lake::at(folder.path().to_str().unwrap()).unwrap()
}

fn documents() -> &'static TableDefinition {
    table("documents").unwrap()
}

async fn write(lake: &Lake, numbers: impl Iterator<Item = i64>) {
    let numbers: Vec<i64> = numbers.collect();
    let text = |prefix: &str| Arc::new(numbers.iter().map(|n| Some(format!("{prefix}{n}"))).collect::<StringArray>());
    let same = |text: &str| Arc::new(StringArray::from(vec![text; numbers.len()]));
    let columns: Vec<ArrayRef> = vec![
        same("corpus"),
        Arc::new(Int64Array::from(numbers.clone())),
        text("file "),
        text("a text about "),
        same("run"),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&documents().schema), columns).unwrap();
    let mut writer = TableWriter::open(lake, documents(), "run").await.unwrap();
    writer.write(&batch).await.unwrap();
    writer.commit().await.unwrap();
}

/// Rows and sum of the numbers, which tell a lost row from a doubled one.
async fn sums(context: &SessionContext, lake: &Lake) -> (usize, i64) {
    let stored = lake.open(documents()).await.unwrap().unwrap();
    let rows = context.read_table(stored.table_provider().await.unwrap()).unwrap();
    let batches = rows.select(vec![col("document")]).unwrap().collect().await.unwrap();
    let numbers = batches.iter().flat_map(|batch| {
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(batch.column(0)).values().to_vec()
    });
    let numbers: Vec<i64> = numbers.collect();
    (numbers.len(), numbers.iter().sum())
}

fn all() -> Maintenance {
    Maintenance { tables: vec!["documents".to_owned()], ..Maintenance::keeping(7) }
}

#[tokio::test]
async fn a_sorted_file_is_left_alone_and_one_out_of_order_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, context) = (lake_of(&folder), SessionContext::new());
    write(&lake, 0..MANY).await;
    let report = &maintain(&context, &lake, &all()).await.unwrap()[0];
    assert!(!report.changed(), "{report:?}");

    let folder = tempfile::tempdir().unwrap();
    let other = lake_of(&folder);
    write(&other, (0..MANY).rev()).await;
    let before = sums(&context, &other).await;
    let report = &maintain(&context, &other, &all()).await.unwrap()[0];
    let stored = other.open(documents()).await.unwrap().unwrap();
    assert_eq!(stored.version(), Some(2), "{report:?}");
    let files = adds(&stored).unwrap();
    assert!(in_order(&context, documents(), &stored, &files).await.unwrap());
    assert_eq!(sums(&context, &other).await, before);
    let report = &maintain(&context, &other, &all()).await.unwrap()[0];
    assert!(!report.changed(), "{report:?}");
    assert_eq!(other.open(documents()).await.unwrap().unwrap().version(), Some(2));
}

#[tokio::test]
async fn many_files_become_one_and_a_dry_run_only_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, context) = (lake_of(&folder), SessionContext::new());
    for lot in (0..5).rev() {
        write(&lake, lot * 100..(lot + 1) * 100).await;
    }
    let dry = Maintenance { dry_run: true, ..all() };
    let report = &maintain(&context, &lake, &dry).await.unwrap()[0];
    assert_eq!((report.files_before, report.files_after), (5, 1));
    assert_eq!(lake.open(documents()).await.unwrap().unwrap().version(), Some(5));
    let before = sums(&context, &lake).await;
    let report = &maintain(&context, &lake, &all()).await.unwrap()[0];
    assert_eq!((report.files_before, report.files_after), (5, 1));
    assert_eq!(sums(&context, &lake).await, before);
    // The commit names a run that says what it was.
    let commits = lake.commits(documents()).await.unwrap();
    let last = commits.last().unwrap();
    assert_eq!((last.operation.as_deref(), last.n_rows_added), (Some("OPTIMIZE"), Some(0)));
    assert!(last.run.is_some());
}

#[tokio::test]
async fn a_writer_that_replaces_the_same_rows_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, context) = (lake_of(&folder), SessionContext::new());
    write(&lake, 0..100).await;
    write(&lake, 100..200).await;
    let mut table = lake.open(documents()).await.unwrap().unwrap();
    let partition = partitions(&table).unwrap().into_keys().next().unwrap();
    // Between the look and the exchange somebody removes rows, and somebody else adds some.
    let removed = lake.open(documents()).await.unwrap().unwrap();
    removed.delete().with_predicate("document < 50").await.unwrap();
    write(&lake, 200..300).await;
    let mut run = Recorded { row: RunRow::starting("maintain", "{}".to_owned()), started: false };
    let lost = exchange(&context, &lake, documents(), &mut table, &partition, &all(), &mut run).await.unwrap_err();
    assert!(is_contended(&lost), "{lost:?}");
    maintain(&context, &lake, &all()).await.unwrap();
    assert_eq!(sums(&context, &lake).await, (250, (50..300).sum()));
}

#[tokio::test]
async fn a_retention_below_a_day_needs_force() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, context) = (lake_of(&folder), SessionContext::new());
    write(&lake, 0..10).await;
    let soon = Maintenance { keep: Duration::ZERO, ..all() };
    let message = maintain(&context, &lake, &soon).await.unwrap_err().to_string();
    assert_eq!(
        message,
        "--keep-days: expected at least 1, because a query may still read an older version; or --force, got '0.00'"
    );
}
