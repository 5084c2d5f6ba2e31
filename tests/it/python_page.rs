//! docs/python.md: every block of the page is run as it stands there.

use std::path::Path;
use std::process::Command;

use crate::readers::python;
use crate::serving::Serving;
use crate::support::{clean, finish, small_lake};

const TOKEN: &str = "a-token-of-the-page";

/// Language and text of every fenced block.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(language), false) => {
                found.push((language.to_owned(), String::new()));
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let (_, text) = found.last_mut().unwrap();
                *text += line;
                text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!inside, "a block has no end");
    found
}

#[test]
fn every_block_of_the_page_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/python.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(small_lake(), folder.path().join("neuronlake-demo")).unwrap();

    let blocks = blocks(&page);
    let (shell, scripts): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|(language, _)| language == "sh");
    assert!(scripts.iter().all(|(language, _)| language == "python"), "{scripts:?}");

    // pip install …: what the tests have; neuronlake serve …: started as it stands there.
    let pinned = std::fs::read_to_string(root.join("scripts/requirements-test.txt")).unwrap();
    let mut open = None;
    for line in shell.iter().flat_map(|(_, text)| text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["pip", "install", packages @ ..] => {
                for package in packages {
                    assert!(pinned.lines().any(|line| line.starts_with(&format!("{package}=="))), "{package}");
                }
            }
            ["neuronlake", "serve", "--lake", lake, arguments @ ..] => {
                open = Some(Serving::start(folder.path().join(lake).to_str().unwrap(), arguments, &[]));
            }
            _ => panic!("the page shows '{line}', which no test runs"),
        }
    }
    let open = open.expect("the page starts a server");
    let closed = Serving::start(small_lake(), &[], &[("NEURONLAKE_TOKEN", TOKEN)]);

    for (_, script) in &scripts {
        let serving = if script.contains("NEURONLAKE_TOKEN") { &closed } else { &open };
        let script =
            script.replace("grpc://127.0.0.1:8081", &serving.flight).replace("http://127.0.0.1:8080", &serving.http);
        let mut command = Command::new(python());
        clean(&mut command, folder.path());
        let ran =
            finish(command.env("NEURONLAKE_TOKEN", TOKEN).args(["-W", "error::DeprecationWarning", "-c", &script]));
        assert_eq!(ran.code, Some(0), "{script}\n{}{}", ran.text(), ran.err);
        assert!(!ran.text().trim().is_empty(), "a block that shows nothing:\n{script}");
    }
    for way in ["adbc_driver_flightsql", "scan_delta", "duckdb", "/api/v1/sql"] {
        assert!(scripts.iter().any(|(_, script)| script.contains(way)), "{way}");
    }
}
