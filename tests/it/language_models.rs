//! Runs that ask a language model, as a user starts them: asked once, paid for once, stopped and gone on with.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::fake_model::{self, Asks, answer, asks, explanation, window};
use crate::fault_server::{Asked, FaultServer, Served, question, uniform};
use crate::support::{Ran, copy_folder, finish, number, ok, one_line, program, run, written};

/// A key that is nowhere else.
const KEY: &str = "sk-marked-5f2c9e71";
/// Four neurons on short windows: some hundred calls.
const FEW: [&str; 10] = ["--limit", "40", "--layers", "0", "--neurons", "0-3", "--window", "16", "--windows", "1"];
/// What language models write.
pub(crate) const WRITTEN: [&str; 4] = ["explanations", "simulations", "judgements", "scores"];
const PRICES: &str = "[models.fake]\nprompt = 1.0\ncompletion = 2.0\n";

/// A copy of a lake in which everything but explanations is there.
fn lake(folder: &Path) {
    static PREPARED: OnceLock<String> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("language-model-lake");
        std::fs::remove_dir_all(&folder).ok();
        let path = folder.to_str().unwrap().to_owned();
        let more = ["--limit", "40", "--layers", "0", "--neurons", "0-31", "--window", "16"];
        run(Path::new("/"), &path, &[&more[..], &["--to", "token_activations"]].concat());
        path
    });
    copy_folder(Path::new(prepared), &folder.join("lake"));
    std::fs::write(folder.join("lake/prices.toml"), PRICES).unwrap();
}

pub(crate) fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    folder
}

/// `neuronlake run` on few neurons, with the marked key.
pub(crate) fn ask(folder: &Path, url: &str, more: &[&str]) -> Ran {
    let mut command = program(folder);
    command.env("NEURONLAKE_API_KEY", KEY);
    finish(command.args(["run", "--lake", "lake", "--base-url", url]).args(FEW).args(more))
}

fn asked_well(folder: &Path, url: &str, more: &[&str]) -> String {
    let ran = ask(folder, url, more);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.text().to_owned()
}

pub(crate) const ALL: [&str; 7] = [
    "--explainer",
    "openai:fake",
    "--simulator",
    "one_at_a_time@openai:fake",
    "--scorer",
    "detection@openai:fake",
    "--force",
];
/// The same with one call a window.
const CHEAP: [&str; 5] = ["--explainer", "openai:fake", "--simulator", "log_probability_free@openai:fake", "--force"];

fn count(folder: &Path, query: &str) -> i64 {
    number(folder.join("lake").to_str().unwrap(), query)
}

/// Whether the marked key stands in any file below a folder, as it is or inside a column.
fn holds_key(folder: &Path) -> bool {
    let in_files = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => holds_key(&entry.path()),
        false => {
            let bytes = std::fs::read(entry.path()).unwrap();
            bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())
        }
    };
    std::fs::read_dir(folder).unwrap().any(|entry| in_files(entry.unwrap()))
}

fn records(folder: &Path, query: &str) -> Vec<serde_json::Value> {
    let out = ok(folder, &["sql", "--lake", "lake", "--format", "json", query]);
    serde_json::from_str(&out).unwrap()
}

/// The calls of an account.
fn calls(out: &str) -> Vec<serde_json::Value> {
    let account: serde_json::Value = serde_json::from_str(out).unwrap();
    account["calls"].as_array().unwrap().clone()
}

