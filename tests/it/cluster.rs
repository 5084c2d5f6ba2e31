//! Past one machine: a scheduler and two workers as processes of their own, and the same SQL on them.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use tempfile::TempDir;

use crate::fault_server::FaultServer;
use crate::support::{
    LITTLE, SMALL, assert_same, clean, finish, little_corpus, little_file, neuronlake, number, ok, program, refused,
    run, small_lake, values, written,
};
use crate::{fake_model, language_models};

/// A scheduler and its workers, until this is dropped.
struct Cluster {
    scheduler: Process,
    workers: Vec<Process>,
    engine: String,
    /// Where each worker keeps what it computed.
    folders: Vec<TempDir>,
}

fn arrow_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() { arrow_files(&path) } else { usize::from(path.extension().is_some_and(|e| e == "arrow")) }
        })
        .sum()
}

/// A process that says in its first line that it is ready.
struct Process {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(arguments: &[&str]) -> (Self, String) {
        let mut child = program(Path::new("/")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = output.next().expect("a server says that it is ready").unwrap();
        (Self { child, _output: output }, line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cluster {
    fn start(lake: &str, workers: usize) -> Self {
        let (scheduler, line) = Process::start(&["scheduler", "--lake", lake, "--listen", "127.0.0.1:0"]);
        let engine = line.strip_prefix("scheduler: ").unwrap().to_owned();
        let address = engine.strip_prefix("ballista://").unwrap();
        let folders: Vec<TempDir> = (0..workers).map(|_| tempfile::tempdir().unwrap()).collect();
        let worker = |folder: &TempDir| {
            let work = folder.path().to_str().unwrap();
            Process::start(&["worker", "--lake", lake, "--scheduler", address, "--tasks", "1", "--work", work]).0
        };
        let workers = folders.iter().map(worker).collect();
        Self { scheduler, workers, engine, folders }
    }

    /// The tables that tasks of each worker wrote for the stage after theirs, or for the client.
    fn results(&self) -> Vec<usize> {
        self.folders.iter().map(|folder| arrow_files(folder.path())).collect()
    }

    /// The part of a query's plan that goes to the workers.
    fn plan(&self, lake: &str, query: &str) -> String {
        let explained = self.sql(lake, &format!("EXPLAIN {query}"));
        let (_, plan) =
            explained.split_once("distributed_plan").unwrap_or_else(|| panic!("computed here: {explained}"));
        plan.to_owned()
    }

    fn sql(&self, lake: &str, query: &str) -> String {
        ok(Path::new("/"), &["sql", "--lake", lake, "--format", "csv", "--engine", &self.engine, query])
    }
}

fn local(lake: &str, query: &str) -> String {
    ok(Path::new("/"), &["sql", "--lake", lake, "--format", "csv", query])
}

#[test]
fn the_same_sql_gives_the_same_rows_on_workers() {
    let lake = small_lake();
    let cluster = Cluster::start(lake, 2);
    for query in [
        "SELECT count(*), count(value) FROM scores",
        // Chosen by folder, by row, and not at all.
        "SELECT neuron, text FROM explanations WHERE hook_point = 'blocks.1.mlp.hook_post' AND neuron < 9 ORDER BY neuron, text",
        "SELECT count(*) FROM explanations WHERE hook_point = 'blocks.99.mlp.hook_post'",
        // A view, with joins and windows inside.
        "SELECT * FROM neuron_summary ORDER BY hook_point, neuron",
        // Functions of ours: of rows, of groups, and of texts.
        "SELECT neuron, mentions(text, 'the') AS mentioned, text FROM explanations ORDER BY neuron, hook_point, text",
        "SELECT s.explanation, sum(s.expected[1]) AS first, count(*) AS windows FROM simulations s
         WHERE s.split = 'valid' GROUP BY s.explanation ORDER BY s.explanation",
        "SELECT r.neuron, fit_calibration(r.activations, s.expected, 'linear') AS fit FROM simulations s
         JOIN activation_records r ON r.model = s.model AND r.hook_point = s.hook_point AND r.neuron = s.neuron
             AND r.sequence = s.sequence AND r.sample = s.sample AND r.split = s.split
         WHERE r.split = 'valid' AND s.split = 'valid' AND r.hook_point = 'blocks.0.mlp.hook_post' AND NOT s.control
         GROUP BY r.neuron ORDER BY r.neuron",
        // Several parts put together, one of them from a stage before (Ballista repeats its rows: computed here).
        "WITH pairs AS (SELECT neuron, LEAD(neuron) OVER (ORDER BY neuron) AS next FROM explanations
             WHERE hook_point = 'blocks.0.mlp.hook_post')
         SELECT kind, count(*) FROM (SELECT neuron, 'own' AS kind FROM pairs UNION ALL
             SELECT next, 'next' FROM pairs WHERE next <> neuron) GROUP BY kind ORDER BY kind",
        // A table that nobody wrote yet.
        "SELECT count(*) FROM judgements",
        // One that only this process can answer.
        "SELECT count(*) > 0 AS any FROM table_versions('scores')",
        "SELECT 1 + 1 AS two",
    ] {
        assert_eq!(cluster.sql(lake, query), local(lake, query), "{query}");
    }
    assert_eq!(cluster.workers.len(), 2);
}

#[test]
fn what_costs_most_is_in_the_part_of_the_plan_that_workers_run() {
    let lake = small_lake();
    let cluster = Cluster::start(lake, 2);
    let pairs = "FROM simulations s JOIN activation_records r ON r.hook_point = s.hook_point AND r.neuron = s.neuron
                     AND r.sequence = s.sequence AND r.sample = s.sample AND r.split = s.split
                 WHERE r.split = 'valid' AND s.split = 'valid' AND NOT s.control";
    let scores = format!(
        "SELECT s.explanation, score_summaries(window_sums(r.activations, s.expected), 7) AS scores {pairs}
         GROUP BY s.explanation ORDER BY s.explanation"
    );
    let simulated = "SELECT e.explanation, simulate(e.text, ['a', ' king'], 'n2g') AS expected FROM explanations e
                     ORDER BY e.explanation";
    let activations =
        "SELECT sequence, unnest(window_activations('default', ['blocks.0.mlp.hook_post'], token_ids)) AS a
                       FROM token_sequences WHERE sequence < 3000000 ORDER BY sequence";
    for (query, parts) in [
        (scores.as_str(), ["score_summaries", "window_sums"]),
        (simulated, ["AsyncFuncExec", "simulate"]),
        (activations, ["window_activations", "UnnestExec"]),
    ] {
        let plan = cluster.plan(lake, query);
        for part in parts {
            assert!(plan.contains(part) && plan.contains("ShuffleWriterExec"), "{part} in {plan}");
        }
        assert_eq!(cluster.sql(lake, query), local(lake, query), "{query}");
    }
    assert!(cluster.results().into_iter().sum::<usize>() > 0, "workers computed something");
}

#[test]
fn a_run_on_workers_writes_the_rows_of_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake").to_str().unwrap().to_owned();
    // Workers are started on a lake that is there.
    run(folder.path(), &lake, &[&SMALL[..], &["--to", "documents"]].concat());
    let cluster = Cluster::start(&lake, 2);
    run(folder.path(), &lake, &[&SMALL[..], &["--engine", &cluster.engine]].concat());
    assert_same(&values(folder.path(), &lake), &values(folder.path(), small_lake()));
    // Ranges of sequences, and groups of scores, went to both.
    let results = cluster.results();
    assert!(results.iter().all(|n| *n > 0), "{results:?}");
}

#[test]
fn a_pipeline_file_is_run_on_workers_and_made_anew_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let lake = path.join("lake").to_str().unwrap().to_owned();
    little_corpus(path);
    // Workers are started on a lake that is there.
    run(path, &lake, &[&LITTLE[..], &["--to", "documents"]].concat());
    run(path, "whole", &LITTLE);
    let cluster = Cluster::start(&lake, 2);
    little_file(path, "tiny.toml", &format!("engine = \"{}\"", cluster.engine), "");
    ok(path, &["pipeline", "run", "tiny.toml"]);
    assert_same(&values(path, "lake"), &values(path, "whole"));
    let before = cluster.results().iter().sum::<usize>();
    assert!(before > 0, "workers computed something");
    // Rows that are out of date are named to the workers, which make them anew.
    let summary = ok(path, &["pipeline", "run", "tiny.toml", "--only", "scores", "--full"]);
    assert!(written(&summary)["scores"] > 0, "{summary}");
    assert_same(&values(path, "lake"), &values(path, "whole"));
    let after = cluster.results().iter().sum::<usize>();
    assert!(after > before, "{after} tables of tasks after {before}");
    // What the command line says goes before the file: nothing is sent.
    let summary = ok(path, &["pipeline", "run", "tiny.toml", "--only", "scores", "--full", "--engine", "local"]);
    assert!(written(&summary)["scores"] > 0, "{summary}");
    assert_eq!(cluster.results().iter().sum::<usize>(), after);
}

#[test]
fn a_schedule_asks_the_workers_that_it_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let times = "[schedule]\ncron = \"0 3 * * *\"\n";
    little_file(path, "nightly.toml", "", times);
    let once = ["schedule", "--once", "nightly.toml"];
    // The first look begins to keep the times; then nobody was there for a year.
    ok(path, &once);
    let state = path.join("lake/_schedule/nightly/state.json");
    let mut missed: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    missed["kept_until"] = "2025-01-01T00:00:00Z".into();
    std::fs::write(&state, missed.to_string()).unwrap();
    run(path, "lake", &[&LITTLE[..], &["--to", "simulations"]].concat());
    // No scheduler listens there.
    let ran = neuronlake(path, &[&once[..], &["--engine", "ballista://127.0.0.1:9"]].concat());
    assert_eq!(ran.code, Some(1), "{}{}", ran.text(), ran.err);
    assert!(ran.err.contains("127.0.0.1:9") || ran.err.contains("onnect"), "{}", ran.err);
    assert_eq!(local(path.join("lake").to_str().unwrap(), "SELECT count(*) AS n FROM scores"), "n\n0\n");
}

