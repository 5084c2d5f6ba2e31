//! Rules of the source that no compiler keeps (ARCHITECTURE.md, STYLE.md), each with the files that break it.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path below the root, with forward slashes, and text of every file with one of these endings.
fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, endings, found);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), endings, &mut found);
    }
    found.sort();
    assert!(!found.is_empty(), "no {endings:?} files in {folders:?}");
    found
        .into_iter()
        .map(|path| {
            let shown = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            (shown, fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect()
}

/// The library's files without its tests.
fn sources() -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    files(&["src"], &["rs"]).into_iter().filter(|(path, _)| !is_test(path)).collect()
}

/// Code lines, numbered, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, line)| (i + 1, line))
}

/// Lines of the files that hold one of the words, but for those in the places allowed.
fn uses(files: &[(String, String)], words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !allowed(path)) {
        for (number, line) in code(text) {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{path}:{number}: {word}"));
            }
        }
    }
    found
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

/// What each module of the library may import of the others.
const EDGES: &[(&str, &[&str])] = &[
    // Faults of searching and of exchanging files have enums of their own.
    ("error", &["exchange", "pipeline", "search", "server"]),
    ("hash", &[]),
    // Whoever does something counts it.
    ("metrics", &[]),
    ("random", &[]),
    ("documents", &["error", "tables"]),
    ("token_sequences", &["error", "random"]),
    ("models", &["error", "random"]),
    // Units are collected into records, and records are chosen by the units' sketches.
    ("neurons", &["activation_records", "error", "models", "random", "token_sequences"]),
    ("activation_records", &["neurons", "token_sequences"]),
    ("completions", &["embeddings", "error", "hash", "metrics", "models", "random", "tables"]),
    ("embeddings", &["error", "models"]),
    ("explanations", &["activation_records", "completions", "error", "hash", "neurons", "random"]),
    ("simulations", &["completions", "embeddings", "error", "explanations", "hash", "neurons", "random"]),
    ("judgements", &["completions", "embeddings", "error", "hash", "random"]),
    ("distributed", &["error", "session", "tables"]),
    ("planted", &["error", "hash", "random"]),
    // Draws are merged by functions compiled for the processor, as the models' are.
    ("scores", &["error", "models", "random"]),
    ("tables", &["error", "hash"]),
    // Vectors are compared with the kernels of the models.
    ("search", &["embeddings", "error", "hash", "models", "tables"]),
    (
        "functions",
        &[
            "activation_records",
            "completions",
            "documents",
            "embeddings",
            "error",
            "explanations",
            "hash",
            "judgements",
            "models",
            "neurons",
            "pipeline",
            "random",
            "scores",
            "search",
            "session",
            "simulations",
            "tables",
            "token_sequences",
        ],
    ),
    ("session", &["completions", "error", "functions", "models", "neurons", "pipeline", "scores", "search", "tables"]),
    (
        // The self-test measures methods without the engine; an estimate counts their calls.
        "pipeline",
        &[
            "completions",
            "documents",
            "embeddings",
            "error",
            "explanations",
            "functions",
            "hash",
            "judgements",
            "metrics",
            "models",
            "neurons",
            "planted",
            "random",
            "scores",
            "session",
            "simulations",
            "tables",
            "token_sequences",
        ],
    ),
    ("schedule", &["error", "hash", "metrics", "pipeline", "tables"]),
    ("exchange", &["error", "hash", "models", "pipeline", "scores", "session", "tables", "token_sequences"]),
    // Rows are read by the model's pass over the token sequences that the functions know to find.
    (
        "activation_store",
        &["error", "functions", "models", "neurons", "random", "session", "tables", "token_sequences"],
    ),
    (
        "autoencoders",
        &[
            "activation_store",
            "error",
            "functions",
            "hash",
            "models",
            "neurons",
            "random",
            "session",
            "tables",
            "token_sequences",
        ],
    ),
    ("docs", &["functions", "pipeline", "tables"]),
    (
        // Pages show what the functions say of themselves, and run subject models over texts.
        "server",
        &[
            "docs",
            "error",
            "functions",
            "hash",
            "metrics",
            "models",
            "pipeline",
            "search",
            "session",
            "simulations",
            "tables",
        ],
    ),
    (
        "cli",
        &[
            "activation_store",
            "autoencoders",
            "completions",
            "distributed",
            "documents",
            "error",
            "exchange",
            "functions",
            "metrics",
            "models",
            "neurons",
            "pipeline",
            "planted",
            "schedule",
            "search",
            "server",
            "session",
            "tables",
            "token_sequences",
        ],
    ),
];

