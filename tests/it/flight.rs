//! Flight SQL: queries, prepared statements, updates and limits, with arrow-flight's client against the program.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow_flight::FlightInfo;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::serving::Serving;
use crate::support::{copy_folder, number, small_lake};

pub(crate) type Client = FlightSqlServiceClient<Channel>;

pub(crate) async fn client(serving: &Serving) -> Client {
    let endpoint = Endpoint::from_shared(serving.flight.replace("grpc://", "http://")).unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

/// The stream of what an info tells of.
pub(crate) async fn stream(client: &mut Client, info: FlightInfo) -> Result<FlightRecordBatchStream, FlightError> {
    let [endpoint] = info.endpoint.try_into().expect("one endpoint");
    client.do_get(endpoint.ticket.expect("a ticket")).await
}

/// All rows of an info, as one batch of the schema that it promised.
pub(crate) async fn fetch(client: &mut Client, info: FlightInfo) -> Result<RecordBatch, FlightError> {
    let promised = info.clone().try_decode_schema()?;
    let mut rows = stream(client, info).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        batches.push(batch);
    }
    assert_eq!(rows.schema().map(Arc::as_ref), Some(&promised));
    Ok(concat_batches(&Arc::new(promised), &batches)?)
}

pub(crate) async fn query(client: &mut Client, sql: &str) -> Result<RecordBatch, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    fetch(client, info).await
}

/// The status of a call that must fail.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T, FlightError>) -> Status {
    match result {
        Err(FlightError::Tonic(status)) => *status,
        Err(other) => panic!("expected a status, got {other}"),
        Ok(_) => panic!("expected a status, got an answer"),
    }
}

fn integers(batch: &RecordBatch, column: usize) -> Vec<i64> {
    batch.column(column).as_primitive::<Int64Type>().values().to_vec()
}

