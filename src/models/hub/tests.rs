//! Pulling from a stand-in for the hub on loopback.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use tiny_http::{Header, Request, Response, Server};

use super::{FileProgress, Hub, OnProgress, pull, repository};
use crate::models::hash;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository's files, what the hub says their hashes are, and every request it got.
#[derive(Default)]
struct Repository {
    files: HashMap<&'static str, Vec<u8>>,
    wrong_hash: bool,
    token: Option<&'static str>,
    requests: Mutex<Vec<String>>,
}

type Answer = Response<Cursor<Vec<u8>>>;

impl Repository {
    fn with(files: &[(&'static str, &[u8])]) -> Self {
        Self { files: files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect(), ..Self::default() }
    }

    fn allows(&self, request: &Request) -> bool {
        let sent = header_of(request, "Authorization");
        self.token.is_none_or(|token| sent == Some(&format!("Bearer {token}")))
    }

    fn answer(&self, request: &Request) -> Answer {
        let path: Vec<&str> = request.url().trim_start_matches('/').split('/').collect();
        match path.as_slice() {
            ["api", "models", owner, name, "revision", revision] => self.info(request, owner, name, revision),
            [_, _, "resolve", revision, file @ ..] => self.resolve(request, revision, &file.join("/")),
            _ => empty(404),
        }
    }

    fn info(&self, request: &Request, owner: &str, name: &str, revision: &str) -> Answer {
        self.requests.lock().unwrap().push(format!("info {owner}/{name}@{revision}"));
        if !self.allows(request) {
            return empty(401);
        }
        if owner == "gated" {
            return empty(403);
        }
        if (owner, revision) != ("owner", "main") {
            return empty(404);
        }
        let siblings: Vec<_> = self.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        Response::from_data(serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string())
    }

    /// Serves a file's bytes in ranges with the headers that the client asks for.
    fn resolve(&self, request: &Request, revision: &str, file: &str) -> Answer {
        let Some(bytes) = self.files.get(file) else {
            return empty(404);
        };
        // A wrong request is answered so that the client's error shows it: a panic here would hang the test.
        let range = header_of(request, "Range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (Some((start, end)), COMMIT, true) = (range, revision, self.allows(request)) else {
            return empty(400);
        };
        let (start, end) =
            (start.parse::<usize>().unwrap(), end.parse::<usize>().unwrap_or(usize::MAX).min(bytes.len() - 1));
        self.requests.lock().unwrap().push(format!("{file} {start}-{end}"));
        // The hub names large files by SHA-256 and small ones by another hash.
        let hash = if self.wrong_hash { "0".repeat(64) } else { hash::of_bytes(&[bytes]) };
        let etag = if file.ends_with(".safetensors") { hash } else { hash[..40].to_owned() };
        Response::from_data(&bytes[start..=end])
            .with_status_code(206)
            .with_header(header("ETag", &format!("\"{etag}\"")))
            .with_header(header("x-repo-commit", COMMIT))
            .with_header(header("Content-Range", &format!("bytes {start}-{end}/{}", bytes.len())))
            .with_chunked_threshold(usize::MAX)
    }
}

fn empty(status: u16) -> Answer {
    Response::from_data([]).with_status_code(status)
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap()
}

fn header_of<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// Serves `repo` and returns a hub that points to it, with a cache of its own.
fn serve(repo: Arc<Repository>) -> (Hub, tempfile::TempDir) {
    let server = Server::http("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.server_addr());
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let answer = repo.answer(&request);
            // A client that has gone away needs no answer.
            request.respond(answer).ok();
        }
    });
    let cache = tempfile::tempdir().unwrap();
    (Hub { endpoint, cache: cache.path().join("hub"), token: None }, cache)
}

fn silent() -> OnProgress {
    Arc::new(|_: &FileProgress| ())
}

