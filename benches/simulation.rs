//! Simulations read at slots, against the same prompts on llama.cpp's own server: same file, same threads, same run.
//!
//! `cargo bench --bench main simulation`; not part of a run without a name, as it takes minutes. Settings from the environment:
//! `NEURONLAKE_BENCH_PAIRS` (1000), `NEURONLAKE_BENCH_SERVER_PAIRS` (40), `NEURONLAKE_BENCH_THREADS` (1). The server is started by the
//! Python of `NEURONLAKE_TEST_PYTHON` (scripts/test makes one); without it only this engine is measured.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use neuronlake::completions::LanguageModel;
use neuronlake::completions::chat_template::ChatTemplate;
use neuronlake::completions::local::LocalModel;
use neuronlake::completions::request::{Message, Request};
use neuronlake::completions::slots::{Piece, SlotPrompt};
use neuronlake::models::chat_files::ChatFiles;
use neuronlake::models::generation::placement::Placement;
use neuronlake::models::source::ModelSource;
use neuronlake::models::subject_model::SubjectModel;

/// Windows of each explanation; so many prompts share few-shot examples and explanation.
const WINDOWS: usize = 20;
/// Words of a window.
const WORDS: usize = 64;
/// Words of an example's window.
const EXAMPLE_WORDS: usize = 30;

const TEXT: &str = "The ferry left the harbour at nine and the gulls went with it as far as the second buoy. On deck two children \
counted boats while their mother read the paper aloud to nobody. Seven, said the older one, and three of them are red. The wind \
had turned to the north during the night, and everybody who owned a coat was wearing it. A man with a green hat sold tea from a \
wooden tray, and when the ship rolled he moved his feet like a dancer and did not spill a drop. He told anyone who asked that he \
had crossed this water four thousand times, first as a boy carrying letters, later as a cook, and now because his wife said that \
the house was quieter without him. In the cabin below an old radio played a waltz. Nobody danced, but a nurse who was going home \
for the winter tapped one finger on the window and hummed. By noon the island stood out of the haze, grey first, then brown, then \
suddenly full of houses, each with a garden, a wall and a blue door.";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The answer that simulates a window: a line a word, the value still unknown.
fn answer(words: &[&str]) -> Vec<Piece> {
    let line = |word: &&str| {
        [Piece::Text(format!("{word}\t")), Piece::Slot("unknown".to_owned()), Piece::Text("\n".to_owned())]
    };
    words.iter().flat_map(line).collect()
}

fn question(explanation: &str) -> Message {
    Message::user(format!("Neuron: {explanation}\nGive its activation, 0 to 9, at every word."))
}

/// One prompt: a frame and three worked examples, the explanation, the window.
fn prompt(words: &[&str], explanation: usize, window: usize) -> SlotPrompt {
    let mut messages = vec![Message::system("You predict how strongly a neuron responds to each word of a text.")];
    for (i, topic) in ["words about boats", "numbers", "words about the weather"].into_iter().enumerate() {
        messages.push(question(topic));
        let lines = words[i * EXAMPLE_WORDS..(i + 1) * EXAMPLE_WORDS].iter();
        let lines: Vec<String> = lines.map(|word| format!("{word}\t{}", (word.len() * (i + 3)) % 10)).collect();
        messages.push(Message::assistant(lines.join("\n")));
    }
    let subject = words[(explanation * 7) % words.len()];
    messages.push(question(&format!("number {explanation}, words that go with {subject}")));
    let start = (window * 11 + explanation) % (words.len() - WORDS);
    let candidates = (0..10).map(|digit| digit.to_string()).collect();
    SlotPrompt { messages, answer: answer(&words[start..start + WORDS]), candidates }
}

