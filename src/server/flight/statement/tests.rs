//! Where a `?` is a placeholder, and what statements do.

use std::sync::Arc;

use super::*;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

#[test]
fn a_question_mark_is_numbered_outside_of_texts_and_comments_only() {
    for (sql, expected) in [
        ("SELECT ?", "SELECT $1"),
        ("SELECT ?, ?+?", "SELECT $1, $2+$3"),
        ("SELECT '?', \"?\", ?", "SELECT '?', \"?\", $1"),
        ("SELECT 'it''s ?' || ?", "SELECT 'it''s ?' || $1"),
        ("SELECT ? -- why?\n, ?", "SELECT $1 -- why?\n, $2"),
        ("SELECT /* ? /* ? */ */ ?", "SELECT /* ? /* ? */ */ $1"),
        ("SELECT ?2, ?1", "SELECT $2, $1"),
        ("SELECT $1, '?'", "SELECT $1, '?'"),
        ("SELECT $$?$$, ?", "SELECT $$?$$, $1"),
        ("SELECT e'\\'?', ?", "SELECT E'\\'?', $1"),
        ("SELECT 'open ?", "SELECT 'open ?"),
        ("SELECT 1", "SELECT 1"),
    ] {
        assert_eq!(numbered(sql).unwrap(), expected, "{sql}");
    }
    let error = numbered("SELECT ?, $2").unwrap_err().to_string();
    assert_eq!(error, "parameters: expected either ? or $1, $2, …, got '? and $2'");
}

#[tokio::test]
async fn statements_are_told_apart_by_what_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    let session = Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap();
    for (sql, expected) in [
        ("SELECT 1", Effect::Reads),
        ("EXPLAIN SELECT layer FROM scores", Effect::Reads),
        ("SHOW TABLES", Effect::Reads),
        ("DESCRIBE scores", Effect::Reads),
        ("INSERT INTO scores SELECT * FROM scores", Effect::Changes),
        ("COPY (SELECT 1) TO 'mine.csv'", Effect::Changes),
        ("EXPLAIN INSERT INTO scores SELECT * FROM scores", Effect::Changes),
        ("CREATE VIEW mine AS SELECT 1", Effect::Acts),
        ("DROP TABLE scores", Effect::Acts),
        ("SET datafusion.execution.batch_size = 1", Effect::Acts),
    ] {
        let plan = session.understand(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(effect(&plan).unwrap(), expected, "{sql}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was done");
}
