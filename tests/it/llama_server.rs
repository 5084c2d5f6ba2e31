//! llama.cpp's own server, started on a free port (scripts/llama_server.py).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server that ends with the value.
#[derive(Debug)]
pub(crate) struct LlamaServer {
    process: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) address: String,
}

/// SmolLM2-135M-Instruct, from scripts/fetch_test_models.
pub(crate) fn smollm2() -> PathBuf {
    let fetched = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from);
    let fetched =
        fetched.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/neuronlake-models"));
    let model = fetched.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(model.is_file(), "'{}' is missing: run scripts/fetch_test_models", model.display());
    model
}

/// The Python of scripts/test, which holds `xllamacpp`.
fn python() -> PathBuf {
    let made = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("neuronlake-test-venv/bin/python"))
    };
    let python = std::env::var_os("NEURONLAKE_TEST_PYTHON").map(PathBuf::from).or_else(made).unwrap_or_default();
    assert!(python.is_file(), "'{}' is missing: run scripts/test", python.display());
    python
}

impl LlamaServer {
    /// Starts a server of a model on one thread and waits until it listens.
    pub(crate) fn start(model: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/llama_server.py");
        let mut process = Command::new(python())
            .arg(script)
            .args(["--threads", "1", "--model"])
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line: serde_json::Value =
            serde_json::from_str(&line).expect("the server prints its address: run scripts/test");
        Self { address: line["address"].as_str().unwrap().to_owned(), process }
    }

    /// Posts JSON and reads JSON.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.address)).body(body.to_string());
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
