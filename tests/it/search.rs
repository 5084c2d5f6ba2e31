//! `neuronlake search` and `index`, as a person runs them.

use std::path::Path;

use crate::support::{SMALL, finish, neuronlake, number, ok, program, refused, run};

/// The rows of a JSON result.
fn rows(text: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lake(folder: &Path) {
    run(folder, "lake", &SMALL);
}

#[test]
fn a_search_shows_its_scores_and_honours_its_condition() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let search = |more: &[&str]| {
        rows(&ok(folder.path(), &[&["search", "the word of", "--lake", "lake", "--format", "json"], more].concat()))
    };
    let hybrid = search(&[]);
    assert_eq!(hybrid.len(), 20);
    for row in &hybrid {
        assert!(row["rrf"].as_f64().unwrap() > 0.0 && row["similarity"].is_number(), "{row}");
        assert!(
            row["text"].is_string() && row["layer"].is_number() && row.as_object().unwrap().contains_key("score"),
            "{row}"
        );
    }
    let scores =
        |rows: &[serde_json::Value], name: &str| rows.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<_>>();
    assert!(scores(&hybrid, "rrf").is_sorted_by(|a, b| a >= b));
    let semantic = search(&["--mode", "semantic", "--where", "layer = 1", "--top", "5"]);
    assert_eq!(semantic.len(), 5);
    assert!(semantic.iter().all(|row| row["layer"] == 1));
    assert!(scores(&semantic, "similarity").is_sorted_by(|a, b| a >= b));
    let keyword = search(&["--mode", "keyword", "--where", "mentions(text, 'the') OR FALSE", "--top", "3"]);
    assert!(!keyword.is_empty() && scores(&keyword, "bm25").is_sorted_by(|a, b| a >= b));
    assert!(search(&["--where", "layer > 99"]).is_empty());
    assert!(
        rows(&ok(folder.path(), &["search", "zzzzz", "--lake", "lake", "--mode", "keyword", "--format", "json"]))
            .is_empty()
    );
}

#[test]
fn what_cannot_be_searched_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let cases: [(&[&str], &str); 5] = [
        (&["?!"], "error: search: expected words to search for, got '?!'"),
        (&["", "--mode", "semantic"], "error: search: expected words to search for, got ''"),
        (&["a", "--where", "TRUE; DROP TABLE runs"], "error: --where: expected one SQL condition"),
        (&["a", "--where", "layer = 1) --"], "error: --where: expected one SQL condition"),
        (&["a", "--top", "0"], "error: invalid value '0'"),
    ];
    for (arguments, expected) in cases {
        let ran = neuronlake(folder.path(), &[&["search", "--lake", "lake"], arguments].concat());
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.starts_with(expected), "{arguments:?}: {}", ran.err);
    }
    let message =
        refused(folder.path(), &["search", "a", "--lake", "lake", "--mode", "keyword", "--where", "no_such > 1"], 1);
    assert!(message.contains("no_such"), "{message}");
    let message = refused(folder.path(), &["search", "a", "--lake", "nowhere"], 1);
    assert!(message.contains("lake 'nowhere' does not exist"), "{message}");
}

#[test]
fn without_an_encoder_a_search_is_by_words_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let bare = |arguments: &[&str]| {
        let mut command = program(folder.path());
        command.env_remove("NEURONLAKE_MODELS").env("HF_HOME", folder.path().join("hub"));
        finish(command.args(arguments))
    };
    let ran = bare(&["search", "the", "--lake", "lake", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(rows(ran.text()).iter().all(|row| row["bm25"].is_number()));
    assert!(
        ran.err.contains("note: searched by words only") && ran.err.contains("neuronlake pull minilm"),
        "{}",
        ran.err
    );
    let ran = bare(&["search", "the", "--lake", "lake", "--mode", "semantic"]);
    assert_eq!((ran.code, ran.text()), (Some(1), ""));
    assert!(ran.err.contains("neuronlake pull minilm"), "{}", ran.err);
    let ran = bare(&["index", "--lake", "lake"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.text().contains("explanations") && ran.err.contains("note: indexed by words only"), "{}", ran.err);
}

#[test]
fn an_index_made_beforehand_is_used_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let said = ok(folder.path(), &["index", "--lake", "lake"]);
    assert!(said.contains("explanations") && said.contains("vectors of all-MiniLM-L6-v2"), "{said}");
    let before = ok(folder.path(), &["search", "the word", "--lake", "lake", "--format", "csv"]);
    let said = ok(folder.path(), &["index", "--lake", "lake", "--rebuild", "--keyword-only"]);
    assert!(!said.contains("vectors"), "{said}");
    assert_eq!(ok(folder.path(), &["search", "the word", "--lake", "lake", "--format", "csv"]), before);
    assert!(!ok(folder.path(), &["query", "run", "keyword", "words=the", "--lake", "lake"]).is_empty());
}

/// The results of three searches by words, and how many explanations the index has.
fn found(folder: &Path) -> Vec<String> {
    let search = |words: &str| {
        ok(folder, &["search", words, "--lake", "lake", "--mode", "keyword", "--top", "100", "--format", "csv"])
    };
    vec![search("the"), search("of and to"), search("king")]
}

#[test]
fn a_build_that_is_killed_leaves_nothing_that_misleads() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let undisturbed = found(folder.path());
    assert!(undisturbed.iter().any(|rows| rows.lines().count() > 2), "{undisturbed:?}");
    let mut landed = 0;
    for delay in [5, 20, 40, 60, 80, 100, 130, 160, 200, 260, 340, 500] {
        let mut build = program(folder.path());
        build
            .args(["index", "--lake", "lake", "--rebuild", "--keyword-only", "--quiet"])
            .stdout(std::process::Stdio::null());
        let mut build = build.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        landed += usize::from(build.try_wait().unwrap().is_none());
        build.kill().ok();
        build.wait().unwrap();
        assert_eq!(found(folder.path()), undisturbed, "killed after {delay} ms");
    }
    assert!(landed > 2, "{landed}");
}

#[test]
fn builders_at_the_same_time_make_one_index() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let undisturbed = found(folder.path());
    let builders: Vec<_> = (0..4)
        .map(|_| {
            let mut build = program(folder.path());
            build.args(["index", "--lake", "lake", "--rebuild", "--keyword-only", "--quiet"]);
            build.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut builder in builders {
        assert!(builder.wait().unwrap().success());
    }
    assert_eq!(found(folder.path()), undisturbed);
}

#[test]
fn a_table_that_was_made_again_is_indexed_again() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let before = found(folder.path());
    // The same number of commits, other rows.
    for table in ["explanations", "simulations", "scores", "runs"] {
        std::fs::remove_dir_all(folder.path().join("lake").join(table)).unwrap();
    }
    run(folder.path(), "lake", &["--limit", "40", "--layers", "0,1", "--neurons", "0-7"]);
    let after = found(folder.path());
    assert_ne!(after, before);
    let query = "SELECT count(*) AS n FROM searchable_explanations";
    let explained = "SELECT count(*) AS n FROM explanations WHERE text IS NOT NULL";
    let lake = folder.path().join("lake");
    let count = |query| number(lake.to_str().unwrap(), query);
    assert_eq!(count(query), count(explained));
}
