//! Flight SQL: what tools ask before they show anything, and what the server says to those who may not ask or ask nonsense.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, IpcMessage, Ticket};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Code, Status};

use crate::flight::{Client, bare, client, fetch, query, refused};
use crate::readers::python;
use crate::serving::Serving;
use crate::support::{clean, finish, small_lake};

const TOKEN: &str = "a-token-of-the-tests";

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap();
    column.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

async fn tables(client: &mut Client, request: CommandGetTables) -> RecordBatch {
    let info = client.get_tables(request).await.unwrap();
    fetch(client, info).await.unwrap()
}

#[tokio::test]
async fn catalogs_schemas_tables_and_columns_are_listed() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&fetch(client, info).await.unwrap(), "catalog_name"), ["lake"]);
    for (pattern, expected) in [(None, 1), (Some("ma%"), 1), (Some("m_in"), 1), (Some("other"), 0)] {
        let request = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: pattern.map(str::to_owned) };
        let info = client.get_db_schemas(request).await.unwrap();
        assert_eq!(fetch(client, info).await.unwrap().num_rows(), expected, "{pattern:?}");
    }
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&fetch(client, info).await.unwrap(), "table_type"), ["TABLE", "VIEW"]);

    let all = tables(client, CommandGetTables::default()).await;
    let rows =
        query(client, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").await.unwrap();
    let expected: BTreeSet<_> = texts(&rows, "table_name").into_iter().collect();
    assert_eq!(texts(&all, "table_name").into_iter().collect::<BTreeSet<_>>(), expected);
    let named = |pattern: &str| CommandGetTables {
        table_name_filter_pattern: Some(pattern.to_owned()),
        ..CommandGetTables::default()
    };
    assert_eq!(
        texts(&tables(client, named("explanation_s%")).await, "table_name"),
        ["explanation_scorers", "explanation_scores"]
    );
    assert_eq!(
        tables(client, CommandGetTables { table_types: vec!["VIEW".to_owned()], ..named("neurons") }).await.num_rows(),
        0
    );
    assert_eq!(tables(client, CommandGetTables { catalog: Some(String::new()), ..named("%") }).await.num_rows(), 0);

    // Columns are those that a query gives, with their comments.
    let described = tables(client, CommandGetTables { include_schema: true, ..CommandGetTables::default() }).await;
    assert_eq!(described.num_rows(), all.num_rows());
    for (row, name) in texts(&described, "table_name").iter().enumerate() {
        let bytes = described.column_by_name("table_schema").unwrap().as_binary::<i32>().value(row);
        let schema = Schema::try_from(IpcMessage(Bytes::copy_from_slice(bytes))).unwrap();
        let rows = query(client, &format!("SELECT * FROM {name} LIMIT 0")).await.unwrap();
        assert_eq!(bare(&schema), bare(&rows.schema()), "{name}");
        if name == "neurons" {
            let neuron = schema.field_with_name("neuron").unwrap();
            assert_eq!(neuron.metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"], "INT");
            assert_eq!(neuron.metadata()["ARROW:FLIGHT:SQL:REMARKS"], neuron.metadata()["comment"]);
            assert!(schema.metadata()["comment"].contains("unit"), "{:?}", schema.metadata());
        }
    }
}

#[tokio::test]
async fn facts_types_and_keys_are_answered() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    let facts = fetch(client, info).await.unwrap();
    let value = |row: usize| facts.column(1).as_union().value(row);
    assert_eq!(value(0).as_string::<i32>().value(0), "neuronlake");
    assert!(value(1).as_boolean().value(0));
    let info = client.get_sql_info(Vec::new()).await.unwrap();
    let all = fetch(client, info).await.unwrap();
    assert!(all.num_rows() > 80, "{}", all.num_rows());

    for (wanted, expected) in [(None, 7), (Some(12), 1), (Some(1234), 0)] {
        let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: wanted }).await.unwrap();
        assert_eq!(fetch(client, info).await.unwrap().num_rows(), expected, "{wanted:?}");
    }

    let table = || "neurons".to_owned();
    let primary = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table() };
    let info = client.get_primary_keys(primary).await.unwrap();
    let keys = fetch(client, info).await.unwrap();
    assert_eq!((keys.num_rows(), keys.schema().field(5).name().as_str()), (0, "key_sequence"));
    let exported = CommandGetExportedKeys { catalog: None, db_schema: None, table: table() };
    let imported = CommandGetImportedKeys { catalog: None, db_schema: None, table: table() };
    let cross =
        CommandGetCrossReference { pk_table: table(), fk_table: table(), ..CommandGetCrossReference::default() };
    for info in [
        client.get_exported_keys(exported).await.unwrap(),
        client.get_imported_keys(imported).await.unwrap(),
        client.get_cross_reference(cross).await.unwrap(),
    ] {
        let keys = fetch(client, info).await.unwrap();
        assert_eq!((keys.num_rows(), keys.num_columns()), (0, 13));
        assert_eq!(keys.schema().field(12).data_type(), &DataType::UInt8);
    }
}

