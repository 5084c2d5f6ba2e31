//! Versions of a table that is written, cleaned up and made anew.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};

use super::*;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::definition::table;
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

fn open(folder: &Path) -> (Lake, Session) {
    let lake = Lake::at(folder.to_str().unwrap()).unwrap();
    let session = Session::open(lake.clone(), Arc::new(Models::default()), SessionOptions::default()).unwrap();
    (lake, session)
}

/// Commits documents with these numbers.
async fn write(lake: &Lake, run: &str, documents: &[i64]) {
    let definition = table("documents").unwrap();
    let column = |field: &arrow::datatypes::Field| -> ArrayRef {
        match field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from(documents.to_vec())),
            DataType::Utf8 => Arc::new(StringArray::from(vec!["a b"; documents.len()])),
            other => panic!("no values for {other}"),
        }
    };
    let columns = definition.schema.fields().iter().map(|field| column(field)).collect();
    let mut writer = TableWriter::open(lake, definition, run).await.unwrap();
    writer.write(&RecordBatch::try_new(Arc::clone(&definition.schema), columns).unwrap()).await.unwrap();
    writer.commit().await.unwrap();
}

async fn numbers(session: &Session, of: &str) -> std::result::Result<Vec<i64>, String> {
    let sql = format!("SELECT document FROM {of} ORDER BY document");
    let rows = session.sql(&sql).await.map_err(|error| error.to_string())?;
    let batches = rows.collect().await.map_err(|error| error.to_string())?;
    Ok(batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}

#[test]
fn numbers_are_told_as_ranges() {
    let check = |numbers: &[u64], expected: &str| assert_eq!(ranges(numbers.iter().copied()), expected);
    check(&[], "");
    check(&[3], "3");
    check(&[0, 1, 2, 3], "0 to 3");
    check(&[0, 1, 4, 6, 7], "0 to 1, 4, 6 to 7");
}

#[tokio::test]
async fn a_quoted_name_reads_one_version() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    let missing = numbers(&session, "\"documents@0\"").await.unwrap_err();
    assert!(missing.ends_with("table 'documents@0': expected a table that was written, got '0'"), "{missing}");
    write(&lake, "first", &[1, 2]).await;
    write(&lake, "second", &[5]).await;

    assert_eq!(numbers(&session, "\"documents@0\"").await, Ok(vec![]));
    assert_eq!(numbers(&session, "\"documents@1\"").await, Ok(vec![1, 2]));
    assert_eq!(numbers(&session, "\"documents@2\"").await, Ok(vec![1, 2, 5]));
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1, 2, 5]));
    for asked in ["3", "-1", "+1", "01x", "", "18446744073709551616", "1@2"] {
        let message = numbers(&session, &format!("\"documents@{asked}\"")).await.unwrap_err();
        let expected = format!("table 'documents@{asked}': expected one of its versions 0 to 2, got '{asked}'");
        assert!(message.ends_with(&expected), "{message}");
    }
    let message = numbers(&session, "\"nothing@1\"").await.unwrap_err();
    assert!(message.contains("nothing@1"), "{message}");

    let commits = lake.commits(table("documents").unwrap()).await.unwrap();
    let told: Vec<_> = commits
        .iter()
        .map(|commit| (commit.version, commit.operation.as_deref(), commit.n_rows_added, commit.run.as_deref()))
        .collect();
    let expected = [
        (0, Some("CREATE TABLE"), Some(0), None),
        (1, Some("WRITE"), Some(2), Some("first")),
        (2, Some("WRITE"), Some(1), Some("second")),
    ];
    assert_eq!(told, expected);
    assert!(commits.iter().all(|commit| commit.readable && commit.committed_at.is_some()));
}

#[tokio::test]
async fn a_version_whose_files_were_removed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    write(&lake, "first", &[1]).await;
    write(&lake, "second", &[2]).await;
    // What a deletion of the first file by another program, and a clean-up after it, leave behind.
    let root = folder.path().join("documents");
    let log = std::fs::read_to_string(root.join("_delta_log/00000000000000000001.json")).unwrap();
    let added = log.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["add"]["path"].as_str().map(str::to_owned)
    });
    let added = added.unwrap();
    let removal = format!(
        "{{\"remove\":{{\"path\":\"{added}\",\"deletionTimestamp\":1,\"dataChange\":true}}}}\n\
         {{\"commitInfo\":{{\"timestamp\":1,\"operation\":\"DELETE\"}}}}\n"
    );
    std::fs::write(root.join("_delta_log/00000000000000000003.json"), removal).unwrap();
    assert_eq!(numbers(&session, "documents").await, Ok(vec![2]));
    assert_eq!(numbers(&session, "\"documents@2\"").await, Ok(vec![1, 2]), "the file is still there");

    let file = Url::from_directory_path(&root).unwrap().join(&added).unwrap().to_file_path().unwrap();
    std::fs::remove_file(file).unwrap();
    for gone in [1, 2] {
        let message = numbers(&session, &format!("\"documents@{gone}\"")).await.unwrap_err();
        let expected = format!(
            "table 'documents@{gone}': expected one of its versions 0, 3 (files of the others were removed), got '{gone}'"
        );
        assert!(message.ends_with(&expected), "{message}");
    }
    assert_eq!(numbers(&session, "\"documents@3\"").await, Ok(vec![2]));
    let commits = lake.commits(table("documents").unwrap()).await.unwrap();
    assert_eq!(commits.iter().map(|commit| commit.readable).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(commits[3].run, None);
}

#[tokio::test]
async fn what_is_kept_of_a_table_never_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    assert_eq!(numbers(&session, "documents").await, Ok(vec![]));
    write(&lake, "first", &[1]).await;
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1]), "it was empty a moment ago");
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1]));
    write(&lake, "second", &[2]).await;
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1, 2]), "another version");

    // Removed, and made again with as many commits.
    std::fs::remove_dir_all(folder.path().join("documents")).unwrap();
    assert_eq!(numbers(&session, "documents").await, Ok(vec![]), "removed");
    write(&lake, "third", &[7]).await;
    write(&lake, "fourth", &[8]).await;
    assert_eq!(numbers(&session, "documents").await, Ok(vec![7, 8]), "the same number, another table");
}

#[tokio::test]
async fn a_log_is_read_once_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    write(&lake, "first", &[1]).await;
    write(&lake, "second", &[2]).await;
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1, 2]));
    // Without its older commits the log cannot be read any more, and need not be.
    std::fs::remove_file(folder.path().join("documents/_delta_log/00000000000000000001.json")).unwrap();
    assert_eq!(numbers(&session, "documents").await, Ok(vec![1, 2]));
    let (_, other) = open(folder.path());
    assert!(numbers(&other, "documents").await.is_err());
}
