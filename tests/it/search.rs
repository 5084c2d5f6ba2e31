//! `neuronlake search` and `index`, as a person runs them.

use std::path::Path;

use crate::support::{SMALL, finish, neuronlake, ok, program, refused, run};

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
