//! Schedulers as processes: at their times, beside each other, and ended from outside. Times themselves are unit tests, with a clock
//! that is stepped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{LITTLE, assert_same, little_file, neuronlake, ok, program, run, values};

/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

fn file(folder: &Path, name: &str, cron: &str) {
    let times = format!("[schedule]\ncron = \"{cron}\"\ntime_zone = \"Europe/Berlin\"\n");
    little_file(folder, name, "", &times);
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    program(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends a process as systemd does; what it wrote.
fn terminate(child: Child) -> (String, String) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{err}");
    (String::from_utf8(output.stdout).unwrap(), err)
}

fn state(folder: &Path) -> serde_json::Value {
    let text = fs::read(folder.join("lake/_schedule/nightly/state.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_schedulers_on_one_lake_do_each_unit_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Due every second: both are always about to run it.
    file(path, "nightly.toml", "* * * * * *");
    let both = [start(path, &["schedule", "nightly.toml"]), start(path, &["schedule", "nightly.toml"])];
    wait_until("the end of a run", || state(path)["ended_at"].is_string());
    for (out, err) in both.map(terminate) {
        assert!(out.starts_with("keeping the times of nightly\n"), "{out}");
        assert!(!err.contains("ERROR"), "{err}");
    }
    assert_eq!(state(path)["error"], serde_json::Value::Null);
    run(path, "whole", &LITTLE);
    assert_same(&values(path, "lake"), &values(path, "whole"));
    // Both were at it for long enough to come into each other's way; a third one finds nothing to do.
    file(path, "nightly.toml", "0 3 * * *");
    assert!(ok(path, &["pipeline", "run", "nightly.toml"]).contains("nothing changed"));
}

#[test]
fn a_single_look_runs_what_is_due_by_the_lakes_account() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "nightly.toml", "0 3 * * *");
    let once = ["schedule", "--once", "nightly.toml"];
    let first = ok(path, &once);
    assert!(first.starts_with("'nightly' is due at "), "{first}");
    assert!(first.ends_with(" CET\n") || first.ends_with(" CEST\n"), "{first}");
    // Nobody was there for a year.
    let mut missed = state(path);
    missed["kept_until"] = "2025-01-01T00:00:00Z".into();
    fs::write(path.join("lake/_schedule/nightly/state.json"), missed.to_string()).unwrap();
    let second = ok(path, &once);
    assert!(second.contains("4 units scored"), "{second}");
    assert!(state(path)["n_missed"].as_u64().unwrap() > 300, "{}", state(path));
    assert!(ok(path, &once).starts_with("'nightly' is due at "));
}

#[test]
fn a_run_cut_short_by_a_signal_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "nightly.toml", "* * * * * *");
    let child = start(path, &["schedule", "nightly.toml"]);
    wait_until("the first table", || path.join("lake/documents/_delta_log").exists());
    let (_, err) = terminate(child);
    assert!(err.contains("run begins"), "{err}");
    run(path, "whole", &LITTLE);
    // The lease was given back, and the time is still due.
    let rest = ok(path, &["schedule", "--once", "nightly.toml"]);
    assert!(rest.contains("units scored"), "{rest}");
    assert_same(&values(path, "lake"), &values(path, "whole"));
}

#[test]
fn a_scheduler_that_is_killed_is_gone_on_with_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "nightly.toml", "* * * * * *");
    let mut child = start(path, &["schedule", "nightly.toml"]);
    wait_until("the first table", || path.join("lake/documents/_delta_log").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    run(path, "whole", &LITTLE);
    // Its lease is still there, but the process that held it is not.
    let rest = ok(path, &["schedule", "--once", "nightly.toml"]);
    assert!(rest.contains("units scored"), "{rest}");
    assert_same(&values(path, "lake"), &values(path, "whole"));
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("never.toml"), "lake = \"lake\"\n").unwrap();
    let refused = |arguments: &[&str]| {
        let ran = neuronlake(path, arguments);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        ran.err
    };
    let message = refused(&["schedule", "never.toml"]);
    assert_eq!(message, "error: file 'never.toml': expected a [schedule] with a cron expression, got 'none'\n");
    file(path, "nightly.toml", "0 3 * * *");
    fs::create_dir(path.join("other")).unwrap();
    fs::copy(path.join("nightly.toml"), path.join("other/nightly.toml")).unwrap();
    let message = refused(&["schedule", "nightly.toml", "other/nightly.toml"]);
    assert_eq!(message, "error: schedule: expected pipelines of different names, got 'nightly'\n");
    let message = refused(&["schedule", "nightly.toml", "--listen", "0.0.0.0:0"]);
    assert!(message.contains("NEURONLAKE_TOKEN"), "{message}");
    assert!(!path.join("lake").exists());
}
