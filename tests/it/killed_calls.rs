//! Runs that ask a language model, killed at any moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::durable_replies::{segments, sql};
use crate::fake_model::answer;
use crate::fault_server::{Asked, FaultServer, Served, uniform};
use crate::language_models::{ALL, WRITTEN, asked_neurons, command, prepared};
use crate::support::rows_of;

/// The messages of a request, as the server got them or as the store kept them.
fn messages(request: &serde_json::Value) -> String {
    request["messages"].to_string()
}

fn by_messages(server: &FaultServer) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for asked in server.asked() {
        *counts.entry(messages(&asked.body)).or_default() += 1;
    }
    counts
}

/// The messages of every stored reply.
async fn stored(lake: &Path) -> HashSet<String> {
    let read = |text: &str| messages(&serde_json::from_str(text).unwrap());
    let mut stored = HashSet::new();
    for path in segments(lake) {
        let text = std::fs::read_to_string(path).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            stored.insert(read(row["request"].as_str().unwrap()));
        }
    }
    stored.extend(sql(lake, "SELECT request FROM completions").await.lines().map(read));
    stored
}

/// What language models wrote, without what differs from run to run.
fn values(folder: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let mut values = rows_of(folder, "lake", &WRITTEN, "* EXCEPT (run)");
    values.extend(rows_of(folder, "lake", &["completions"], "* EXCEPT (created_at, endpoint)"));
    values
}

/// Kills at seeded random moments, 10 of them, or 40 with NEURONLAKE_SLOW=1: during calls, while replies become rows, while the
/// program starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_a_run_repeats_no_finished_call() {
    // Calls begun at a time with eight in flight: those, and as many more that wait for their turn or for their reply to be on disk.
    const AT_RISK: u64 = 32;
    let (n_kills, neurons) = if std::env::var_os("NEURONLAKE_SLOW").is_some() { (40, "0-31") } else { (10, "0-7") };
    let arguments = [&ALL[..], &["--neurons", neurons, "--concurrency", "8"]].concat();
    let whole = prepared();
    let slowly = |asked: &Asked| Served {
        delay: Duration::from_millis(4).mul_f64(2.0 * uniform(3, asked.number)),
        ..answer(asked)
    };
    let reference = FaultServer::start(answer);
    asked_neurons(whole.path(), &reference.url(), &arguments);
    let expected = values(whole.path());

    let folder = prepared();
    let lake = folder.path().join("lake");
    let server = FaultServer::start(slowly);
    let mut settled: HashMap<String, u64> = HashMap::new();
    let (mut n_killed, mut n_early, mut n_cut) = (0, 0, 0);
    for kill in 0..n_kills {
        let mut child = command(folder.path(), &server.url(), &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = server.asked().len();
        let mut ended = false;
        if kill % 4 == 0 {
            // While the program starts and looks at what is there; the time is the thing tested.
            std::thread::sleep(Duration::from_millis(800).mul_f64(uniform(5, kill)));
        } else {
            let n = 1 + (40.0 * uniform(11, kill)) as usize;
            while !ended && !server.wait_for(before + n, Duration::from_millis(20)) {
                ended = child.try_wait().unwrap().is_some();
            }
            if kill % 4 == 1 {
                std::thread::sleep(Duration::from_millis(60).mul_f64(uniform(13, kill)));
            }
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() || status.code().is_none(), "{status}");
        n_killed += u64::from(status.code().is_none());
        n_early += u64::from(server.asked().len() == before);
        for path in segments(&lake) {
            let text = std::fs::read_to_string(path).unwrap();
            n_cut += u64::from(!text.is_empty() && !text.ends_with('\n'));
        }
        let (counts, stored) = (by_messages(&server), stored(&lake).await);
        for (messages, n) in &settled {
            assert!(stored.contains(messages), "a stored reply is gone after kill {kill}: {messages}");
            assert_eq!(counts[messages], *n, "a stored reply was asked for again before kill {kill}: {messages}");
        }
        settled.extend(stored.into_iter().map(|messages| (messages.clone(), counts[&messages])));
    }
    asked_neurons(folder.path(), &server.url(), &arguments);
    let counts = by_messages(&server);
    assert!(settled.iter().all(|(messages, n)| counts[messages] == *n), "a stored reply was asked for again");
    let got = values(folder.path());
    for (table, expected) in &expected {
        assert_eq!(got[table].len(), expected.len(), "rows of {table}");
        for (got, expected) in got[table].iter().zip(expected) {
            assert_eq!(got, expected, "{table}");
        }
    }
    assert_eq!(counts.len(), by_messages(&reference).len());
    let n_asked: u64 = counts.values().sum();
    let n_lost = n_asked - counts.len() as u64;
    assert!(n_lost <= n_killed * AT_RISK, "{n_lost} replies were lost in {n_killed} kills");
    assert!(n_killed * 10 >= n_kills * 7, "only {n_killed} kills came in time");
    assert!(segments(&lake).is_empty());
    eprintln!(
        "{n_killed} kills ({n_early} before the first request, {n_cut} inside a line): {} replies stored when killed, none repeated; {} \
         calls took {n_asked} requests",
        settled.len(),
        counts.len()
    );
}