#[test]
fn a_run_fills_the_tables_and_asks_nothing_twice() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let summary = asked_well(path, &server.url(), &ALL);
    let asked = server.asked();
    let n_asked = asked.len() as i64;
    let different: HashSet<String> = asked.iter().map(|asked| asked.body.to_string()).collect();
    assert_eq!(different.len() as i64, n_asked, "the same was asked twice");
    assert!(asked.iter().all(|asked| asked.headers["authorization"] == format!("Bearer {KEY}")));
    assert!(summary.contains(" usd") && summary.contains("detection@openai:fake"), "{summary}");

    let n_written = written(&ok(path, &["run", "--lake", "lake", "--to", "documents", "--limit", "40"]));
    assert_eq!(n_written["documents"], 0);
    let well = "SELECT count(*) FROM explanations WHERE starts_with(text, 'words such as ') AND explainer = 'token_activation' \
                AND explainer_model = 'openai:fake' AND completions IS NOT NULL AND reason IS NULL";
    assert_eq!((count(path, well), count(path, "SELECT count(*) FROM explanations")), (4, 4));
    // Each neuron has its own text and another's, on a top and a random window.
    assert_eq!(count(path, "SELECT count(*) FROM simulations"), 4 * 2 * 2);
    let read = "SELECT count(*) FROM simulations WHERE array_length(expected) BETWEEN 15 AND 16 AND number_mass > 0.99 AND reason IS NULL \
                AND split = 'valid' AND simulator_model = 'openai:fake' AND scale = 'simulated_normalized_activations'";
    assert_eq!(count(path, read), 4 * 2 * 2);
    let judged =
        "SELECT count(*) FROM judgements WHERE predicted IS NOT NULL AND value IS NOT NULL AND completion IS NOT NULL";
    assert_eq!((count(path, judged), count(path, "SELECT count(*) FROM judgements")), (4 * 2 * 2, 4 * 2 * 2));
    let metrics =
        records(path, "SELECT scorer, count(DISTINCT metric) AS n FROM scores GROUP BY scorer ORDER BY scorer");
    let metrics: Vec<_> =
        metrics.iter().map(|row| (row["scorer"].as_str().unwrap(), row["n"].as_i64().unwrap())).collect();
    assert_eq!(metrics, [("detection", 6), ("one_at_a_time", 4)]);
    assert_eq!(count(path, "SELECT count(*) FROM completions"), n_asked);
    assert_eq!(
        count(path, "SELECT count(*) FROM explanations e JOIN completions c ON array_has(e.completions, c.completion)"),
        4
    );

    // The account: by model, purpose and day, and by neuron.
    let out = ok(path, &["cost", "--lake", "lake", "--format", "json"]);
    let costs = calls(&out);
    let purposes: Vec<&str> = costs.iter().map(|row| row["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["explain", "judge", "simulate"]);
    assert!(
        costs.iter().all(|row| row["model"] == "fake" && row["day"].is_string() && row["n_unpriced"] == 0),
        "{out}"
    );
    let sum = |name: &str| costs.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>();
    let (prompt, completion) = fake_model::TOKENS;
    assert_eq!(sum("n_calls"), n_asked as f64);
    assert_eq!(
        (sum("prompt_tokens"), sum("completion_tokens")),
        ((n_asked * prompt) as f64, (n_asked * completion) as f64)
    );
    assert!((sum("cost") - n_asked as f64 * 14e-6).abs() < 1e-12, "{out}");
    let table = ok(path, &["cost", "--lake", "lake"]);
    assert!(table.contains("n_neurons") && table.contains("cost_a_neuron"), "{table}");
    assert_eq!(count(path, "SELECT count(DISTINCT neuron) FROM neuron_costs"), 4);

    let again = asked_well(path, &server.url(), &ALL);
    assert!(again.contains("nothing was missing"), "{again}");
    assert_eq!(server.asked().len() as i64, n_asked);

    assert!(!holds_key(path));
    let told =
        format!("SELECT count(*) FROM completions WHERE concat(request, reply, endpoint, reply_tokens) LIKE '%{KEY}%'");
    assert_eq!(count(path, &told), 0);
    assert_eq!(count(path, &format!("SELECT count(*) FROM runs WHERE parameters LIKE '%{KEY}%'")), 0);
}

/// As [`ask`], with neurons of its own.
pub(crate) fn command(folder: &Path, url: &str, more: &[&str]) -> std::process::Command {
    let mut command = program(folder);
    command.args(["run", "--lake", "lake", "--base-url", url]).args(["--limit", "40", "--layers", "0"]);
    command.args(["--window", "16", "--windows", "1"]).args(more);
    command
}

pub(crate) fn asked_neurons(folder: &Path, url: &str, more: &[&str]) {
    let ran = finish(&mut command(folder, url, more));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn only_selected_neurons_are_paid_for() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    // The lake holds neurons 0 to 31; those between the selected ones are nobody's wish.
    let selected = ["--neurons", "1-2,30", "--to", "explanations", "--explainer", "openai:fake", "--force"];
    let mut command = program(path);
    command.env("NEURONLAKE_API_KEY", KEY);
    let few = FEW.iter().copied().filter(|argument| !matches!(*argument, "--neurons" | "0-3"));
    let ran = finish(command.args(["run", "--lake", "lake", "--base-url", &server.url()]).args(few).args(selected));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(server.asked().len(), 3);
    let written = records(path, "SELECT neuron FROM explanations ORDER BY neuron");
    let neurons: Vec<i64> = written.iter().map(|row| row["neuron"].as_i64().unwrap()).collect();
    assert_eq!(neurons, [1, 2, 30]);
}

#[test]
fn a_budget_stops_a_run_which_then_goes_on() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let line = one_line(&ask(path, &server.url(), &[&ALL[..], &["--budget", "3000tokens"]].concat()), 1);
    assert!(line.starts_with("error: budget reached: ") && line.contains(" of 3000 tokens spent"), "{line}");
    assert!(
        line.contains("stage '52_text_simulations' at hook point 'blocks.0.mlp.hook_post': 0 of 4 units done"),
        "{line}"
    );
    assert!(line.ends_with("run the same command with a larger --budget to go on"), "{line}");
    let told = |what: &str| line.split(what).next().and_then(|before| before.rsplit(' ').next()?.parse::<usize>().ok());
    let n_kept = told(" calls answered and kept").unwrap_or_else(|| panic!("{line}"));
    let rest = line.split_once("at most ").and_then(|(_, rest)| rest.split_once(" tokens (0."));
    assert!(rest.is_some_and(|(tokens, _)| tokens.parse::<u64>().unwrap() > 3000), "{line}");
    let n_first = server.asked().len();
    assert!((4..=n_first).contains(&n_kept), "{line}");
    let (prompt, completion) = fake_model::TOKENS;
    assert!(n_first as i64 * (prompt + completion) <= 3000);
    assert_eq!(count(path, "SELECT count(*) FROM explanations"), 4);
    // What was paid is told though the run did not end.
    let costs = ok(path, &["cost", "--lake", "lake", "--format", "json"]);
    let costs = calls(&costs);
    assert_eq!(costs.iter().map(|row| row["n_calls"].as_u64().unwrap()).sum::<u64>(), n_first as u64);

    asked_well(path, &server.url(), &[&ALL[..], &["--budget", "1usd"]].concat());
    let asked = server.asked();
    let different: HashSet<String> = asked.iter().map(|asked| asked.body.to_string()).collect();
    assert!(asked.len() > n_first && different.len() == asked.len(), "something was paid for twice");
    assert_eq!(count(path, "SELECT count(*) FROM completions"), asked.len() as i64);

    // A budget in dollars needs a price.
    let unpriced = ["--explainer", "openai:unpriced", "--simulator", "embedding", "--budget", "1usd"];
    let line = one_line(&ask(path, &server.url(), &unpriced), 2);
    assert!(line.contains("model 'openai:unpriced': no price known") && line.contains("prices.toml"), "{line}");
}