/// llama.cpp's server, ended when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(model: &str, threads: usize) -> Option<Self> {
        let python = std::env::var_os("NEURONLAKE_TEST_PYTHON")?;
        let mut process = Command::new(python)
            .args(["scripts/llama_server.py", "--model", model, "--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Python of NEURONLAKE_TEST_PYTHON starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("standard output is a pipe");
        BufReader::new(out).read_line(&mut line).expect("standard output can be read");
        let line: serde_json::Value = serde_json::from_str(&line).expect("the server prints its address");
        Some(Self { address: line["address"].as_str().unwrap_or_default().to_owned(), process })
    }

    /// Runs a prompt and generates one token; tokens that were evaluated and not found in the cache.
    async fn complete(&self, client: &reqwest::Client, prompt: &str) -> u64 {
        let body = serde_json::json!({ "prompt": prompt, "n_predict": 1, "cache_prompt": true, "temperature": 0 });
        let sent = client.post(format!("{}/completion", self.address)).body(body.to_string()).send().await;
        let text = sent.expect("the server answers").text().await.expect("the server answers");
        let reply: serde_json::Value = serde_json::from_str(&text).expect("the server answers in JSON");
        reply["timings"]["prompt_n"].as_u64().expect("the server counts tokens")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The speed of the `gemm` crate on a large product with the same threads, in GFLOP/s.
fn gemm_peak(threads: usize) -> f64 {
    const N: usize = 1024;
    let (a, b, mut c) = (vec![1.0_f32; N * N], vec![1.0_f32; N * N], vec![0.0_f32; N * N]);
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let time = || {
        let start = Instant::now();
        crate::gemm::multiply(&a, &b, &mut c, [N, N, N], parallelism);
        start.elapsed().as_secs_f64()
    };
    let best = std::iter::repeat_with(time).take(10).fold(f64::INFINITY, f64::min);
    2.0 * (N * N * N) as f64 / best / 1e9
}

/// Measures both engines once and prints a line for each.
#[expect(clippy::print_stdout, reason = "the lines are the result")]
pub(crate) fn benches(_: &mut criterion::Criterion) {
    if !std::env::args().any(|argument| argument == "simulation") {
        return;
    }
    let threads = setting("NEURONLAKE_BENCH_THREADS", 1);
    let (n_pairs, n_server) = (setting("NEURONLAKE_BENCH_PAIRS", 1000), setting("NEURONLAKE_BENCH_SERVER_PAIRS", 40));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("no other benchmark ran before");
    let folder = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/neuronlake-models")
    });
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = path.to_str().expect("the path is text");
    let words: Vec<&str> = TEXT.split_whitespace().collect();
    let prompts: Vec<SlotPrompt> =
        (0..n_pairs.max(n_server)).map(|i| prompt(&words, i / WINDOWS, i % WINDOWS)).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let model = SubjectModel::load(&ModelSource::from(path)).expect("scripts/fetch_test_models fetched the model");
    let config = model.config().clone();
    let files =
        ChatFiles::read(&ModelSource::from(path), model.tokenizer().expect("it has one")).expect("it can be read");
    let template = ChatTemplate::new(files.template, String::new(), String::new(), path).expect("it is a template");
    let local = LocalModel::with_weights(std::sync::Arc::new(model), path, Placement::default())
        .expect("it is a language model");

    // What the server is asked, and what is counted for both: everything up to the last slot.
    let texts: Vec<String> = prompts
        .iter()
        .map(|prompt| {
            let mut text = template.render(&prompt.messages).expect("the template takes the conversation");
            let last = prompt.answer.iter().rposition(|piece| matches!(piece, Piece::Slot(_))).unwrap_or(0);
            for piece in &prompt.answer[..last] {
                let (Piece::Text(piece) | Piece::Slot(piece)) = piece;
                text.push_str(piece);
            }
            text
        })
        .collect();
    let count = |text: &str| local.count_tokens(text).unwrap_or(0);
    let n_shared = local.count_prompt_tokens(&Request::greedy(prompts[0].messages.clone(), 1)).unwrap_or(0);
    let own: usize = prompts[..n_pairs]
        .iter()
        .flat_map(|prompt| &prompt.answer)
        .map(|piece| match piece {
            Piece::Text(text) | Piece::Slot(text) => count(text),
        })
        .sum();

    let start = Instant::now();
    let read = runtime.block_on(local.read_slots_all(&prompts[..n_pairs]));
    let took = start.elapsed().as_secs_f64();
    assert!(read.iter().all(|read| read.as_ref().is_ok_and(|slots| slots.values.len() == WORDS)));
    let width = (2 * config.n_heads + 2 * config.n_kv_heads) * config.d_head + 3 * config.d_mlp;
    let linear = 2.0 * (config.n_layers * config.d_model * width) as f64 * own as f64;
    let unembedding = 2.0 * (config.d_model * config.n_vocab * WORDS * n_pairs) as f64;
    let rate = (linear + unembedding) / took / 1e9;
    let peak = gemm_peak(threads);
    let pairs = n_pairs as f64 / took;
    println!(
        "simulation/neuronlake/{threads}: {n_pairs} pairs in {took:.1} s, {pairs:.2} pairs/s, {:.0} tokens/s of {own} after the first {n_shared}; \
         {rate:.1} GFLOP/s without attention, {:.0} % of the {peak:.1} of a 1024^3 product by the gemm crate",
        own as f64 / took,
        100.0 * rate / peak
    );
    let Some(server) = Server::start(path, threads) else {
        println!("simulation/llama.cpp/{threads}: not measured, NEURONLAKE_TEST_PYTHON is not set");
        return;
    };
    let client = reqwest::Client::new();
    // The examples are in the server's cache before it is timed, as they cost it nothing in the long run.
    runtime.block_on(server.complete(&client, &texts[0]));
    let start = Instant::now();
    let n_tokens: u64 = texts[1..=n_server.min(texts.len() - 1)]
        .iter()
        .map(|text| runtime.block_on(server.complete(&client, text)))
        .sum();
    let took = start.elapsed().as_secs_f64();
    let server_pairs = n_server.min(texts.len() - 1) as f64 / took;
    println!(
        "simulation/llama.cpp/{threads}: {server_pairs:.2} pairs/s, {:.0} tokens/s; neuronlake {:.1} times as many pairs/s",
        n_tokens as f64 / took,
        pairs / server_pairs
    );
}
