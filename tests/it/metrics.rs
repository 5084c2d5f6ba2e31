//! What a process tells of itself: metrics, log lines and traces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::post;

use crate::support::{LITTLE, little_corpus, little_file, neuronlake, program, small_lake};

const DEADLINE: Duration = Duration::from_secs(300);

/// The answer to a GET, with its head.
fn get(address: &str, path: &str, token: Option<&str>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The address that a process tells in its first line.
fn address(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let rest = line.split_once("http://").unwrap_or_else(|| panic!("no address in '{line}'")).1;
    rest.split(['/', '\n']).next().unwrap().trim().to_owned()
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_server_counts_its_queries() {
    let mut child = program(std::path::Path::new("/"))
        .args(["serve", "--lake", small_lake(), "--listen", "127.0.0.1:0", "--no-flight"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = address(&mut child);
    let before = get(&address, "/metrics", None);
    assert!(before.starts_with("HTTP/1.1 200"), "{before}");
    assert!(before.contains("content-type: application/openmetrics-text"), "{before}");
    assert!(before.trim_end().ends_with("# EOF") || before.contains("# EOF"), "{before}");
    assert!(get(&address, "/", None).starts_with("HTTP/1.1 200"));
    let after = get(&address, "/metrics", None);
    let done = value(&after, "neuronlake_queries_served_total{outcome=\"done\"} ");
    assert!(done.is_some_and(|n| n >= 1.0), "{after}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn metrics_of_a_scheduler_tell_of_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    little_file(folder.path(), "often.toml", "", "[schedule]\ncron = \"* * * * * *\"\n");
    let mut child = program(folder.path())
        .args(["schedule", "often.toml", "--listen", "127.0.0.1:0", "--log-format", "json", "--quiet"])
        .env("NEURONLAKE_TOKEN", "0123456789abcdef0123")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = address(&mut child);
    let refused = get(&address, "/metrics", None);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let start = Instant::now();
    let shown = loop {
        let shown = get(&address, "/metrics", Some("0123456789abcdef0123"));
        if shown.contains("outcome=\"done\"") {
            break shown;
        }
        assert!(start.elapsed() < DEADLINE, "no run ended: {shown}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(value(&shown, "neuronlake_rows_written_total{table=\"documents\"} "), Some(48.0), "{shown}");
    assert_eq!(value(&shown, "neuronlake_units_done_total{table=\"scores\"} "), Some(4.0), "{shown}");
    assert!(value(&shown, "neuronlake_stage_seconds_count{stage=\"60_scores\"} ").is_some_and(|n| n >= 1.0), "{shown}");
    assert!(shown.contains("neuronlake_pipeline_last_success_time_seconds{pipeline=\"often\"} "), "{shown}");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended = lines.iter().find(|line| line["message"] == "stage ended" && line["stage"] == "60_scores");
    let ended = ended.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&ended["level"], &ended["n_units"]), (&"INFO".into(), &4.into()), "{ended}");
}

/// A collector of OpenTelemetry that keeps what it is sent. gRPC is HTTP/2 with a prefix of five bytes; messages are not taken apart,
/// because the names asked for stand in them as they are.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&received);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().to_string()).unwrap();
            let export = move |body: Bytes| {
                keep.lock().unwrap().extend_from_slice(&body);
                async { ([("content-type", "application/grpc"), ("grpc-status", "0")], vec![0_u8; 5]) }
            };
            let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
            axum::serve(listener, axum::Router::new().route(path, post(export))).await.unwrap();
        });
    });
    (told.recv().unwrap(), received)
}

#[test]
fn spans_of_stages_and_commits_reach_a_collector() {
    let folder = tempfile::tempdir().unwrap();
    little_corpus(folder.path());
    let (address, received) = collector();
    let ran = crate::support::finish(
        program(folder.path())
            .args(["run", "--lake", "lake"])
            .args(LITTLE)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let bytes = received.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&bytes);
    for name in ["neuronlake", "stage", "60_scores", "commit", "n_rows"] {
        assert!(text.contains(name), "no '{name}' in {} bytes", bytes.len());
    }
}

#[test]
fn without_a_collector_a_run_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    little_corpus(folder.path());
    // Nobody listens there: traces are lost, the run is not.
    let ran = crate::support::finish(
        program(folder.path())
            .args(["run", "--lake", "lake"])
            .args(LITTLE)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.text().contains("; slowest: "), "{}", ran.text());
    let again = neuronlake(folder.path(), &[&["run", "--lake", "lake"], &LITTLE[..]].concat());
    assert!(again.text().contains("nothing was missing"), "{}", again.text());
}
