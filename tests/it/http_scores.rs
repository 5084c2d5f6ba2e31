//! `/api/v1` and scores: those of one's own explanation, those that moved; and what another site's page cannot make a browser do.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::http_api::{get, json_of, post, sql};
use crate::serving::Serving;
use crate::support::{ok, small_lake};

#[tokio::test]
async fn an_explanation_is_scored_on_request_as_sql_scores_it() {
    let server = Serving::start(small_lake(), &["--simulator", "n2g"], &[]);
    let path = "/api/v1/units/neuronlake-default/blocks.1.mlp.hook_post/3/score";
    let text = "pattern: \" the\" (4); elsewhere 0";
    let (status, scored) =
        json_of(post(&server, path, &json!({ "text": text, "corpus": "default" })).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{scored}");
    let rows = scored["rows"].as_array().unwrap();
    let sets: Vec<&str> = rows.iter().map(|row| row["sample_set"].as_str().unwrap()).collect();
    assert_eq!(sets, ["random_only", "top_and_random", "top_only"]);
    assert_eq!(rows[1]["windows"].as_array().unwrap().len(), 10);
    let wanted = format!(
        "SELECT unnest(score_summaries(window_sums(activations, simulate('{text}', tokens, 'n2g')), 0)) AS s FROM record_tokens \
         WHERE hook_point = 'blocks.1.mlp.hook_post' AND neuron = 3 AND split = 'valid' AND sample IN ('top', 'random') AND rank < 5"
    );
    let (status, wanted) = sql(&server, json!({ "sql": wanted })).await;
    assert_eq!(status, StatusCode::OK, "{wanted}");
    let wanted: Vec<&Value> = wanted["rows"].as_array().unwrap().iter().map(|row| &row["s"]).collect();
    assert_eq!(rows[1]["summaries"].as_array().unwrap().iter().collect::<Vec<_>>(), wanted);

    for (body, words) in [
        (json!({ "text": "", "corpus": "default" }), "1 to 10000 characters"),
        (json!({ "text": "a" }), "corpus"),
        (json!({ "text": "a", "corpus": "default", "model": "x" }), "model"),
    ] {
        let (status, problem) = json_of(post(&server, path, &body).send().await.unwrap()).await;
        assert!(status.is_client_error() && problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let without = Serving::start(small_lake(), &[], &[("NEURONLAKE_MODELS", "/nonexistent")]);
    let body = json!({ "text": "a", "corpus": "default" });
    let (status, problem) = json_of(post(&without, path, &body).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().contains("--simulator"), "{problem}");
}

#[tokio::test]
async fn scores_that_moved_between_versions_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    crate::support::copy_folder(std::path::Path::new(small_lake()), &lake);
    let lake = lake.to_str().unwrap();
    let newest = || {
        let shown = ok(folder.path(), &["history", "scores", "--lake", lake, "--format", "json"]);
        serde_json::from_str::<Value>(&shown).unwrap()[0]["version"].as_i64().unwrap()
    };
    let before = newest();
    crate::support::run(folder.path(), lake, &["--limit", "40", "--layers", "0,1,2", "--neurons", "0-15"]);
    let after = newest();
    let server = Serving::start(lake, &[], &[]);
    let changes = async |change: &str| {
        let path = format!("/api/v1/scores/changes?before={before}&after={after}&change={change}&limit=1000");
        let (status, found) = get(&server, &path).await;
        assert_eq!(status, StatusCode::OK, "{found}");
        found["rows"].as_array().unwrap().clone()
    };
    let appeared = changes("appeared").await;
    assert!(!appeared.is_empty() && appeared.iter().all(|row| row["before"].is_null()), "{appeared:?}");
    assert!(
        appeared.iter().any(|row| row["layer"] == 2) || appeared.iter().any(|row| row["neuron"].as_i64() > Some(3))
    );
    assert!(changes("fell").await.is_empty());
    let (status, _) = get(&server, "/api/v1/scores/changes?before=0&after=0&change=moved").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, problem) = get(&server, "/api/v1/scores/changes?before=0&after=9999&change=rose").await;
    assert!(status.is_client_error() && problem["detail"].as_str().unwrap().contains("9999"), "{problem}");
}

/// What a page of another site can make a browser ask for costs nothing and changes nothing.
#[tokio::test]
async fn another_sites_page_neither_writes_nor_spends() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    crate::support::copy_folder(std::path::Path::new(small_lake()), &lake);
    let file = folder.path().join("stolen.csv");
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", file.display());
    let field = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let writing = Serving::start(lake.to_str().unwrap(), &["--allow-write"], &[]);
    let ask = async |server: &Serving, path: &str, from: &str| {
        let request = Client::new().get(format!("{}{path}", server.http)).header("sec-fetch-site", from);
        request.send().await.unwrap().status()
    };
    for from in ["cross-site", "same-origin"] {
        for path in [format!("/sql?q={}", field(&copy)), format!("/sql/download?format=csv&q={}", field(&copy))] {
            assert_eq!(ask(&writing, &path, from).await, StatusCode::FORBIDDEN, "{path}");
        }
    }
    assert!(!file.exists());
    // To read is no secret of the page's address.
    assert_eq!(ask(&writing, "/sql?q=SELECT%201", "cross-site").await, StatusCode::OK);
    // Whoever may write asks by POST.
    let (status, _) = sql(&writing, json!({ "sql": copy })).await;
    assert_eq!((status, file.exists()), (StatusCode::OK, true));
    // To write is not to spend.
    let paid = json!({ "sql": "SELECT simulate('a', ARRAY['a'], 'log_probability_free@openai:gpt-4o')" });
    let (status, problem) = sql(&writing, paid).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("--allow-spend"), "{problem}");

    let spending = Serving::start(lake.to_str().unwrap(), &["--allow-spend"], &[]);
    for path in ["/sql?q=SELECT%201", "/api/v1/units?where=TRUE", "/browse?layer=1"] {
        assert_eq!(ask(&spending, path, "cross-site").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(ask(&spending, path, "same-origin").await, StatusCode::OK, "{path}");
    }
    assert_eq!(ask(&spending, "/", "cross-site").await, StatusCode::OK, "a link to the viewer");
}