/// The statuses of every call of the protocol.
async fn every_call(client: &mut Client) -> Vec<(&'static str, Result<(), Status>)> {
    let mut inner = client.inner().clone();
    let mut calls = Vec::new();
    let sql = client.execute("SELECT 1".to_owned(), None).await;
    calls.push(("get_flight_info", sql.map(drop).map_err(status_of)));
    let one = client.prepare("SELECT 1".to_owned(), None).await;
    calls.push(("do_action", one.map(drop).map_err(status_of)));
    calls.push(("do_put", client.execute_update("SELECT 1".to_owned(), None).await.map(drop).map_err(status_of)));
    if client.token().is_none() {
        calls.push(("do_get", inner.do_get(Ticket::new("")).await.map(drop)));
        calls.push(("get_schema", inner.get_schema(FlightDescriptor::new_cmd("")).await.map(drop)));
        calls.push(("list_flights", inner.list_flights(Criteria::default()).await.map(drop)));
        calls.push(("list_actions", inner.list_actions(Empty {}).await.map(drop)));
        calls.push(("poll_flight_info", inner.poll_flight_info(FlightDescriptor::new_cmd("")).await.map(drop)));
        calls.push(("do_exchange", inner.do_exchange(stream::empty()).await.map(drop)));
    }
    calls
}

fn status_of(error: arrow_flight::error::FlightError) -> Status {
    refused(Err::<(), _>(error))
}

#[tokio::test]
async fn a_server_with_a_token_answers_nobody_else() {
    let serving = Serving::start(small_lake(), &[], &[("NEURONLAKE_TOKEN", TOKEN)]);
    let client = &mut client(&serving).await;
    let calls = every_call(client).await;
    assert_eq!(calls.len(), 9);
    for (name, result) in calls {
        assert_eq!(result.unwrap_err().code(), Code::Unauthenticated, "{name}");
    }
    client.set_token("another-token-of-the-tests".to_owned());
    assert_eq!(refused(query(client, "SELECT 1").await).code(), Code::Unauthenticated);
    client.clear_token();
    assert!(
        client
            .handshake("anybody", "not the token")
            .await
            .unwrap_err()
            .to_string()
            .contains("expected the server's token")
    );
    assert_eq!(refused(query(client, "SELECT 1").await).code(), Code::Unauthenticated);

    client.handshake("anybody", TOKEN).await.unwrap();
    assert_eq!(client.token().map(String::as_str), Some(TOKEN));
    for (name, result) in every_call(client).await {
        result.unwrap_or_else(|status| panic!("{name}: {status}"));
    }
    client.set_token(TOKEN.to_owned());
    assert_eq!(query(client, "SELECT 1").await.unwrap().num_rows(), 1);
}

/// Bytes that follow from a number.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A text with each of its bytes changed in turn, cut off in turn, and noise of some lengths.
fn damaged(bytes: &[u8]) -> Vec<Vec<u8>> {
    let changed = (0..bytes.len()).map(|at| {
        let mut copy = bytes.to_vec();
        copy[at] ^= 1 << (at % 8);
        copy
    });
    let cut = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    changed.chain(cut).chain((0..50).map(|seed| noise(seed, seed as usize * 7))).collect()
}