#[test]
fn ablation_scores_of_workers_are_those_of_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let lake = path.join("lake").to_str().unwrap().to_owned();
    little_corpus(path);
    run(path, "whole", &[&LITTLE[..], &["--ablation"]].concat());
    run(path, &lake, &[&LITTLE[..], &["--ablation", "--to", "simulations"]].concat());
    let cluster = Cluster::start(&lake, 1);
    run(path, &lake, &[&LITTLE[..], &["--ablation", "--engine", &cluster.engine]].concat());
    assert_same(&values(path, &lake), &values(path, "whole"));
    assert!(number(&lake, "SELECT count(value) FROM scores WHERE metric = 'ablation'") > 0);
    assert!(cluster.results().iter().sum::<usize>() > 0, "workers computed something");
}

#[test]
fn endpoints_are_asked_by_the_client_which_has_the_key_and_holds_the_budget() {
    let folder = language_models::prepared();
    let path = folder.path();
    let lake = path.join("lake");
    let lake = lake.to_str().unwrap();
    // Workers without a key.
    let cluster = Cluster::start(lake, 1);
    let server = FaultServer::start(fake_model::answer);
    let run = |budget: &str| {
        let more = ["--engine", &cluster.engine, "--budget", budget];
        language_models::ask(path, &server.url(), &[&language_models::ALL[..], &more].concat())
    };
    let stopped = run("3000tokens");
    assert!(stopped.code == Some(1) && stopped.err.contains(" of 3000 tokens spent"), "{}", stopped.err);
    let (prompt, completion) = fake_model::TOKENS;
    assert!(server.asked().len() as i64 * (prompt + completion) <= 3000);
    let ended = run("1usd");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    // What each stage paid is told by its run, and makes up all that was paid.
    let unpaid = "SELECT (SELECT sum(cost) FROM completions) - (SELECT sum(cost) FROM runs WHERE cost > 0) AS dollars,
                  (SELECT count(*) FROM completions) AS n";
    let told = local(lake, unpaid);
    let (dollars, n) = told.lines().nth(1).and_then(|row| row.split_once(',')).unwrap();
    assert_eq!(n.parse::<usize>().unwrap(), server.asked().len());
    // The run that the budget stopped has no end, and no cost.
    assert!(
        dollars.parse::<f64>().unwrap() >= 0.0 && number(lake, "SELECT count(*) FROM runs WHERE cost > 0") >= 2,
        "{told}"
    );
    // Scores are computed by the worker all the same.
    assert!(cluster.results().iter().sum::<usize>() > 0);
}