/// Two lots of units, of which the money reaches for one.
#[test]
fn a_budget_tells_what_the_rest_would_cost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir_all(path.join("lake")).unwrap();
    std::fs::write(path.join("lake/prices.toml"), PRICES).unwrap();
    let server = FaultServer::start(answer);
    let arguments = ["--neurons", "0-79", "--to", "explanations", "--explainer", "openai:fake", "--force"];
    let more = [&arguments[..], &["--concurrency", "1", "--budget", "2400tokens"]].concat();
    let line = one_line(&finish(&mut command(path, &server.url(), &more)), 1);
    let told = line.split_once("64 of 80 units done, about ").and_then(|(_, rest)| rest.split_once(" tokens (0.0"));
    let tokens: i64 = told.unwrap_or_else(|| panic!("{line}")).0.parse().unwrap();
    // Sixteen units at twelve tokens each, and a part of what went into the lot that did not end.
    assert!((192..=240).contains(&tokens), "{line}");
    assert_eq!(count(path, "SELECT count(*) FROM explanations"), 64);
    asked_neurons(path, &server.url(), &arguments);
    assert_eq!((server.asked().len(), count(path, "SELECT count(*) FROM explanations")), (80, 80));
}

#[test]
fn a_dry_run_sends_nothing() {
    let folder = prepared();
    let server = FaultServer::start(answer);
    let dry = [&ALL[..], &["--samples", "2", "--revise", "1", "--dry-run"]].concat();
    let out = asked_well(folder.path(), &server.url(), &dry);
    assert_eq!(server.asked().len(), 0);
    for word in [
        "explanations",
        "simulations",
        "judgements",
        "token_activation@openai:fake",
        "detection@openai:fake",
        "round 1",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    // What decides about a revision is simulated for its row in explanations.
    let deciding = |line: &str| line.starts_with("explanations ") && line.contains("one_at_a_time@openai:fake");
    assert!(out.lines().any(deciding), "{out}");
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("at most ") && last.ends_with("usd; nothing was asked"), "{out}");
    for table in WRITTEN {
        assert!(!folder.path().join("lake").join(table).exists(), "{table}");
    }
    // And where nothing is there yet.
    let empty = tempfile::tempdir().unwrap();
    let out = asked_well(empty.path(), &server.url(), &[&ALL[..], &["--dry-run"]].concat());
    assert!(out.contains("no price is known for some models; nothing was asked"), "{out}");
    assert_eq!(server.asked().len(), 0);
    let out = asked_well(empty.path(), &server.url(), &["--dry-run"]);
    assert!(out.contains("no language model would be asked"), "{out}");
}

