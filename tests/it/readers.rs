//! Other engines read the tables as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{TABLES, clean, finish, number, small_lake};

/// The Python of scripts/test, which holds the other engines.
pub(crate) fn python() -> PathBuf {
    let made = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("neuronlake-test-venv/bin/python"))
    };
    let python = std::env::var_os("NEURONLAKE_TEST_PYTHON").map(PathBuf::from).or_else(made).unwrap_or_default();
    assert!(python.is_file(), "'{}' is missing: run scripts/test", python.display());
    python
}

#[test]
fn deltalake_duckdb_and_polars_count_what_we_count() {
    let mut command = Command::new(python());
    clean(&mut command, Path::new(env!("CARGO_MANIFEST_DIR")));
    let ran = finish(command.args(["scripts/check_delta.py", small_lake()]));
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);
    // ok neurons: version 2, 2 files, 32 rows, 17 columns, lists [...]
    let counts: BTreeMap<&str, i64> = ran
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("ok ")?.split_once(": "))
        .map(|(table, words)| {
            let rows = words.split(", ").find_map(|words| words.strip_suffix(" rows")).unwrap();
            (table, rows.parse().unwrap())
        })
        .collect();
    // Beside those of the stages: runs, and the vectors that an index has.
    assert_eq!(counts.len(), TABLES.len() + 2, "{}", ran.text());
    for (table, count) in counts {
        assert_eq!(number(small_lake(), &format!("SELECT count(*) FROM {table}")), count, "{table}");
    }
}
