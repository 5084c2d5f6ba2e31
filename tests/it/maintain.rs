//! Maintenance: fewer files, the same rows, and readers and writers that notice nothing.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{TABLES, assert_same, little_corpus, neuronlake, number, ok, program, rows, run, values};

const CORPUS: [&str; 4] = ["--corpus", "little.jsonl", "--layers", "0"];

fn with_neurons(folder: &Path, neurons: &str) {
    run(folder, "lake", &[&CORPUS[..], &["--neurons", neurons]].concat());
}

fn n_files(folder: &Path, table: &str) -> usize {
    let mut found = 0;
    let mut folders = vec![folder.join("lake").join(table)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "_delta_log" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "parquet") {
                found += 1;
            }
        }
    }
    found
}

#[test]
fn many_files_become_one_and_no_reader_or_writer_is_harmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    little_corpus(path);
    for neurons in ["0-1", "0-3", "0-5"] {
        with_neurons(path, neurons);
    }
    let lake = path.join("lake");
    let lake = lake.to_str().unwrap();
    let before = values(path, "lake");
    assert!(n_files(path, "scores") >= 3);
    ok(path, &["index", "--lake", "lake"]);
    let search = ["search", "a", "--lake", "lake", "--format", "json"];
    let found = ok(path, &search);

    let planned = ok(path, &["maintain", "--lake", "lake", "--dry-run"]);
    assert!(planned.contains("scores") && planned.ends_with("nothing was done\n"), "{planned}");
    assert_eq!(values(path, "lake"), before);

    // Readers all the while, and a writer of more units at the same time.
    let (done, n_reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) || n_reads.load(Ordering::SeqCst) == 0 {
                let whole =
                    number(lake, "SELECT count(*) FROM scores s JOIN explanations e ON e.explanation = s.explanation");
                // A unit has twelve scores, and is there as a whole or not at all.
                assert!(whole >= 6 * 12 && whole % 12 == 0, "{whole}");
                n_reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        let arguments = [&["run", "--lake", "lake"], &CORPUS[..], &["--neurons", "0-7"]].concat();
        let writer = program(path).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..2 {
            ok(path, &["maintain", "--lake", "lake"]);
        }
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    let told = ok(path, &["maintain", "--lake", "lake"]);
    run(path, "whole", &[&CORPUS[..], &["--neurons", "0-7"]].concat());
    let (got, expected) = (rows(path, "lake", "count(*) AS n"), rows(path, "whole", "count(*) AS n"));
    assert_eq!(got, expected, "{told}");
    for table in TABLES {
        let sql = format!("SELECT count(DISTINCT run) FROM {table}");
        assert!(number(lake, &sql) >= 1);
    }
    assert_eq!(
        ok(path, &["maintain", "--lake", "lake"]),
        "nothing to do: files are few and sorted, and no old ones are due to be removed\n"
    );
    // Searches find what they found, and the new units too.
    let again = ok(path, &search);
    assert!(found.len() <= again.len(), "{found} {again}");

    // Files of old versions stay until they are due, and the versions with them.
    assert_eq!(number(lake, "SELECT count(*) FROM \"scores@1\""), 2 * 12);
    let ran = neuronlake(path, &["maintain", "--lake", "lake", "--keep-days", "0"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("--keep-days: expected at least 1"), "{}", ran.err);
    let newest = values(path, "lake");
    ok(path, &["maintain", "--lake", "lake", "--keep-days", "0", "--force"]);
    assert_same(&values(path, "lake"), &newest);
    assert_eq!(n_files(path, "scores"), 1);
    let ran = neuronlake(path, &["sql", "--lake", "lake", "SELECT count(*) FROM \"scores@1\""]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("files of the others were removed"), "{}", ran.err);
}

#[test]
fn a_table_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    little_corpus(folder.path());
    with_neurons(folder.path(), "0-1");
    let ran = neuronlake(folder.path(), &["maintain", "score", "--lake", "lake"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("got 'score'"), "{}", ran.err);
}
