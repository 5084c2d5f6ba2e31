//! Sentence encoders behind an endpoint: asked in groups, brought to length 1, paid for once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use neuronlake::completions::language_models::{LanguageModelOptions, LanguageModels};
use neuronlake::tables::lake::Lake;
use serde_json::{Value, json};
use tiny_http::{Response, Server};

use crate::support::{SMALL, number, ok, run};

/// A server whose vector of a text is (its length, 1); the last text of a group comes first.
struct Endpoint {
    url: String,
    texts: Arc<Mutex<Vec<String>>>,
    n_calls: Arc<AtomicUsize>,
    server: Arc<Server>,
}

impl Endpoint {
    fn start() -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let url = format!("http://{}/v1", server.server_addr().to_ip().unwrap());
        let (texts, n_calls) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (asked, calls, listening) = (Arc::clone(&texts), Arc::clone(&n_calls), Arc::clone(&server));
        std::thread::spawn(move || {
            for mut request in listening.incoming_requests() {
                assert_eq!(request.url(), "/v1/embeddings");
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let body: Value = serde_json::from_str(&body).unwrap();
                let input: Vec<String> = serde_json::from_value(body["input"].clone()).unwrap();
                let vector = |(i, text): (usize, &String)| json!({"index": i, "embedding": [text.len() as f32, 1.0]});
                let data: Vec<Value> = input.iter().enumerate().rev().map(vector).collect();
                calls.fetch_add(1, Ordering::SeqCst);
                asked.lock().unwrap().extend(input);
                let answer = json!({"data": data, "usage": {"prompt_tokens": 10, "total_tokens": 10}});
                request.respond(Response::from_string(answer.to_string())).unwrap();
            }
        });
        Self { url, texts, n_calls, server }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

#[tokio::test]
async fn vectors_of_an_endpoint_are_paid_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start();
    let open = || {
        let lake = Some(Lake::at(folder.path().to_str().unwrap()).unwrap());
        let base_url = Some(endpoint.url.clone());
        LanguageModels::open(LanguageModelOptions { base_url, lake, ..LanguageModelOptions::default() }).unwrap()
    };
    let name = "openai:vectors".parse().unwrap();
    let texts: Vec<String> = (0..100).map(|i| "x".repeat(i % 70 + 1)).collect();
    for _ in 0..2 {
        // A session of its own each time: what the first bought, the second finds on disk.
        let models = open();
        let encoder = models.text_encoder(&name).unwrap();
        assert_eq!(encoder.name(), "openai:vectors");
        // Two who ask at the same time pay once.
        let (vectors, same) = tokio::join!(encoder.embed_all(&texts), encoder.embed_all(&texts));
        let vectors = vectors.unwrap();
        assert_eq!(vectors, same.unwrap());
        for (text, vector) in texts.iter().zip(&vectors) {
            let length = (text.len() as f32).hypot(1.0);
            assert!((vector[0] - text.len() as f32 / length).abs() < 1e-6, "{text}: {vector:?}");
            assert!((vector[1] - 1.0 / length).abs() < 1e-6, "{text}: {vector:?}");
        }
        models.fold().await.unwrap();
    }
    // 70 different texts, in two groups, each once.
    assert_eq!(endpoint.n_calls.load(Ordering::SeqCst), 2);
    assert_eq!(endpoint.texts.lock().unwrap().len(), 70);
}

/// The vectors of explanations are those of an endpoint: bought once, kept in a table of the lake, and used by every later search.
#[test]
fn a_search_by_meaning_asks_its_endpoint_once() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "lake", &SMALL);
    let lake = folder.path().join("lake");
    let count = |query: &str| number(lake.to_str().unwrap(), query);
    let endpoint = Endpoint::start();
    let search = |words: &str| {
        let arguments =
            ["search", words, "--lake", "lake", "--mode", "semantic", "--encoder", "openai:vectors", "--top", "3"];
        let more = ["--base-url", &endpoint.url, "--format", "json"];
        let rows: Vec<Value> = serde_json::from_str(&ok(folder.path(), &[&arguments[..], &more].concat())).unwrap();
        rows
    };
    let n_texts = count("SELECT count(DISTINCT text) AS n FROM explanations WHERE text IS NOT NULL") as usize;
    // The endpoint's vector of a text is (its length, 1): one letter is nearest to the shortest text.
    let shortest = count("SELECT min(octet_length(text)) AS n FROM explanations") as usize;
    let found = search("x");
    assert_eq!(found[0]["text"].as_str().unwrap().len(), shortest);
    let similarity = |row: &Value| row["similarity"].as_f64().unwrap();
    assert!(found.iter().map(similarity).is_sorted_by(|a, b| a >= b), "{found:?}");
    assert_eq!(endpoint.texts.lock().unwrap().len(), n_texts + 1);
    search("xx");
    assert_eq!(endpoint.texts.lock().unwrap().len(), n_texts + 2, "only the words are new");
    search("xx");
    assert_eq!(endpoint.texts.lock().unwrap().len(), n_texts + 2);
    let query = "SELECT count(*) AS n FROM explanation_vectors WHERE encoder = 'openai:vectors'";
    assert!(count(query) > 0);
}