fn values(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The most memory that a server has held so far, in bytes.
fn most_memory(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_query_gives_its_rows_in_types_that_every_client_reads() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let rows =
        query(client, "SELECT model, hook_point, neuron FROM neurons ORDER BY hook_point, neuron").await.unwrap();
    assert_eq!(rows.num_rows() as i64, number(small_lake(), "SELECT count(*) FROM neurons"));
    let of_records = query(client, "SELECT activations FROM activation_records").await.unwrap();
    assert_eq!(of_records.num_rows() as i64, number(small_lake(), "SELECT count(*) FROM activation_records"));

    let sql = "SELECT arrow_cast('v', 'Utf8View') AS v, arrow_cast('d', 'Dictionary(Int32, Utf8)') AS d,
                      make_array(arrow_cast('l', 'Utf8View')) AS l, struct(arrow_cast('s', 'BinaryView')) AS s";
    let rows = query(client, sql).await.unwrap();
    let schema = rows.schema();
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
    assert!(matches!(schema.field(2).data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8));
    assert!(matches!(schema.field(3).data_type(), DataType::Struct(of) if of[0].data_type() == &DataType::Binary));
    assert_eq!(rows.column(1).as_string::<i32>().value(0), "d");

    let none = query(client, "SELECT neuron FROM neurons WHERE neuron < 0").await.unwrap();
    assert_eq!((none.num_rows(), none.num_columns()), (0, 1));

    let status = refused(query(client, "SELECT nonsense").await);
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Schema error: No field named nonsense."));
    let long = format!("SELECT '{}' AS \"{}\" FROM nowhere", "x".repeat(100_000), "ü".repeat(100_000));
    assert_eq!(refused(query(client, &long).await).code(), Code::InvalidArgument);
}

/// 10 million rows are some 340 MB: a server that held them, or ran ahead of a reader that stopped, would show it.
#[tokio::test]
async fn ten_million_rows_stream_in_bounded_memory() {
    const ROWS: i64 = 10_000_000;
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    query(client, "SELECT count(*) FROM neurons").await.unwrap();
    let before = most_memory(&serving);
    let sql = format!("SELECT value, value * 0.5 AS half, 'neuron ' || value AS name FROM generate_series(1, {ROWS})");
    let info = client.execute(sql.clone(), None).await.unwrap();
    let mut waits = stream(client, info.clone()).await.unwrap();
    let first = waits.try_next().await.unwrap().unwrap();

    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut messages = client.inner_mut().do_get(ticket).await.unwrap().into_inner();
    let (mut n_bytes, mut largest) = (0, 0);
    while let Some(message) = messages.message().await.unwrap() {
        n_bytes += message.data_body.len();
        largest = largest.max(message.data_body.len());
    }
    assert!(n_bytes > 300_000_000, "{n_bytes}");
    assert!(largest < 2 << 20, "{largest}");

    let (mut n_rows, mut sum, mut next) = (0, 0, Some(first));
    while let Some(batch) = next {
        n_rows += batch.num_rows() as i64;
        sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        next = waits.try_next().await.unwrap();
    }
    assert_eq!((n_rows, sum), (ROWS, ROWS * (ROWS + 1) / 2));
    let grown = most_memory(&serving) - before;
    assert!(grown < 200 << 20, "{grown} bytes");
}

/// One query at a time, and each would go on for ever: the next can run only when the one before has ended.
#[tokio::test]
async fn a_query_ends_when_its_reader_goes() {
    let serving = Serving::start(small_lake(), &["--queries-at-once", "1", "--query-seconds", "100000"], &[]);
    let client = &mut client(&serving).await;
    for sql in [
        "SELECT value FROM generate_series(1, 1000000000000000)",
        "SELECT count(*) AS n FROM generate_series(1, 1000000000000000)",
        "SELECT a.value FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b ORDER BY 1 LIMIT 3",
    ] {
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let mut rows = stream(client, info).await.unwrap();
        if sql.starts_with("SELECT value") {
            assert!(rows.try_next().await.unwrap().unwrap().num_rows() > 0);
        }
        drop(rows);
        assert_eq!(integers(&query(client, "SELECT 1").await.unwrap(), 0), [1], "after {sql}");
    }
    // With its connection, too.
    let mut other = self::client(&serving).await;
    let info = other.execute("SELECT value FROM generate_series(1, 1000000000000000)".to_owned(), None).await.unwrap();
    let rows = stream(&mut other, info).await.unwrap();
    drop((rows, other));
    assert_eq!(integers(&query(client, "SELECT 1").await.unwrap(), 0), [1]);
}

#[tokio::test]
async fn a_limit_is_told_by_its_status_and_its_words() {
    let serving = Serving::start(small_lake(), &["--query-memory", "0.02"], &[]);
    let sql = "SELECT count(*) AS n FROM generate_series(1, 5000000) a JOIN generate_series(1, 5000000) b ON a.value = b.value";
    let status = refused(query(&mut client(&serving).await, sql).await);
    assert_eq!(
        (status.code(), status.message().contains("--query-memory")),
        (Code::ResourceExhausted, true),
        "{status}"
    );

    let serving = Serving::start(small_lake(), &["--query-rows", "1000", "--query-seconds", "1"], &[]);
    let client = &mut client(&serving).await;
    for (sql, code, words) in [
        ("SELECT value FROM generate_series(1, 1001)", Code::ResourceExhausted, "--query-rows"),
        ("SELECT count(*) AS n FROM generate_series(1, 1000000000000000)", Code::DeadlineExceeded, "--query-seconds"),
        ("SELECT simulate(text, 'token_lookup') FROM explanations", Code::InvalidArgument, "simulate"),
        ("DROP TABLE scores", Code::PermissionDenied, "--allow-write"),
    ] {
        let status = refused(query(client, sql).await);
        assert_eq!(status.code(), code, "{sql}: {}", status.message());
        assert!(status.message().contains(words), "{sql}: {}", status.message());
    }
    assert_eq!(query(client, "SELECT value FROM generate_series(1, 1000)").await.unwrap().num_rows(), 1000);
}

#[tokio::test]
async fn a_prepared_statement_takes_values_of_either_style() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    for sql in [
        "SELECT neuron, '?' AS mark FROM neurons WHERE neuron > ? AND hook_point = ? ORDER BY neuron",
        "SELECT neuron, '?' AS mark FROM neurons WHERE neuron > $1 AND hook_point = $2 ORDER BY neuron",
    ] {
        let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
        let asked = statement.parameter_schema().unwrap();
        let asked: Vec<_> = asked.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
        assert_eq!(asked, [("$1", &DataType::Int32), ("$2", &DataType::Utf8)]);
        assert_eq!(statement.dataset_schema().unwrap().field(1).name(), "mark");

        let status = refused(statement.execute().await);
        assert_eq!((status.code(), status.message().contains("$1, $2")), (Code::InvalidArgument, true), "{status}");
        let hook_point = || Arc::new(StringArray::from(vec!["blocks.0.mlp.hook_post"])) as ArrayRef;
        for (above, expected) in [(10_i64, 5), (13, 2), (1 << 40, 0)] {
            let above = Arc::new(Int64Array::from(vec![above])) as ArrayRef;
            statement.set_parameters(values(vec![("a", above), ("b", hook_point())])).unwrap();
            let info = statement.execute().await.unwrap();
            assert_eq!(fetch(client, info).await.unwrap().num_rows(), expected);
        }
        statement.set_parameters(values(vec![("a", hook_point())])).unwrap();
        let status = refused(statement.execute().await);
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "expected values of 2 parameters, got 1")
        );
    }

    // A statement is run once a row of values; a type that cannot be told comes from the value.
    let mut statement = client.prepare("SELECT ? AS a".to_owned(), None).await.unwrap();
    let rows = Arc::new(Int64Array::from(vec![Some(3), Some(1), None])) as ArrayRef;
    statement.set_parameters(values(vec![("a", rows)])).unwrap();
    let info = statement.execute().await.unwrap();
    let mut stream = stream(client, info).await.unwrap();
    let mut found = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        found.extend(batch.column(0).as_primitive::<Int64Type>().iter());
    }
    assert_eq!(found, [Some(3), Some(1), None]);

    let mut closed = statement.clone();
    statement.close().await.unwrap();
    let status = refused(closed.execute().await);
    assert_eq!((status.code(), status.message().contains("prepare it again")), (Code::NotFound, true), "{status}");

    let status = refused(client.prepare("SELECT ? + $2".to_owned(), None).await);
    assert_eq!(status.message(), "parameters: expected either ? or $1, $2, …, got '? and $2'");
    let status = refused(client.execute("SELECT $1".to_owned(), None).await);
    assert_eq!((status.code(), status.message().contains("$1")), (Code::InvalidArgument, true), "{status}");
}

