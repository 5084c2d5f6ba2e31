//! Replies that outlive the process: stored before they are used, asked for once, whatever is killed when.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use neuronlake::completions::LanguageModel;
use neuronlake::completions::budget::BudgetLimit;
use neuronlake::completions::language_models::{LanguageModelOptions, LanguageModels};
use neuronlake::completions::limits::LimitOptions;
use neuronlake::completions::model_name::ModelName;
use neuronlake::completions::request::Call;
use neuronlake::models::cache::Models;
use neuronlake::session::{Session, SessionOptions};
use neuronlake::tables::lake::Lake;

use crate::completions::{call, quick};
use crate::fault_server::{Asked, FaultServer, Served, chat_reply, question, uniform};

fn options(url: &str, lake: &Path) -> LanguageModelOptions {
    LanguageModelOptions {
        base_url: Some(url.to_owned()),
        limits: quick(),
        lake: Some(Lake::at(lake.to_str().unwrap()).unwrap()),
        ..LanguageModelOptions::default()
    }
}

fn name() -> ModelName {
    "openai:gpt-4o".parse().unwrap()
}

fn upper(asked: &Asked) -> Served {
    Served::json(&chat_reply(&question(asked).to_uppercase()))
}

async fn texts(model: &Arc<dyn LanguageModel>, calls: &[Call]) -> Vec<String> {
    model.complete_all(calls).await.into_iter().map(|reply| reply.unwrap().text).collect()
}

/// The rows of a query as text, one a line.
pub(crate) async fn sql(lake: &Path, sql: &str) -> String {
    let lake = Lake::at(lake.to_str().unwrap()).unwrap();
    let session = Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap();
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let lines = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|row| {
            let cells =
                batch.columns().iter().map(|column| arrow::util::display::array_value_to_string(column, row).unwrap());
            cells.collect::<Vec<_>>().join(" ")
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The files of replies that are no rows yet.
pub(crate) fn segments(lake: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(lake.join("_completions")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect()
}

#[tokio::test]
async fn a_reply_is_asked_for_once_and_found_again_by_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(upper);
    let calls: Vec<Call> = (0..20).map(call).collect();
    let expected: Vec<String> = (0..20).map(|i| format!("QUESTION {i}")).collect();

    let first = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    let model = first.get(&name()).unwrap();
    assert_eq!(texts(&model, &calls).await, expected);
    assert_eq!(texts(&model, &calls).await, expected);
    let spent = first.spent();
    assert_eq!((spent.calls, spent.from_store, server.asked().len()), (20, 20, 20));

    // Another session reads the lines of this one while it lives.
    let second = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    assert_eq!(texts(&second.get(&name()).unwrap(), &calls).await, expected);
    assert_eq!((second.spent().calls, server.asked().len()), (0, 20));

    // And the table, when they have become part of it.
    assert_eq!(first.fold().await.unwrap(), 20);
    assert_eq!((first.fold().await.unwrap(), segments(folder.path()).len()), (0, 0));
    let third = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    let model = third.get(&name()).unwrap();
    let replies = model.complete_all(&calls).await;
    let one = replies[3].as_ref().unwrap();
    assert_eq!((one.text.as_str(), one.prompt_tokens, one.completion_tokens), ("QUESTION 3", 10, 2));
    assert_eq!((one.cost, one.key.as_deref()), (Some(45e-6), Some(calls[3].key(&name()).as_str())));
    assert_eq!((third.spent().calls, server.asked().len()), (0, 20));

    let row = "SELECT engine, model, endpoint, purpose, sample_no, reply, finish, prompt_tokens, completion_tokens, cost, reply_tokens, \
        request, created_at > TIMESTAMP '2025-01-01' FROM completions WHERE reply = 'QUESTION 3'";
    assert_eq!(
        sql(folder.path(), row).await,
        format!(
            "openai gpt-4o {} explain 0 QUESTION 3 stop 10 2 0.000045  \
             {{\"messages\":[{{\"role\":\"user\",\"content\":\"question 3\"}}],\"max_tokens\":8,\"temperature\":0.0,\"top_p\":1.0,\"stop\":[],\
             \"top_logprobs\":0}} true",
            server.url()
        )
    );
    // Another number is another draw, another model another reply.
    let again = Call { sample_no: 1, ..call(0) };
    texts(&model, &[again]).await;
    texts(&third.get(&"openai:other".parse().unwrap()).unwrap(), &[call(0)]).await;
    assert_eq!(server.asked().len(), 22);
}

#[tokio::test]
async fn identical_calls_at_the_same_time_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(|asked: &Asked| Served { delay: Duration::from_millis(50), ..upper(asked) });
    let models = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    let model = models.get(&name()).unwrap();
    let same = vec![call(1); 30];
    let (a, b) = tokio::join!(texts(&model, &same), texts(&model, &same));
    assert!(a.iter().chain(&b).all(|text| text == "QUESTION 1"));
    assert_eq!((server.asked().len(), models.spent().calls, models.spent().from_store), (1, 1, 59));
}

#[tokio::test]
async fn a_paid_reply_is_kept_though_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(|asked: &Asked| Served { delay: Duration::from_millis(100), ..upper(asked) });
    let models = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    let model = models.get(&name()).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(40), model.complete_all(&[call(1)])).await;
    assert!(waited.is_err());
    assert_eq!(texts(&model, &[call(1)]).await, ["QUESTION 1"]);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn errors_are_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(|asked: &Asked| match asked.number {
        0 => Served::status(400, "not today"),
        _ => upper(asked),
    });
    let models = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    let model = models.get(&name()).unwrap();
    assert!(model.complete_all(&[call(1)]).await.remove(0).unwrap_err().to_string().contains("not today"));
    assert_eq!(texts(&model, &[call(1)]).await, ["QUESTION 1"]);
}

