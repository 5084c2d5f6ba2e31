//! What cannot work is said in one line, with the right exit code, and leaves nothing half-written.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{
    Ran, SMALL, TABLES, assert_same, clean, copy_folder, finish, model_folder, neuronlake, number, ok, one_line,
    refused, run, small_lake, values,
};

/// The line of a run that must not begin, and that there is no lake after it.
fn refused_run(folder: &Path, arguments: &[&str], code: i32) -> String {
    let line = refused(folder, &[&["run", "--lake", "lake"], arguments].concat(), code);
    assert!(!folder.join("lake").exists(), "{line}");
    line
}

#[test]
fn a_model_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let line = |model: &str| refused_run(path, &["--model", model], 1);
    assert_eq!(line("nowhere"), "error: model 'nowhere' not found: no such folder or file");

    let half = model_folder(path, "half").join("model.safetensors");
    let bytes = fs::read(&half).unwrap();
    fs::write(half, &bytes[..200_000]).unwrap();
    let message = line("half");
    assert!(
        message.starts_with(
            "error: model file 'half/model.safetensors': expected a whole safetensors file, got 200000 bytes: "
        ),
        "{message}"
    );

    let config = model_folder(path, "other").join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"gpt2\""));
    fs::write(config, text.replace("\"gpt2\"", "\"bert\"")).unwrap();
    assert_eq!(
        line("other"),
        "error: model 'other/config.json': unsupported architecture: expected gpt2, llama or qwen2, got 'bert'"
    );

    fs::remove_file(model_folder(path, "mute").join("tokenizer.json")).unwrap();
    assert_eq!(
        line("mute"),
        "error: tokenizer 'mute': expected tokenizer.json, or vocab.json and merges.txt, in the folder, got neither"
    );
    assert_eq!(refused(path, &["hooks", "nowhere"], 1), "error: model 'nowhere' not found: no such folder or file");
}

#[test]
fn a_corpus_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let line = |corpus: &str| refused_run(path, &["--corpus", corpus], 1);
    assert_eq!(line("nowhere/*.txt"), "error: no corpus file found at 'nowhere/*.txt'");
    fs::write(path.join("empty.txt"), " \n\n").unwrap();
    assert_eq!(line("empty.txt"), "error: corpus 'empty.txt' has no document: 1 were empty or only whitespace");
    // The good documents before the bad bytes are not kept either.
    let text = ["A paragraph of a text that is well.\n\n".repeat(400).as_bytes(), b"abc \xff\xfe def\n"].concat();
    fs::write(path.join("latin.txt"), &text).unwrap();
    let offset = text.len() - 7;
    assert_eq!(
        line("latin.txt"),
        format!("error: expected UTF-8 text in corpus file 'latin.txt', got other bytes at byte {offset}")
    );
    fs::write(path.join("lines.jsonl"), "{\"body\": \"x\"}\n").unwrap();
    let message = line("lines.jsonl");
    assert!(
        message.starts_with("error: expected a JSON object with text in field 'text' at line 1 of corpus file"),
        "{message}"
    );
    // Port 9 of loopback answers nobody.
    let message = line("http://127.0.0.1:9/text.txt");
    assert!(message.starts_with("error: cannot read 'http://127.0.0.1:9/text.txt': "), "{message}");
}

