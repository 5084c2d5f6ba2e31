//! Versions of tables, and why they differ.

use std::path::Path;

use crate::support::{little_file, neuronlake, ok};

fn file(folder: &Path, windows: usize) {
    little_file(folder, "tiny.toml", "", &format!("[scores]\nwindows = {windows}\n"));
}

fn json(folder: &Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let out = ok(folder, &[arguments, &["--lake", "lake", "--format", "json"]].concat());
    serde_json::from_str(&out).unwrap()
}

#[test]
fn history_and_diff_tell_what_changed_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, 5);
    ok(path, &["pipeline", "run", "tiny.toml"]);
    let before = json(path, &["history", "scores"])[0]["version"].as_i64().unwrap();
    file(path, 2);
    ok(path, &["pipeline", "run", "tiny.toml"]);
    let versions = json(path, &["history", "scores"]);
    let after = versions[0]["version"].as_i64().unwrap();
    assert!(after > before, "{versions:?}");
    assert_eq!(versions[0]["stage"], "60_scores");
    assert_eq!(versions[0]["n_rows_added"], 4 * 4 * 3);
    // What was changed is a setting of the stage before.
    let simulations = json(path, &["history", "simulations", "--top", "1"]);
    assert_eq!(simulations.len(), 1);
    assert_eq!(simulations[0]["changed"], "windows: 5 -> 2", "{simulations:?}");
    let table = ok(path, &["history", "scores", "--lake", "lake"]);
    assert!(table.contains("60_scores") && table.contains("CREATE TABLE"), "{table}");

    let (before, after) = (format!("scores@{before}"), format!("scores@{after}"));
    let moved = json(path, &["diff", &before, &after]);
    assert!(!moved.is_empty() && moved.len() <= 4, "{moved:?}");
    for row in &moved {
        let (was, is) = (row["before"].as_f64().unwrap(), row["after"].as_f64().unwrap());
        // Numbers go through their shortest text.
        assert!((row["difference"].as_f64().unwrap() - (is - was)).abs() < 1e-12, "{row}");
        assert!(row["why"].as_str().unwrap().contains("simulated or judged anew"), "{row}");
        assert_ne!(row["before_run"], row["after_run"]);
    }
    let differences: Vec<f64> = moved.iter().map(|row| row["difference"].as_f64().unwrap().abs()).collect();
    assert!(differences.is_sorted_by(|a, b| a >= b), "{differences:?}");
    let one = json(path, &["diff", &before, &after, "--where", "neuron = 2"]);
    assert!(one.iter().all(|row| row["neuron"] == 2) && one.len() <= 1, "{one:?}");
    let shown = ok(path, &["diff", &before, &after, "--lake", "lake"]);
    assert!(shown.contains("n_scores") && shown.contains("simulated or judged anew"), "{shown}");
    assert!(json(path, &["diff", &after, &after]).is_empty());

    // Rows of any other table, by the columns that name them.
    let last = simulations[0]["version"].as_i64().unwrap();
    let rows = json(path, &["diff", "simulations@1", &format!("simulations@{last}"), "--top", "1000"]);
    assert!(!rows.is_empty() && rows.iter().all(|row| row["change"] == "removed"), "{rows:?}");
    let first = json(path, &["diff", "explanations@0", "explanations@1"]);
    assert_eq!(first.iter().filter(|row| row["change"] == "added").count(), 4, "{first:?}");
}

#[test]
fn a_version_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file(path, 5);
    ok(path, &["pipeline", "run", "tiny.toml"]);
    let refused = |arguments: &[&str]| {
        let ran = neuronlake(path, &[arguments, &["--lake", "lake"]].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        ran.err
    };
    assert!(refused(&["diff", "scores", "scores@2"]).contains("expected a table and the number of its version"));
    assert!(refused(&["diff", "scores@1", "explanations@1"]).contains("expected two versions of one table"));
    assert!(refused(&["diff", "scores@1", "scores@99"]).contains("expected one of its versions 0 to"));
    assert!(refused(&["history", "score"]).contains("expected documents, token_sequences"));
}
