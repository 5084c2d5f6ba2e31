//! The text, compare and SQL pages of a real server, compared with what SQL says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use regex::Regex;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::serving::Serving;
use crate::support::{ok, run};

const TEXT: &str = "The king rode to the castle.\nThe queen stayed.";

/// Two explanations for each of eight units, and a score table whose newest version changed some scores.
fn lake() -> &'static str {
    static LAKE: OnceLock<String> = OnceLock::new();
    LAKE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workbench-lake");
        std::fs::remove_dir_all(&folder).ok();
        let lake = folder.to_str().unwrap().to_owned();
        let small = ["--limit", "24", "--layers", "0,1", "--neurons", "0-3"];
        run(Path::new("/"), &lake, &[&small[..], &["--explainer", "token_lookup", "--explainer", "n2g"]].concat());
        change_scores(&folder);
        lake
    })
}

/// A commit as another program makes it: the first file of scores is replaced, scores of even units are an eighth larger, those of
/// odd ones a quarter less, those of unit 3 are gone.
fn change_scores(lake: &Path) {
    let log = lake.join("scores/_delta_log");
    let version = std::fs::read_dir(&log).unwrap().count();
    let text = std::fs::read_to_string(log.join(format!("{:020}.json", 1))).unwrap();
    let actions: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut added = actions.into_iter().find_map(|action| action.get("add").cloned()).unwrap();
    let path = added["path"].as_str().unwrap().to_owned();
    let (folder, _) = path.rsplit_once('/').unwrap();
    let sql = "SELECT layer, neuron, corpus, explanation, scorer, scorer_model, calibration, metric, sample_set, split, \
               CASE WHEN neuron % 2 = 0 THEN value + 0.125 ELSE value - 0.25 END AS value, control, low, high, reason, n_windows, \
               n_tokens, n_failed, run FROM \"scores@1\" WHERE neuron <> 3";
    let mut command = crate::support::program(Path::new("/"));
    command.args(["sql", "--lake", lake.to_str().unwrap(), "--format", "parquet", sql]);
    let file = crate::support::finish(&mut command);
    assert_eq!(file.code, Some(0), "{}", file.err);
    let url = Url::from_directory_path(lake.join("scores")).unwrap();
    let place = |path: &str| -> PathBuf { url.join(path).unwrap().to_file_path().unwrap() };
    let new = format!("{folder}/changed.parquet");
    std::fs::write(place(&new), &file.out).unwrap();
    added["path"] = new.into();
    added["size"] = file.out.len().into();
    added.as_object_mut().unwrap().remove("stats");
    let commit = [
        serde_json::json!({ "commitInfo": { "timestamp": 1_700_000_000_000_i64, "operation": "MERGE" } }),
        serde_json::json!({ "remove": { "path": path, "deletionTimestamp": 1_700_000_000_000_i64, "dataChange": true } }),
        serde_json::json!({ "add": added }),
    ];
    let lines: String = commit.iter().map(|action| format!("{action}\n")).collect();
    std::fs::write(log.join(format!("{version:020}.json", version = version)), lines).unwrap();
}

fn server() -> Serving {
    Serving::start(lake(), &[], &[])
}

fn address(server: &Serving, path: &str, pairs: &[(&str, &str)]) -> Url {
    Url::parse_with_params(&format!("{}{path}", server.http), pairs).unwrap()
}

async fn get(server: &Serving, path: &str, pairs: &[(&str, &str)]) -> Response {
    Client::new().get(address(server, path, pairs)).send().await.unwrap()
}

async fn answered(server: &Serving, path: &str, pairs: &[(&str, &str)]) -> (StatusCode, String) {
    let response = get(server, path, pairs).await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && policy.contains("style-src 'self'"), "{policy}");
    let status = response.status();
    (status, response.text().await.unwrap())
}

async fn good(server: &Serving, path: &str, pairs: &[(&str, &str)]) -> String {
    let (status, page) = answered(server, path, pairs).await;
    assert_eq!(status, StatusCode::OK, "{path} {pairs:?}: {page}");
    page
}

