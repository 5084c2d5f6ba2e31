//! Endpoints that cannot do what they are asked, or do it another time: nothing is lost, nothing is paid for twice, and the user is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use neuronlake::planted;
use serde_json::{Value, json};

use crate::fake_model::{self, Asks, answer, asks, explanation, window};
use crate::fault_server::{Asked, FaultServer, Served, question, uniform};
use crate::language_models::{command, prepared};
use crate::support::{Ran, finish, number, ok, one_line};

const FEW: [&str; 2] = ["--neurons", "0-3"];
const ONE_AT_A_TIME: [&str; 4] = ["--explainer", "openai:fake", "--simulator", "one_at_a_time@openai:fake"];
const CHEAP: [&str; 5] = ["--explainer", "openai:fake", "--simulator", "log_probability_free@openai:fake", "--force"];

fn ask(folder: &Path, server: &FaultServer, more: &[&str]) -> Ran {
    finish(&mut command(folder, &server.url(), &[&FEW[..], more].concat()))
}

fn asked_well(folder: &Path, server: &FaultServer, more: &[&str]) -> String {
    let ran = ask(folder, server, more);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.text().to_owned()
}

fn count(folder: &Path, query: &str) -> i64 {
    number(folder.join("lake").to_str().unwrap(), query)
}

fn n_asked(server: &FaultServer, kind: Asks) -> usize {
    server.asked().iter().filter(|asked| asks(asked) == kind).count()
}

fn refusal(message: &str) -> Served {
    Served::status(400, &json!({ "error": { "message": message, "code": 400 } }).to_string())
}

/// The row of a dry run's table.
fn estimate<'a>(out: &'a str, table: &str) -> Vec<&'a str> {
    let line = out.lines().find(|line| line.starts_with(table));
    line.unwrap_or_else(|| panic!("{table}: {out}")).split_whitespace().collect()
}

#[test]
fn a_dry_run_counts_the_selected_neurons_that_nobody_explained() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    asked_well(path, &server, &["--to", "explanations", "--explainer", "openai:fake", "--force"]);
    let dry = |neurons: &str, more: &[&str]| {
        let arguments = [&["--neurons", neurons, "--dry-run"], more].concat();
        ok_of(finish(&mut command(path, &server.url(), &arguments)))
    };
    // Columns: table, method, neurons, calls.
    for (neurons, left) in [("0-3", "0"), ("2-5", "2"), ("10-13", "4")] {
        let out = dry(neurons, &["--explainer", "openai:fake", "--simulator", "log_probability_free@openai:fake"]);
        assert_eq!(estimate(&out, "explanations")[2..4], [left, left], "{neurons}: {out}");
        let simulations = estimate(&out, "simulations");
        assert_eq!(simulations[2], "4", "{out}");
        assert_ne!(simulations[3], "0", "{out}");
        let selftest = estimate(&out, "self-test");
        assert!(selftest[3].parse::<u64>().unwrap() > 0, "{out}");
    }
    // Another explainer has written nothing, and a second sample is not there either.
    let out = dry("0-3", &["--explainer", "summary@openai:fake", "--simulator", "embedding"]);
    assert_eq!(estimate(&out, "explanations")[2..4], ["4", "4"], "{out}");
    let out = dry("0-3", &["--explainer", "openai:fake", "--simulator", "embedding", "--samples", "3"]);
    assert_eq!(estimate(&out, "explanations")[2..4], ["4", "8"], "{out}");
    // Vectors of an endpoint are paid for too.
    let vectors = "embedding@openai:text-embedding-3-small";
    let out = dry("0-3", &["--explainer", "token_lookup", "--simulator", "token_lookup", "--scorer", vectors]);
    let judgements = estimate(&out, "judgements");
    assert_eq!(judgements[1..3], [vectors, "4"], "{out}");
    assert!(judgements[3].parse::<u64>().unwrap() >= 4 && judgements[4] != "0", "{out}");
    let out = dry("0-3", &["--explainer", "openai:fake", "--simulator", vectors]);
    assert!(estimate(&out, "simulations")[3].parse::<u64>().unwrap() >= 4, "{out}");
}