#[test]
fn a_refusal_is_one_clear_line_without_the_key() {
    let folder = prepared();
    let path = folder.path();
    let refusal = |message: String| serde_json::json!({ "error": { "message": message, "code": 1 } }).to_string();
    let wrong_key = FaultServer::start(move |_: &Asked| {
        Served::status(401, &refusal(format!("Incorrect API key provided: {KEY}. You can find your key …")))
    });
    let line = one_line(&ask(path, &wrong_key.url(), &CHEAP), 1);
    assert_eq!(
        line,
        "error: model 'openai:fake': the endpoint refused the key in NEURONLAKE_API_KEY (HTTP status 401)"
    );
    // Refused once, and not once a neuron and again.
    assert!(wrong_key.asked().len() <= 4, "{}", wrong_key.asked().len());

    // No key: the endpoint wants one, or it is OpenAI's, which nobody asks without.
    for more in [&["--base-url", &wrong_key.url()][..], &[]] {
        let mut command = program(path);
        let ran = finish(command.args(["run", "--lake", "lake"]).args(FEW).args(CHEAP).args(more));
        assert_eq!(
            one_line(&ran, 2),
            "error: model 'openai:fake': expected a key in the environment variable NEURONLAKE_API_KEY or OPENAI_API_KEY, found none"
        );
    }

    let unknown = FaultServer::start(move |_: &Asked| {
        Served::status(404, &refusal(format!("The model `fake` does not exist for key {KEY}")))
    });
    let line = one_line(&ask(path, &unknown.url(), &CHEAP), 1);
    assert!(
        line.contains("refused the request (HTTP status 404): expected a model that the endpoint has")
            && line.contains("'fake'"),
        "{line}"
    );
    assert!(!line.contains(KEY), "{line}");

    // An endpoint that reads no prompt back.
    let server = FaultServer::start(answer);
    let all_at_once = ["--explainer", "openai:fake", "--simulator", "all_at_once@openai:fake", "--force"];
    let line = one_line(&ask(path, &server.url(), &all_at_once), 1);
    assert!(line.contains("log-probabilities inside the prompt") && line.contains("one_at_a_time"), "{line}");
    assert!(!holds_key(path));
}

