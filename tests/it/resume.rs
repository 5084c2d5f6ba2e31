//! A run that is cut short anywhere and started again ends as one that was not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{SMALL, TABLES, assert_same, finish, program, rows, run, values, written};

/// Large enough that a stage lasts longer than a look at the folder.
const LARGER: [&str; 6] = ["--limit", "60", "--layers", "0,2", "--neurons", "0-63"];
/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Starts a run and kills it with SIGKILL so many milliseconds after `sign` appears in the lake. Whether it was killed.
fn kill_after(folder: &Path, sign: &str, delay: Duration) -> bool {
    let mut child = program(folder)
        .args(["run", "--lake", "lake"])
        .args(LARGER)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let sign = folder.join("lake").join(sign);
    let mut seen = None;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a run that nobody killed: {status}");
            return false;
        }
        if seen.is_none() && sign.exists() {
            seen = Some(Instant::now());
        }
        if seen.is_some_and(|seen| seen.elapsed() >= delay) {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(start.elapsed() < DEADLINE, "'{}' never appeared", sign.display());
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn killed_at_any_moment_a_run_ends_as_if_it_had_not_been() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), "lake", &LARGER);
    let expected = values(whole.path(), "lake");

    let mut random = Random(20_240_607);
    let mut n_kills = 0;
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let mut kept: Vec<BTreeSet<String>> = vec![BTreeSet::new(); TABLES.len()];
        // The scratch folder appears when the model's pass begins, a table with its first rows.
        for sign in [&["_collections"], TABLES.as_slice()].concat() {
            let (sign, longest) = match sign {
                "_collections" => (sign.to_owned(), 400),
                table => (format!("{table}/_delta_log"), 60),
            };
            n_kills += u32::from(kill_after(folder.path(), &sign, Duration::from_millis(random.below(longest))));
            // What is there is whole, and what was there before is still the same, down to the run that wrote it.
            if folder.path().join("lake/runs/_delta_log").exists() {
                let now = sets(folder.path());
                for (table, kept) in TABLES.iter().zip(kept.iter().zip(&now)) {
                    assert!(kept.0.is_subset(kept.1), "rows of {table} were written again after {sign}");
                }
                kept = now;
            }
        }
        run(folder.path(), "lake", &LARGER);
        assert_same(&values(folder.path(), "lake"), &expected);
        for (table, kept) in TABLES.iter().zip(kept.iter().zip(&sets(folder.path()))) {
            assert!(kept.0.is_subset(kept.1), "rows of {table} were written again");
        }
        assert!(!folder.path().join("lake/_collections").exists(), "the scratch folder is gone at the end");
        let again = run(folder.path(), "lake", &LARGER);
        assert!(written(&again).values().all(|n_rows| *n_rows == 0), "{again}");
    }
    assert!(n_kills >= 12, "only {n_kills} kills came in time");
}

/// The rows of every table, with the run that wrote each.
fn sets(folder: &Path) -> Vec<BTreeSet<String>> {
    let rows = rows(folder, "lake", "*");
    TABLES.iter().map(|table| rows[table].iter().cloned().collect()).collect()
}

#[test]
fn interrupted_a_run_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args(["run", "--lake", "lake"]).args(LARGER).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let start = Instant::now();
    while !folder.path().join("lake/_collections").exists() {
        assert!(start.elapsed() < DEADLINE, "the pass never began");
        std::thread::sleep(Duration::from_micros(500));
    }
    // The interrupt that Ctrl-C sends.
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), [].as_slice()), "{err}");
    assert_eq!(
        err.lines().last().unwrap(),
        "error: interrupted; what was committed stays, run the same command again to go on"
    );
    run(folder.path(), "lake", &LARGER);
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), "lake", &[&LARGER[..], &["--threads", "1"]].concat());
    // One thread or all of them: the same values, to the last bit.
    assert_same(&values(folder.path(), "lake"), &values(whole.path(), "lake"));
}

#[test]
fn only_missing_units_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let first = written(&run(path, "lake", &["--limit", "40", "--layers", "0", "--neurons", "0-7"]));
    assert_eq!((first["documents"], first["neurons"], first["explanations"]), (40, 8, 8));
    let before = rows(path, "lake", "*");

    let wider = written(&run(path, "lake", &["--limit", "40", "--layers", "0", "--neurons", "0-15"]));
    assert_eq!((wider["documents"], wider["token_sequences"], wider["neurons"], wider["explanations"]), (0, 0, 8, 8));
    let deeper = written(&run(path, "lake", &SMALL));
    assert_eq!((deeper["documents"], deeper["neurons"], deeper["explanations"]), (0, 16, 16));
    assert_eq!(deeper["scores"], 16 * first["scores"] / 8);

    let after = rows(path, "lake", "*");
    for table in TABLES {
        let after: BTreeSet<&String> = after[table].iter().collect();
        assert!(before[table].iter().all(|row| after.contains(row)), "rows of {table} were written again");
    }
    // A control is another unit's explanation, so it depends on which units there were; everything else does not.
    run(path, "whole", &SMALL);
    let (got, expected) = (values(path, "lake"), values(path, "whole"));
    for table in TABLES.into_iter().filter(|table| !["simulations", "scores"].contains(table)) {
        assert_eq!(got[table], expected[table], "{table}");
    }
    let again = finish(program(path).args(["run", "--lake", "lake"]).args(SMALL));
    assert!(again.text().contains("nothing was missing: every unit was there already\n"), "{}", again.text());
}