#[test]
fn modules_import_only_what_stands_below_them() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let module = path.split('/').nth(1).unwrap().trim_end_matches(".rs");
        // `sparse_autoencoders` is a package of its own: it cannot import anything of ours.
        if matches!(module, "lib" | "main" | "sparse_autoencoders") {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{path}: module '{module}' has no line in EDGES of tests/it/tidy.rs"));
            continue;
        };
        for (number, line) in code(&text) {
            for import in line.split("crate::").skip(1) {
                let end = import.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(import.len());
                let import = &import[..end];
                if !import.is_empty() && import != module && !allowed.contains(&import) {
                    broken.push(format!("{path}:{number}: '{module}' imports '{import}'"));
                }
            }
        }
    }
    none("imports against the direction in which data flows", &broken);
}

#[test]
fn each_layer_knows_only_its_own_libraries() {
    let all = sources();
    let outside = |folder: &'static str| move |path: &str| !path.starts_with(folder);
    none(
        "src/models/ knows neither Arrow nor the engine",
        &uses(&all, &["arrow::", "datafusion", "deltalake", "parquet::"], outside("src/models/")),
    );
    for folder in ["src/token_sequences/", "src/neurons/", "src/activation_records/", "src/explanations/"] {
        none("a stage's own code knows no engine", &uses(&all, &["datafusion", "deltalake"], outside(folder)));
    }
    none("src/tables/ knows no candle", &uses(&all, &["candle_"], outside("src/tables/")));
    none(
        "src/sparse_autoencoders/ knows neither Arrow nor the engine nor the lake",
        &uses(
            &all,
            &["arrow::", "datafusion", "deltalake", "parquet::", "neuronlake::"],
            outside("src/sparse_autoencoders/"),
        ),
    );
    let candle = |path: &str| path.starts_with("src/models/") || path.starts_with("src/sparse_autoencoders/");
    none("only models and autoencoders know candle", &uses(&all, &["candle_"], candle));
    none(
        "nothing imports the command line",
        &uses(&all, &["crate::cli", "neuronlake::cli"], |path| path.starts_with("src/cli/") || path == "src/main.rs"),
    );
}

#[test]
fn one_place_makes_engines_and_few_places_connect() {
    let all = sources();
    let engines = ["SessionContext::new", "SessionStateBuilder::", "SessionContext::default"];
    let session = |path: &str| path == "src/session.rs" || path.starts_with("src/session/");
    none("only src/session.rs makes a SessionContext", &uses(&all, &engines, session));
    let stores = [
        "parse_url_opts",
        "parse_url(",
        "AmazonS3Builder",
        "MicrosoftAzureBuilder",
        "GoogleCloudStorageBuilder",
        "HttpBuilder",
    ];
    none("only src/tables/store.rs opens object stores", &uses(&all, &stores, |path| path == "src/tables/store.rs"));
    let tables = ["DeltaTableBuilder", "open_table"];
    let opens = |path: &str| ["src/tables/lake.rs", "src/tables/bucket.rs"].contains(&path);
    none("only lake.rs and bucket.rs of src/tables open Delta tables", &uses(&all, &tables, opens));
    let hub = ["hf_hub", "reqwest", "TcpStream", "ureq"];
    let connects = |path: &str| path == "src/models/hub.rs" || path.starts_with("src/completions/http");
    none("only the hub and the HTTP engine open connections of their own", &uses(&all, &hub, connects));
}

#[test]
fn only_the_command_line_prints() {
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "stdout()", "stderr()"];
    none("only src/cli/ prints", &uses(&sources(), &words, |path| path.starts_with("src/cli/")));
}