async fn failure(hub: &Hub, name: &str, revision: &str) -> String {
    pull(hub, name, revision, silent()).await.unwrap_err().to_string().replace(&hub.endpoint, "E")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_fetched_once_and_then_read_from_the_cache() {
    // Two chunks of the client's 10 MB, so that ranges are joined.
    let weights: Vec<u8> = (0..11_000_000_u32).map(|i| (i % 251) as u8).collect();
    let repo = Arc::new(Repository::with(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"x\": 1}"),
        ("1_Pooling/config.json", b"{}!"),
        ("model.safetensors", &weights),
        ("pytorch_model.bin", b"not wanted"),
    ]));
    let (hub, _cache) = serve(Arc::clone(&repo));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let seen = Arc::clone(&seen);
        Arc::new(move |state: &FileProgress| seen.lock().unwrap().push(state.clone()))
    };
    let folder = pull(&hub, "owner/name", "main", progress).await.unwrap();
    assert!(folder.ends_with(format!("models--owner--name/snapshots/{COMMIT}")));
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), weights);
    assert_eq!(std::fs::read_to_string(folder.join("tokenizer.json")).unwrap(), "{\"x\": 1}");
    assert!(folder.join("1_Pooling/config.json").is_file() && !folder.join("pytorch_model.bin").exists());
    let last = seen.lock().unwrap().last().cloned();
    assert_eq!(
        last,
        Some(FileProgress { file: "model.safetensors".to_owned(), received: 11_000_000, size: 11_000_000 })
    );

    repo.requests.lock().unwrap().clear();
    assert_eq!(pull(&hub, "owner/name", "main", silent()).await.unwrap(), folder);
    assert_eq!(*repo.requests.lock().unwrap(), ["info owner/name@main"]);
    // Port 9 of loopback answers nobody.
    let offline = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub };
    assert_eq!(pull(&offline, "owner/name", "main", silent()).await.unwrap(), folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_in_parts_are_fetched_with_their_index() {
    let repo = Arc::new(Repository::with(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", b"{}"),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"two"),
    ]));
    let (hub, _cache) = serve(repo);
    let folder = pull(&hub, "owner/name", "main", silent()).await.unwrap();
    assert_eq!(std::fs::read(folder.join("model-00002-of-00002.safetensors")).unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_and_never_shown() {
    let mut repo = Repository::with(&[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    repo.token = Some("hf_secret");
    let (hub, _cache) = serve(Arc::new(repo));
    assert_eq!(
        failure(&hub, "owner/name", "main").await,
        "hub repository 'owner/name' revision 'main': not found, or private: set HF_TOKEN to a token that may read it"
    );
    let hub = Hub { token: Some("hf_other".to_owned()), ..hub };
    assert_eq!(
        failure(&hub, "owner/name", "main").await,
        "hub repository 'owner/name' revision 'main': not found, or the token may not read it"
    );
    let hub = Hub { token: Some("hf_secret".to_owned()), ..hub };
    assert!(pull(&hub, "owner/name", "main", silent()).await.is_ok());
    assert!(!format!("{hub:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_is_explained() {
    let repo = Arc::new(Repository::with(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]));
    let (hub, _cache) = serve(repo);
    let start = |name: &str, revision: &str| format!("hub repository '{name}' revision '{revision}': ");
    let check = |got: String, start: String, end: &str| assert_eq!(got, start + end);
    check(
        failure(&hub, "nobody/name", "main").await,
        start("nobody/name", "main"),
        "no such repository, revision or file",
    );
    check(failure(&hub, "owner/name", "v9").await, start("owner/name", "v9"), "no such repository, revision or file");
    check(
        failure(&hub, "gated/name", "main").await,
        start("gated/name", "main"),
        "access is restricted: accept its terms at E/gated/name and set HF_TOKEN",
    );
    check(
        failure(&hub, "owner/name", "main").await,
        start("owner/name", "main"),
        "expected model.safetensors or model-*-of-*.safetensors in the repository, got neither",
    );
    let offline = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub };
    let message = failure(&offline, "owner/name", "main").await;
    assert!(message.starts_with("hub repository 'owner/name' revision 'main': cannot reach E: "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_whose_hash_differs_are_removed() {
    let mut repo = Repository::with(&[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    repo.wrong_hash = true;
    let (hub, _cache) = serve(Arc::new(repo));
    for _ in 0..2 {
        let message = failure(&hub, "owner/name", "main").await;
        assert!(message.contains("file 'model.safetensors': expected SHA-256 0000"), "{message}");
    }
}

#[test]
fn names_are_aliases_or_repositories() {
    assert_eq!(repository("gpt2").unwrap(), "openai-community/gpt2");
    assert_eq!(repository("owner/name-1.5_b").unwrap(), "owner/name-1.5_b");
    for name in ["", "gpt3", "a/b/c", "owner/", "/name", "../etc", "owner/na me", "https://x/y"] {
        let error = repository(name).unwrap_err().to_string();
        assert!(error.ends_with("expected owner/name or one of gpt2, minilm, smollm2"), "{error}");
    }
}
