//! What is written when stages finish, and when they do not.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressStyle;

use super::{StageProgress, Verbosity, summary};

/// Collects what is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(verbosity: Verbosity) -> String {
    let shared = Shared::default();
    let progress = StageProgress::with_output(2, verbosity, Box::new(shared.clone()));
    let stage = progress.stage("activation_records", "windows", Some(10));
    stage.advance(4);
    stage.set_total(12_345);
    stage.advance(12_341);
    stage.finish();
    let stage = progress.stage("explanations", "neurons", None);
    stage.resume_at(3);
    drop(stage);
    let bytes = shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_finished_stage_leaves_one_line_and_a_dropped_one_none() {
    for verbosity in [Verbosity::Lines, Verbosity::Bars] {
        let lines = run(verbosity);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.starts_with("[1/2] activation_records: 12,345 windows in 0.0 s"), "{lines}");
    }
    assert_eq!(run(Verbosity::Quiet), "");
}

#[test]
fn lines_give_count_time_and_rate() {
    let check = |n_units, milliseconds, expected: &str| {
        assert_eq!(summary("[1/1] x", n_units, "rows", Duration::from_millis(milliseconds)), expected);
    };
    check(0, 10, "[1/1] x: 0 rows in 0.0 s");
    check(5000, 2000, "[1/1] x: 5,000 rows in 2.0 s (2,500/s)");
    check(1, 2000, "[1/1] x: 1 rows in 2.0 s (0.50/s)");
    check(600, 120_000, "[1/1] x: 600 rows in 2 minutes (5.00/s)");
}

#[test]
fn templates_are_valid() {
    for template in
        ["{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}", "{msg} {human_pos} {per_sec} {elapsed}"]
    {
        assert!(ProgressStyle::with_template(template).is_ok());
    }
}