fn ok_of(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.text().to_owned()
}

/// Parts of a query that may run at the same time.
fn parts() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// An endpoint that takes no notice of `logprobs`: one reply is paid for, and not one a token of each window.
#[test]
fn an_endpoint_that_ignores_log_probabilities_is_asked_once() {
    let folder = prepared();
    let path = folder.path();
    let server =
        FaultServer::start(|asked: &Asked| Served::json(&crate::fault_server::chat_reply(&fake_model::text(asked))));
    for more in [&[][..], &["--force"]] {
        let line = one_line(&ask(path, &server, &[&ONE_AT_A_TIME[..], more].concat()), 1);
        assert!(
            line.contains("needs log-probabilities of the reply") && line.contains("log_probability_free"),
            "{line}"
        );
        assert!(!path.join("lake/simulations").exists());
    }
    // One in the self-test, one for each part of the run's query that begins at the same time.
    assert!((2..=1 + parts()).contains(&n_asked(&server, Asks::Number)), "{}", n_asked(&server, Asks::Number));
}

#[test]
fn a_refusal_of_log_probabilities_is_heeded() {
    let none = |asked: &Asked| match asked.body.get("logprobs") {
        Some(_) => refusal("logprobs is not supported by this model"),
        None => answer(asked),
    };
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(none);
    let line = one_line(&ask(path, &server, &[&ONE_AT_A_TIME[..], &["--force"]].concat()), 1);
    assert!(line.contains("needs log-probabilities of the reply") && line.contains("log_probability_free"), "{line}");
    // With as many alternatives as wanted, with few, and not without.
    assert!((2..=2 * parts()).contains(&n_asked(&server, Asks::Number)), "{}", n_asked(&server, Asks::Number));
    let all_at_once = ["--explainer", "openai:fake", "--simulator", "all_at_once@openai:fake", "--force"];
    let line = one_line(&ask(path, &server, &all_at_once), 1);
    assert!(line.contains("log-probabilities inside the prompt") && line.contains("log_probability_free"), "{line}");
    // A judge can do without.
    asked_well(path, &server, &[&CHEAP[..], &["--scorer", "detection@openai:fake"]].concat());
    let judged = "SELECT count(*) FROM judgements WHERE predicted IS NOT NULL AND value IS NULL AND reason IS NULL";
    assert_eq!((count(path, judged), count(path, "SELECT count(*) FROM judgements")), (16, 16));

    // Five alternatives, and no more.
    let folder = prepared();
    let server = FaultServer::start(|asked: &Asked| match asked.body["top_logprobs"].as_u64() {
        Some(n) if n > 5 => refusal("top_logprobs: expected at most 5"),
        _ => answer(asked),
    });
    asked_well(folder.path(), &server, &[&ONE_AT_A_TIME[..], &["--force"]].concat());
    assert_eq!(count(folder.path(), "SELECT count(*) FROM simulations WHERE number_mass > 0.99"), 16);
}

/// A window that the endpoint failed at is asked again by the next run, which pays for nothing else.
#[test]
fn what_failed_at_the_endpoint_is_asked_again() {
    let folder = prepared();
    let path = folder.path();
    let broken = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&broken);
    let server = FaultServer::start(move |asked: &Asked| match asks(asked) {
        // The control's windows and the unit's own differ in their explanation.
        Asks::Numbers if fails.load(Ordering::SeqCst) && asked.number.is_multiple_of(3) => {
            refusal("the filter is out of order")
        }
        _ => answer(asked),
    });
    let out = asked_well(path, &server, &CHEAP);
    let failed =
        count(path, "SELECT count(*) FROM simulations WHERE reason LIKE '%out of order%' AND expected IS NULL");
    assert!(failed > 0 && failed < 16);
    assert!(out.contains(&format!("{failed} of 16 failed: ")) && out.contains("out of order"), "{out}");
    assert!(!out.contains("warning: "), "{out}");
    let before = server.asked().len() as i64;

    broken.store(false, Ordering::SeqCst);
    let out = asked_well(path, &server, &CHEAP);
    assert_eq!(server.asked().len() as i64 - before, failed, "only what had failed was asked: {out}");
    let rows = "SELECT count(*) FROM simulations WHERE expected IS NOT NULL AND reason IS NULL";
    assert_eq!((count(path, rows), count(path, "SELECT count(*) FROM simulations")), (16, 16));
    // The scores follow.
    assert_eq!(count(path, "SELECT count(*) FROM scores WHERE n_failed > 0"), 0);
    let twice = "SELECT count(*) - count(DISTINCT concat_ws('|', explanation, scorer, metric, sample_set)) FROM scores";
    assert_eq!(count(path, twice), 0);
    let out = asked_well(path, &server, &CHEAP);
    assert!(out.contains("nothing was missing"), "{out}");
}

