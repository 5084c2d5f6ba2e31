//! Runs that a file describes: what is wrong with one, what is made anew, and that a second run does nothing.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::{
    LITTLE, TABLES, assert_same, little_corpus, little_file, neuronlake, number, ok, program, rows, run, values,
    written,
};

fn file(folder: &Path, more: &str, sections: &str) {
    little_file(folder, "tiny.toml", more, sections);
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
    assert_eq!(ok(folder.path(), &["pipeline", "check", "tiny.toml"]), "'tiny' is a pipeline: 1 model over 1 corpus\n");
    let ran = neuronlake(folder.path(), &["pipeline", "run", "bad.toml"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(!folder.path().join("lake").exists(), "{}", ran.err);
}

#[test]
fn a_file_gives_what_its_options_give_and_a_second_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    run(path, "options", &LITTLE);
    let first = pipeline(path, &[]);
    assert!(first.contains("4 units scored"), "{first}");
    assert_same(&values(path, "lake"), &values(path, "options"));
    let before = rows(path, "lake", "*");
    let second = pipeline(path, &[]);
    assert!(second.contains(NOTHING), "{second}");
    assert_eq!(rows(path, "lake", "*"), before);
    // Nor has a run of its own anything to add.
    assert!(written(&run(path, "lake", &LITTLE)).values().all(|n| *n == 0));
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
    for table in ["documents", "token_sequences", "neurons", "activation_records", "token_activations", "explanations"]
    {
        assert_eq!(after[table], before[table], "{table} is not made of that setting: {summary}");
    }
    run(path, "fresh", &[&LITTLE[..], &["--windows", "2"]].concat());
    assert_same(&values(path, "lake"), &values(path, "fresh"));
    assert!(pipeline(path, &[]).contains(NOTHING));
    // The version before is still there.
    let old = format!("SELECT count(*) FROM \"scores@{n_before}\"");
    assert_eq!(number(&path.join("lake").to_string_lossy(), &old), before["scores"].len() as i64);
    // A run of options refuses what a pipeline would make anew.
    let ran = neuronlake(path, &[&["run", "--lake", "lake"], &LITTLE[..], &["--windows", "3"]].concat());
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
fn another_query_of_the_scores_makes_them_anew_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    pipeline(path, &[]);
    let before = rows(path, "lake", "*");
    fs::create_dir(path.join("queries")).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/pipeline/60_scores.sql");
    let text = fs::read_to_string(own).unwrap();
    // Of the metrics one is left out: its old rows must go.
    let fewer = text.replace(
        "\nORDER BY neuron, explanation",
        "\nWHERE o['metric'] <> 'absolute_dev_explained'\nORDER BY neuron, explanation",
    );
    assert_ne!(fewer, text);
    fs::write(path.join("queries/60_scores.sql"), fewer).unwrap();
    file(path, "", "[collection]\nqueries = \"queries\"\n");
    pipeline(path, &[]);
    let after = rows(path, "lake", "*");
    for table in TABLES.into_iter().filter(|table| *table != "scores") {
        assert_eq!(after[table], before[table], "{table}");
    }
    assert_eq!((before["scores"].len(), after["scores"].len()), (4 * 12, 4 * 9));
    assert!(pipeline(path, &[]).contains(NOTHING));
    // Without the folder the scores are those of the program again.
    file(path, "", "");
    pipeline(path, &[]);
    assert_eq!(rows(path, "lake", "*")["scores"].len(), before["scores"].len());
}

#[test]
fn another_text_in_the_corpus_is_followed_to_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    pipeline(path, &[]);
    // One text is another, and one more comes at the end.
    let corpus = path.join("little.jsonl");
    let text = fs::read_to_string(&corpus).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let another = "{\"text\": \"a king said that the sea would come before night and the ships of the north with it and a king\"}";
    let more = "{\"text\": \"three old songs of bread and rain in the hills and the sea was cold in the night she said and cold\"}";
    lines[20] = another;
    lines.push(more);
    fs::write(&corpus, lines.join("\n")).unwrap();
    let summary = pipeline(path, &[]);
    run(path, "fresh", &LITTLE);
    assert_same(&values(path, "lake"), &values(path, "fresh"));
    assert!(!summary.contains(NOTHING), "{summary}");
    assert!(pipeline(path, &[]).contains(NOTHING));
    // Nothing is left of what the corpus no longer holds.
    let lake = path.join("lake");
    let orphans =
        "SELECT count(*) FROM activation_records r LEFT ANTI JOIN token_sequences s ON s.sequence = r.sequence";
    assert_eq!(number(&lake.to_string_lossy(), orphans), 0);
}

#[test]
fn two_runs_at_once_write_no_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    little_corpus(path);
    run(path, "whole", &LITTLE);
    // Without the lease of a pipeline: only the commits keep them apart.
    let start = || {
        program(path)
            .args(["run", "--lake", "lake"])
            .args(LITTLE)
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

#[cfg(unix)]
#[test]
fn a_pipeline_that_is_being_run_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, "", "");
    let mut first = program(path)
        .args(["pipeline", "run", "tiny.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = first.id();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &process.to_string()]).status().unwrap();
        assert!(sent.success());
    };
    // It stands still with its lease in hand, as early as it has one.
    let held = || {
        let files = fs::read_dir(path.join("lake/_leases")).into_iter().flatten().flatten();
        files
            .map(|file| fs::read_to_string(file.path()).unwrap_or_default())
            .any(|text| text.contains("\"pipeline tiny\""))
    };
    while !held() {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended");
        std::thread::yield_now();
    }
    signal("-STOP");
    let said = pipeline(path, &[]);
    signal("-CONT");
    assert!(said.starts_with(&format!("skipped: pipeline 'tiny' is being run by process {process} on ")), "{said}");
    assert!(first.wait().unwrap().success());
    assert!(pipeline(path, &[]).contains(NOTHING));
}
