//! A lake in a bucket is the lake that it is in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::readers::python;
use crate::s3_server::{Bucket, SECRET};
use crate::serving::Serving;
use crate::support::{
    Ran, TABLES, assert_same, clean, finish, one_line, program, run, tables_as_json, values, written,
};

/// Four neurons over short windows of a few documents: every stage has rows, in seconds.
pub(crate) const TINY: [&str; 8] = ["--limit", "16", "--layers", "0", "--neurons", "0-3", "--window", "16"];

/// The program with a bucket in its environment, and a cache of its own.
pub(crate) fn over(bucket: &Bucket, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(arguments).envs(bucket.environment()).env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

pub(crate) fn well(ran: &Ran) -> &str {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.text()
}

/// Every row of every table, without the run that wrote it, read past the faults of the proxy.
pub(crate) fn values_in(bucket: &Bucket, folder: &Path, lake: &str) -> BTreeMap<&'static str, Vec<String>> {
    tables_as_json(folder, lake, &TABLES, "* EXCEPT (run)", &bucket.direct())
}

#[test]
fn a_run_into_a_bucket_writes_what_it_writes_into_a_folder() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let path = folder.path();
    let lake = bucket.lake("some/where");
    let nl = |arguments: &[&str]| finish(&mut over(&bucket, path, arguments));
    let summary = nl(&[&["run", "--lake", &lake][..], &TINY].concat());
    assert!(well(&summary).contains(&format!("lake '{lake}'")), "{}", summary.text());
    run(path, "here", &TINY);
    assert_same(&values_in(&bucket, path, &lake), &values(path, "here"));
    assert!(
        !path
            .join("cache/neuronlake/lakes")
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().path().join("collections").exists() })
    );
    let again = nl(&[&["run", "--lake", &lake][..], &TINY].concat());
    assert!(written(well(&again)).values().all(|n_rows| *n_rows == 0), "{}", again.text());

    // Versions, each of them whole.
    let versions = nl(&[
        "sql",
        "--lake",
        &lake,
        "--format",
        "csv",
        "SELECT version, operation, n_rows_added, run IS NOT NULL AS by_us, readable FROM table_versions('explanations')",
    ]);
    assert_eq!(
        well(&versions),
        "version,operation,n_rows_added,by_us,readable\n0,CREATE TABLE,0,false,true\n1,WRITE,4,true,true\n"
    );
    let counts = nl(&[
        "sql",
        "--lake",
        &lake,
        "--format",
        "csv",
        "SELECT (SELECT count(*) FROM \"explanations@0\") AS a, (SELECT count(*) FROM \"explanations@1\") AS b",
    ]);
    assert_eq!(well(&counts), "a,b\n0,4\n");
    let none = one_line(&nl(&["sql", "--lake", &lake, "SELECT 1 FROM \"explanations@7\""]), 2);
    assert!(none.ends_with("expected one of its versions 0 to 1, got '7'"), "{none}");

    // The index lies in the user's cache.
    let found = nl(&["search", "--lake", &lake, "--format", "csv", "--mode", "keyword", "tokens"]);
    assert_eq!(found.code, Some(0), "{}", found.err);
    let indexed = |folder: &Path| {
        folder.join("cache/neuronlake/lakes").read_dir().unwrap().any(|e| e.unwrap().path().join("search").is_dir())
    };
    assert!(indexed(path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_a_bucket_sees_each_commit() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("served"));
    let nl = |arguments: &[&str]| finish(&mut over(&bucket, path, arguments));
    let first = [&TINY[..4], &["--neurons", "0-1", "--window", "16"]].concat();
    well(&nl(&[&["run", "--lake", &lake][..], &first].concat()));
    let cache = path.join("cache");
    let environment = bucket.environment();
    let mut environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    environment.push(("XDG_CACHE_HOME", cache.to_str().unwrap()));
    let server = Serving::start(&lake, &[], &environment);
    let count = async || {
        let body = serde_json::json!({ "sql": "SELECT count(*) AS n FROM explanations" });
        let request = reqwest::Client::new().post(format!("{}/api/v1/sql", server.http));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let rows: serde_json::Value =
            serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        rows.to_string()
    };
    let before = count().await;
    assert!(before.contains('2'), "{before}");
    well(&nl(&[&["run", "--lake", &lake][..], &TINY].concat()));
    let after = count().await;
    assert!(after.contains('4'), "{after}");
}