#[test]
fn a_run_without_one_simulation_says_so() {
    let folder = prepared();
    let server = FaultServer::start(|asked: &Asked| match asks(asked) {
        Asks::Numbers => fake_model::served(asked, "I would rather not."),
        _ => answer(asked),
    });
    let out = asked_well(folder.path(), &server, &CHEAP);
    let warning = out.lines().last().unwrap();
    assert!(
        warning.starts_with(
            "warning: not one row of simulations (log_probability_free@openai:fake) has a result: 16 of 16 failed: "
        ),
        "{out}"
    );
    // The self-test says why it found nothing.
    let line = one_line(&ask(folder.path(), &server, &CHEAP[..4]), 1);
    assert!(line.contains("scores missing; of the windows ") && line.contains(" failed: "), "{line}");
}

/// The endpoint tells how long a prompt may be when one is too long: examples are left out and nothing stops.
#[test]
fn a_context_that_is_told_in_a_refusal_is_kept_to() {
    const CONTEXT: usize = 520;
    let tokens = |asked: &Asked| {
        let messages = asked.body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let chars: usize = messages.iter().map(|m| m["content"].as_str().unwrap_or_default().len()).sum();
        (chars / 4, asked.body["max_tokens"].as_u64().unwrap() as usize)
    };
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(move |asked: &Asked| {
        let (prompt, reply) = tokens(asked);
        match prompt + reply > CONTEXT {
            true => refusal(&format!(
                "This model's maximum context length is {CONTEXT} tokens. However, you requested {} tokens ({prompt} in the messages, \
                 {reply} in the completion).",
                prompt + reply
            )),
            false => answer(asked),
        }
    });
    let simulators = ["--simulator", "one_at_a_time@openai:fake"];
    let scorers = ["--scorer", "detection@openai:fake", "--scorer", "fuzzing@openai:fake"];
    asked_well(path, &server, &[&CHEAP[..], &simulators, &scorers].concat());
    let asked = server.asked();
    let too_long = asked.iter().filter(|asked| tokens(asked).0 + tokens(asked).1 > CONTEXT).count();
    assert!(too_long > 0 && too_long < asked.len() / 2, "{too_long} of {}", asked.len());
    for table in ["explanations", "simulations", "judgements"] {
        let reasons = format!("SELECT count(*) FROM {table} WHERE reason IS NOT NULL");
        assert_eq!(count(path, &reasons), 0, "{table}");
    }
    assert_eq!(count(path, "SELECT count(*) FROM explanations WHERE text IS NOT NULL"), 4);
    assert_eq!(count(path, "SELECT count(*) FROM simulations WHERE expected IS NOT NULL"), 2 * 16);
}