#[test]
fn a_leak_is_refused_before_anything_is_sent() {
    let lake = small_lake();
    let query = "SELECT ev_correlation(r.activations, s.expected) AS score FROM simulations s
                 JOIN activation_records r ON r.neuron = s.neuron AND r.sequence = s.sequence AND r.sample = s.sample";
    let here = refused(Path::new("/"), &["sql", "--lake", lake, query], 1);
    // No scheduler listens there: a plan that was sent would end in another error.
    let there = refused(Path::new("/"), &["sql", "--lake", lake, "--engine", "ballista://127.0.0.1:9", query], 1);
    assert_eq!(there, here);
}

#[test]
fn a_query_outlives_a_worker_that_is_killed() {
    let lake = small_lake();
    let mut cluster = Cluster::start(lake, 2);
    // Long enough for a worker to die in the middle of it.
    let query =
        "SELECT a.split, count(*) AS pairs, sum(abs(a.expected[1] - b.expected[1]) * abs(c.sequence % 7)) > 0 AS any
                 FROM simulations a JOIN simulations b ON a.hook_point = b.hook_point
                 JOIN simulations c ON b.neuron = c.neuron
                 GROUP BY a.split ORDER BY a.split";
    let expected = local(lake, query);
    let mut command = program(Path::new("/"));
    clean(&mut command, Path::new("/"));
    command.args(["sql", "--lake", lake, "--format", "csv", "--engine", &cluster.engine, query]);
    let asked = std::thread::spawn(move || finish(&mut command));
    let worker = cluster.workers.remove(0);
    drop(worker);
    let ran = asked.join().unwrap();
    match ran.code {
        Some(0) => assert_eq!(ran.text(), expected),
        // What the worker had computed is gone with it: the error says so, and the next try succeeds.
        _ => assert!(ran.err.contains("xecutor") || ran.err.contains("fetch"), "{}", ran.err),
    }
    assert_eq!(cluster.sql(lake, query), expected);
    assert!(cluster.scheduler.child.try_wait().unwrap().is_none(), "the scheduler runs on");
}

#[test]
fn servers_beyond_this_machine_need_a_word() {
    let line = refused(Path::new("/"), &["scheduler", "--lake", small_lake(), "--listen", "0.0.0.0:0"], 2);
    assert!(line.contains("--trusted-network"), "{line}");
    let line = refused(Path::new("/"), &["worker", "--lake", small_lake(), "--listen", "0.0.0.0:0"], 2);
    assert!(line.contains("--trusted-network"), "{line}");
    let ran = neuronlake(Path::new("/"), &["sql", "--lake", small_lake(), "--engine", "spark://x", "SELECT 1"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("expected 'local' or the scheduler's address"), "{}", ran.err);
}
