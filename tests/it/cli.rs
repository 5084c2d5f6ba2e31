//! The command line as people and scripts meet it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::support::{finish, neuronlake, ok, program, small_lake};

const ROOT: &str = "/";
const KINGS: &str = "SELECT layer, neuron, text, value FROM best_explanations WHERE mentions(text, 'king') \
                     ORDER BY value DESC LIMIT 10";

fn sql(arguments: &[&str]) -> String {
    ok(Path::new(ROOT), &[&["sql", "--lake", small_lake()], arguments].concat())
}

#[test]
fn every_command_explains_itself() {
    let commands: [&[&str]; 8] =
        [&[], &["demo"], &["run"], &["sql"], &["query"], &["hooks"], &["pull"], &["completions"]];
    for command in commands {
        let help = ok(Path::new(ROOT), &[command, &["--help"]].concat());
        assert!(help.contains("Usage: neuronlake") && help.contains("Example"), "{help}");
        let short = ok(Path::new(ROOT), &[command, &["-h"]].concat());
        assert!(short.contains("Usage: neuronlake"), "{short}");
    }
    let nothing = neuronlake(Path::new(ROOT), &[]);
    assert_eq!((nothing.code, nothing.text()), (Some(2), ""));
    assert!(nothing.err.contains("Usage: neuronlake"));
    assert_eq!(ok(Path::new(ROOT), &["--version"]), format!("neuronlake {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(Path::new(ROOT), &["completions", shell]);
        for word in ["demo", "run", "sql", "query", "hooks", "pull", "neurons"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn hook_points_are_listed() {
    let hooks = ok(Path::new(ROOT), &["hooks"]);
    let line = |name: &str| hooks.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("blocks.0.mlp.hook_post ").ends_with(" 480"), "{hooks}");
    for name in ["hook_embed", "blocks.0.hook_resid_pre", "blocks.0.attn.hook_pattern", "blocks.1.hook_mlp_out"] {
        assert!(!line(name).is_empty(), "{name}");
    }
}

#[test]
fn queries_are_listed_and_shown() {
    insta::assert_snapshot!(ok(Path::new(ROOT), &["query", "list"]), @r"");
    insta::assert_snapshot!(ok(Path::new(ROOT), &["query", "show", "best_explained"]), @r"");
}

/// The examples that `query list` names run on a lake as it is, with their default parameters.
#[test]
fn every_example_and_view_runs() {
    let list = ok(Path::new(ROOT), &["query", "list"]);
    let names = list.lines().take_while(|line| !line.contains("pipeline")).filter(|line| line.starts_with("  "));
    let mut n_queries = 0;
    for name in names.map(|line| line.split_whitespace().next().unwrap()) {
        ok(Path::new(ROOT), &["query", "run", "--lake", small_lake(), name]);
        n_queries += 1;
    }
    assert!(n_queries >= 14, "{list}");
    let sea = ok(
        Path::new(ROOT),
        &[
            "query",
            "run",
            "explanations_mentioning",
            "words=the",
            "limit=2",
            "--format",
            "jsonl",
            "--lake",
            small_lake(),
        ],
    );
    assert_eq!(sea.lines().count(), 2, "{sea}");
}

#[test]
fn results_come_in_every_format() {
    let query = "SELECT layer, neuron, n_tokens > 0 AS counted FROM neurons WHERE neuron < 2 ORDER BY layer, neuron";
    insta::assert_snapshot!(sql(&[query]), @r"");
    insta::assert_snapshot!(sql(&["--format", "csv", query]), @r"");
    insta::assert_snapshot!(sql(&["--format", "json", query]), @r"");
    insta::assert_snapshot!(sql(&["--format", "jsonl", query]), @r"");

    let ran =
        neuronlake(Path::new(ROOT), &["sql", "--lake", small_lake(), "--format", "parquet", "SELECT * FROM neurons"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let reader = SerializedFileReader::new(bytes::Bytes::from(ran.out)).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 32);
    // No rows are a result too.
    assert_eq!(sql(&["--format", "csv", "SELECT layer FROM neurons WHERE false"]), "layer\n");
    assert_eq!(sql(&["--format", "json", "SELECT layer FROM neurons WHERE false"]), "[]\n");
}

#[test]
fn the_query_of_the_readme_works() {
    assert!(sql(&[KINGS]).starts_with(" layer | neuron | text "));
    assert_eq!(sql(&["--format", "csv", KINGS]).lines().next(), Some("layer,neuron,text,value"));
    // The lake may be named in the environment, or be the folder where runs write by default.
    let by_name = finish(program(Path::new(ROOT)).env("NEURONLAKE_LAKE", small_lake()).args(["sql", KINGS]));
    assert_eq!((by_name.code, by_name.text()), (Some(0), sql(&[KINGS]).as_str()));
}

#[test]
fn a_script_comes_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let script = "-- two statements\nSELECT 1 AS one;\nSELECT count(*)\n  AS n FROM neurons;\n";
    std::fs::write(folder.path().join("script.sql"), script).unwrap();
    let expected = "one\n1\nn\n32\n";
    let arguments = ["sql", "--lake", small_lake(), "--format", "csv"];
    assert_eq!(ok(folder.path(), &[&arguments[..], &["--file", "script.sql"]].concat()), expected);
    for more in [&["--file", "-"][..], &[]] {
        let mut child = program(folder.path())
            .args(arguments)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

/// `neuronlake sql … | head -1` is no failure, whatever the format.
#[test]
fn a_reader_who_leaves_early_is_no_fault() {
    for format in ["table", "csv", "json", "jsonl", "parquet"] {
        let mut child = program(Path::new(ROOT))
            .args(["sql", "--lake", small_lake(), "--format", format])
            .arg("SELECT r.* FROM activation_records r CROSS JOIN explanations")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 4];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(0), ""),
            "{format}"
        );
    }
}

#[test]
fn progress_goes_to_stderr_and_may_be_silenced() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--limit", "20", "--to", "token_sequences"];
    let ran = neuronlake(folder.path(), &arguments);
    assert_eq!(ran.code, Some(0));
    assert!(ran.text().starts_with("table ") && ran.text().contains("documents"), "{}", ran.text());
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("documents: 20 documents"), "{}", ran.err);
    assert!(!ran.err.contains('\x1b'), "no escapes where there is no terminal");
    let quiet = neuronlake(folder.path(), &[&arguments[..], &["--quiet"]].concat());
    assert_eq!((quiet.code, quiet.text(), quiet.err.as_str()), (Some(0), "", ""));
}

#[test]
fn a_heat_map_in_a_pipe_has_no_escapes() {
    let out = ok(Path::new(ROOT), &["query", "run", "top_windows", "layer=0", "neuron=1", "--lake", small_lake()]);
    assert!(out.contains("heatmap") && !out.contains('\x1b'), "{out}");
}
