//! A lake in a bucket under faults: killed writers, two writers at once, requests that fail and hang, an outage, readers all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::fake_model::answer;
use crate::fault_server::{Asked, FaultServer, Served, uniform};
use crate::s3::{TINY, over, values_in, well};
use crate::s3_server::Bucket;
use crate::support::{TABLES, assert_same, finish, program, run, tables_as_json, values, written};

/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(240);

fn starts(bucket: &Bucket, folder: &Path, lake: &str, more: &[&str]) -> Child {
    let mut command = over(bucket, folder, &[&["run", "--lake", lake][..], &TINY, more].concat());
    let told = std::fs::File::options().create(true).append(true).open(folder.join(TOLD)).unwrap();
    command.stdout(Stdio::null()).stderr(told).spawn().unwrap()
}

/// Where runs of a folder say what went wrong, and what they said.
const TOLD: &str = "told";

fn told(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(TOLD)).unwrap_or_default()
}

/// The tables that an undisturbed run writes into a folder.
fn undisturbed() -> BTreeMap<&'static str, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "lake", &TINY);
    values(folder.path(), "lake")
}

/// The rows of every table, with the run that wrote each.
fn sets(bucket: &Bucket, folder: &Path, lake: &str) -> Vec<BTreeSet<String>> {
    let rows = tables_as_json(folder, lake, &TABLES, "*", &bucket.direct());
    TABLES.iter().map(|table| rows[table].iter().cloned().collect()).collect()
}

/// Kills the writer at random moments: 8 times, or 100 with NEURONLAKE_SLOW=1.
#[test]
fn killed_at_any_moment_a_writer_leaves_a_whole_lake() {
    let n_kills: u64 = if std::env::var_os("NEURONLAKE_SLOW").is_some() { 100 } else { 8 };
    let expected = undisturbed();
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let path = folder.path();
    let (mut killed, mut finished, mut number) = (0, 0, 0);
    while killed < n_kills {
        let lake = bucket.lake(&format!("kills-{number}"));
        number += 1;
        let mut kept: Vec<BTreeSet<String>> = vec![BTreeSet::new(); TABLES.len()];
        loop {
            let before = bucket.n_requests().0;
            let mut child = starts(&bucket, path, &lake, &[]);
            // By requests, so that a moment is as likely before a commit as after it, however fast the machine is.
            let n = 1 + (90.0 * uniform(17, killed * 7 + finished)) as u64;
            let start = Instant::now();
            let ended = loop {
                assert!(start.elapsed() < DEADLINE, "a run that nobody killed never ends");
                if let Some(status) = child.try_wait().unwrap() {
                    assert!(status.success(), "a run that nobody killed: {status}");
                    break true;
                }
                if killed < n_kills && bucket.wait_for(before, n, Duration::from_millis(20)) {
                    child.kill().unwrap();
                    let status = child.wait().unwrap();
                    break status.success();
                }
            };
            if ended {
                finished += 1;
                break;
            }
            killed += 1;
            // What is there is whole, and what was there before still is, down to the run that wrote it.
            let listed = finish(program(path).args(["sql", "--lake", &lake, "SELECT 1"]).envs(bucket.direct()));
            if listed.code == Some(0) {
                let now = sets(&bucket, path, &lake);
                for (table, (kept, now)) in TABLES.iter().zip(kept.iter().zip(&now)) {
                    assert!(kept.is_subset(now), "committed rows of {table} are gone or were written again");
                }
                kept = now;
            }
        }
        assert_same(&values_in(&bucket, path, &lake), &expected);
        for (table, (kept, now)) in TABLES.iter().zip(kept.iter().zip(&sets(&bucket, path, &lake))) {
            assert!(kept.is_subset(now), "rows of {table} were written again");
        }
    }
    eprintln!("{killed} kills on {number} lakes");
}