/// What the SQL page says is wrong.
fn complaint(page: &str) -> String {
    let found = Regex::new(r#"(?s)class="problem".*?<bdi>(.*?)</bdi>"#)
        .unwrap()
        .captures(page)
        .map(|found| found[1].to_owned());
    unescaped(&found.unwrap_or_else(|| panic!("no complaint in: {page}")))
}

fn unescaped(html: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ];
    pairs.iter().fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The texts of a table's cells by rows, without marks; a table is found by its id.
fn table(page: &str, id: &str) -> Vec<Vec<String>> {
    let start = page.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no table '{id}' in: {page}"));
    let table = &page[start..];
    let table = &table[..table.find("</table>").unwrap()];
    let (rows, cells) =
        (Regex::new(r"(?s)<tr>(.*?)</tr>").unwrap(), Regex::new(r"(?s)<t[dh][^>]*>(.*?)</t[dh]>").unwrap());
    let marks = Regex::new(r"<[^>]*>").unwrap();
    let text = |html: &str| unescaped(marks.replace_all(html, "").trim());
    rows.captures_iter(table).map(|row| cells.captures_iter(&row[1]).map(|cell| text(&cell[1])).collect()).collect()
}

/// Rows of a query as CSV cells; the queries here return no commas.
fn csv(sql: &str) -> Vec<Vec<String>> {
    let out = ok(Path::new("/"), &["sql", "--lake", lake(), "--format", "csv", sql]);
    out.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn the_sql_page_shows_what_sql_says() {
    let server = server();
    let sql =
        "SELECT hook_point, neuron, value, NULL AS nothing FROM best_explanations ORDER BY value DESC, neuron LIMIT 5";
    let page = good(&server, "/sql", &[("q", sql)]).await;
    let mut expected = csv(sql);
    assert_eq!(expected.len(), 5);
    for row in &mut expected {
        "–".clone_into(row.last_mut().unwrap());
    }
    assert_eq!(table(&page, "sql-rows")[1..], expected);
    assert_eq!(table(&page, "sql-rows")[0], ["hook_point", "neuron", "value", "nothing"]);
    assert!(page.contains("<span id=\"sql-count\">5 rows</span>"), "{page}");

    // Its own lists: tables with comments, views with columns, functions with examples, saved queries.
    let page = good(&server, "/sql", &[]).await;
    for listed in ["at most 1, larger is better", "random_only", "activations_on(model, text", "score_against_density"]
    {
        assert!(page.contains(listed), "{listed}");
    }
    let saved = Regex::new(r#"href="(/sql\?q=[^"]+)""#).unwrap();
    let links: Vec<String> = saved.captures_iter(&page).map(|link| link[1].to_owned()).collect();
    assert!(links.len() > 40, "{}", links.len());
    for link in links.iter().take(12) {
        let response = Client::new().get(format!("{}{link}", server.http)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{link}");
    }
}

#[tokio::test]
async fn a_long_result_is_cut_and_says_so() {
    let server = server();
    let page =
        good(&server, "/sql", &[("q", "SELECT value FROM generate_series(1, 5000) AS t(value) ORDER BY value")]).await;
    let rows = table(&page, "sql-rows");
    assert_eq!((rows.len(), rows[1000][0].as_str()), (1 + 1_000, "1000"));
    assert!(page.contains("the first 1\u{202F}000 rows"), "it says that there are more");
    let page = good(&server, "/sql", &[("q", "SELECT value FROM generate_series(1, 1000) AS t(value)")]).await;
    assert!(page.contains("<span id=\"sql-count\">1\u{202F}000 rows</span>"), "these are all");
    let page = good(&server, "/sql", &[("q", "SELECT neuron FROM neurons WHERE neuron < 0")]).await;
    assert!(page.contains("No rows."));
}

#[tokio::test]
async fn charts_draw_the_numbers_of_the_result() {
    let server = server();
    let titles = |page: &str| -> BTreeMap<String, String> {
        let title = Regex::new("<title>([^<]*)</title></rect>").unwrap();
        let found = title.captures_iter(page).map(|title| title[1].to_owned());
        found.map(|title| title.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()).collect()
    };
    let q = "SELECT layer, value FROM scores WHERE metric = 'ev_correlation' AND sample_set = 'top_and_random'";
    let drawn = |chart: &'static str| [("q", q), ("chart", chart), ("x", "layer"), ("y", "value")];
    let page = good(&server, "/sql", &drawn("histogram")).await;
    let counts: BTreeMap<String, String> = titles(&page);
    let expected = csv(
        "SELECT layer, count(*) AS n FROM scores WHERE metric = 'ev_correlation' AND sample_set = 'top_and_random' \
                        GROUP BY layer ORDER BY layer",
    );
    assert_eq!(counts, expected.iter().map(|row| (row[0].clone(), row[1].clone())).collect());

    let page = good(&server, "/sql", &drawn("mean")).await;
    let means = titles(&page);
    for row in csv(
        "SELECT layer, round(avg(value), 4) AS mean, count(value) AS n FROM scores WHERE metric = 'ev_correlation' \
                    AND sample_set = 'top_and_random' GROUP BY layer",
    ) {
        let (mean, n) = means[&row[0]].split_once(" over ").unwrap();
        let mean: f64 = mean.replace('−', "-").parse().unwrap();
        assert!((mean - row[1].parse::<f64>().unwrap()).abs() < 1e-3, "{means:?} {row:?}");
        assert_eq!(n, format!("{} rows", row[2]));
    }
    let page = good(&server, "/sql", &drawn("scatter")).await;
    let n: usize = csv(&format!("SELECT count(value) FROM ({q})"))[0][0].parse().unwrap();
    assert_eq!(page.matches("<circle").count(), n);
    let page =
        good(&server, "/sql", &[("q", "SELECT text FROM explanations"), ("chart", "histogram"), ("x", "text")]).await;
    assert!(page.contains("holds no numbers"));
}

#[tokio::test]
async fn what_may_not_be_run_is_answered_with_the_reason() {
    let server = server();
    let before = csv("SELECT count(*) FROM scores");
    let check = async |sql: &str, reason: &str| {
        let (status, page) = answered(&server, "/sql", &[("q", sql)]).await;
        assert!(status.is_client_error(), "{sql}: {status}");
        let told = complaint(&page);
        assert!(told.contains(reason), "{sql}: expected '{reason}' in: {told}");
        for format in ["csv", "json", "parquet"] {
            let response = get(&server, "/sql/download", &[("q", sql), ("format", format)]).await;
            assert!(response.status().is_client_error(), "{sql} as {format}: {}", response.status());
            assert!(!response.headers().contains_key("content-disposition"), "{sql}");
            let body = response.text().await.unwrap();
            assert!(!body.is_empty(), "{sql}: a refusal without a reason");
        }
    };
    for sql in [
        "DROP TABLE scores",
        "INSERT INTO scores SELECT * FROM scores",
        "DELETE FROM scores",
        "COPY scores TO '/tmp/neuronlake-stolen.csv'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW x AS SELECT 1",
        "SET datafusion.execution.batch_size = 1",
    ] {
        check(sql, "refused: a statement that does more than read").await;
    }
    check("SELECT * FROM read_corpus('/etc/passwd')", "read_corpus").await;
    check("SELECT * FROM '/etc/passwd'", "not found").await;
    check("SELECT 1; SELECT 2", "single").await;
    check("SELECT repeat('x', 1000000000)", "repeat").await;
    check("SELECT neuron FROM score", "not found").await;
    check("SELECT neuron FROM \"scores@99\"", "expected one of its versions 0 to").await;
    check("SELECT ev_correlation(activations, activations) FROM activation_records", "train").await;
    check("SELECT CAST('x' AS INT)", "x").await;
    assert_eq!(csv("SELECT count(*) FROM scores"), before);
    assert!(!Path::new("/tmp/neuronlake-stolen.csv").exists());

    let (_, page) = answered(&server, "/sql", &[("q", "SELECT 1\nFROM WHERE x")]).await;
    assert!(page.contains("Line 2, column 6:") && page.contains("<mark>WHERE x</mark>"), "{page}");
    for (format, status) in [("xlsx", StatusCode::BAD_REQUEST), ("", StatusCode::BAD_REQUEST)] {
        let response = get(&server, "/sql/download", &[("q", "SELECT 1"), ("format", format)]).await;
        assert_eq!(response.status(), status);
    }
    assert_eq!(get(&server, "/sql/download", &[("format", "csv")]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn downloads_read_back_as_they_were_asked() {
    let server = server();
    let sql = "SELECT value AS number, value / 3.0 AS third, CASE WHEN value % 7 <> 0 THEN 'a, \"b\" ' || value END AS text, \
               [value, NULL] AS list FROM generate_series(1, 100000) AS t(value) ORDER BY value";
    let download = async |format: &str| {
        let response = get(&server, "/sql/download", &[("q", sql), ("format", format)]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let name = response.headers()["content-disposition"].to_str().unwrap();
        assert_eq!(name, format!("attachment; filename=\"neuronlake.{format}\""));
        response.bytes().await.unwrap()
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(download("parquet").await).unwrap();
    let schema = std::sync::Arc::clone(reader.schema());
    let rows: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let rows = concat_batches(&schema, &rows).unwrap();
    assert_eq!(rows.num_rows(), 100_000);
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let (numbers, thirds) =
        (column("number").as_primitive::<Int64Type>(), column("third").as_primitive::<Float64Type>());
    let (texts, lists) = (column("text").as_string::<i32>(), column("list").as_list::<i32>());
    for (row, number) in (1..=100_000_i64).enumerate() {
        assert_eq!(numbers.value(row), number);
        assert_eq!(thirds.value(row), number as f64 / 3.0);
        assert_eq!(texts.is_null(row), number % 7 == 0);
        if number % 7 != 0 {
            assert_eq!(texts.value(row), format!("a, \"b\" {number}"));
        }
        assert_eq!((lists.value(row).len(), lists.value(row).null_count()), (2, 1));
    }

    // CSV and JSON as the command line writes them.
    for format in ["csv", "json"] {
        let expected = ok(Path::new("/"), &["sql", "--lake", lake(), "--format", format, sql]);
        assert!(
            download(format).await == expected.trim_end_matches('\n').as_bytes() || download(format).await == expected,
            "{format}"
        );
    }
    let response =
        get(&server, "/sql/download", &[("q", "SELECT neuron FROM neurons WHERE neuron < 0"), ("format", "csv")]).await;
    assert_eq!(response.text().await.unwrap(), "neuron\n");
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let server = server();
    let evil = "</textarea></title><script>alert('x')</script><img src=x onerror=alert(1)>\"'&amp;\u{202e}\u{0}";
    let literal = format!("SELECT '{}' AS \"<b>{{{{ 7*7 }}}}</b>\", '{{{{ 7*7 }}}}' AS b", evil.replace('\'', "''"));
    let pages = [
        ("/sql", vec![("q", literal.as_str())]),
        ("/sql", vec![("q", evil)]),
        ("/sql", vec![("q", "SELECT 1 AS a"), ("chart", evil), ("x", evil), ("y", evil)]),
        ("/sql", vec![("q", literal.as_str()), ("chart", "mean"), ("x", "b"), ("y", "b")]),
        ("/text", vec![("q", evil), ("position", "0"), ("unit", "blocks.0.mlp.hook_post:1")]),
        ("/text", vec![("q", "a"), ("model", evil)]),
        ("/text", vec![("q", "a"), ("hook", evil)]),
        ("/text", vec![("q", "a"), ("unit", evil), ("position", evil)]),
        ("/compare", vec![("of", evil)]),
        ("/compare", vec![("model", evil), ("a", evil), ("b", evil)]),
        ("/compare", vec![("model", evil), ("a", "x:1"), ("b", "y:2")]),
        ("/compare", vec![("of", "explanations"), ("model", evil), ("hook_point", evil), ("neuron", "1"), ("a", evil)]),
        ("/compare", vec![("of", "versions"), ("metric", evil), ("sample_set", evil)]),
        ("/compare", vec![("of", "versions"), ("before", evil), ("after", "1"), ("change", evil)]),
        ("/sql/download", vec![("q", evil), ("format", evil)]),
    ];
    for (path, pairs) in pages {
        let (status, page) = answered(&server, path, &pairs).await;
        assert!(status == StatusCode::OK || status.is_client_error(), "{path} {pairs:?}: {status}");
        let lower = page.to_lowercase();
        for broken in ["<script>alert", "<img src=x", "\u{0}", "\u{202e}"] {
            assert!(!lower.contains(broken), "{path} {pairs:?}: {broken:?} came through");
        }
        let calculates = pairs.iter().any(|(_, value)| value.contains("7*7"));
        assert!(!calculates || !page.contains(">49<"), "{path}: a text was taken for a template");
    }
}

#[tokio::test]
async fn the_text_page_shows_what_fires() {
    let server = server();
    let page = good(&server, "/text", &[("q", TEXT), ("position", "1"), ("unit", "blocks.0.mlp.hook_post:2")]).await;
    let literal = TEXT.replace('\'', "''");
    let tokens = csv(&format!(
        "SELECT position FROM activations_on('default', '{literal}', 'blocks.0.mlp.hook_post') WHERE neuron = 0 ORDER BY position"
    ));
    let buttons = Regex::new(r#"<button name="position" value="(\d+)""#).unwrap();
    let shown: Vec<Vec<String>> = buttons.captures_iter(&page).map(|found| vec![found[1].to_owned()]).collect();
    assert_eq!(shown, tokens);

    // The strongest at the token, of the neurons that the lake knows, as a share of their largest.
    let expected = csv(&format!(
        "SELECT f.hook_point || ':' || f.neuron, f.layer, round(100 * f.activation / n.max) FROM activations_on('default', '{literal}') f \
         JOIN neurons n ON n.model = f.model AND n.hook_point = f.hook_point AND n.neuron = f.neuron \
         WHERE f.position = 1 AND f.activation > 0 ORDER BY f.activation / n.max DESC LIMIT 3"
    ));
    let at = &page[page.find("id=\"text-at\"").unwrap()..];
    let at = at.replacen("<table", "<table id=\"at-rows\"", 1);
    let rows = table(&at, "at-rows");
    for (row, expected) in rows[1..].iter().zip(&expected) {
        let share = format!("{} %", expected[2].trim_end_matches(".0"));
        assert_eq!([&row[0], &row[1], &row[3]], [&expected[0], &expected[1], &share]);
        assert!(row[4].len() > 3, "with an explanation: {row:?}");
    }
    assert!(at.contains("href=\"/neuron/neuronlake-default/blocks."), "and a link");

    // The chosen neuron over the text.
    let values = csv(&format!(
        "SELECT activation FROM activations_on('default', '{literal}', 'blocks.0.mlp.hook_post') WHERE neuron = 2 ORDER BY position"
    ));
    let over = &page[page.find("blocks.0.mlp.hook_post:2 over the text").unwrap()..];
    let over = &over[..over.find("</section>").unwrap()];
    let title = Regex::new(r#"<span class="token [^"]*" title="([^"]*)">"#).unwrap();
    let titles: Vec<f64> = title.captures_iter(over).map(|found| found[1].replace('−', "-").parse().unwrap()).collect();
    assert_eq!(titles.len(), values.len());
    for (shown, value) in titles.iter().zip(&values) {
        let value: f64 = value[0].parse().unwrap();
        assert!((shown - value).abs() <= 1e-3 * value.abs() + 1e-9, "{shown} {value}");
    }
    assert!(page.contains("The SQL behind this page") && page.contains("activations_on"));
}

#[tokio::test]
async fn a_text_is_sent_found_again_and_limited() {
    let server = server();
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let send = async |pairs: &[(&str, &str)]| {
        let body = address(&server, "/text", pairs).query().unwrap_or_default().to_owned();
        let request =
            client.post(format!("{}/text", server.http)).header("content-type", "application/x-www-form-urlencoded");
        request.body(body).send().await.unwrap()
    };
    let response = send(&[("q", "The king.\r\nä & b"), ("model", "default"), ("hook", "blocks.0.mlp.hook_post")]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(location, "/text?q=The%20king.%0A%C3%A4%20%26%20b&model=default&hook=blocks.0.mlp.hook_post");
    let page = client.get(format!("{}{location}", server.http)).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("\nThe king.\nä &amp; b</textarea>"));

    let long = "The king rode. ".repeat(500);
    let response = send(&[("q", &long), ("hook", "blocks.0.mlp.hook_post")]).await;
    assert_eq!(response.status(), StatusCode::OK, "no address holds it");
    let page = response.text().await.unwrap();
    assert!(
        page.contains("<form method=\"post\" action=\"/text\" class=\"tokens\">"),
        "and its tokens are chosen the same way"
    );

    let too_long = "ä".repeat(20_001);
    let response = send(&[("q", &too_long)]).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(response.text().await.unwrap().contains("expected at most 20000 characters, got 20001"));

    let foreign = client.post(format!("{}/text", server.http)).header("origin", "http://elsewhere.example");
    assert_eq!(foreign.body("q=x").send().await.unwrap().status(), StatusCode::FORBIDDEN);

    for (pairs, status, reason) in [
        (vec![("model", "/etc/passwd")], StatusCode::FORBIDDEN, "expected one of those the server was started with"),
        (vec![("hook", "blocks.9.mlp.hook_post")], StatusCode::BAD_REQUEST, "no hook point"),
        (vec![("position", "99")], StatusCode::BAD_REQUEST, "expected a token of the text"),
        (vec![("position", "x")], StatusCode::BAD_REQUEST, "expected the number of a token"),
        (vec![("unit", "7")], StatusCode::BAD_REQUEST, "expected a neuron as hook_point:neuron"),
    ] {
        let pairs = [&[("q", "The king.")][..], &pairs].concat();
        let (got, page) = answered(&server, "/text", &pairs).await;
        assert_eq!(got, status, "{pairs:?}");
        assert!(complaint(&page).contains(reason), "{pairs:?}: {}", complaint(&page));
    }
}

#[tokio::test]
async fn versions_of_scores_are_compared() {
    let server = server();
    let versions: Vec<u64> = csv("SELECT version FROM table_versions('scores') ORDER BY version")
        .iter()
        .map(|row| row[0].parse().unwrap())
        .collect();
    let newest = *versions.last().unwrap();
    let before = (newest - 1).to_string();
    let after = newest.to_string();
    // What the commit did to the file of version 1.
    let of = |condition: &str| -> String {
        let sql = format!(
            "SELECT count(*) FROM \"scores@1\" WHERE metric = 'ev_correlation' AND sample_set = 'top_and_random' AND {condition}"
        );
        csv(&sql)[0][0].clone()
    };
    let page = good(&server, "/compare", &[("of", "versions")]).await;
    let counts: BTreeMap<String, String> =
        table(&page, "counts")[1..].iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(counts["rose"], of("neuron % 2 = 0 AND value IS NOT NULL"));
    assert_eq!(counts["fell"], of("neuron = 1 AND value IS NOT NULL"));
    assert_eq!(counts["vanished"], of("neuron = 3"));
    assert!(!counts.contains_key("appeared"));
    assert!(counts["same"].parse::<u64>().unwrap() > 0, "the other layer");

    let compare = async |before: &str, after: &str, change: &str| {
        let pairs = [("of", "versions"), ("before", before), ("after", after), ("change", change)];
        table(&good(&server, "/compare", &pairs).await, "changes")
    };
    let rose = compare(&before, &after, "rose").await;
    assert!(rose.len() > 1 && rose[1..].iter().all(|row| row[5] == "0.125"), "{rose:?}");
    let fell = compare(&before, &after, "fell").await;
    assert!(fell.len() > 1 && fell[1..].iter().all(|row| row[5] == "−0.250"), "{fell:?}");
    let runs: Vec<String> =
        csv("SELECT run FROM runs WHERE stage = '60_scores'").iter().map(|row| row[0].clone()).collect();
    assert!(fell[1..].iter().all(|row| runs.contains(&row[6]) && row[6] == row[7]), "{fell:?} {runs:?}");
    // The other way round.
    let appeared = compare(&after, &before, "appeared").await;
    assert_eq!((appeared.len() - 1).to_string(), of("neuron = 3"));
    assert!(appeared[1..].iter().all(|row| row[0].ends_with(":3") && row[3] == "–" && row[6] == "–"), "{appeared:?}");

    let (status, page) = answered(&server, "/compare", &[("of", "versions"), ("before", "99")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(complaint(&page).contains(&format!("expected one of its versions 0 to {newest}")), "{}", complaint(&page));
}

#[tokio::test]
async fn explanations_and_neurons_are_compared() {
    let server = server();
    let both = "SELECT neuron FROM scores WHERE hook_point = 'blocks.1.mlp.hook_post' AND metric = 'ev_correlation' \
                AND sample_set = 'top_and_random' GROUP BY neuron HAVING count(value) = 2 ORDER BY neuron LIMIT 1";
    let neuron = csv(both)[0][0].clone();
    let unit = [("model", "neuronlake-default"), ("hook_point", "blocks.1.mlp.hook_post"), ("neuron", neuron.as_str())];
    let page = good(&server, "/compare", &[&[("of", "explanations")], &unit[..]].concat()).await;
    let of_unit = format!("hook_point = 'blocks.1.mlp.hook_post' AND neuron = {neuron}");
    let ids = csv(&format!(
        "SELECT explanation FROM searchable_explanations WHERE {of_unit} ORDER BY score DESC, explanation"
    ));
    assert_eq!(ids.len(), 2);
    let expected = csv(&format!(
        "SELECT explanation, round(value, 3) FROM scores WHERE {of_unit} AND metric = 'ev_correlation' \
         AND sample_set = 'top_and_random' AND split = 'valid' AND value IS NOT NULL"
    ));
    let rows = table(&page, "scores");
    for row in &expected {
        let value: f64 = row[1].parse().unwrap();
        let shown = format!("{value:.3}").replace('-', "−");
        let column = if row[0] == ids[0][0] { 4 } else { 6 };
        assert!(
            rows.iter().any(|line| line[0] == "ev_correlation" && line[column].starts_with(&shown)),
            "{row:?} {rows:?}"
        );
    }
    assert_eq!(expected.len(), 2);
    let windows: usize = csv(&format!(
        "SELECT count(DISTINCT rank || sample || split) FROM simulations WHERE {of_unit} AND NOT control AND expected IS NOT NULL"
    ))[0][0]
        .parse()
        .unwrap();
    let lines = |letter: &str| page.matches(&format!("aria-label=\"simulated by explanation {letter}\"")).count();
    assert_eq!((lines("A"), lines("B")), (windows.min(10), windows.min(10)), "both on the same windows");

    let b = ids[1][0].as_str();
    let swapped =
        good(&server, "/compare", &[&[("of", "explanations"), ("a", b), ("b", &ids[0][0])], &unit[..]].concat()).await;
    let (one, other) = (table(&page, "scores"), table(&swapped, "scores"));
    assert!(
        one.iter().skip(1).all(|row| other.iter().any(|line| line[4] == row[6] && line[6] == row[4])),
        "sides change places"
    );
    let (status, _) =
        answered(&server, "/compare", &[&[("of", "explanations"), ("a", "nothing")], &unit[..]].concat()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    // Two neurons on the windows of both; the model is at hand, so each has values on the other's.
    let pairs = [("model", "neuronlake-default"), ("a", "blocks.0.mlp.hook_post:1"), ("b", "blocks.1.mlp.hook_post:2")];
    let page = good(&server, "/compare", &pairs).await;
    let rows = table(&page, "units");
    let density = csv("SELECT density FROM neurons WHERE hook_point = 'blocks.1.mlp.hook_post' AND neuron = 2");
    let shown: f64 = rows.iter().find(|row| row[0] == "density").unwrap()[2].parse().unwrap();
    assert!((shown - density[0][0].parse::<f64>().unwrap()).abs() < 1e-4);
    let lines = |letter: &str| page.matches(&format!("aria-label=\"activations of neuron {letter}\"")).count();
    assert_eq!((lines("A"), lines("B")), (8, 8));
    assert!(!page.contains("no values: the text"));
}
