//! Runs with a real language model: in the process, and behind llama.cpp's own server.

use std::path::Path;
use std::time::Instant;

use crate::fake_model::answer;
use crate::fault_server::FaultServer;
use crate::language_models::prepared;
use crate::llama_server::{LlamaServer, smollm2};
use crate::support::{number, ok, run};

/// Two neurons on short windows.
const TWO: [&str; 10] = ["--limit", "40", "--layers", "0", "--neurons", "0-1", "--window", "16", "--windows", "1"];

fn count(folder: &Path, query: &str) -> i64 {
    number(folder.join("lake").to_str().unwrap(), query)
}

fn local() -> String {
    format!("local:{}", smollm2().display())
}

#[test]
fn a_local_model_explains_and_judges() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let model = local();
    let (explainer, scorer) = (format!("summary@{model}"), format!("surprisal@{model}"));
    let arguments = ["--explainer", &explainer, "--simulator", "embedding", "--scorer", &scorer, "--force"];
    let start = Instant::now();
    let summary = run(path, "lake", &[&TWO[..], &arguments].concat());
    eprintln!("local run: {:.1} s\n{summary}", start.elapsed().as_secs_f64());
    assert!(!summary.contains('#'), "no hash of weights is shown: {summary}");
    let texts = "SELECT count(*) FROM explanations WHERE explainer = 'summary' AND (text IS NULL) <> (reason IS NULL) \
                 AND starts_with(explainer_model, 'local:')";
    assert_eq!(count(path, texts), 2);
    let written = count(path, "SELECT count(*) FROM explanations WHERE text IS NOT NULL");
    assert!(written > 0, "{}", ok(path, &["sql", "--lake", "lake", "SELECT text, reason FROM explanations"]));
    assert_eq!(
        count(path, "SELECT count(DISTINCT explanation) FROM simulations WHERE simulator = 'embedding'"),
        written
    );
    let judged = "SELECT count(DISTINCT explanation) FROM judgements WHERE scorer = 'surprisal' AND value IS NOT NULL";
    assert_eq!(count(path, judged), written);
    assert_eq!(count(path, "SELECT count(DISTINCT explanation) FROM scores WHERE scorer = 'surprisal'"), written);
    assert_eq!(count(path, "SELECT count(*) FROM completions WHERE cost <> 0 OR endpoint IS NOT NULL"), 0);
    let again = run(path, "lake", &[&TWO[..], &arguments].concat());
    assert!(again.contains("nothing was missing"), "{again}");
}

#[test]
fn an_endpoint_explains_and_a_local_model_simulates() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let (url, simulator) = (server.url(), local());
    let arguments = [
        &TWO[..],
        &["--base-url", &url, "--explainer", "openai:fake", "--simulator", &simulator],
        &["--budget", "5usd", "--force"],
    ]
    .concat();
    run(path, "lake", &arguments);
    // The endpoint is paid for the explanations alone; what the local model reads costs nothing.
    assert_eq!(server.asked().len(), 2);
    let simulated = "SELECT count(*) FROM simulations WHERE simulator = 'all_at_once' AND starts_with(simulator_model, 'local:') \
                     AND expected IS NOT NULL AND number_mass BETWEEN 0 AND 1";
    assert_eq!(count(path, simulated), count(path, "SELECT count(*) FROM simulations"));
    assert!(count(path, simulated) > 0);
    let scored = "SELECT count(DISTINCT explanation) FROM scores s JOIN explanations e USING (explanation) WHERE \
                  s.scorer = 'all_at_once' AND e.explainer_model = 'openai:fake'";
    assert_eq!(count(path, scored), 2);
    let again = run(path, "lake", &arguments);
    assert!(again.contains("nothing was missing"), "{again}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn the_self_test_tells_which_methods_can_be_believed() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let encoder = ok(folder.path(), &["selftest", "--small", "--simulator", "embedding"]);
    eprintln!("self-test of the encoder: {:.1} s\n{encoder}", start.elapsed().as_secs_f64());
    let row = encoder.lines().find(|line| line.contains("embedding")).unwrap_or_default();
    assert!(row.contains("can tell") && !row.contains("cannot"), "{encoder}");

    let start = Instant::now();
    let simulator = format!("all_at_once@{}", local());
    let model = ok(folder.path(), &["selftest", "--small", "--simulator", &simulator]);
    eprintln!("self-test of the local model: {:.1} s\n{model}", start.elapsed().as_secs_f64());
    // How good the model is is not what is tested here.
    assert!(model.lines().any(|line| line.contains("all_at_once@")), "{model}");
    // The planted tables are there to be looked at.
    assert!(folder.path().join("neuronlake-selftest").is_dir());
}

#[test]
fn llama_cpps_own_server_is_an_endpoint() {
    let server = LlamaServer::start(&smollm2());
    let url = format!("{}/v1", server.address);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let start = Instant::now();
    // The server has one model and takes any name for it.
    let methods =
        ["--explainer", "summary@openai:smollm2", "--simulator", "embedding", "--scorer", "detection@openai:smollm2"];
    let arguments = [&TWO[..], &["--base-url", &url, "--force", "--concurrency", "4"], &methods].concat();
    let summary = run(path, "lake", &arguments);
    eprintln!("run over HTTP: {:.1} s\n{summary}", start.elapsed().as_secs_f64());
    assert_eq!(count(path, "SELECT count(*) FROM explanations WHERE (text IS NULL) <> (reason IS NULL)"), 2);
    // So small a model may answer a judge with anything; what cannot be read is missing and says why.
    let judged = "SELECT count(*) FROM judgements WHERE (predicted IS NULL) <> (reason IS NULL)";
    let written = count(path, "SELECT count(*) FROM explanations WHERE text IS NOT NULL");
    assert!(written > 0 && count(path, judged) > 0);
    assert_eq!(count(path, judged), count(path, "SELECT count(*) FROM judgements"));
    let told = "SELECT count(*) FROM completions WHERE prompt_tokens > 100 AND completion_tokens > 0 AND cost IS NULL";
    assert_eq!(count(path, told), count(path, "SELECT count(*) FROM completions"));
    let again = run(path, "lake", &arguments);
    assert!(again.contains("nothing was missing"), "{again}");

    // The distribution over numbers at the head of its replies.
    let start = Instant::now();
    let query = "SELECT array_length(s['expected']) AS n, s['number_mass'] > 0.1 AS numbers, s['expected'][2] BETWEEN 0 AND 10 AS on_scale, \
                 s['reason'] AS reason FROM (SELECT simulation('words about royalty', ['The', ' king', ' sat'], \
                 'one_at_a_time@openai:smollm2') AS s)";
    let out = ok(path, &["sql", "--lake", "lake", "--base-url", &url, "--format", "csv", query]);
    eprintln!("one token at a time: {:.1} s\n{out}", start.elapsed().as_secs_f64());
    assert_eq!(out, "n,numbers,on_scale,reason\n3,true,true,\n");

    // It does not read prompts back, and that is said.
    let query = "SELECT simulate('words about royalty', ['The', ' king'], 'all_at_once@openai:smollm2')";
    let line = crate::support::refused(path, &["sql", "--lake", "lake", "--base-url", &url, query], 1);
    assert!(line.contains("log-probabilities"), "{line}");
}