#[test]
fn arguments_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let line = |arguments: &[&str]| refused_run(folder.path(), arguments, 2);
    insta::assert_snapshot!(
        [
            line(&["--hook", "blocks.0.mlp.hook_pst"]),
            line(&["--neurons", "0-480"]),
            line(&["--neurons", "4294967295"]),
            line(&["--neurons", "few"]),
            line(&["--layers", "99"]),
            line(&["--from", "scores", "--to", "neurons"]),
            line(&["--window", "0"]),
            line(&["--firings-above", "1"]),
        ]
        .join("\n"),
        @r"
    error: the model has no hook point 'blocks.0.mlp.hook_pst'; the nearest is 'blocks.0.mlp.hook_post'
    error: --neurons: hook point 'blocks.0.mlp.hook_post' has neurons 0 to 479, got 480
    error: --neurons: hook point 'blocks.0.mlp.hook_post' has neurons 0 to 479, got 4294967295
    error: --neurons: expected 'all' or a list such as 0-9,12, got 'few'
    error: --layers: expected layers of 'blocks.*.mlp.hook_post' in model 'neuronlake-default', got '99'
    error: --from: expected a stage not after --to, got 'scores'
    error: --window: expected 1 to 128 tokens, the context of model 'neuronlake-default', got '0'
    error: --firings-above: expected a quantile from 0 to 1, such as 0.99, got '1'
    "
    );
    let message = line(&["--from", "score"]);
    assert!(message.starts_with("error: --from: expected a stage (documents, token_sequences, "), "{message}");
    // These are found by the parser of arguments, which adds where help is.
    for arguments in [
        ["run", "--layers", "x"],
        ["run", "--threads", "0"],
        ["run", "--memory", "0"],
        ["sql", "--memory", "-1"],
        ["serve", "--query-memory", "much"],
        ["sql", "--format", "xml"],
        ["query", "lst", ""],
    ] {
        let ran = neuronlake(folder.path(), &arguments);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{}", ran.err);
        assert!(ran.err.starts_with("error: ") && ran.err.contains("--help"), "{}", ran.err);
    }
    assert_eq!(
        refused(folder.path(), &["run", "--lake", "nowhere://x/y"], 2),
        "error: --lake: expected a folder or bucket: a path, file://, s3://, gs://, az:// or abfss://, got 'nowhere://x/y'"
    );
}

#[test]
fn a_lake_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("folder")).unwrap();
    assert_eq!(refused(path, &["sql", "--lake", "folder", "SELECT 1"], 1), "error: lake 'folder' does not exist");
    assert_eq!(refused(path, &["sql", "SELECT 1"], 1), "error: lake './lake' does not exist");

    copy_folder(Path::new(small_lake()), &path.join("lake"));
    let log = path.join("lake/neurons/_delta_log/00000000000000000000.json");
    let text = fs::read_to_string(&log).unwrap();
    let renamed = text.replace("\\\"name\\\":\\\"skewness\\\"", "\\\"name\\\":\\\"skew\\\"");
    assert_ne!(text, renamed);
    fs::write(log, renamed).unwrap();
    let expected = format!(
        "error: lake table 'file://{}/lake/neurons/' was written by another version of neuronlake: column 'skewness': \
         expected double, got no such column",
        path.canonicalize().unwrap().display()
    );
    assert_eq!(refused(path, &["sql", "SELECT count(*) FROM neurons"], 1), expected);
    let files = n_files(&path.join("lake"));
    assert_eq!(refused(path, &[&["run", "--lake", "lake"], &SMALL[..]].concat(), 1), expected);
    assert_eq!(n_files(&path.join("lake")), files, "nothing was written");
}

fn n_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { n_files(&path) } else { 1 }).sum()
}

#[test]
fn sql_that_cannot_be_run() {
    let line = |query: &str| refused(Path::new("/"), &["sql", "--lake", small_lake(), query], 1);
    insta::assert_snapshot!(
        [
            line("SELEC 1"),
            line("SELECT 'open"),
            line("SELECT skew FROM explanations"),
            line("SELECT * FROM nerons"),
            line("SELECT 1/0"),
            line("SELECT ev_correlation(activations, activations) FROM activation_records"),
        ]
        .join("\n"),
        @r"
    error: SQL error: Expected: an SQL statement, found: SELEC at Line: 1, Column: 1
    error: SQL error: Unterminated string literal at Line: 1, Column: 8
    error: Schema error: No field named skew. Valid fields are explanations.model, explanations.hook_point, explanations.layer, explanations.neuron, explanations.corpus, explanations.explanation, explanations.explainer, explanations.explainer_model, explanations.sample_no, explanations.round, explanations.revised, explanations.text, explanations.reason, explanations.completions, explanations.run.
    error: Error during planning: table 'lake.main.nerons' not found
    error: Arrow error: Divide by zero error
    error: refused: 'ev_correlation' reads table 'activation_records' without excluding split 'train', which the explainer saw; add a condition such as split = 'valid'
    "
    );
    let folder = tempfile::tempdir().unwrap();
    let message = refused(folder.path(), &["sql", "--lake", small_lake(), "--file", "nowhere.sql"], 1);
    assert_eq!(message, "error: file 'nowhere.sql': No such file or directory (os error 2)");
}

