//! `neuronlake demo`, from nothing to the last query it proposes.

use crate::support::{finish, neuronlake, ok, program};

#[test]
fn the_demo_shows_what_it_found_and_its_queries_run() {
    let folder = tempfile::tempdir().unwrap();
    let ran = neuronlake(folder.path(), &["demo"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let out = ran.text();
    assert_eq!(ran.err.lines().filter(|line| line.starts_with('[')).count(), 8, "a line a stage: {}", ran.err);
    assert!(out.contains("Read 309 documents"), "{out}");
    let table = out.split("(10 rows)").next().unwrap();
    assert_ne!(table, out, "ten rows: {out}");
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.contains("--+--")).skip(1).collect();
    assert_eq!(rows.len(), 10, "{table}");
    // Well explained, and better than by another neuron's explanation.
    for row in rows {
        let cells: Vec<f64> = row.split('|').skip(2).take(2).map(|cell| cell.trim().parse().unwrap()).collect();
        assert!(cells[0] > 0.5 && cells[0] > cells[1], "{row}");
    }
    assert!(out.contains("\nLayer "), "the heat map's neuron is named");
    assert!(!out.contains('\x1b'), "no escapes in a pipe");

    let queries: Vec<&str> = out.lines().filter(|line| line.contains(" sql --lake ")).collect();
    assert_eq!(queries.len(), 3, "{out}");
    for line in queries {
        let query = line.split('"').nth(1).unwrap();
        let rows = ok(folder.path(), &["sql", "--lake", "./neuronlake-demo", "--format", "jsonl", query]);
        assert!(!rows.is_empty(), "{query}");
        // Where nothing is said, the demo's lake is the one that is asked.
        assert_eq!(ok(folder.path(), &["sql", "--format", "jsonl", query]), rows);
    }

    let again = finish(program(folder.path()).args(["demo", "--quiet"]));
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    assert!(again.text().contains(" 0 rows written in "), "{}", again.text());
}