#[tokio::test]
async fn a_server_that_only_reads_refuses_updates_however_they_come() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    for sql in [
        "INSERT INTO documents SELECT * FROM documents",
        "DELETE FROM documents",
        "COPY (SELECT 1 AS a) TO '/tmp/neuronlake-flight.csv'",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE INSERT INTO documents SELECT * FROM documents",
    ] {
        for status in [
            refused(client.execute_update(sql.to_owned(), None).await),
            refused(client.execute(sql.to_owned(), None).await),
            refused(client.prepare(sql.to_owned(), None).await),
        ] {
            assert_eq!(status.code(), Code::PermissionDenied, "{sql}: {}", status.message());
        }
    }
    let documents = number(small_lake(), "SELECT count(*) FROM documents");
    let rows = query(client, "SELECT count(*) AS n FROM documents").await.unwrap();
    assert_eq!(integers(&rows, 0), [documents]);
}

#[tokio::test]
async fn a_server_that_may_write_runs_updates_once() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    copy_folder(Path::new(small_lake()), &lake);
    let serving = Serving::start(lake.to_str().unwrap(), &["--allow-write"], &[]);
    let client = &mut client(&serving).await;
    let count = async |client: &mut Client| {
        integers(&query(client, "SELECT count(*) AS n FROM documents").await.unwrap(), 0)[0]
    };
    let before = count(client).await;
    let copy = |which: &str| format!("INSERT INTO documents SELECT * FROM documents WHERE document = {which}");
    assert_eq!(client.execute_update(copy("0"), None).await.unwrap(), 1);
    assert_eq!(count(client).await, before + 1);

    // As a query it is run by its ticket, not by its description.
    let info = client.execute(copy("1"), None).await.unwrap();
    assert_eq!(count(client).await, before + 1);
    assert_eq!(fetch(client, info).await.unwrap().num_rows(), 1);
    assert_eq!(count(client).await, before + 2);

    let mut statement = client.prepare(copy("?"), None).await.unwrap();
    statement.set_parameters(values(vec![("a", Arc::new(Int64Array::from(vec![2, 3])))])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 2);
    assert_eq!(count(client).await, before + 4);

    assert_eq!(client.execute_update("SET datafusion.execution.batch_size = 1".to_owned(), None).await.unwrap(), -1);
    let status = refused(client.execute_update("INSERT INTO nowhere SELECT 1".to_owned(), None).await);
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// What is under way is finished, then the program ends by itself.
#[tokio::test]
async fn a_server_that_is_asked_to_end_finishes_its_answers() {
    let mut serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let info = client.execute("SELECT value FROM generate_series(1, 2000000)".to_owned(), None).await.unwrap();
    let mut rows = stream(client, info).await.unwrap();
    let mut n_rows = rows.try_next().await.unwrap().unwrap().num_rows();
    assert!(Command::new("kill").arg(serving.pid().to_string()).status().unwrap().success());
    while let Some(batch) = rows.try_next().await.unwrap() {
        n_rows += batch.num_rows();
    }
    assert_eq!(n_rows, 2_000_000);
    drop(rows);
    assert_eq!(serving.end(), Some(0));
    let gone = Endpoint::from_shared(serving.flight.replace("grpc://", "http://")).unwrap().connect().await;
    assert!(gone.is_err());
}

/// A schema without its columns' metadata.
pub(crate) fn bare(schema: &Schema) -> Vec<(String, DataType, bool)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone(), field.is_nullable())).collect()
}