#[test]
fn no_file_is_long_and_nothing_is_left_undone() {
    let all = files(&["src", "tests", "benches"], &["rs"]);
    let long: Vec<String> = all
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        // One enum cannot be spread over files: the errors may take a little more.
        .filter(|(path, lines)| *lines > if path.as_str() == "src/error.rs" { 640 } else { 600 })
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    none("no file is longer than 600 lines", &long);
    let words = ["#[allow(", "#![allow(", "todo!(", "unimplemented!(", "dbg!(", "#[ignore", "#[should_panic"];
    none("nothing is switched off or left for later", &uses(&all, &words, |path| path == "tests/it/tidy.rs"));
}

#[test]
fn no_file_names_a_machine() {
    let endings = ["rs", "sql", "slt", "md", "py", "toml"];
    let all = files(&["src", "tests", "benches", "queries", "schemas", "docs", "scripts"], &endings);
    let mut broken = Vec::new();
    for (path, text) in all.iter().filter(|(path, _)| path != "tests/it/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            if ["/root/", "/work/", "/Users/", "C:\\Users"].iter().any(|place| line.contains(place)) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("paths of one machine", &broken);
}

#[test]
fn there_is_one_arrow() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for package in ["arrow-schema", "parquet", "object_store", "datafusion"] {
        let versions = lock.lines().filter(|line| *line == format!("name = \"{package}\"")).count();
        assert_eq!(versions, 1, "versions of {package} in Cargo.lock");
    }
}

#[test]
fn sql_files_keep_the_words_and_the_form() {
    let mut broken = Vec::new();
    for (path, text) in files(&["queries", "schemas"], &["sql"]) {
        for (number, line) in text.lines().enumerate() {
            let mut complain = |what: &str| broken.push(format!("{path}:{}: {what}", number + 1));
            let lower = line.to_lowercase();
            if lower.contains("feature") {
                complain("'feature' is called latent, neuron or unit");
            }
            let statement = line.split("--").next().unwrap_or_default();
            if statement.to_uppercase().contains("SELECT *") || statement.contains(".*") {
                complain("explicit columns, no *");
            }
            let first = statement.split_whitespace().next().unwrap_or_default();
            let keywords =
                ["select", "from", "where", "join", "left", "group", "order", "limit", "insert", "with", "and", "on"];
            if keywords.contains(&first) {
                complain("keywords in capitals");
            }
            if line.ends_with(' ') || line.contains('\t') {
                complain("no tabs, no spaces at the end");
            }
        }
        if !text.ends_with('\n') {
            broken.push(format!("{path}: ends without a line end"));
        }
    }
    none("SQL files", &broken);
}

#[test]
fn every_example_has_its_slt_file() {
    let missing: Vec<String> = files(&["queries/examples"], &["sql"])
        .into_iter()
        .filter_map(|(path, _)| {
            let name = path.rsplit('/').next()?.strip_suffix(".sql")?.to_owned();
            let slt = format!("tests/slt/examples/{name}.slt");
            let text = fs::read_to_string(root().join(&slt)).unwrap_or_default();
            (!text.contains(&format!("\\i examples/{name}"))).then_some(slt)
        })
        .collect();
    none("examples without a test that runs them", &missing);
}

#[test]
fn every_test_file_is_part_of_a_module() {
    let all = files(&["src"], &["rs"]);
    let lost: Vec<String> = all
        .iter()
        .filter(|(path, _)| {
            let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
            let name = parts[parts.len() - 1];
            let name = if name == "mod" { parts[parts.len() - 2] } else { name };
            let declared = format!("mod {name};");
            !matches!(path.as_str(), "src/lib.rs" | "src/main.rs" | "src/sparse_autoencoders/lib.rs")
                && !path.starts_with("src/sparse_autoencoders/examples/")
                && !all.iter().any(|(_, text)| text.contains(&declared))
        })
        .map(|(path, _)| path.clone())
        .collect();
    none("files that no module declares", &lost);
}