/// A try that takes longer than it may is made again.
#[test]
fn a_late_answer_is_asked_for_again() {
    let folder = prepared();
    let server = FaultServer::start(|asked: &Asked| {
        let late = if asked.number == 0 { Duration::from_secs(30) } else { Duration::ZERO };
        Served { delay: late, ..answer(asked) }
    });
    let arguments = ["--explainer", "openai:fake", "--to", "explanations", "--time-out", "1", "--force"];
    asked_well(folder.path(), &server.url(), &arguments);
    let asked = server.asked();
    let again = asked.iter().filter(|other| other.body == asked[0].body).count();
    assert_eq!((asked.len(), again), (5, 2));
    assert_eq!(count(folder.path(), "SELECT count(*) FROM explanations WHERE text IS NOT NULL"), 4);
}

#[test]
fn a_simulator_that_answers_noise_is_refused() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(|asked: &Asked| match asks(asked) {
        Asks::Numbers => {
            // The same for every explanation: a number by the place in the window.
            let noise = |i: usize| (uniform(17, i as u64) * 10.0) as u32;
            let lines = window(question(asked)).split('\n').enumerate();
            let lines: Vec<String> = lines.map(|(i, token)| format!("{token}\t{}", noise(i))).collect();
            fake_model::served(asked, &lines.join("\n"))
        }
        _ => answer(asked),
    });
    let careful = &CHEAP[..4];
    let line = one_line(&ask(path, &server.url(), careful), 1);
    assert!(
        line.starts_with(
            "error: simulator 'log_probability_free@openai:fake' cannot tell true from false explanations: "
        ) && line.ends_with("; use another, or --force"),
        "{line}"
    );
    assert!(server.asked().iter().all(|asked| asks(asked) == Asks::Numbers), "nothing but the self-test was asked");
    assert!(!path.join("lake/explanations").exists());
    asked_well(path, &server.url(), &CHEAP);
    assert_eq!(count(path, "SELECT count(*) FROM explanations"), 4);
}

/// Letters and digits of a text, without the values behind tabs: what a window looks like in every prompt.
fn plain(text: &str) -> String {
    text.lines().flat_map(|line| line.split('\t').next()).flat_map(str::chars).filter(|c| c.is_alphanumeric()).collect()
}

