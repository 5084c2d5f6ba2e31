//! `/api/v1` of a real server: what programs get, and what nobody gets.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use futures::StreamExt;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{number, small_lake};

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn small() -> Serving {
    Serving::start(small_lake(), &[], &[])
}

pub(crate) async fn get(server: &Serving, path: &str) -> (StatusCode, Value) {
    json_of(Client::new().get(format!("{}{path}", server.http)).send().await.unwrap()).await
}

pub(crate) fn post(server: &Serving, path: &str, body: &Value) -> RequestBuilder {
    let request = Client::new().post(format!("{}{path}", server.http)).header("content-type", "application/json");
    request.body(body.to_string())
}

pub(crate) async fn sql(server: &Serving, body: Value) -> (StatusCode, Value) {
    json_of(post(server, "/api/v1/sql", &body).send().await.unwrap()).await
}

pub(crate) async fn json_of(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.text().await.unwrap();
    assert_eq!(kind, if status.is_success() { "application/json" } else { "application/problem+json" }, "{body}");
    let value: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    if !status.is_success() {
        assert_eq!(value["status"], status.as_u16(), "{value}");
        assert!(value["type"].as_str().unwrap().starts_with("/problems/"), "{value}");
    }
    (status, value)
}

async fn arrow_of(response: Response) -> Vec<RecordBatch> {
    assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::OK, &ARROW.parse().unwrap()));
    let body = response.bytes().await.unwrap();
    StreamReader::try_new(&body[..], None).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn units_come_in_pages_that_leave_nothing_out() {
    let server = small();
    let mut seen = Vec::new();
    let mut next = Some("/api/v1/units?limit=7&order=score&descending=true&where=layer%20%3D%201".to_owned());
    while let Some(path) = next {
        let (status, page) = get(&server, &path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let rows = page["rows"].as_array().unwrap();
        assert!(rows.len() <= 7 && rows.iter().all(|row| row["layer"] == 1), "{page}");
        seen.extend(rows.iter().map(|row| (row["neuron"].as_i64().unwrap(), row["score"].as_f64())));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen.len(), 16);
    assert!(seen.iter().map(|(_, score)| score).is_sorted_by(|a, b| b.is_none() || a >= b), "{seen:?}");
    let mut neurons: Vec<i64> = seen.iter().map(|(neuron, _)| *neuron).collect();
    neurons.sort_unstable();
    assert_eq!(neurons, (0..16).collect::<Vec<_>>());

    let url = format!("{}/api/v1/units?limit=7&order=score&descending=true", server.http);
    let response = Client::new().get(url).header("accept", ARROW).send().await.unwrap();
    assert!(response.headers()["link"].to_str().unwrap().ends_with("offset=7>; rel=\"next\""));
    assert_eq!(arrow_of(response).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
}

#[tokio::test]
async fn a_unit_has_its_explanations_with_all_their_scores() {
    let server = small();
    let (status, unit) = get(&server, "/api/v1/units/neuronlake-default/blocks.1.mlp.hook_post/3").await;
    assert_eq!(status, StatusCode::OK, "{unit}");
    assert_eq!(unit["statistics"][0]["neuron"], 3);
    let (explanations, scores) = (unit["explanations"].as_array().unwrap(), unit["scores"].as_array().unwrap());
    let of_it = "hook_point = 'blocks.1.mlp.hook_post' AND neuron = 3";
    let count = |table: &str| number(small_lake(), &format!("SELECT count(*) AS n FROM {table} WHERE {of_it}"));
    assert_eq!((explanations.len() as i64, scores.len() as i64), (count("explanations"), count("scores")));
    assert!(explanations[0]["started_at"].is_string() && explanations[0]["code_version"].is_string());

    let path = "/api/v1/units/neuronlake-default/blocks.1.mlp.hook_post/3/records?where=sample%20%3D%20'top'&limit=2";
    let (_, records) = get(&server, path).await;
    let record = &records["rows"][0];
    assert_eq!(record["tokens"].as_array().unwrap().len(), record["activations"].as_array().unwrap().len());
    assert!(records["next"].as_str().unwrap().contains("offset=2"), "{records}");

    let (status, problem) = get(&server, "/api/v1/units/neuronlake-default/blocks.1.mlp.hook_post/999999").await;
    assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("/problems/not-found")));
}