/// Two processes that are to do the same do each unit once, in a bucket and in a folder.
#[test]
fn two_runs_at_once_do_each_unit_once() {
    let expected = undisturbed();
    let bucket = Bucket::new();
    let here = tempfile::tempdir().unwrap();
    for lake in [bucket.lake("twice"), here.path().join("lake").to_str().unwrap().to_owned()] {
        // As on two machines: neither sees the other's cache.
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let spawn = |folder: &tempfile::TempDir| {
            let mut command = over(&bucket, folder.path(), &[&["run", "--lake", &lake][..], &TINY].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children = folders.each_ref().map(spawn);
        let mut sums: BTreeMap<String, usize> = BTreeMap::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{lake}: {}", String::from_utf8_lossy(&output.stderr));
            for (table, n_rows) in written(&String::from_utf8(output.stdout).unwrap()) {
                *sums.entry(table).or_default() += n_rows;
            }
        }
        assert_same(&values_in(&bucket, folders[0].path(), &lake), &expected);
        for table in TABLES {
            assert_eq!(sums[table], expected[table].len(), "rows of {table} that the two runs wrote into {lake}");
        }
    }
}

/// Two runs that ask a language model pay for no call twice.
#[test]
fn two_runs_at_once_pay_once() {
    let (bucket, lake) = (Bucket::new(), "paid");
    let lake = bucket.lake(lake);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    well(&finish(&mut over(
        &bucket,
        folders[0].path(),
        &[&["run", "--lake", &lake, "--to", "token_activations"][..], &TINY].concat(),
    )));
    let server = FaultServer::start(|asked: &Asked| Served { delay: Duration::from_millis(5), ..answer(asked) });
    let spawn = |folder: &tempfile::TempDir| {
        let mut command = over(&bucket, folder.path(), &[&["run", "--lake", &lake][..], &TINY, &ASKING].concat());
        command.args(["--base-url", &server.url()]).env("NEURONLAKE_API_KEY", "sk-x");
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in folders.each_ref().map(spawn) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(server.asked().len() > 8, "only {} calls", server.asked().len());
    for (body, (came, _)) in server.counts() {
        assert_eq!(came, 1, "asked {came} times: {body}");
    }
    let cells = completions(&bucket, folders[0].path(), &lake);
    assert_eq!(cells, format!("{0},{0}", server.asked().len()));
}

/// What asks the language model by rule.
const ASKING: [&str; 5] = ["--explainer", "openai:fake", "--simulator", "log_probability_free@openai:fake", "--force"];

/// Rows of `completions`, and different ones among them.
fn completions(bucket: &Bucket, folder: &Path, lake: &str) -> String {
    let query = "SELECT count(*) AS a, count(DISTINCT completion) AS b FROM completions";
    let ran = finish(program(folder).args(["sql", "--lake", lake, "--format", "csv", query]).envs(bucket.direct()));
    well(&ran).lines().nth(1).unwrap().to_owned()
}

/// Kills at random moments of a run that asks a language model: 6 times, or 60 with NEURONLAKE_SLOW=1. A reply that a killed run had
/// stored is in the bucket and is not asked for again.
#[test]
fn no_reply_in_the_bucket_is_paid_for_twice() {
    let n_kills: u64 = if std::env::var_os("NEURONLAKE_SLOW").is_some() { 60 } else { 6 };
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("replies"));
    well(&finish(&mut over(
        &bucket,
        path,
        &[&["run", "--lake", &lake, "--to", "token_activations"][..], &TINY].concat(),
    )));
    let server = FaultServer::start(|asked: &Asked| Served { delay: Duration::from_millis(4), ..answer(asked) });
    let start = || {
        let mut command = over(&bucket, path, &[&["run", "--lake", &lake][..], &TINY, &ASKING].concat());
        command.args(["--base-url", &server.url(), "--concurrency", "4"]).env("NEURONLAKE_API_KEY", "sk-x");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut settled: BTreeMap<String, u64> = BTreeMap::new();
    let mut n_killed = 0;
    for kill in 0..n_kills {
        let before = server.asked().len();
        let mut child = start();
        let n = 1 + (14.0 * uniform(23, kill)) as usize;
        let mut ended = false;
        while !ended && !server.wait_for(before + n, Duration::from_millis(20)) {
            ended = child.try_wait().unwrap().is_some();
        }
        std::thread::sleep(Duration::from_millis(30).mul_f64(uniform(29, kill)));
        child.kill().unwrap();
        n_killed += u64::from(!child.wait().unwrap().success());
        let asked = by_messages(&server);
        let stored = stored(&bucket, path, &lake);
        for (messages, n) in &settled {
            assert!(stored.contains(messages), "a stored reply is gone after kill {kill}: {messages}");
            assert_eq!(asked[messages], *n, "a stored reply was asked for again before kill {kill}: {messages}");
        }
        settled.extend(stored.into_iter().map(|messages| (messages.clone(), asked[&messages])));
    }
    assert!(start().wait().unwrap().success());
    let asked = by_messages(&server);
    assert!(settled.iter().all(|(messages, n)| asked[messages] == *n), "a stored reply was asked for again");
    assert_eq!(completions(&bucket, path, &lake), format!("{0},{0}", asked.len()));
    assert!(!settled.is_empty() && n_killed > 0, "{n_killed} kills, {} replies stored before them", settled.len());
    eprintln!("{n_killed} kills: {} of {} replies stored when killed, none repeated", settled.len(), asked.len());
}

fn by_messages(server: &FaultServer) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for asked in server.asked() {
        *counts.entry(asked.body["messages"].to_string()).or_default() += 1;
    }
    counts
}

/// The messages of every reply that is in the bucket: in the table, or in an object that is to become part of it. Read by another
/// program, which also moves none.
fn stored(bucket: &Bucket, folder: &Path, lake: &str) -> BTreeSet<String> {
    let messages = |request: &str| {
        let request: serde_json::Value = serde_json::from_str(request).unwrap();
        request["messages"].to_string()
    };
    let mut stored: BTreeSet<String> = BTreeSet::new();
    for text in bucket.objects("_completions/") {
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            stored.insert(messages(row["request"].as_str().unwrap()));
        }
    }
    let rows = tables_as_json(folder, lake, &["completions"], "request", &bucket.direct());
    stored.extend(rows["completions"].iter().map(|row| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        messages(row["request"].as_str().unwrap())
    }));
    stored
}