/// A shell script that sees the program as $1.
fn script(folder: &Path, text: &str) -> Ran {
    let mut command = Command::new("bash");
    clean(&mut command, folder);
    finish(command.args(["-c", text, "bash", env!("CARGO_BIN_EXE_neuronlake")]))
}

/// Whole commits only: every table opens, and what names a run finds it.
fn is_whole(lake: &str) {
    for table in TABLES {
        number(lake, &format!("SELECT count(*) FROM {table} WHERE run NOT IN (SELECT run FROM runs)"));
    }
    assert_eq!(
        number(lake, "SELECT count(*) FROM neurons"),
        number(lake, "SELECT count(DISTINCT (layer, neuron)) FROM neurons")
    );
}

const SMALL_RUN: &str = "run --lake lake --limit 40 --layers 0,1 --neurons 0-15";

#[test]
fn a_file_that_cannot_grow() {
    let folder = tempfile::tempdir().unwrap();
    // With its signal ignored the limit is an error of the write, as a full disk is.
    let ran = script(folder.path(), &format!("trap '' XFSZ; ulimit -f 100; exec \"$1\" {SMALL_RUN}"));
    let message = one_line(&ran, 1);
    assert!(message.ends_with("File too large (os error 27)"), "{message}");
    let lake = folder.path().join("lake");
    assert_eq!(number(lake.to_str().unwrap(), "SELECT count(*) FROM documents"), 40);
    is_whole(lake.to_str().unwrap());
    run(folder.path(), "lake", &SMALL);
    assert_same(&values(folder.path(), "lake"), &values(folder.path(), small_lake()));
}

#[test]
fn a_disk_that_is_full() {
    // A small disk of this test's own needs a mount name space; where the system gives none, the test above stands alone.
    if !Command::new("unshare").args(["-mr", "true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "mkdir disk && mount -t tmpfs -o size=1500k none disk && cd disk || exit 9\n\
         \"$1\" {SMALL_RUN}; code=$?\n\
         cp -r lake ../full; mount -o remount,size=200m . || exit 9\n\
         \"$1\" --quiet {SMALL_RUN} || exit 9\n\
         cp -r lake ../lake; exit $code"
    );
    let mut command = Command::new("unshare");
    clean(&mut command, folder.path());
    let ran = finish(command.args(["-mr", "bash", "-c", &text, "bash", env!("CARGO_BIN_EXE_neuronlake")]));
    let message = one_line(&ran, 1);
    assert!(message.ends_with("No space left on device (os error 28)"), "{message}");
    is_whole(folder.path().join("full").to_str().unwrap());
    assert_same(&values(folder.path(), "lake"), &values(folder.path(), small_lake()));
}

#[test]
fn a_query_that_cannot_be_run() {
    let line = |arguments: &[&str]| {
        refused(Path::new("/"), &[&["query", "run", "--lake", small_lake()], arguments].concat(), 2)
    };
    insta::assert_snapshot!(
        [
            line(&["best_explaned"]),
            line(&["best_explained", "limt=3"]),
            line(&["best_explained", "limit"]),
            line(&["60_scores"]),
        ]
        .join("\n"),
        @r"
    error: no query 'best_explaned'; the nearest is 'best_explained'
    error: query 'best_explained': expected parameters limit, got 'limt=3'
    error: query run: expected parameters as name=value, got 'limit'
    error: query run: expected an example or a view ('neuronlake run' runs the stages), got '60_scores'
    "
    );
    assert_eq!(
        ok(Path::new("/"), &["query", "run", "--lake", small_lake(), "best_explained", "limit=3"]).lines().count(),
        6
    );
}