#[tokio::test]
async fn a_query_of_ones_own_is_the_same_in_both_forms() {
    let server = small();
    let query = json!({
        "sql": "SELECT neuron, value, 1.0 / 0.0 AS endless, NULL AS nothing FROM scores WHERE layer = $1 AND metric = $2 ORDER BY neuron, value",
        "parameters": [1, "ev_correlation"],
    });
    let (status, rows) = sql(&server, query.clone()).await;
    assert_eq!(status, StatusCode::OK, "{rows}");
    let request = post(&server, "/api/v1/sql", &query).header("accept", ARROW);
    let batches = arrow_of(request.send().await.unwrap()).await;
    let values: Vec<Option<f64>> =
        batches.iter().flat_map(|b| b.column(1).as_primitive::<Float64Type>().iter().collect::<Vec<_>>()).collect();
    let rows = rows["rows"].as_array().unwrap();
    assert!(rows.len() > 20 && rows.len() == values.len());
    for (row, value) in rows.iter().zip(&values) {
        // The reader of JSON may miss the last bit.
        let same = match (row["value"].as_f64(), value) {
            (Some(json), Some(arrow)) => (json - arrow).abs() < 1e-15,
            (json, arrow) => json.is_none() && arrow.is_none(),
        };
        assert!(same, "{row} {value:?}");
    }
    assert!(rows.iter().all(|row| row["endless"].is_null() && row["nothing"].is_null()));

    // Parts of a union may have types of their own, which are made to agree only when it runs.
    let union = "SELECT 'here' AS place, neuron FROM neurons UNION ALL SELECT hook_point, max(neuron) FROM neurons GROUP BY hook_point";
    let query = json!({ "sql": union });
    let (_, rows) = sql(&server, query.clone()).await;
    let batches = arrow_of(post(&server, "/api/v1/sql", &query).header("accept", ARROW).send().await.unwrap()).await;
    let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((n_rows > 0, Some(n_rows)), (true, rows["rows"].as_array().map(Vec::len)));

    let (_, empty) = sql(&server, json!({ "sql": "SELECT neuron FROM scores WHERE FALSE" })).await;
    assert_eq!(empty["rows"], json!([]));
    assert_eq!(empty["columns"][0]["name"], "neuron");
    // Keys of imported windows take 63 bits.
    let (_, large) = sql(&server, json!({ "sql": "SELECT 9223372036854775807 AS key" })).await;
    assert_eq!(large["rows"][0]["key"].as_i64(), Some(i64::MAX));
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said_and_nothing_is_changed() {
    let server = small();
    let cases = [
        ("SELEC 1", 400, "query", "SQL error"),
        ("SELECT nothing FROM scores", 400, "query", "nothing"),
        ("SELECT * FROM nowhere", 400, "query", "nowhere"),
        ("SELECT CAST('x' AS INT)", 400, "query", "x"),
        (
            "SELECT a.neuron, b.neuron FROM scores a JOIN scores b ON a.run = b.run LIMIT 1",
            400,
            "argument",
            "two columns",
        ),
        ("DELETE FROM scores", 403, "refused", "DML"),
        ("INSERT INTO scores SELECT * FROM scores", 403, "refused", "DML"),
        ("COPY (SELECT 1) TO '/tmp/neuronlake-escaped.csv'", 403, "refused", "DML"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", 403, "refused", "DDL"),
        ("CREATE VIEW v AS SELECT 1", 403, "refused", "DDL"),
        ("SET datafusion.execution.batch_size = 1", 403, "refused", "Statement"),
        ("SELECT * FROM '/etc/passwd'", 400, "query", "passwd"),
        ("SELECT * FROM read_corpus('/etc/passwd')", 400, "query", "read_corpus"),
        ("SELECT * FROM activations_on('/etc', 'text')", 403, "refused", "subject model '/etc'"),
        ("SELECT explain(ARRAY[1.0], 'openai:gpt-4o')", 403, "refused", "--allow-spend"),
        ("SELECT repeat('x', 2000000000)", 400, "query", "repeat"),
        ("SELECT 1; SELECT 2", 400, "query", ""),
    ];
    for (text, status, kind, told) in cases {
        let (got, problem) = sql(&server, json!({ "sql": text })).await;
        assert_eq!(
            (got.as_u16(), &problem["type"]),
            (status, &json!(format!("/problems/{kind}"))),
            "{text}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(told), "{text}: {problem}");
    }
    let costly = "SELECT judge('x', text, tokens, activations, 'detection@openai:gpt-4o') FROM best_explanations, record_tokens LIMIT 1";
    let (status, problem) = sql(&server, json!({ "sql": costly })).await;
    assert!(status.is_client_error(), "{problem}");
    for body in [json!({}), json!([]), json!({ "sql": 1 }), json!({ "sql": "SELECT 1", "more": 1 })] {
        let (status, problem) = sql(&server, body).await;
        assert_eq!((status, &problem["type"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("/problems/body")));
    }
}

#[tokio::test]
async fn limits_stop_what_takes_too_much_and_nothing_else() {
    let endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.value * b.value) % 7 = 3";
    let many = "SELECT value FROM range(1000000)";
    let wide = "SELECT array_agg(a.value * 1000 + b.value) FROM range(100000) a, range(1000) b";
    for (limits, text, kind) in [
        (["--query-memory", "0.05", "--query-rows", "100000"], wide, "memory"),
        (["--query-seconds", "1", "--query-rows", "100000"], endless, "time"),
    ] {
        let server = Serving::start(small_lake(), &limits, &[]);
        let (status, problem) = sql(&server, json!({ "sql": text })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
        let (status, rows) = sql(&server, json!({ "sql": "SELECT count(*) AS n FROM range(100000)" })).await;
        assert_eq!((status, &rows["rows"][0]["n"]), (StatusCode::OK, &json!(100_000)));
    }
    let server = Serving::start(small_lake(), &["--query-rows", "100000"], &[]);
    // Rows had been sent before there were too many: the answer is cut, so that nobody takes it for whole.
    let request = post(&server, "/api/v1/sql", &json!({ "sql": many }));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.bytes().await.is_err());
}

/// Joins of 10^12 pairs: one finds many, the others none, so that they never hand on a row.
const ENDLESS: [&str; 3] = [
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.value * b.value) % 7 = 3",
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.value * b.value = -1",
    "SELECT count(*) FROM range(1000000) a JOIN range(1000000) b ON a.value % 1 = b.value % 1 AND a.value * b.value = -1",
];

#[tokio::test]
async fn the_time_limit_holds_on_one_thread_for_joins_that_find_nothing() {
    let server = Serving::start(small_lake(), &["--threads", "1", "--query-seconds", "1"], &[]);
    for endless in ENDLESS {
        let (status, problem) = sql(&server, json!({ "sql": endless })).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("/problems/time")),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_reader_who_leaves_takes_the_query_along() {
    let server = Serving::start(small_lake(), &["--queries-at-once", "1", "--threads", "1"], &[]);
    for endless in ENDLESS {
        let request = post(&server, "/api/v1/sql", &json!({ "sql": endless }));
        let left = tokio::time::timeout(std::time::Duration::from_millis(500), request.send()).await;
        assert!(left.is_err());
        // The only place is free again: the next query does not wait for the time limit of the first, which is a minute.
        let (status, rows) = sql(&server, json!({ "sql": "SELECT 1 AS one" })).await;
        assert_eq!((status, &rows["rows"][0]["one"]), (StatusCode::OK, &json!(1)));
    }
}

#[tokio::test]
async fn searches_and_texts_are_answered() {
    let server = small();
    let (status, found) = get(&server, "/api/v1/search?q=the%20word%20of&where=layer%20%3D%201&limit=5").await;
    assert_eq!(status, StatusCode::OK, "{found}");
    let rows = found["rows"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["layer"] == 1 && row["bm25"].as_f64().unwrap() > 0.0));
    // A page at a time it is the same list.
    let (mut paged, mut next) = (Vec::new(), Some("/api/v1/search?q=tokens&where=layer%20%3D%201&limit=5".to_owned()));
    while let Some(path) = next {
        let (status, page) = get(&server, &path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        paged.extend(page["rows"].as_array().unwrap().clone());
        next = page["next"].as_str().map(str::to_owned);
    }
    let (_, all) = get(&server, "/api/v1/search?q=tokens&where=layer%20%3D%201&limit=1000").await;
    assert!(paged.len() > 5, "{all}");
    assert_eq!(json!(paged), all["rows"]);
    let (status, _) = get(&server, "/api/v1/search?q=a&offset=100001").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = get(&server, "/api/v1/search?q=a&where=TRUE%3B%20DROP%20TABLE%20scores").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let body = json!({ "text": "The king rode to the castle.", "where": "layer = 1", "limit": 10 });
    let response = post(&server, "/api/v1/activations", &body).send().await.unwrap();
    let (status, fires) = json_of(response).await;
    assert_eq!(status, StatusCode::OK, "{fires}");
    let activations: Vec<f64> =
        fires["rows"].as_array().unwrap().iter().map(|r| r["activation"].as_f64().unwrap()).collect();
    assert_eq!(activations.len(), 10);
    assert!(activations.is_sorted_by(|a, b| a >= b));
}

#[tokio::test]
async fn the_catalog_says_what_there_is() {
    let server = small();
    let (_, tables) = get(&server, "/api/v1/tables").await;
    let scores = tables.as_array().unwrap().iter().find(|table| table["name"] == "scores").unwrap();
    let value = scores["columns"].as_array().unwrap().iter().find(|column| column["name"] == "value").unwrap();
    assert_eq!((&value["type"], &value["nullable"]), (&json!("Float64"), &json!(true)));
    assert!(
        tables.as_array().unwrap().iter().any(|table| table["kind"] == "view" && table["name"] == "best_explanations")
    );
    let (_, functions) = get(&server, "/api/v1/functions").await;
    assert!(functions.as_array().unwrap().iter().any(|function| function["name"] == "mentions"));
    let (_, models) = get(&server, "/api/v1/models").await;
    assert_eq!(models["rows"].as_array().unwrap().iter().map(|row| row["n_units"].as_i64().unwrap()).sum::<i64>(), 32);

    let (_, document) = get(&server, "/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 11);
    // Everything it refers to is there.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    // A program that is made from it knows the token, and that any request may be refused.
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    assert!(
        paths
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .all(|operation| { ["401", "default"].iter().all(|status| operation["responses"][status].is_object()) })
    );
    // What it says exists answers.
    for (path, methods) in paths.iter().filter(|(path, methods)| methods.get("get").is_some() && !path.contains('{')) {
        let asked = match path.rsplit('/').next() {
            Some("search") => format!("{path}?q=the"),
            Some("changes") => format!("{path}?before=0&after=0&change=same"),
            _ => path.clone(),
        };
        assert_eq!(get(&server, &asked).await.0, StatusCode::OK, "{methods}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_and_foreign_names_and_pages_are_turned_away() {
    const TOKEN: &str = "0123456789abcdef-token";
    let server = Serving::start(small_lake(), &[], &[("NEURONLAKE_TOKEN", TOKEN)]);
    let client = Client::new();
    let url = format!("{}/api/v1/functions", server.http);
    assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        client.get(&url).bearer_auth("0123456789abcdef-other").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(client.get(&url).bearer_auth(TOKEN).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        client.get(&url).header("cookie", format!("neuronlake_token={TOKEN}")).send().await.unwrap().status(),
        StatusCode::OK
    );

    let server = small();
    let url = format!("{}/api/v1/functions", server.http);
    let foreign = client.get(&url).header("host", "example.org").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::MISDIRECTED_REQUEST);
    let posted = post(&server, "/api/v1/sql", &json!({ "sql": "SELECT 1" })).header("origin", "http://example.org");
    assert_eq!(posted.send().await.unwrap().status(), StatusCode::FORBIDDEN);

    for (name, value) in [("content-security-policy", "default-src 'none'"), ("x-content-type-options", "nosniff")] {
        let response = client.get(format!("{}/api/v1/functions", server.http)).send().await.unwrap();
        assert!(response.headers()[name].to_str().unwrap().starts_with(value));
    }
}

#[tokio::test]
async fn pages_change_with_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    crate::support::copy_folder(std::path::Path::new(small_lake()), &lake);
    let server = Serving::start(lake.to_str().unwrap(), &[], &[]);
    let count = async || {
        let (_, models) = get(&server, "/api/v1/models").await;
        models["rows"].as_array().unwrap().iter().map(|row| row["n_units"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((count().await, count().await), (32, 32));
    let response = Client::new().get(format!("{}/api/v1/models", server.http)).send().await.unwrap();
    let tag = response.headers()["etag"].clone();
    let again =
        Client::new().get(format!("{}/api/v1/models", server.http)).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let more = ["--limit", "40", "--layers", "0,1,2", "--neurons", "0-15"];
    crate::support::run(std::path::Path::new("/"), lake.to_str().unwrap(), &more);
    // What was seen is trusted for a quarter of a second.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(count().await, 48);
}

#[tokio::test]
async fn a_server_ends_when_it_is_asked_to() {
    let mut server = small();
    assert_eq!(get(&server, "/api/v1/models").await.0, StatusCode::OK);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn nobody_else_is_served_without_a_token() {
    let line = crate::support::refused(
        std::path::Path::new("/"),
        &["serve", "--lake", small_lake(), "--listen", "0.0.0.0:0"],
        2,
    );
    assert!(
        line.starts_with(
            "error: --listen: expected a loopback address such as 127.0.0.1, or a token in NEURONLAKE_TOKEN"
        ),
        "{line}"
    );
}

/// A thousand requests that nobody means well with; each is answered, and none by a fault of ours.
#[tokio::test]
async fn hostile_requests_are_answered_and_none_is_our_fault() {
    let server = small();
    let client = Client::new();
    let mut state = 7_u64;
    let mut draw = |n: usize| {
        // xorshift: the same requests every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let paths = [
        "/api/v1/units",
        "/api/v1/units/neuronlake-default/blocks.1.mlp.hook_post/3",
        "/api/v1/units/../../etc/passwd/1",
        "/api/v1/search",
        "/api/v1/tables",
        "/api/v1/models",
        "/assets/../../Cargo.toml",
        "/assets/%2e%2e%2fCargo.toml",
        "/",
        "/browse",
        "/neuron/neuronlake-default/blocks.1.mlp.hook_post/3",
        "/neuron/%00/%ff/1",
        "/text",
        "/compare",
        "/sql",
        "/login",
        "//etc/passwd",
        "/%",
        "/lucky",
        "/neuron/default/%3Cscript%3E/-1",
    ];
    let names = [
        "q",
        "where",
        "order",
        "limit",
        "offset",
        "descending",
        "model",
        "hook_point",
        "sort",
        "page",
        "corpus",
        "mode",
        "layer",
    ];
    let long = "x".repeat(5_000);
    let nested = "(".repeat(3_000);
    let pieces = [
        "%00",
        "%ff%fe",
        "-1",
        "1e308",
        "NaN",
        "'%3B%20DROP%20TABLE%20scores%3B--",
        "1%3D1",
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "..%2f..%2fetc%2fpasswd",
        "(SELECT%201)",
        "%E2%80%AE",
        "99999999999999999999",
        "score%20%3E%200.5",
        "TRUE",
        "(SELECT%20explain(1,2))",
        "neuron%20%2F%200",
        "CAST('x'%20AS%20INT)%20%3D%201",
        "$1",
        "%24words",
        "text%20~%20'('",
        &long,
        &nested,
    ];
    let statements = [
        "SELECT 1/0",
        "SELECT * FROM scores, scores",
        "SELECT $1",
        "SELECT '\u{0}'",
        "SELECT * FROM information_schema.columns",
        "EXPLAIN ANALYZE SELECT * FROM scores",
        "SELECT * FROM keyword_matches(NULL)",
        "SELECT * FROM semantic_matches('')",
        "SELECT * FROM activations_on('default', '')",
        "SELECT * FROM activations_on('default', 'a', 'nothing')",
        "SELECT * FROM neurons_like('default', 'blocks.0.mlp.hook_post', 99999, 'input')",
        "SELECT mentions(NULL, NULL)",
        "SELECT mentions('a', '(')",
        "SELECT heatmap(ARRAY['a'], ARRAY[1.0, 2.0])",
        "SELECT token_text('default', -1)",
        "SELECT regexp_replace('a', '(', 'b')",
        "SELECT date_trunc('x', now())",
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t WHERE a < 1000) SELECT count(*) FROM t",
        "SELECT ARRAY[1,2][9223372036854775807]",
        "SELECT substr('abc', -9223372036854775808)",
        "SELECT interval '999999999999 years'",
        "SELECT CAST(1e300 AS BIGINT)",
        "SELECT abs(-9223372036854775808)",
        "SELECT to_timestamp(9223372036854775807)",
        "SELECT unnest(NULL)",
        "SELECT ev_correlation(ARRAY[1.0], ARRAY[NULL])",
        "SELECT 9223372036854775807 + 1",
        "SHOW ALL",
        "DESCRIBE scores",
        "",
        "SELECT simulate('a', ARRAY['a'], 'openai:x')",
        "SELECT explain(NULL, NULL)",
        "SELECT chr(-1)",
        "SELECT overlay('a' placing 'b' from -5)",
        "VALUES (1), (2)",
        "TABLE scores",
        "SELECT * FROM (SELECT * FROM scores) TABLESAMPLE SYSTEM (10)",
        "SELECT power(10, 400)::bigint",
        "SELECT ev_correlation(ARRAY[1.0], ARRAY[1.0, 2.0])",
        "SELECT window_sums(ARRAY[1.0], ARRAY[1.0, 2.0])",
        "SELECT fit_calibration(ARRAY[1.0], ARRAY[1.0, 2.0], 'linear')",
        "SELECT document_split('a', 'zz', 0)",
        "SELECT * FROM logit_lens('default', 'nothing')",
        "SELECT * FROM similar_latents('default', 'nothing', 0, 'nothing')",
        "SELECT * FROM neurons_like('default', 'blocks.0.mlp.hook_post', 0, 'activations', '{\"corpus\": \"zz\"}')",
        "SELECT * FROM weight_links('default', 'blocks.0.mlp.hook_post', '99999')",
        "SELECT * FROM weight_tokens('default', 'blocks.0.mlp.hook_post', 'x')",
        "SELECT promoted_tokens('default', 'blocks.0.mlp.hook_post', -1)",
        "SELECT token_windows('default', 'a', -1, 0)",
        "SELECT normalize_activations(ARRAY[1.0], -1.0)",
        "SELECT judge('nothing', 'a', ARRAY['a'])",
        "SELECT simulate('a', ARRAY['a'], 'nothing')",
        "SELECT simulation_scale('nothing')",
    ];
    let requests: Vec<RequestBuilder> = (0..1_000)
        .map(|number| {
            if number % 2 == 0 {
                let mut url = format!("{}{}", server.http, paths[draw(paths.len())]);
                for index in 0..draw(4) {
                    url += if index == 0 { "?" } else { "&" };
                    url += &format!("{}={}", names[draw(names.len())], pieces[draw(pieces.len())]);
                }
                let method = ["GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS"][draw(7)];
                return client.request(method.parse().unwrap(), &url);
            }
            let text = statements[draw(statements.len())];
            let body = match draw(6) {
                0 => format!("{{\"sql\": \"{}", "[".repeat(draw(5_000))),
                1 => json!({ "sql": format!("SELECT * FROM ({text})") }).to_string(),
                2 => json!({ "sql": text, "parameters": [null, 1.5, "x"] }).to_string(),
                _ => json!({ "sql": text }).to_string(),
            };
            let path = ["/api/v1/sql", "/api/v1/sql", "/api/v1/sql", "/api/v1/activations", "/api/v1/units"][draw(5)];
            client.post(format!("{}{path}", server.http)).header("content-type", "application/json").body(body)
        })
        .collect();
    let answers = futures::stream::iter(requests).map(async |request| {
        // Some addresses are none to the client itself.
        let response = request.send().await.ok()?;
        let (status, url) = (response.status(), response.url().clone());
        Some((status, url, response.text().await.unwrap_or_default()))
    });
    let answers: Vec<_> = answers.buffer_unordered(16).collect().await;
    let mut answered = 0;
    for (status, url, body) in answers.into_iter().flatten() {
        answered += 1;
        let start: String = body.chars().take(2_000).collect();
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{url}: {start}");
        assert!(!body.contains("root:x:"), "{url}");
    }
    assert!(answered > 900, "{answered}");
    assert_eq!(get(&server, "/api/v1/models").await.0, StatusCode::OK);
}

#[tokio::test]
async fn ten_million_rows_take_little_memory() {
    let server = small();
    let body =
        json!({ "sql": "SELECT value, value * 2 AS twice, 'a text of some length' AS text FROM range(10000000)" });
    let request = post(&server, "/api/v1/sql", &body).header("accept", ARROW);
    let mut response = request.send().await.unwrap();
    let mut bytes = 0;
    let mut tail = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes += chunk.len();
        tail = chunk.to_vec();
    }
    assert!(bytes > 300_000_000, "{bytes}");
    assert!(tail.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), "the stream has its end");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 600_000, "{peak} kB");
}

#[tokio::test]
async fn counts_of_the_engine_are_whole_numbers() {
    let server = small();
    let request = post(&server, "/api/v1/sql", &json!({ "sql": "SELECT count(*) AS n FROM scores" }));
    let batches = arrow_of(request.header("accept", ARROW).send().await.unwrap()).await;
    assert_eq!(
        batches[0].column(0).as_primitive::<Int64Type>().value(0),
        number(small_lake(), "SELECT count(*) AS n FROM scores")
    );
}