/// What stands where no key is wanted may be a word of the interface itself.
#[test]
fn a_short_key_leaves_replies_as_they_are() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let mut command = command(path, &server.url(), &[&FEW[..], &ONE_AT_A_TIME, &["--force"]].concat());
    let ran = finish(command.env("NEURONLAKE_API_KEY", "token"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let n = server.asked().len() as i64;
    let (prompt, completion) = fake_model::TOKENS;
    assert_eq!(count(path, "SELECT sum(prompt_tokens) FROM completions"), n * prompt);
    assert_eq!(count(path, "SELECT sum(completion_tokens) FROM completions"), n * completion);
    assert_eq!(count(path, "SELECT count(*) FROM simulations WHERE number_mass > 0.99"), 16);
}

#[test]
fn a_cost_that_is_not_known_is_not_nought() {
    let folder = prepared();
    let server = FaultServer::start(answer);
    let out =
        asked_well(folder.path(), &server, &["--explainer", "openai:unpriced", "--to", "explanations", "--force"]);
    assert!(out.contains("4 calls, cost unknown") && !out.contains("0.0000 usd"), "{out}");
}

#[test]
fn the_self_test_is_a_line_of_the_summary() {
    // A model that knows what the planted units do, and so passes.
    let server = FaultServer::start(|asked: &Asked| {
        let rule = planted::rules().iter().find(|rule| rule.explanation == explanation(question(asked)));
        let (Asks::Numbers, Some(rule)) = (asks(asked), rule) else { return answer(asked) };
        let tokens: Vec<&str> = window(question(asked)).split('\n').collect();
        let values = planted::activations_of(rule, &tokens);
        let lines = tokens.iter().zip(values).map(|(token, value)| format!("{token}\t{}", value.clamp(0.0, 10.0)));
        fake_model::served(asked, &lines.collect::<Vec<_>>().join("\n"))
    });
    let folder = prepared();
    let out = asked_well(folder.path(), &server, &CHEAP[..4]);
    let n_selftest = server.asked().iter().position(|asked| asks(asked) == Asks::Explanation).unwrap();
    let line = out.lines().find(|line| line.starts_with("self-test")).unwrap_or_else(|| panic!("{out}"));
    assert!(line.contains(&format!("{n_selftest} calls")) && line.contains("usd"), "{out}");
    assert!(out.contains(&format!("{} calls, ", server.asked().len())), "{out}");
}

/// Models without a chat form are asked through the other interface, and their replies are kept apart.
#[test]
fn the_interface_can_be_chosen() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    let query =
        "SELECT explain([named_struct('tokens', ['a', ' king'], 'activations', [0.0, 9.0])], 'openai:fake') AS text";
    let explain = |api: &[&str]| {
        let sql = ["sql", "--lake", "lake", "--base-url", &server.url(), "--format", "csv", query];
        ok(path, &[&sql[..], api].concat())
    };
    let chat = explain(&[]);
    let text = explain(&["--api", "text"]);
    assert_ne!(chat, text);
    let paths: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/v1/completions"]);
    assert!(server.asked()[1].body["prompt"].as_str().unwrap().ends_with("This neuron responds to\n\n"));
    assert_eq!((explain(&["--api", "chat"]), explain(&["--api", "text"])), (chat, text));
    assert_eq!(server.asked().len(), 2, "both replies are kept");
}

/// A model is not told that a neuron is silent where it fires.
#[test]
fn a_contrast_is_made_with_windows_that_leave_the_neuron_silent() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    asked_well(path, &server, &["--explainer", "contrastive@openai:fake", "--to", "explanations", "--force"]);
    let query = "SELECT r.neuron, array_to_string(s.tokens, '') AS text, r.max_activation <= 0.1 * t.top AS silent FROM activation_records r \
                 JOIN token_sequences s ON s.sequence = r.sequence AND s.model = r.model AND s.corpus = r.corpus \
                 JOIN (SELECT hook_point, neuron, max(max_activation) AS top FROM activation_records WHERE split = 'train' \
                 AND sample = 'top' GROUP BY hook_point, neuron) t ON t.neuron = r.neuron AND t.hook_point = r.hook_point \
                 WHERE r.split = 'train' AND r.sample IN ('random', 'quantile_0') AND r.neuron < 4";
    let out = ok(path, &["sql", "--lake", "lake", "--format", "json", query]);
    let windows: Vec<Value> = serde_json::from_str(&out).unwrap();
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let of = |silent: bool| -> Vec<String> {
        let rows = windows.iter().filter(|row| row["silent"] == json!(silent));
        rows.map(|row| plain(row["text"].as_str().unwrap())).filter(|text| text.len() >= 20).collect()
    };
    let (silent, firing) = (of(true), of(false));
    assert!(!firing.is_empty(), "some random windows fire");
    let mut n_shown = 0;
    for asked in server.asked() {
        let (_, shown) = question(&asked).split_once("It is silent in:").unwrap();
        let shown = plain(shown);
        n_shown += silent.iter().filter(|text| shown.contains(*text)).count();
        let told: Vec<&String> = firing.iter().filter(|text| shown.contains(*text) && !silent.contains(text)).collect();
        assert!(told.is_empty(), "{told:?}");
    }
    assert!(n_shown > 0);
    let reason = "SELECT count(*) FROM explanations WHERE text IS NULL AND reason NOT LIKE '%needs windows in which the neuron is silent%'";
    assert_eq!(count(path, reason), 0);
}

