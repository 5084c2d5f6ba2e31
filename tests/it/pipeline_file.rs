//! Runs that a file describes: what is wrong with one, what is made anew, and that a second run does nothing.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::{TABLES, assert_same, finish, neuronlake, number, ok, program, rows, run, values, written};

/// A few units of one layer over few documents.
const TINY: [&str; 6] = ["--limit", "12", "--layers", "0", "--neurons", "0-3"];

/// The same as a file; `more` stands before its sections.
fn file(folder: &Path, more: &str, sections: &str) {
    let text = format!(
        "lake = \"lake\"\n{more}\n[[sources]]\nlimit = 12\n[[models]]\nlayers = \"0\"\nneurons = \"0-3\"\n{sections}\n"
    );
    fs::write(folder.join("tiny.toml"), text).unwrap();
}

fn pipeline(folder: &Path, more: &[&str]) -> String {
    ok(folder, &[&["pipeline", "run", "tiny.toml"], more].concat())
}

const NOTHING: &str = "nothing changed: every row was there already, and made of what is there now\n";

#[test]
fn a_check_tells_everything_that_is_wrong_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = "budget = \"5eur\"\n[[sources]]\ncorpus = \"nowhere.txt\"\n[[models]]\nhook = \"blocks.*.mlp.hook_pst\"\nlayers = \"9\"\n\
                [explanations]\nexplainer = \"guess\"\n[scores]\nscorer = [\"embedding\", \"divination\"]\n\
                [schedule]\ncron = \"0 3 * *\"\ntime_zone = \"Mars/Olympus\"\n";
    fs::write(folder.path().join("bad.toml"), text).unwrap();
    let ran = neuronlake(folder.path(), &["pipeline", "check", "bad.toml"]);
    assert_eq!((ran.code, ran.text()), (Some(2), ""), "{}", ran.err);
    for part in [
        "file 'bad.toml': line 1: budget: ",
        "line 3: sources[0].corpus: no corpus file found at 'nowhere.txt'",
        "line 5: models[0].hook: the model has no hook point 'blocks.*.mlp.hook_pst'",
        "line 8: explanations.explainer: ",
        "line 10: scores.scorer: ",
        "line 12: schedule.cron: ",
        "line 13: schedule.time_zone: ",
    ] {
        assert!(ran.err.contains(part), "expected '{part}' in: {}", ran.err);
    }
    assert!(!folder.path().join("lake").exists(), "a check writes nothing");
    file(folder.path(), "", "");
    assert_eq!(
        ok(folder.path(), &["pipeline", "check", "tiny.toml"]),
        "'tiny' is a pipeline: 1 model over 1 corpus\n"
    );
    let ran = neuronlake(folder.path(), &["pipeline", "run", "bad.toml"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(!folder.path().join("lake").exists(), "{}", ran.err);
}

#[test]
fn a_file_gives_what_its_options_give_and_a_second_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(path, "options", &TINY);
    file(path, "", "");
    let first = pipeline(path, &[]);
    assert!(first.contains("4 units scored"), "{first}");
    assert_same(&values(path, "lake"), &values(path, "options"));
    let before = rows(path, "lake", "*");
    let second = pipeline(path, &[]);
    assert!(second.contains(NOTHING), "{second}");
    assert_eq!(rows(path, "lake", "*"), before);
    // Nor has a run of its own anything to add.
    assert!(written(&run(path, "lake", &TINY)).values().all(|n| *n == 0));
}