/// Five of a hundred requests fail in one of six ways, and for a while nothing gets through at all: the run finishes with the tables
/// of an undisturbed one. Readers on a good line ask all the while, and whatever they see is whole. The outage takes 2 seconds, or 30
/// with NEURONLAKE_SLOW=1.
#[test]
fn faults_and_an_outage_delay_a_run_and_hurt_no_reader() {
    let outage = Duration::from_secs(if std::env::var_os("NEURONLAKE_SLOW").is_some() { 30 } else { 2 });
    let expected = undisturbed();
    let n_windows: BTreeSet<String> = expected["activation_records"]
        .iter()
        .fold(BTreeMap::<String, u32>::new(), |mut counts, row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            *counts.entry(row["neuron"].to_string()).or_default() += 1;
            counts
        })
        .into_iter()
        .map(|(neuron, n)| format!("{neuron},{n}"))
        .collect();
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("faults"));
    bucket.fail(50);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen: Vec<usize> = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let query = "SELECT neuron, count(*) AS n FROM activation_records GROUP BY neuron ORDER BY neuron";
                let ran = finish(
                    program(path).args(["sql", "--lake", &lake, "--format", "csv", query]).envs(bucket.direct()),
                );
                // Before the first commit there is no lake.
                if ran.err.contains("does not exist") {
                    continue;
                }
                let rows: Vec<&str> = well(&ran).lines().skip(1).collect();
                assert!(rows.iter().all(|row| n_windows.contains(*row)), "a unit in part: {rows:?} of {n_windows:?}");
                seen.push(rows.len());
            }
            seen
        });
        let start = Instant::now();
        let mut child = starts(&bucket, path, &lake, &[]);
        assert!(bucket.wait_for(0, 60, DEADLINE), "the run asks for nothing");
        bucket.outage(true);
        std::thread::sleep(outage);
        bucket.outage(false);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < DEADLINE, "the run never ends");
            std::thread::sleep(Duration::from_millis(20));
        };
        done.store(true, Ordering::SeqCst);
        assert!(status.success(), "{status}: {}", told(path));
        let seen = reader.join().unwrap();
        assert!(seen.is_sorted(), "what was seen is gone: {seen:?}");
        let (n, n_failed) = bucket.n_requests();
        eprintln!("{n_failed} of {n} requests failed, {} looks of a reader meanwhile", seen.len());
        assert!(n_failed >= 5, "only {n_failed} of {n} requests failed");
    });
    bucket.fail(0);
    assert_same(&values_in(&bucket, path, &lake), &expected);
}

