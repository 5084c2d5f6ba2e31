//! What the tests share: the program run as a user runs it, and a small lake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A small run: 40 documents, 32 neurons, a few seconds.
pub(crate) const SMALL: [&str; 6] = ["--limit", "40", "--layers", "0,1", "--neurons", "0-15"];

/// Every table that a run without `--firings-above` writes, in the order of the stages.
pub(crate) const TABLES: [&str; 8] = [
    "documents",
    "token_sequences",
    "neurons",
    "activation_records",
    "token_activations",
    "explanations",
    "simulations",
    "scores",
];

/// A run over [`little_corpus`]: 48 windows, 4 neurons.
pub(crate) const LITTLE: [&str; 6] = ["--corpus", "little.jsonl", "--layers", "0", "--neurons", "0-3"];

/// Writes 48 short texts, one window each, as `little.jsonl`: enough for documents of every split.
pub(crate) fn little_corpus(folder: &Path) {
    let words = [
        "the", "sea", "was", "cold", "and", "a", "king", "rode", "over", "hills", "with", "three", "ships", "of",
        "bread", "in", "old", "songs", "she", "said", "that", "rain", "would", "come", "from", "north", "before",
        "night",
    ];
    let mut seed = 7_u64;
    let mut text = String::new();
    for _ in 0..48 {
        let mut line = String::new();
        for _ in 0..36 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line += words[(seed >> 33) as usize % words.len()];
            line.push(' ');
        }
        text += &format!("{{\"text\": \"{}\"}}\n", line.trim_end());
    }
    std::fs::write(folder.join("little.jsonl"), text).unwrap();
}

/// The same run as a pipeline file; `more` stands before its sections and `sections` after them.
pub(crate) fn little_file(folder: &Path, name: &str, more: &str, sections: &str) {
    little_corpus(folder);
    let text = format!(
        "lake = \"lake\"\n{more}\n[[sources]]\ncorpus = \"little.jsonl\"\n[[models]]\nlayers = \"0\"\nneurons = \"0-3\"\n{sections}\n"
    );
    std::fs::write(folder.join(name), text).unwrap();
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

/// The program in a folder, without settings of the person who runs the tests.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neuronlake"));
    clean(&mut command, folder);
    command
}

/// Takes the settings of the person who runs the tests from a command's environment.
pub(crate) fn clean(command: &mut Command, folder: &Path) {
    command.current_dir(folder).stdin(Stdio::null());
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "NEURONLAKE_LAKE",
        "NEURONLAKE_TOKEN",
        "NEURONLAKE_LOG",
        "NEURONLAKE_LOG_FORMAT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "NEURONLAKE_BASE_URL",
        "NEURONLAKE_API_KEY",
        "OPENAI_API_KEY",
        "NO_COLOR",
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_TOKEN",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(name);
    }
}

pub(crate) fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran { code: output.status.code(), out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
}

pub(crate) fn neuronlake(folder: &Path, arguments: &[&str]) -> Ran {
    finish(program(folder).args(arguments))
}

/// What a command that must succeed writes to stdout.
pub(crate) fn ok(folder: &Path, arguments: &[&str]) -> String {
    let ran = neuronlake(folder, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran.text().to_owned()
}

/// The one line of an error; stages that ended before may stand above it. Nothing goes to stdout.
pub(crate) fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    one_line(&neuronlake(folder, arguments), code)
}