#[track_caller]
fn told(status: Result<(), Status>, what: &[u8]) {
    if let Err(status) = status {
        let code = status.code();
        let known =
            matches!(code, Code::InvalidArgument | Code::NotFound | Code::PermissionDenied | Code::Unimplemented);
        assert!(known, "{code:?} {} for {what:?}", status.message());
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_breaks_nothing() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let mut inner: FlightServiceClient<_> = client.inner().clone();
    let info = client.execute("SELECT 1 AS one".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket;
    for bytes in damaged(&ticket) {
        let answer = match inner.do_get(Ticket::new(bytes.clone())).await {
            Ok(rows) => rows.into_inner().try_for_each(|_| std::future::ready(Ok(()))).await,
            Err(status) => Err(status),
        };
        told(answer, &bytes);
        told(inner.get_flight_info(FlightDescriptor::new_cmd(bytes.clone())).await.map(drop), &bytes);
        let action = Action::new("CreatePreparedStatement", bytes.clone());
        told(inner.do_action(action).await.map(drop), &bytes);
        let put = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(bytes.clone()));
        told(inner.do_put(stream::iter([put])).await.map(drop), &bytes);
    }
    assert_eq!(inner.do_get(Ticket::new("hand made")).await.unwrap_err().code(), Code::InvalidArgument);
    let status = inner.do_get(Ticket::new(noise(1, 64))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(inner.do_put(stream::empty()).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(query(client, "SELECT 1").await.unwrap().num_rows(), 1);
}

#[tokio::test]
async fn damaged_values_are_refused_and_break_nothing() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let client = &mut client(&serving).await;
    let mut inner: FlightServiceClient<_> = client.inner().clone();
    let mut statement = client.prepare("SELECT ? AS a, ? AS b".to_owned(), None).await.unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int64Array::from(vec![7]))),
        ("b", Arc::new(arrow::array::StringArray::from(vec!["text"]))),
    ];
    let values = RecordBatch::try_from_iter(columns).unwrap();
    statement.set_parameters(values.clone()).unwrap();
    let command = statement.execute().await.unwrap().flight_descriptor.unwrap();

    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(command.clone()));
    let messages: Vec<FlightData> = encoder.build(stream::iter([Ok(values)])).try_collect().await.unwrap();
    assert_eq!(messages.len(), 2);
    let mut n_refused = 0;
    for at in 0..messages.len() {
        let (header, body) = (messages[at].data_header.clone(), messages[at].data_body.clone());
        let headers = damaged(&header).into_iter().map(|header| (Bytes::from(header), body.clone()));
        let bodies = damaged(&body).into_iter().map(|body| (header.clone(), Bytes::from(body)));
        for (data_header, data_body) in headers.chain(bodies) {
            let mut sent = messages.clone();
            sent[at] = FlightData { data_header: data_header.clone(), data_body, ..sent[at].clone() };
            let answer = match inner.do_put(stream::iter(sent)).await {
                Ok(results) => results.into_inner().map(|result| result.map(drop)).try_collect::<()>().await,
                Err(status) => Err(status),
            };
            n_refused += usize::from(answer.is_err());
            told(answer, &data_header);
            // Whatever was taken for a value, running the statement with it breaks nothing either.
            let ticket = Ticket::new(command.cmd.clone());
            if let Ok(rows) = inner.do_get(ticket).await {
                told(rows.into_inner().try_for_each(|_| std::future::ready(Ok(()))).await, &data_header);
            }
        }
    }
    assert!(n_refused > 100, "{n_refused}");
    assert_eq!(query(client, "SELECT 1").await.unwrap().num_rows(), 1);
}

#[test]
fn adbc_reads_what_we_read() {
    let serving = Serving::start(small_lake(), &[], &[]);
    let mut command = Command::new(python());
    clean(&mut command, std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    let ran = finish(command.args(["scripts/check_flight.py", &serving.flight]));
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);

    let serving = Serving::start(small_lake(), &[], &[("NEURONLAKE_TOKEN", TOKEN)]);
    let mut command = Command::new(python());
    clean(&mut command, std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    command.env("NEURONLAKE_TOKEN", TOKEN);
    let ran = finish(command.args(["scripts/check_flight.py", &serving.flight]));
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);
}