#[test]
fn a_lake_that_cannot_be_reached_says_why_and_shows_no_secret() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let path = folder.path();
    let sql = |lake: &str| one_line(&finish(&mut over(&bucket, path, &["sql", "--lake", lake, "SELECT 1"])), 1);
    assert_eq!(sql("s3://no-such-bucket/x"), "error: lake 's3://no-such-bucket/x/': the bucket does not exist");
    let empty = bucket.lake("nothing");
    assert_eq!(sql(&empty), format!("error: lake '{empty}' does not exist"));
    bucket.refuse(&format!(
        "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>It expired.</Message><Token-0>{SECRET}</Token-0></Error>"
    ));
    let refused =
        "access was refused (ExpiredToken): expected credentials in the environment that may read and write it";
    assert_eq!(sql(&empty), format!("error: lake '{empty}/': {refused}"));
    // A run begins by looking at the tables.
    let ran = finish(&mut over(&bucket, path, &[&["run", "--lake", &empty][..], &TINY].concat()));
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains(refused) && !ran.err.contains(SECRET), "{}", ran.err);
    let ran = finish(
        over(&bucket, path, &["sql", "--lake", &empty, "SELECT 1"])
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("NEURONLAKE_STORE_PATIENCE", "0.2"),
    );
    assert!(ran.err.starts_with(&format!("error: lake '{empty}/': ")) && !ran.err.contains(SECRET), "{}", ran.err);
}

/// What commands ask of the bucket; docs/storage.md tells of these numbers.
#[test]
fn commands_ask_little() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("counted"));
    let nl = |arguments: &[&str]| well(&finish(&mut over(&bucket, path, arguments))).to_owned();
    nl(&[&["run", "--lake", &lake][..], &TINY].concat());
    eprintln!("run: {:?}", bucket.take_counts());
    let asked = |arguments: &[&str]| {
        bucket.take_counts();
        nl(arguments);
        let counts = bucket.take_counts();
        let sum: u64 = counts.values().sum();
        eprintln!("{arguments:?}: {sum} {counts:?}");
        sum
    };
    let one = asked(&["sql", "--lake", &lake, "SELECT neuron, text FROM explanations"]);
    assert!(one <= 16, "a query of one table took {one} requests");
    let count = asked(&["sql", "--lake", &lake, "SELECT count(*) FROM explanations"]);
    assert!(count <= one, "{count} requests for a count, {one} for the rows");
    let nothing = asked(&[&["run", "--lake", &lake][..], &TINY].concat());
    assert!(nothing <= 300, "a run that finds nothing missing took {nothing} requests");
}

/// DuckDB and Polars read the tables from the bucket without this program.
#[test]
fn duckdb_and_polars_read_a_lake_in_a_bucket() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("read"));
    well(&finish(&mut over(&bucket, path, &[&["run", "--lake", &lake][..], &TINY].concat())));
    let expected: BTreeMap<&str, usize> =
        values_in(&bucket, path, &lake).into_iter().map(|(table, rows)| (table, rows.len())).collect();
    let mut command = Command::new(python());
    clean(&mut command, Path::new(env!("CARGO_MANIFEST_DIR")));
    command.args(["scripts/check_delta_s3.py", &lake]).args(TABLES).envs(bucket.direct());
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);
    for table in TABLES {
        let line = format!("ok {table}: {} rows", expected[table]);
        assert!(ran.text().lines().any(|got| got == line), "expected '{line}' in\n{}", ran.text());
    }
}
