//! `neuronlake pull` from a stand-in for the hub on loopback.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use tiny_http::{Header, Request, Response, Server};

use crate::support::{finish, ok, one_line, program};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_a_secret_of_the_tests";

#[test]
fn a_pulled_model_is_a_folder_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = serve();
    let pull = |repository: &str, token: &str| {
        let mut command = program(folder.path());
        command.args(["pull", repository]).env("HF_ENDPOINT", &endpoint).env("HF_HOME", folder.path().join("hub"));
        finish(command.env("HF_TOKEN", token))
    };
    let ran = pull("owner/name", TOKEN);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.err.contains(TOKEN) && !ran.text().contains(TOKEN));
    let model = ran.text().strip_suffix('\n').unwrap();
    assert!(Path::new(model).starts_with(folder.path().join("hub")), "{model}");
    assert_eq!(ok(folder.path(), &["hooks", model]), ok(folder.path(), &["hooks"]));
    // The second time nothing but the revision is asked for.
    assert_eq!(pull("owner/name", TOKEN).text(), ran.text());

    assert_eq!(
        one_line(&pull("owner/other", TOKEN), 1),
        "error: hub repository 'owner/other' revision 'main': no such repository, revision or file"
    );
    let other = "hf_of_nobody";
    let line = one_line(&pull("owner/name", other), 1);
    assert_eq!(line, "error: hub repository 'owner/name' revision 'main': not found, or the token may not read it");
    assert!(one_line(&pull("gpt3", TOKEN), 1).ends_with("expected owner/name or one of gpt2, minilm, smollm2"));
}

/// Serves the embedded model as `owner/name` to whoever shows the token.
fn serve() -> String {
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/models/embedded");
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let files: HashMap<&str, Vec<u8>> =
        names.iter().map(|name| (*name, std::fs::read(embedded.join(name)).unwrap())).collect();
    let server = Server::http("127.0.0.1:0").unwrap();
    let address = format!("http://{}", server.server_addr());
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let answer = answer(&files, &request);
            // A client that has gone away needs no answer.
            request.respond(answer).ok();
        }
    });
    address
}

fn answer(files: &HashMap<&str, Vec<u8>>, request: &Request) -> Response<Cursor<Vec<u8>>> {
    let sent = |name: &'static str| {
        request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    };
    if sent("Authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Response::from_data([]).with_status_code(401);
    }
    let path = request.url().trim_start_matches('/');
    if path == "api/models/owner/name/revision/main" {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        return Response::from_data(serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string());
    }
    let file = path.strip_prefix(&format!("owner/name/resolve/{COMMIT}/")).and_then(|name| files.get(name));
    let Some(bytes) = file else {
        return Response::from_data([]).with_status_code(404);
    };
    let range = sent("Range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-')).unwrap_or(("0", ""));
    let start: usize = range.0.parse().unwrap();
    let end = range.1.parse().unwrap_or(usize::MAX).min(bytes.len() - 1);
    let header = |name: &str, value: &str| Header::from_bytes(name, value).unwrap();
    Response::from_data(&bytes[start..=end])
        .with_status_code(206)
        .with_header(header("ETag", &format!("\"{:040x}\"", bytes.len())))
        .with_header(header("x-repo-commit", COMMIT))
        .with_header(header("Content-Range", &format!("bytes {start}-{end}/{}", bytes.len())))
        .with_chunked_threshold(usize::MAX)
}
