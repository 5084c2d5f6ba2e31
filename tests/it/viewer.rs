//! The pages of a real server: what they say is what SQL says, their links lead somewhere, and hostile texts stay texts.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::json::ReaderBuilder;
use neuronlake::tables::definition::table;
use neuronlake::tables::lake::Lake;
use neuronlake::tables::writer::TableWriter;
use regex::Regex;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{SMALL, copy_folder, ok, run, small_lake};

const UNIT: &str = "/neuron/neuronlake-default/blocks.1.mlp.hook_post/3";
const OF_UNIT: &str = "hook_point = 'blocks.1.mlp.hook_post' AND neuron = 3";

/// The small lake behind a server whose simulator needs no files.
fn small() -> &'static Serving {
    static SERVING: OnceLock<Serving> = OnceLock::new();
    SERVING
        .get_or_init(|| Serving::start(small_lake(), &["--simulator", "n2g"], &[("NEURONLAKE_MODELS", "/nonexistent")]))
}

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn get(server: &Serving, path: &str) -> (StatusCode, String) {
    let response = client().get(format!("{}{path}", server.http)).header("accept", "text/html").send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn page(server: &Serving, path: &str) -> String {
    let (status, page) = get(server, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {page}");
    page
}

/// Rows that SQL gives.
fn sql(lake: &str, query: &str) -> Vec<Value> {
    let out = ok(Path::new("/"), &["sql", "--lake", lake, "--format", "jsonl", query]);
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Text as a page writes it.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// A score as a page writes it.
fn score(value: &Value) -> String {
    format!("{:.3}", value.as_f64().unwrap()).replace('-', "−")
}

/// The addresses of a page's links, assets and forms that are asked for by GET.
fn links(page: &str) -> Vec<String> {
    let address = Regex::new(r#"(?:href|src)="(/[^"]*)""#).unwrap();
    let form = Regex::new(r#"<form[^>]*method="get"[^>]*action="(/[^"]*)""#).unwrap();
    let found = address.captures_iter(page).chain(form.captures_iter(page));
    found.map(|found| unescaped(found[1].split('#').next().unwrap())).collect()
}

#[tokio::test]
async fn the_home_page_says_what_the_lake_holds() {
    let home = page(small(), "/").await;
    for table in ["documents", "neurons", "explanations", "scores"] {
        let n = sql(small_lake(), &format!("SELECT count(*) AS n FROM {table}"))[0]["n"].as_i64().unwrap();
        let shown = if n < 1_000 { n.to_string() } else { format!("{}\u{202F}{:03}", n / 1_000, n % 1_000) };
        assert!(home.contains(&format!("<dt>{table}</dt><dd>{shown}</dd>")), "{table} {n}: {home}");
    }
    let best =
        &sql(small_lake(), "SELECT hook_point, neuron, text, value FROM best_explanations ORDER BY value DESC LIMIT 1")
            [0];
    let row = format!("<bdi>{}</bdi> {}</a></th>", best["hook_point"].as_str().unwrap(), best["neuron"]);
    let at = home.find(&row).unwrap_or_else(|| panic!("{row}: {home}"));
    assert!(home[at..at + 2_000].contains(&score(&best["value"])));
    let median = sql(small_lake(), "SELECT median(value) AS m FROM best_explanations")[0]["m"].as_f64().unwrap();
    assert!(home.contains(&format!("median {}", format!("{median:.4}").trim_end_matches('0'))), "{median}: {home}");
    assert!(home.contains("No language model was asked for anything."));
}

#[tokio::test]
async fn a_neuron_page_says_what_sql_says() {
    let shown = page(small(), UNIT).await;
    let facts = &sql(
        small_lake(),
        &format!("SELECT text, value, control, low, high, random_only FROM best_explanations WHERE {OF_UNIT}"),
    )[0];
    assert!(shown.contains(&format!("<bdi>{}</bdi>", escaped(facts["text"].as_str().unwrap()))), "{facts}");
    assert!(shown.contains(&format!("<strong>{}</strong>", score(&facts["value"]))));
    assert!(shown.contains(&format!("{} to {}", score(&facts["low"]), score(&facts["high"]))));
    assert!(shown.contains(&score(&facts["control"])) && shown.contains(&score(&facts["random_only"])));

    // Every token of the first simulated window, in its order, each with its values.
    let window = &sql(
        small_lake(),
        &format!(
            "SELECT r.tokens, r.activations, s.expected FROM simulations s JOIN record_tokens r ON r.sequence = s.sequence \
             AND r.sample = s.sample AND r.split = s.split AND r.hook_point = s.hook_point AND r.neuron = s.neuron \
             WHERE s.{OF_UNIT} AND NOT s.control AND s.sample = 'top' AND s.rank = 0"
        )
        .replace("AND neuron = 3", "AND s.neuron = 3"),
    )[0];
    let first = shown.split("<div class=\"heat\"").nth(1).unwrap().split("</div>").next().unwrap();
    let token = Regex::new(r#"data-v="([^"]*)" data-w="([^"]*)"[^>]*><bdi>([^<]*)</bdi>"#).unwrap();
    let found: Vec<_> = token.captures_iter(first).collect();
    let list = |name: &str| window[name].as_array().unwrap().clone();
    assert_eq!(found.len(), list("tokens").len());
    for (place, found) in found.iter().enumerate() {
        let text = list("tokens")[place].as_str().unwrap().replace('\n', "↵");
        assert_eq!(unescaped(&found[3]), text);
        for (shown, real) in [(&found[1], &list("activations")[place]), (&found[2], &list("expected")[place])] {
            let (shown, real): (f64, f64) = (shown.replace('−', "-").parse().unwrap(), real.as_f64().unwrap());
            assert!((shown - real).abs() <= real.abs() * 0.005, "{shown} of {real}");
        }
    }
    for words in [
        "Top windows",
        "Random windows",
        "Largest mean activation",
        "Promoted, by weights",
        "Downstream: what reads it",
        "data-key=\"ArrowRight\"",
    ] {
        assert!(shown.contains(words), "{words}");
    }
    assert!(shown.contains("neuronlake pull minilm"), "without an encoder the page says how to get one");
    // The switches stand in the address.
    let stacked = page(small(), &format!("{UNIT}?view=stacked&scale=own&values=yes")).await;
    assert!(
        stacked.contains("class=\"heats stacked own values\"") && shown.contains("class=\"heats overlaid shared\"")
    );
}

#[tokio::test]
async fn browse_sorts_and_filters_as_sql_does() {
    let expect = async |query: &str, condition: &str, order: &str| {
        let shown = page(small(), &format!("/browse{query}")).await;
        let row = Regex::new(r#"<th scope="row" class="number"><a href="/neuron/[^/]+/([^/]+)/(\d+)\?"#).unwrap();
        let found: Vec<String> = row.captures_iter(&shown).map(|row| format!("{}:{}", &row[1], &row[2])).collect();
        let wanted = sql(
            small_lake(),
            &format!(
                "SELECT concat(hook_point, ':', neuron) AS unit FROM neuron_summary WHERE {condition} \
                 ORDER BY {order}, model, corpus, layer, hook_point, neuron LIMIT 50"
            ),
        );
        let wanted: Vec<&str> = wanted.iter().map(|row| row["unit"].as_str().unwrap()).collect();
        assert!(!wanted.is_empty(), "{condition}");
        assert_eq!(found, wanted, "{query}");
    };
    expect("", "TRUE", "value DESC").await;
    expect("?sort=density&order=rising", "TRUE", "density").await;
    expect("?layer=1&low=0.6&sort=neuron", "layer = 1 AND value >= 0.6", "neuron").await;
    expect("?where=neuron%20%25%202%20%3D%200%20AND%20max%20%3E%201", "neuron % 2 = 0 AND max > 1", "value DESC").await;
    expect("?q=the", "mentions(text, 'the')", "value DESC").await;

    let first = page(small(), "/browse?size=20").await;
    let next = links(&first).into_iter().find(|link| link.contains("page=2")).unwrap();
    let second = page(small(), &next).await;
    assert!(second.contains("21 to 32 shown"), "{second}");
    assert!(page(small(), "/browse?page=9").await.contains("none stand on page 9"));
    assert!(page(small(), "/browse?low=2").await.contains("No neuron passes the filters"));
}

#[tokio::test]
async fn search_finds_words_and_says_why_not_meanings() {
    let shown = page(small(), "/search?q=the&where=layer%20%3D%201").await;
    let wanted = sql(
        small_lake(),
        "SELECT neuron FROM keyword_matches('the') WHERE layer = 1 ORDER BY bm25 DESC, explanation LIMIT 30",
    );
    let row = Regex::new(r#"<bdi>blocks\.1\.mlp\.hook_post</bdi> (\d+)</a>"#).unwrap();
    let found: Vec<String> = row.captures_iter(&shown).map(|row| row[1].to_owned()).collect();
    assert!(!wanted.is_empty());
    assert_eq!(found, wanted.iter().map(|row| row["neuron"].to_string()).collect::<Vec<_>>());
    assert!(shown.contains("Searched by words only"), "{shown}");
    assert!(page(small(), "/search?q=%3F%21").await.contains("Type a word with a letter or a digit."));
    assert!(page(small(), "/search?q=xyzzyplugh").await.contains("Nothing found."));
}

#[tokio::test]
async fn every_link_of_the_main_pages_leads_somewhere() {
    let server = small();
    let mut waiting: VecDeque<String> =
        ["/", "/browse", UNIT, "/search?q=the", "/browse?page=9"].map(str::to_owned).into();
    let mut deep: BTreeSet<String> = waiting.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(address) = waiting.pop_front() {
        if !seen.insert(address.clone()) {
            continue;
        }
        let (status, body) = get(server, &address).await;
        assert!(status.is_success() || status.is_redirection(), "{address}: {status} {body}");
        // Pages that these lead to are asked for, theirs are not.
        if deep.remove(&address) {
            waiting.extend(links(&body));
        }
    }
    assert!(seen.len() > 50, "{}", seen.len());
}

#[tokio::test]
async fn luck_leads_to_a_neuron_with_a_score() {
    let response = client().get(format!("{}/lucky", small().http)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let address = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(page(small(), &address).await.contains("<strong>"), "{address}");
}

#[tokio::test]
async fn assets_are_kept_by_what_they_hold() {
    let home = page(small(), "/").await;
    let style = links(&home).into_iter().find(|link| link.contains("viewer.css")).unwrap();
    let fetch = async |path: &str| client().get(format!("{}{path}", small().http)).send().await.unwrap();
    let by_hash = fetch(&style).await;
    assert!(by_hash.headers()["cache-control"].to_str().unwrap().contains("immutable"), "{style}");
    let by_name = fetch("/assets/viewer.css").await;
    assert_eq!(by_name.headers()["cache-control"], "no-cache");
    let tag = by_name.headers()["etag"].to_str().unwrap().to_owned();
    let again =
        client().get(format!("{}/assets/viewer.css", small().http)).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    for path in ["/assets/nothing.css", "/assets/..%2Fviewer.rs", "/assets/%00"] {
        assert_eq!(get(small(), path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_is_a_page() {
    let hook = "/neuron/neuronlake-default/blocks.1.mlp.hook_post";
    let cases = [
        (format!("{hook}/999999"), 404, "the lake has nothing of neuron 999999"),
        ("/neuron/x/y/0".to_owned(), 404, "of &#39;y&#39; in model &#39;x&#39;"),
        (format!("{UNIT}?corpus=other"), 404, "not of corpus &#39;other&#39;: it has &#39;default&#39;"),
        (format!("{hook}/-1"), 400, "expected the number of a neuron"),
        (format!("{hook}/99999999999999999999"), 400, "expected the number of a neuron"),
        (format!("{hook}/1%27%20OR%201=1"), 400, "expected the number of a neuron"),
        ("/neuron/%FF/y/0".to_owned(), 400, "UTF-8"),
        (format!("{UNIT}?view=round"), 400, "expected one of overlaid, stacked"),
        ("/browse?sort=value".to_owned(), 400, "sort: expected one of"),
        ("/browse?low=a".to_owned(), 400, "low: expected a number"),
        ("/browse?page=0".to_owned(), 400, "page: expected a whole number"),
        ("/browse?where=TRUE)%3BDROP%20TABLE%20scores".to_owned(), 400, "expected one SQL condition"),
        ("/browse?where=nothing%20%3E%201".to_owned(), 400, "nothing"),
        ("/search?q=a&mode=luck".to_owned(), 400, "mode: expected one of"),
        ("/search?q=a&where=1%20LIMIT%205".to_owned(), 400, "expected one SQL condition"),
    ];
    for (path, status, words) in cases {
        let (got, shown) = get(small(), &path).await;
        assert_eq!(got.as_u16(), status, "{path}: {shown}");
        assert!(shown.starts_with("<!doctype html>") && shown.contains(words), "{path}: {shown}");
    }
}

async fn post(server: &Serving, path: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request =
        client().post(format!("{}{path}", server.http)).header("content-type", "application/x-www-form-urlencoded");
    let response = request.body(body).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn an_explanation_of_ones_own_is_scored_as_the_pipeline_would() {
    let token = &sql(
        small_lake(),
        &format!(
            "SELECT token FROM token_activations WHERE {OF_UNIT} AND token IS NOT NULL ORDER BY mean_activation DESC LIMIT 1"
        ),
    )[0];
    let token = token["token"].as_str().unwrap();
    let text = format!("pattern: \"{token}\" (10); \" the\" (4); elsewhere 0");
    let wanted = &sql(
        small_lake(),
        &format!(
            "SELECT s['value'] AS value, s['low'] AS low, s['high'] AS high FROM (SELECT unnest(score_summaries(window_sums(\
             activations, simulate('{}', tokens, 'n2g')), 0)) AS s FROM record_tokens WHERE {OF_UNIT} AND split = 'valid' \
             AND sample IN ('top', 'random') AND rank < 5) WHERE s['metric'] = 'ev_correlation'",
            text.replace('\'', "''")
        ),
    )[0];
    let path = format!("{UNIT}/score");
    let (status, shown) = post(small(), &path, &[("corpus", "default"), ("text", &text)]).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert!(shown.contains(&format!("<bdi>{}</bdi>", escaped(&text))));
    assert!(shown.contains(&format!("<strong>{}</strong>", score(&wanted["value"]))), "{wanted}: {shown}");
    assert!(shown.contains(&format!("{} to {}", score(&wanted["low"]), score(&wanted["high"]))), "{wanted}");
    let stored = &sql(small_lake(), &format!("SELECT value FROM explanation_scores WHERE {OF_UNIT}"))[0];
    assert!(shown.contains(&score(&stored["value"])), "beside the stored ones: {stored}");
    assert_eq!(shown.matches("<div class=\"heat\"").count(), 10, "a heat map a window");
    // Nothing of it is kept.
    assert_eq!(sql(small_lake(), &format!("SELECT count(*) AS n FROM explanations WHERE {OF_UNIT}"))[0]["n"], 1);

    let (status, shown) = post(small(), &path, &[("text", "  ")]).await;
    assert_eq!((status, shown.contains("expected an explanation")), (StatusCode::BAD_REQUEST, true));
    let (status, _) = post(small(), &path, &[("text", &"a".repeat(10_001))]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, shown) = post(small(), &path, &[("text", "<script>alert(1)</script>")]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(shown.contains("&lt;script&gt;alert(1)") && !shown.contains("<script>alert"), "{shown}");
    assert!(shown.contains("No score:"), "no pattern, no score, but a reason: {shown}");
    assert_eq!(post(small(), "/neuron/x/y/0/score", &[("text", "a")]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(small(), &path).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_page_is_the_same_whichever_neighbour_was_looked_at_before() {
    let address = |neuron: usize| format!("/neuron/neuronlake-default/blocks.1.mlp.hook_post/{neuron}");
    let path = links(&page(small(), "/browse").await).into_iter().find(|link| link.starts_with("/neuron/")).unwrap();
    let last: usize = path.split('?').next().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    for neuron in [0, 1, 2, last.min(3)] {
        let alone = Serving::start(small_lake(), &["--simulator", "n2g"], &[("NEURONLAKE_MODELS", "/nonexistent")]);
        assert_eq!(page(small(), &address(neuron)).await, page(&alone, &address(neuron)).await, "neuron {neuron}");
    }
    // The statement that is shown is of this unit alone.
    let shown = page(small(), &address(2)).await;
    assert!(shown.contains("neuron BETWEEN 2 AND 2"), "{shown}");
}

#[tokio::test]
async fn a_unit_with_very_many_rows_leaves_its_neighbours_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lake");
    copy_folder(Path::new(small_lake()), &path);
    let lake = Lake::at(path.to_str().unwrap()).unwrap();
    let explanation = |neuron: usize, number: usize| {
        json!({
            "model": "m", "hook_point": "blocks.1.mlp.hook_post", "layer": 1, "neuron": neuron, "corpus": "c", "run": "r",
            "explanation": format!("{neuron}-{number:05}"), "explainer": "n2g", "explainer_model": null, "sample_no": number, "round": 0,
            "text": format!("explanation {number} of {neuron}"), "reason": null,
        })
    };
    // More than a block of units may have together.
    let many: Vec<Value> = (0..3_300).map(|number| explanation(4, number)).chain([explanation(5, 0)]).collect();
    write(&lake, "explanations", &many).await;
    let server = Serving::start(path.to_str().unwrap(), &[], &[("NEURONLAKE_MODELS", "/nonexistent")]);
    let full = page(&server, "/neuron/m/blocks.1.mlp.hook_post/4").await;
    assert!(full.contains("explanation 199 of 4") && !full.contains("explanation 200 of 4"));
    let neighbour = page(&server, "/neuron/m/blocks.1.mlp.hook_post/5").await;
    assert!(neighbour.contains("explanation 0 of 5") && !neighbour.contains("of 4"));
}

#[tokio::test]
async fn without_a_simulator_the_page_says_how_to_get_one() {
    let server = Serving::start(small_lake(), &[], &[("NEURONLAKE_MODELS", "/nonexistent")]);
    let shown = page(&server, UNIT).await;
    assert!(shown.contains("The server has no simulator") && !shown.contains("id=\"own-text\""), "{shown}");
    let (status, shown) = post(&server, &format!("{UNIT}/score"), &[("text", "a")]).await;
    assert_eq!((status, shown.contains("start it with --simulator")), (StatusCode::BAD_REQUEST, true), "{shown}");
}

/// A model, hook point and corpus of any characters, with a unit whose texts attack.
const MODEL: &str = "<b>m/../\"&?#'%2F é";
const HOOK_POINT: &str = "x.3.y/<i>";
const CORPUS: &str = "c&d=1#<u>";

/// Rows written as importers write them.
async fn write(lake: &Lake, name: &str, rows: &[Value]) {
    let definition = table(name).unwrap();
    let mut decoder = ReaderBuilder::new(Arc::clone(&definition.schema)).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let mut writer = TableWriter::open(lake, definition, "hostile").await.unwrap();
    writer.write(&batch).await.unwrap();
    writer.commit().await.unwrap();
}

/// A copy of the small lake with hostile rows.
async fn hostile_lake(folder: &Path) -> String {
    let path = folder.join("lake");
    copy_folder(Path::new(small_lake()), &path);
    let lake = Lake::at(path.to_str().unwrap()).unwrap();
    let of_unit = |more: Value| {
        let mut row = json!({ "model": MODEL, "hook_point": HOOK_POINT, "layer": 3, "neuron": 7, "run": "<q>run" });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let text = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>\u{202E}turned\0\u{1b}[31m";
    let explanation = |id: &str, text: Option<&str>, reason: Option<&str>| {
        of_unit(json!({
            "corpus": CORPUS, "explanation": id, "explainer": "n2g", "explainer_model": "<s>model</s>", "sample_no": 0, "round": 0,
            "text": text, "reason": reason,
        }))
    };
    write(
        &lake,
        "explanations",
        &[explanation("hostile", Some(text), None), explanation("silent", None, Some("<em>why</em>"))],
    )
    .await;
    let long = "é".repeat(100_000);
    let tokens = ["</bdi><script>alert(3)</script>\n", &long, "\u{202E}abc", "\0", ""];
    let sequence = json!({
        "model": MODEL, "corpus": CORPUS, "sequence": 5, "document": 0, "token_offset": 0, "split": "valid", "tokens": tokens, "run": "r",
    });
    write(&lake, "token_sequences", &[sequence]).await;
    let record = |sample: &str| {
        of_unit(json!({
            "corpus": CORPUS, "sample": sample, "rank": 0, "sequence": 5, "split": "valid", "max_activation": 2.0,
            "activations": [2.0, -1.0, 0.0, 0.5, 0.25],
        }))
    };
    write(&lake, "activation_records", &[record("top"), record("<h1>sample")]).await;
    let link = |rank: usize, neuron: usize| {
        of_unit(json!({
            "direction": "downstream", "sign": "positive", "rank": rank, "other_hook_point": HOOK_POINT, "other_neuron": neuron,
            "weight": 0.5,
        }))
    };
    write(&lake, "neuron_links", &[link(0, 7), link(1, 8)]).await;
    let effect =
        json!({ "direction": "output", "sign": "negative", "rank": 0, "token": "<a href=javascript:alert(4)>" });
    write(&lake, "token_effects", &[of_unit(effect)]).await;
    let score = |more: Value| {
        let mut row = of_unit(json!({
            "corpus": CORPUS, "explanation": "hostile", "calibration": "none", "sample_set": "top_and_random", "split": "valid",
            "n_windows": 10, "n_tokens": 64, "n_failed": 1,
        }));
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let scores = [
        score(json!({ "scorer": "<k>scorer", "metric": "ev_correlation", "reason": "<w>constant" })),
        score(json!({
            "scorer": "detection", "scorer_model": "<j>", "metric": "balanced_accuracy", "value": 0.75, "control": 0.5, "low": 0.6,
            "high": 0.9,
        })),
    ];
    write(&lake, "scores", &scores).await;
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn hostile_texts_of_a_lake_are_shown_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let lake = hostile_lake(folder.path()).await;
    let server = Serving::start(&lake, &["--simulator", "n2g"], &[("NEURONLAKE_MODELS", "/nonexistent")]);
    let list = page(&server, "/browse?q=script").await;
    let address = links(&list).into_iter().find(|link| link.starts_with("/neuron/")).unwrap();
    assert!(
        address.starts_with(
            "/neuron/%3Cb%3Em%2F..%2F%22%26%3F%23%27%252F%20%C3%A9/x.3.y%2F%3Ci%3E/7?corpus=c%26d%3D1%23%3Cu%3E"
        ),
        "{address}"
    );
    let shown = page(&server, &address).await;
    let own = format!("{}/score", address.split('?').next().unwrap());
    let (status, scored) =
        post(&server, &own, &[("corpus", CORPUS), ("text", "pattern: \"a\" (10); elsewhere 0")]).await;
    assert_eq!(status, StatusCode::OK, "{scored}");
    let home = page(&server, "/").await;
    let found = page(&server, "/search?q=script").await;
    // Tags that no template has: each would come from the lake.
    let foreign = Regex::new(r"(?i)<(?:script>|img|b>m|i>|u>|s>|q>|em>|k>|w>|j>|h1>sample|a href=javascript)").unwrap();
    for (name, page) in [("list", &list), ("neuron", &shown), ("own", &scored), ("home", &home), ("found", &found)] {
        assert_eq!(foreign.find(page).map(|tag| tag.as_str()), None, "{name}");
        assert!(!page.contains(['\0', '\u{1b}', '\u{202E}']), "{name}: hidden characters");
        assert!(
            !page.contains(" style=") && !page.contains("<style") && !page.contains(" onerror=\""),
            "{name}: inline"
        );
    }
    for (name, page) in [("list", &list), ("neuron", &shown), ("own", &scored)] {
        assert!(page.contains("&lt;script&gt;") || name == "own", "{name}: {page}");
    }
    let cells: Vec<&str> =
        shown.split("<div class=\"heat\"").nth(1).unwrap().split("</div>").next().unwrap().split("<bdi>").collect();
    let token = |place: usize| cells[place].split("</bdi>").next().unwrap();
    assert_eq!(token(1), "&lt;/bdi&gt;&lt;script&gt;alert(3)&lt;/script&gt;↵");
    assert_eq!(
        (token(2).chars().count(), token(2).ends_with('…')),
        (201, true),
        "a token of 100,000 characters is cut"
    );
    assert_eq!((token(3), token(4), token(5)), ("\u{FFFD}abc", "␀", "∅"));
    assert!(shown.contains("1 very long token cut to 200 characters"));
    for words in [
        "&lt;em&gt;why&lt;/em&gt;",
        "&lt;w&gt;constant",
        "&lt;k&gt;scorer",
        "detection (balanced_accuracy)@&lt;j&gt;",
        "Windows of sample &lt;h1&gt;sample",
        "&lt;a href=javascript:alert(4)&gt;",
        "0.750",
        "0.600 to 0.900",
    ] {
        assert!(shown.contains(words), "{words}");
    }
    // A unit that the lake has is linked, one that it has not is only named.
    assert!(
        shown.contains("<bdi>x.3.y/&lt;i&gt;</bdi> 7</a></th>") && shown.contains("<bdi>x.3.y/&lt;i&gt;</bdi> 8</th>"),
        "{shown}"
    );
    for link in links(&shown).into_iter().filter(|link| link.starts_with("/neuron/") || link.starts_with("/browse")) {
        let (status, body) = get(&server, &link).await;
        assert!(status.is_success(), "{link}: {status} {body}");
    }
}

#[tokio::test]
async fn lakes_without_scores_or_anything_have_pages_too() {
    let folder = tempfile::tempdir().unwrap();
    let (bare, empty) = (folder.path().join("bare"), folder.path().join("empty"));
    let (bare, empty) = (bare.to_str().unwrap(), empty.to_str().unwrap());
    run(folder.path(), bare, &[&SMALL[..], &["--to", "30_activation_records"]].concat());
    Lake::at(empty).unwrap().open_or_create(table("runs").unwrap()).await.unwrap();

    let server = Serving::start(bare, &["--simulator", "n2g"], &[]);
    let home = page(&server, "/").await;
    assert!(home.contains("No explanation has a score yet"), "{home}");
    assert!(page(&server, "/browse").await.contains("32 neurons"));
    assert!(page(&server, "/search?q=the").await.contains("Nothing found."));
    let shown = page(&server, UNIT).await;
    assert!(shown.contains("The lake has no explanation of this neuron.") && shown.contains("Top windows"), "{shown}");
    let response = client().get(format!("{}/lucky", server.http)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "without scores any neuron is good luck");

    let server = Serving::start(empty, &[], &[]);
    assert!(page(&server, "/").await.contains("This lake is empty"));
    assert!(page(&server, "/browse").await.contains("The lake has no neurons yet"));
    assert!(page(&server, "/search?q=the").await.contains("Nothing found."));
    assert_eq!(get(&server, "/lucky").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&server, UNIT).await.0, StatusCode::NOT_FOUND);
}