#[test]
fn of_several_explanations_the_one_that_is_best_on_calibration_is_scored() {
    let folder = prepared();
    let path = folder.path();
    let places = std::sync::Mutex::new(HashMap::<String, usize>::new());
    let server = FaultServer::start(move |asked: &Asked| match asks(asked) {
        Asks::Explanation => {
            let mut places = places.lock().unwrap();
            // A request at temperature 1 is the same each time; its answers are not.
            let place = places.entry(question(asked).to_owned()).or_default();
            *place += 1;
            fake_model::served(asked, &fake_model::explain(asked, *place - 1))
        }
        _ => answer(asked),
    });
    asked_well(path, &server.url(), &[&CHEAP[..], &["--samples", "3"]].concat());

    let samples = "SELECT neuron, count(*) AS n, count(DISTINCT text) AS n_texts, max(sample_no) AS last, max(round) AS round \
                   FROM explanations GROUP BY neuron";
    for row in records(path, samples) {
        assert_eq!(
            (&row["n"], &row["n_texts"], &row["last"], &row["round"]),
            (&3.into(), &3.into(), &2.into(), &0.into()),
            "{row}"
        );
    }
    // The choice: by the mean score on calibration, the first where none has one.
    let best = "SELECT count(*) FROM chosen_explanations c JOIN scores s ON s.explanation = c.explanation WHERE s.split = 'calibration' \
                AND s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random' AND s.value IS DISTINCT FROM c.calibration_score";
    assert_eq!((count(path, "SELECT count(*) FROM chosen_explanations"), count(path, best)), (4, 0));
    let better = "SELECT count(*) FROM chosen_explanations c JOIN explanations e ON e.neuron = c.neuron JOIN scores s ON s.explanation = \
                  e.explanation WHERE s.split = 'calibration' AND s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random' \
                  AND s.value > COALESCE(c.calibration_score, -2)";
    assert_eq!(count(path, better), 0);
    let scored = "SELECT split, count(DISTINCT explanation) AS n FROM scores GROUP BY split ORDER BY split";
    let scored: Vec<_> =
        records(path, scored).iter().map(|row| (row["split"].to_string(), row["n"].as_i64().unwrap())).collect();
    assert_eq!(scored, [("\"calibration\"".to_owned(), 12), ("\"valid\"".to_owned(), 4)]);
    let others = "SELECT count(*) FROM scores s LEFT ANTI JOIN chosen_explanations c ON c.explanation = s.explanation WHERE s.split = 'valid'";
    assert_eq!(count(path, others), 0);
    assert_eq!(count(path, "SELECT count(*) FROM best_explanations WHERE split <> 'valid'"), 0);

    // Nothing of split valid was sent before the choice.
    let windows = "SELECT DISTINCT split, tokens FROM record_tokens WHERE split IN ('train', 'calibration', 'valid')";
    let mut splits: HashMap<String, HashSet<String>> = HashMap::new();
    for row in records(path, windows) {
        let tokens: Vec<&str> = row["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
        splits.entry(plain(&tokens.join(""))).or_default().insert(row["split"].as_str().unwrap().to_owned());
    }
    let only = |window: &str, split: &str| splits.get(window).is_some_and(|of| of.len() == 1 && of.contains(split));
    let asked = server.asked();
    let simulated: Vec<(u64, String)> = asked
        .iter()
        .filter(|asked| asks(asked) == Asks::Numbers)
        .map(|asked| (asked.number, plain(window(question(asked)))))
        .collect();
    let of =
        |split: &str| simulated.iter().filter(|(_, window)| only(window, split)).map(|(n, _)| *n).collect::<Vec<u64>>();
    let (calibration, valid) = (of("calibration"), of("valid"));
    assert!(!calibration.is_empty() && !valid.is_empty() && of("train").is_empty());
    let choice = *valid.iter().min().unwrap();
    assert!(calibration.iter().all(|n| *n < choice), "calibration comes before the choice");
    let held_out: Vec<&String> = splits.keys().filter(|window| window.len() >= 20 && only(window, "valid")).collect();
    for asked in asked.iter().filter(|asked| asked.number < choice) {
        let prompt = plain(question(asked));
        assert!(held_out.iter().all(|window| !prompt.contains(*window)), "sent before the choice: {}", question(asked));
    }
    // After it only the chosen texts are simulated.
    let chosen = records(path, "SELECT text FROM chosen_explanations");
    let chosen: HashSet<&str> = chosen.iter().map(|row| row["text"].as_str().unwrap()).collect();
    for asked in asked.iter().filter(|asked| asked.number >= choice) {
        assert!(chosen.contains(explanation(question(asked))), "{}", question(asked));
    }

    let n_asked = server.asked().len();
    asked_well(path, &server.url(), &[&CHEAP[..], &["--samples", "3"]].concat());
    assert_eq!(server.asked().len(), n_asked);
}

#[test]
fn a_round_of_revision_writes_its_rows() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    asked_well(path, &server.url(), &[&CHEAP[..], &["--revise", "1"]].concat());
    let kinds: HashSet<String> = server.asked().iter().map(|asked| format!("{:?}", asks(asked))).collect();
    assert!(kinds.contains("Sentences"), "{kinds:?}");
    assert_eq!(count(path, "SELECT count(*) FROM explanations WHERE round = 0"), 4);
    assert_eq!(count(path, "SELECT count(*) FROM explanations WHERE round = 1"), 4);
    let revised = "SELECT count(*) FROM explanations e JOIN explanations d ON d.explanation = e.revised WHERE e.round = 1 AND d.round = 0 \
                   AND d.neuron = e.neuron AND (e.text IS NULL) <> (e.reason IS NULL)";
    assert_eq!(count(path, revised), 4);
    assert_eq!(count(path, "SELECT count(*) FROM chosen_explanations"), 4);
    assert!(count(path, "SELECT count(*) FROM completions WHERE purpose = 'revise'") > 0);
    // Every reply has a unit that it was bought for: sentences and the simulations that decided too.
    let bought = "SELECT CAST(round(sum(n_calls)) AS BIGINT) FROM neuron_costs";
    assert_eq!(count(path, bought), count(path, "SELECT count(*) FROM completions"));
    let n_asked = server.asked().len();
    let again = asked_well(path, &server.url(), &[&CHEAP[..], &["--revise", "1"]].concat());
    let asked = server.asked();
    let more: Vec<(Asks, &str)> = asked[n_asked..].iter().map(|asked| (asks(asked), question(asked))).collect();
    assert!(more.is_empty(), "{again}\n{more:#?}");
}