#[test]
fn a_neuron_below_nought_is_refused_in_its_own_words() {
    let folder = prepared();
    let query = "SELECT promoted_tokens('default', 'blocks.0.mlp.hook_post', -1) AS tokens";
    let ran = finish(crate::support::program(folder.path()).args(["sql", "--lake", "lake", query]));
    let line = one_line(&ran, ran.code.unwrap());
    assert!(line.contains("'promoted_tokens'") && line.contains("got -1") && !line.contains("--neurons"), "{line}");
}

#[test]
fn every_format_of_the_account_tells_all_or_asks_which() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(answer);
    asked_well(path, &server, &["--explainer", "openai:fake", "--to", "explanations", "--force"]);
    let out = ok(path, &["cost", "--lake", "lake", "--format", "json"]);
    let account: Value = serde_json::from_str(&out).unwrap();
    let rows = |name: &str| account[name].as_array().unwrap_or_else(|| panic!("{name}: {out}")).len();
    assert_eq!((rows("calls"), rows("models"), rows("neurons")), (1, 1, 4));
    let neurons = ok(path, &["cost", "--lake", "lake", "--format", "csv", "--table", "neurons"]);
    assert_eq!(neurons.lines().count(), 5, "{neurons}");
    let ran = finish(crate::support::program(path).args(["cost", "--lake", "lake", "--format", "csv"]));
    let line = one_line(&ran, 2);
    assert!(line.contains("--table") && line.contains("calls, models or neurons"), "{line}");
}

/// Two simulators, of which one knows something and the other's controls are as good as anything.
#[test]
fn a_control_stands_beside_the_value_it_belongs_to() {
    let folder = prepared();
    let path = folder.path();
    let server = FaultServer::start(|asked: &Asked| match asks(asked) {
        Asks::Number => {
            let noise = (uniform(23, asked.number) * 9.0) as u32;
            fake_model::served(asked, &noise.to_string())
        }
        _ => answer(asked),
    });
    let more = ["--neurons", "0-15", "--simulator", "one_at_a_time@openai:fake"];
    ok_of(finish(&mut command(path, &server.url(), &[&CHEAP[..], &more].concat())));
    let scored =
        "metric = 'ev_correlation' AND sample_set = 'top_and_random' AND split = 'valid' AND calibration = 'none'";
    let differ = format!(
        "SELECT count(*) FROM (SELECT max(control) AS most, first_value(control ORDER BY value DESC NULLS LAST) AS own FROM scores \
         WHERE {scored} GROUP BY explanation) WHERE most IS DISTINCT FROM own"
    );
    assert!(count(path, &differ) > 0, "the greatest control is another simulator's");
    let wrong = format!(
        "SELECT count(*) FROM scorers_side_by_side w JOIN (SELECT explanation, value, control FROM scores WHERE {scored}) s \
         ON s.explanation = w.explanation AND s.value = w.simulation WHERE s.control IS DISTINCT FROM w.simulation_control"
    );
    assert_eq!(count(path, &wrong), 0);
}