pub(crate) fn one_line(ran: &Ran, code: i32) -> String {
    assert_eq!((ran.code, ran.text()), (Some(code), ""), "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().filter(|line| !line.starts_with('[')).collect();
    assert_eq!(lines.len(), 1, "{}", ran.err);
    lines[0].to_owned()
}

/// Writes a small lake and returns the run's summary.
pub(crate) fn run(folder: &Path, lake: &str, more: &[&str]) -> String {
    ok(folder, &[&["run", "--lake", lake], more].concat())
}

/// Rows written a stage, as a run's summary tells.
pub(crate) fn written(summary: &str) -> BTreeMap<String, usize> {
    let cells = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    cells
        .filter(|cells| cells.len() == 3)
        .filter_map(|cells| Some((cells[0].to_owned(), cells[1].parse().ok()?)))
        .collect()
}

/// Every row of every table as JSON text, sorted; `columns` is what follows SELECT.
pub(crate) fn rows(folder: &Path, lake: &str, columns: &str) -> BTreeMap<&'static str, Vec<String>> {
    rows_of(folder, lake, &TABLES, columns)
}

/// As [`rows`], of these tables.
pub(crate) fn rows_of(
    folder: &Path,
    lake: &str,
    tables: &[&'static str],
    columns: &str,
) -> BTreeMap<&'static str, Vec<String>> {
    tables_as_json(folder, lake, tables, columns, &[])
}

/// As [`rows_of`], with variables of the environment that say how the lake is reached.
pub(crate) fn tables_as_json(
    folder: &Path,
    lake: &str,
    tables: &[&'static str],
    columns: &str,
    environment: &[(&str, String)],
) -> BTreeMap<&'static str, Vec<String>> {
    let script: String = tables.iter().map(|table| format!("SELECT {columns} FROM {table};\n")).collect();
    std::fs::write(folder.join("rows.sql"), script).unwrap();
    let mut command = program(folder);
    command.args(["sql", "--lake", lake, "--format", "json", "--file", "rows.sql"]);
    let ran = finish(command.envs(environment.iter().map(|(name, value)| (name, value))));
    assert_eq!(ran.code, Some(0), "{lake}: {}", ran.err);
    let out = ran.text();
    let results: Vec<&str> = out.lines().collect();
    assert_eq!(results.len(), tables.len());
    let sorted = |text: &str| {
        let rows: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        rows.sort();
        rows
    };
    tables.iter().copied().zip(results.into_iter().map(sorted)).collect()
}

/// The rows without the run that wrote them.
pub(crate) fn values(folder: &Path, lake: &str) -> BTreeMap<&'static str, Vec<String>> {
    rows(folder, lake, "* EXCEPT (run)")
}

/// Says which table differs without printing thousands of rows.
pub(crate) fn assert_same(got: &BTreeMap<&'static str, Vec<String>>, expected: &BTreeMap<&'static str, Vec<String>>) {
    for table in TABLES {
        let (got, expected) = (&got[table], &expected[table]);
        assert_eq!(got.len(), expected.len(), "rows of {table}");
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(got, expected, "{table}");
        }
    }
}

/// A small lake that tests only read, made once.
pub(crate) fn small_lake() -> &'static str {
    static LAKE: OnceLock<String> = OnceLock::new();
    LAKE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-lake");
        std::fs::remove_dir_all(&folder).ok();
        let lake = folder.to_str().unwrap().to_owned();
        run(Path::new("/"), &lake, &SMALL);
        // Searches of one test must not write into what another one is copying.
        ok(Path::new("/"), &["index", "--lake", &lake]);
        lake
    })
}

/// The number that a query of one cell gives.
pub(crate) fn number(lake: &str, query: &str) -> i64 {
    let out = ok(Path::new("/"), &["sql", "--lake", lake, "--format", "csv", query]);
    out.lines().nth(1).unwrap().parse().unwrap()
}

/// The embedded model as a Hugging Face folder below `folder`, whose name becomes the model's id.
pub(crate) fn model_folder(folder: &Path, name: &str) -> PathBuf {
    let to = folder.join(name);
    std::fs::create_dir_all(&to).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/models/embedded").join(file);
        std::fs::copy(from, to.join(file)).unwrap();
    }
    to
}

/// A file or folder of the shared test data beside the checkout.
pub(crate) fn shared(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    assert!(path.parent().unwrap().exists(), "'{}' is missing: scripts/test says what to do", path.display());
    path.to_str().unwrap().to_owned()
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