/// A kill between the commit and the removal of the file, a kill inside a line, and damage.
#[tokio::test]
async fn whatever_is_left_in_the_folder_no_reply_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(upper);
    let calls: Vec<Call> = (0..5).map(call).collect();
    let models = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    texts(&models.get(&name()).unwrap(), &calls).await;
    let segment = segments(folder.path()).remove(0);
    let lines = std::fs::read(&segment).unwrap();
    assert_eq!(models.fold().await.unwrap(), 5);

    // The file is still there, as if the process had died before it removed it, and another's last line is cut short.
    std::fs::write(&segment, &lines).unwrap();
    let cut = folder.path().join("_completions/1-0.jsonl");
    std::fs::write(&cut, &lines[..lines.len() - 40]).unwrap();
    assert_eq!((models.fold().await.unwrap(), segments(folder.path()).len()), (0, 0));
    assert_eq!(sql(folder.path(), "SELECT count(*), count(DISTINCT completion) FROM completions").await, "5 5");

    // Half of a file before the table ever saw it.
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(other.path().join("_completions")).unwrap();
    std::fs::write(other.path().join("_completions/1-0.jsonl"), &lines[..lines.len() - 40]).unwrap();
    let models = LanguageModels::open(options(&server.url(), other.path())).unwrap();
    let model = models.get(&name()).unwrap();
    texts(&model, &calls).await;
    // The line that was cut is the one that is asked for again.
    assert_eq!(server.asked().len(), 6);

    std::fs::write(other.path().join("_completions/1-0.jsonl"), "{}\n{}\n").unwrap();
    let message = models.fold().await.unwrap_err().to_string();
    assert!(message.contains("1-0.jsonl': line 1: expected a stored reply, got something else"), "{message}");
    assert!(other.path().join("_completions/1-0.jsonl").exists());
}

#[test]
fn prices_are_those_of_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let models = LanguageModels::open(options("http://127.0.0.1:1", folder.path())).unwrap();
    let dollars = |models: &LanguageModels, name: &str| models.dollars(&name.parse().unwrap(), 114, 48);
    assert_eq!(dollars(&models, "openai:gpt-4o"), Some((2.5 * 114.0 + 10.0 * 48.0) / 1e6));
    assert_eq!(dollars(&models, "openai:unpriced"), None);
    assert_eq!(dollars(&models, "local:model.gguf"), Some(0.0));

    std::fs::write(folder.path().join("prices.toml"), "[models.unpriced]\nprompt = 1\ncompletion = 0\n").unwrap();
    let models = LanguageModels::open(options("http://127.0.0.1:1", folder.path())).unwrap();
    assert_eq!(dollars(&models, "openai:unpriced"), Some(114e-6));
}