/// The program where no file may grow past so many blocks of 512 bytes; the signal that would end the process is switched off.
#[cfg(unix)]
fn with_small_files(folder: &Path, blocks: u32, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    crate::support::clean(&mut command, folder);
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_neuronlake")]).args(arguments);
    command
}

/// No room in the cache of a lake that is in a bucket, where a pass keeps what it found: an error that names the file, and the bucket
/// holds what it held.
#[cfg(unix)]
#[test]
fn a_full_cache_is_an_error_and_the_bucket_stays_whole() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("full-cache"));
    let all = [&["run", "--lake", lake.as_str()][..], &TINY].concat();
    well(&finish(&mut over(&bucket, path, &[&all[..], &["--to", "token_sequences"]].concat())));
    let before = values_in(&bucket, path, &lake);
    let mut command = with_small_files(path, 8, &all);
    command.envs(bucket.environment()).env("XDG_CACHE_HOME", path.join("cache"));
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(1), "{}{}", ran.text(), ran.err);
    let error = ran.err.lines().last().unwrap();
    assert!(error.contains("File too large") && error.contains(path.join("cache").to_str().unwrap()), "{}", ran.err);
    assert_same(&values_in(&bucket, path, &lake), &before);
    well(&finish(&mut over(&bucket, path, &all)));
    assert_same(&values_in(&bucket, path, &lake), &undisturbed());
}

/// No room for files: an error that names what could not be written, and a lake that is as it was.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_lake_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(path, "lake", &[&TINY[..], &["--to", "neurons"]].concat());
    let before = values(path, "lake");
    let limited = |blocks: u32, arguments: &[&str]| finish(&mut with_small_files(path, blocks, arguments));
    let ran = limited(8, &[&["run", "--lake", "lake"][..], &TINY].concat());
    assert_eq!(ran.code, Some(1), "{}{}", ran.text(), ran.err);
    assert!(ran.err.lines().last().unwrap().contains("File too large"), "{}", ran.err);
    let after = values(path, "lake");
    for table in TABLES {
        assert!(before[table].iter().all(|row| after[table].contains(row)), "rows of {table} are gone");
    }
    // A sort that does not fit the memory goes to disk, where there is no room either.
    let spilling = "SET datafusion.runtime.memory_limit = '20M';\nSELECT count(*) FROM (SELECT DISTINCT a.value, b.value AS other \
                    FROM generate_series(1, 2000) a, generate_series(1, 1000) b ORDER BY a.value * 7919 % 1000003, other);\n";
    std::fs::write(path.join("spill.sql"), spilling).unwrap();
    let ran = limited(64, &["sql", "--lake", "lake", "--file", "spill.sql"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.text(), ran.err);
    assert!(ran.err.contains("File too large"), "{}", ran.err);
    run(path, "lake", &TINY);
    assert_same(&values(path, "lake"), &undisturbed());
}
