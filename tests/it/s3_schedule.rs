//! Schedulers on a lake in a bucket: two beside each other, and one that takes over from one that was killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::s3::{TINY, over, values_in, well};
use crate::s3_server::Bucket;
use crate::support::{assert_same, finish, run, values};

/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// What [`TINY`] says, as a file, due every second or at night.
fn file(folder: &Path, lake: &str, cron: &str) {
    let text = format!(
        "lake = \"{lake}\"\n[[sources]]\nlimit = 16\n[[models]]\nlayers = \"0\"\nneurons = \"0-3\"\n[collection]\nwindow = 16\n\
         [schedule]\ncron = \"{cron}\"\n"
    );
    std::fs::write(folder.join("nightly.toml"), text).unwrap();
}

fn start(bucket: &Bucket, folder: &Path, cache: &str) -> Child {
    let mut command = over(bucket, folder, &["schedule", "nightly.toml"]);
    // As on two machines: nothing is shared but the bucket.
    command.env("XDG_CACHE_HOME", folder.join(cache));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends a process as systemd does; its log.
fn terminate(child: Child) -> String {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    log
}

/// Waits until a run of the pipeline has ended; the state that its scheduler left in the bucket.
fn ended(bucket: &Bucket) -> serde_json::Value {
    let start = Instant::now();
    loop {
        let states = bucket.objects("_schedule/nightly/state.json");
        let state =
            states.first().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()).unwrap_or_default();
        if state["ended_at"].is_string() {
            return state;
        }
        assert!(start.elapsed() < DEADLINE, "no run ever ends: {state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn undisturbed(bucket: &Bucket, folder: &Path, lake: &str) {
    run(folder, "here", &TINY);
    assert_same(&values_in(bucket, folder, lake), &values(folder, "here"));
    // Nothing is left to do, and the lease is free.
    file(folder, lake, "0 3 * * *");
    let again = finish(&mut over(bucket, folder, &["pipeline", "run", "nightly.toml"]));
    assert!(well(&again).contains("nothing changed"), "{}", again.text());
}

#[test]
fn two_schedulers_on_a_bucket_do_each_unit_once() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("scheduled"));
    file(path, &lake, "* * * * * *");
    let both = [start(&bucket, path, "one"), start(&bucket, path, "two")];
    let state = ended(&bucket);
    assert_eq!(state["error"], serde_json::Value::Null);
    for log in both.map(terminate) {
        assert!(!log.contains("ERROR"), "{log}");
    }
    undisturbed(&bucket, path, &lake);
}

#[test]
fn a_scheduler_takes_over_from_one_that_was_killed() {
    let (bucket, folder) = (Bucket::new(), tempfile::tempdir().unwrap());
    let (path, lake) = (folder.path(), bucket.lake("taken-over"));
    file(path, &lake, "* * * * * *");
    let mut first = start(&bucket, path, "one");
    assert!(bucket.wait_for(0, 60, DEADLINE), "the first scheduler asks for nothing");
    first.kill().unwrap();
    first.wait().unwrap();
    let second = start(&bucket, path, "two");
    assert_eq!(ended(&bucket)["error"], serde_json::Value::Null);
    let log = terminate(second);
    assert!(!log.contains("ERROR"), "{log}");
    undisturbed(&bucket, path, &lake);
}