#[tokio::test]
async fn after_a_budget_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(upper);
    let calls: Vec<Call> = (0..30).map(call).collect();
    let small =
        LanguageModelOptions { budget: Some(BudgetLimit::Tokens(100)), ..options(&server.url(), folder.path()) };
    let models = LanguageModels::open(small).unwrap();
    let replies = models.get(&name()).unwrap().complete_all(&calls).await;
    let answered = replies.iter().filter(|reply| reply.is_ok()).count();
    assert_eq!((answered, server.asked().len()), (7, 7));
    let models = LanguageModels::open(options(&server.url(), folder.path())).unwrap();
    texts(&models.get(&name()).unwrap(), &calls).await;
    assert_eq!(server.asked().len(), 30);
}

const CHILD: &str = "NEURONLAKE_TEST_CHILD";

/// Does nothing in a run of the tests: the test below starts this program again with the variable set.
#[tokio::test]
async fn makes_calls_until_it_is_killed() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let [url, lake, n_calls] = &text.split('|').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let limits = LimitOptions { in_flight: 8, ..quick() };
    let models = LanguageModels::open(LanguageModelOptions { limits, ..options(url, Path::new(lake)) }).unwrap();
    let model = models.get(&name()).unwrap();
    let calls: Vec<Call> = (0..n_calls.parse().unwrap()).map(call).collect();
    for part in calls.chunks(100) {
        texts(&model, part).await;
        models.fold().await.unwrap();
    }
}

/// Kills at random moments, 20 of them, or 200 with NEURONLAKE_SLOW=1.
#[tokio::test]
async fn no_finished_call_is_repeated_however_often_the_process_is_killed() {
    let n_kills: u64 = if std::env::var_os("NEURONLAKE_SLOW").is_some() { 200 } else { 20 };
    let n_calls = usize::try_from(n_kills).unwrap() * 40;
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(|asked: &Asked| Served {
        delay: Duration::from_millis(5).mul_f64(2.0 * uniform(3, asked.number)),
        ..upper(asked)
    });
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["durable_replies::makes_calls_until_it_is_killed", "--exact", "--test-threads=1"]);
        child.env(CHILD, format!("{}|{}|{n_calls}", server.url(), folder.path().display()));
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // What was asked for each stored question when it was first seen to be stored.
    let mut settled: HashMap<String, u64> = HashMap::new();
    let (mut n_early, mut n_cut) = (0, 0);
    for kill in 0..n_kills {
        let mut child = start();
        let before = server.asked().len();
        if kill % 3 == 0 {
            // While the program starts, reads what is stored and moves lines into the table; the time is the thing tested.
            std::thread::sleep(Duration::from_millis(150).mul_f64(uniform(5, kill)));
        } else {
            let n = 1 + (60.0 * uniform(11, kill)) as usize;
            assert!(server.wait_for(before + n, Duration::from_secs(60)), "the child makes no calls");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        n_early += u64::from(server.asked().len() == before);
        let counts = asked_by_question(&server);
        let mut stored = HashSet::new();
        for path in segments(folder.path()) {
            let text = std::fs::read_to_string(path).unwrap();
            n_cut += u64::from(!text.is_empty() && !text.ends_with('\n'));
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            stored.extend(whole.lines().map(reply_of));
        }
        stored.extend(sql(folder.path(), "SELECT reply FROM completions").await.lines().map(str::to_owned));
        for (reply, n) in &settled {
            assert!(stored.contains(reply), "'{reply}' was stored and is gone after kill {kill}");
            assert_eq!(counts[reply], *n, "'{reply}' was stored and asked for again before kill {kill}");
        }
        settled.extend(stored.into_iter().map(|reply| (reply.clone(), counts[&reply])));
    }
    let n_settled = settled.len();
    assert!(start().wait().unwrap().success());
    let counts = asked_by_question(&server);
    assert!(settled.iter().all(|(reply, n)| counts[reply] == *n), "a stored call was made again");
    assert_eq!(counts.len(), n_calls);
    let rows =
        sql(folder.path(), "SELECT count(*), count(DISTINCT completion), count(DISTINCT reply) FROM completions").await;
    assert_eq!(rows, format!("{n_calls} {n_calls} {n_calls}"));
    assert!(segments(folder.path()).is_empty());
    let n_asked: u64 = counts.values().sum();
    eprintln!(
        "{n_kills} kills ({n_early} before the first request, {n_cut} inside a line): {n_settled} replies stored when killed, none repeated; \
         {n_calls} calls took {n_asked} requests",
    );
}

/// Requests by the reply they get.
fn asked_by_question(server: &FaultServer) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for asked in server.asked() {
        *counts.entry(question(&asked).to_uppercase()).or_default() += 1;
    }
    counts
}

fn reply_of(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    row["reply"].as_str().unwrap().to_owned()
}
