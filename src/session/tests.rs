//! What a session lets a query do, and how it reads one.

use super::*;

fn session(folder: &tempfile::TempDir) -> Session {
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap()
}

#[test]
fn explain_is_a_function_wherever_it_is_called() {
    let cases = [
        ("SELECT 1, explain(e, 'x')", "SELECT 1, \"explain\"(e, 'x')"),
        ("SELECT Explain (e, 'x')", "SELECT \"explain\" (e, 'x')"),
        ("SELECT explain\n(e)", "SELECT \"explain\"\n(e)"),
        ("SELECT explain /* why */ (e)", "SELECT \"explain\" /* why */ (e)"),
        ("SELECT explain -- why\n(e)", "SELECT \"explain\" -- why\n(e)"),
        ("SELECT \"explain\"(e)", "SELECT \"explain\"(e)"),
        // As the first word of a statement it stays the keyword.
        ("EXPLAIN (SELECT 1)", "EXPLAIN (SELECT 1)"),
        ("-- plan\nexplain (SELECT 1)", "-- plan\nexplain (SELECT 1)"),
        ("SELECT 1; explain (SELECT 1)", "SELECT 1; explain (SELECT 1)"),
        ("EXPLAIN SELECT explain(e)", "EXPLAIN SELECT \"explain\"(e)"),
        // Not calls.
        ("SELECT 'explain(e)'", "SELECT 'explain(e)'"),
        ("SELECT 1 -- explain(e)", "SELECT 1 -- explain(e)"),
        ("SELECT explain FROM t", "SELECT explain FROM t"),
        ("SELECT explained_variance(a, e)", "SELECT explained_variance(a, e)"),
        ("SELECT 'it''s \\', explain(e)", "SELECT 'it''s \\', \"explain\"(e)"),
        (r"SELECT e'it\'s \\', E'\n', explain(e)", "SELECT E'it\\'s \\\\', E'\n', \"explain\"(e)"),
        // What is no SQL is left to the parser.
        ("SELECT explain('open", "SELECT explain('open"),
        ("SELECT 1", "SELECT 1"),
    ];
    for (sql, expected) in cases {
        assert_eq!(callable(sql), expected);
    }
}

#[tokio::test]
async fn a_read_only_session_refuses_whatever_changes_something() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    for sql in [
        "DROP TABLE scores",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '/tmp/mine.csv'",
        "INSERT INTO scores SELECT * FROM scores",
        "DELETE FROM scores",
        "UPDATE scores SET value = 1.0",
        "COPY (SELECT 1) TO 'mine.csv'",
        "SET datafusion.execution.batch_size = 1",
    ] {
        assert!(session.read_only_sql(sql).await.is_err(), "{sql}");
    }
    for sql in ["SELECT 1", "DESCRIBE scores", "EXPLAIN SELECT layer FROM scores", "SHOW TABLES", "SHOW FUNCTIONS"] {
        session.read_only_sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn every_table_and_view_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let tables = crate::tables::definition::tables().iter().map(|table| &table.name);
    for name in tables.chain(of_kind(Kind::View).map(|view| &view.name)) {
        session.sql(&format!("SELECT count(*) FROM {name}")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let error = session.sql("SELECT 1 FROM score").await.unwrap_err().to_string();
    assert!(error.contains("score"), "{error}");
}

/// Undefined scores must not head a list of the best.
#[tokio::test]
async fn nulls_come_last_in_either_order() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    for order in ["ASC", "DESC"] {
        let sql = format!("SELECT x IS NULL AS missing FROM (VALUES (1), (NULL), (2)) t (x) ORDER BY x {order}");
        let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
        let flags: Vec<bool> = batches
            .iter()
            .flat_map(|batch| arrow::array::AsArray::as_boolean(batch.column(0)).iter().flatten().collect::<Vec<_>>())
            .collect();
        assert_eq!(flags, [false, false, true], "{order}");
    }
}

#[tokio::test]
async fn an_error_of_ours_comes_out_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let sql = "SELECT neuron FROM collect_activations('default', 'default', 'blocks.0.mlp.hook_pots')";
    assert!(matches!(session.sql(sql).await, Err(Error::HookPointUnknown { .. })));
    let sql = "SELECT neuron FROM collect_activations('default', 'default', 'blocks.0.mlp.hook_post', '0')";
    let error = session.sql(sql).await.unwrap().collect().await.unwrap_err();
    assert!(matches!(Error::from(error), Error::SequencesMissing { .. }));
}