#[test]
fn another_setting_remakes_what_follows_from_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    pipeline(path, &[]);
    let before = rows(path, "lake", "*");
    let n_before = number(&path.join("lake").to_string_lossy(), "SELECT max(version) FROM table_versions('scores')");

    file(path, "", "[scores]\nwindows = 2\n");
    let summary = pipeline(path, &[]);
    let after = rows(path, "lake", "*");
    for table in ["documents", "token_sequences", "neurons", "activation_records", "token_activations", "explanations"] {
        assert_eq!(after[table], before[table], "{table} is not made of that setting: {summary}");
    }
    run(path, "fresh", &[&TINY[..], &["--windows", "2"]].concat());
    assert_same(&values(path, "lake"), &values(path, "fresh"));
    assert!(pipeline(path, &[]).contains(NOTHING));
    // The version before is still there.
    let old = format!("SELECT count(*) FROM \"scores@{n_before}\"");
    assert_eq!(number(&path.join("lake").to_string_lossy(), &old), before["scores"].len() as i64);
    // A run of options refuses what a pipeline would make anew.
    let ran = neuronlake(path, &[&["run", "--lake", "lake"], &TINY[..], &["--windows", "3"]].concat());
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

#[test]
fn texts_written_anew_are_simulated_and_scored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    pipeline(path, &[]);
    let before = rows(path, "lake", "*");
    let summary = pipeline(path, &["--only", "explanations", "--full"]);
    assert_eq!(written(&summary).get("explanations"), Some(&4), "{summary}");
    let summary = pipeline(path, &[]);
    let after = rows(path, "lake", "*");
    for table in TABLES {
        let remade = matches!(table, "explanations" | "simulations" | "scores");
        assert_eq!(after[table] == before[table], !remade, "{table}: {summary}");
        assert_eq!(after[table].len(), before[table].len(), "{table}");
    }
    assert!(pipeline(path, &[]).contains(NOTHING));
}

#[test]
fn another_text_in_the_corpus_is_followed_to_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("texts")).unwrap();
    let write = |name: &str, seed: usize| {
        let words = ["the sea", "a king", "cold rain", "three ships", "old songs", "the hill", "a horse", "bread"];
        let text: String = (0..160).map(|i| format!("{} and ", words[(i * seed + i / 7) % words.len()])).collect();
        fs::write(path.join("texts").join(name), text).unwrap();
    };
    for (index, name) in ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"].iter().enumerate() {
        write(name, index + 1);
    }
    let text = |lake: &str| {
        format!("lake = \"{lake}\"\n[[sources]]\ncorpus = \"texts\"\n[[models]]\nlayers = \"0\"\nneurons = \"0-3\"\n")
    };
    fs::write(path.join("tiny.toml"), text("lake")).unwrap();
    pipeline(path, &[]);
    assert!(pipeline(path, &[]).contains(NOTHING));

    // One text is another, and one more comes at the end.
    write("c.txt", 11);
    write("g.txt", 5);
    let summary = pipeline(path, &[]);
    fs::write(path.join("fresh.toml"), text("fresh")).unwrap();
    ok(path, &["pipeline", "run", "fresh.toml"]);
    assert_same(&values(path, "lake"), &values(path, "fresh"));
    assert!(!summary.contains(NOTHING), "{summary}");
    assert!(pipeline(path, &[]).contains(NOTHING));
}

#[test]
fn two_runs_at_once_write_no_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(path, "whole", &TINY);
    // Without the lease of a pipeline: only the commits keep them apart.
    let start = || {
        program(path)
            .args(["run", "--lake", "lake"])
            .args(TINY)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [start(), start(), start()];
    for one in both {
        let output = one.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same(&values(path, "lake"), &values(path, "whole"));
}

#[test]
fn a_pipeline_that_is_being_run_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    let lease = path.join("lake/_schedule/tiny/lease");
    fs::create_dir_all(&lease).unwrap();
    let now = finish(std::process::Command::new("date").args(["-u", "-d", "+30 seconds", "+%Y-%m-%dT%H:%M:%SZ"]));
    let entry = format!("{{\"holder\": \"elsewhere:1:0\", \"until\": \"{}\"}}", now.text().trim());
    fs::write(lease.join("00000000000000000000.json"), entry).unwrap();
    assert_eq!(pipeline(path, &[]), "skipped: pipeline 'tiny' is being run by elsewhere:1:0\n");
    assert!(!path.join("lake/scores").exists());
}