/// The optimiser neither calls a model once a field of what it gives, nor for rows that are there already.
#[test]
fn a_plan_asks_once_a_row_that_is_missing() {
    let folder = prepared();
    let query = "EXPLAIN FORMAT INDENT SELECT neuron, s['expected'] AS expected, s['reason'] AS reason FROM (SELECT n.neuron, \
                 simulation('words', ['a', 'b'], 'embedding') AS s FROM neurons n LEFT ANTI JOIN (SELECT DISTINCT neuron FROM \
                 activation_records WHERE split = 'valid') done ON done.neuron = n.neuron) ORDER BY neuron";
    let plan = ok(folder.path(), &["sql", "--lake", "lake", "--format", "csv", query]);
    let plan = plan.split_once("physical_plan").map_or("", |(_, physical)| physical);
    let (asks, joins) = (plan.find("AsyncFuncExec"), plan.find("Anti"));
    assert!(asks.is_some() && joins.is_some() && asks < joins, "{plan}");
    assert!(!plan.contains("__async_fn_1"), "{plan}");
}

#[test]
fn calibrated_and_ablated_scores_stand_beside_the_others() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    asked_well(path, &server.url(), &[&CHEAP[..], &["--calibration", "linear", "--ablation"]].concat());
    let kinds = "SELECT DISTINCT calibration, split, metric = 'ablation' AS ablated FROM scores ORDER BY calibration, split, ablated";
    let kinds: Vec<String> = records(path, kinds).iter().map(ToString::to_string).collect();
    assert_eq!(
        kinds,
        [
            r#"{"ablated":false,"calibration":"linear","split":"valid"}"#,
            r#"{"ablated":true,"calibration":"linear","split":"valid"}"#,
            r#"{"ablated":false,"calibration":"none","split":"calibration"}"#,
            r#"{"ablated":false,"calibration":"none","split":"valid"}"#,
        ]
    );
    assert_eq!(count(path, "SELECT count(*) FROM scores WHERE (value IS NULL) = (reason IS NULL)"), 0);
}

#[test]
fn a_query_explains_what_its_condition_lets_through() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let query = "SELECT neuron, explain(records, 'openai:fake') AS text FROM (SELECT neuron, array_agg(named_struct('tokens', tokens, \
                 'activations', activations) ORDER BY rank) AS records FROM record_tokens WHERE split = 'train' AND sample = 'top' AND \
                 rank < 5 GROUP BY neuron) WHERE neuron IN (3, 5, 7) ORDER BY neuron";
    let sql = || ok(path, &["sql", "--lake", "lake", "--base-url", &server.url(), "--format", "csv", query]);
    let out = sql();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[0], server.asked().len()), (4, "neuron,text", 3), "{out}");
    assert!(
        ["3,words such as ", "5,words such as ", "7,words such as "]
            .iter()
            .zip(&lines[1..])
            .all(|(a, b)| b.starts_with(a)),
        "{out}"
    );
    // Found in the store the second time, by whatever program.
    assert_eq!((sql(), server.asked().len()), (out.clone(), 3));
    let costs = ok(path, &["cost", "--lake", "lake", "--format", "csv", "--table", "calls"]);
    assert!(
        costs.lines().nth(1).is_some_and(|line| line.starts_with("fake,explain,") && line.contains(",3,30,6,")),
        "{costs}"
    );
    // In a filter too; a text that could not be read is NULL.
    let filter = "SELECT count(*) FROM neurons WHERE neuron < 2 AND simulate('words such as king', [' king', ' a'], \
                  'one_at_a_time@openai:fake')[1] > 5";
    let n = ok(path, &["sql", "--lake", "lake", "--base-url", &server.url(), "--format", "csv", filter]);
    assert_eq!((n.lines().nth(1), server.asked().len()), (Some("2"), 5));
}
