//! What the explainer saw is not what scores are made of.

use crate::support::{number, refused, run, small_lake, written};

const MIXED: &str = "SELECT count(*) FROM activation_records a JOIN activation_records b \
                     ON a.hook_point = b.hook_point AND a.neuron = b.neuron AND a.sequence = b.sequence \
                     WHERE a.split = 'train' AND b.split <> 'train'";

#[test]
fn no_window_is_seen_and_scored() {
    assert!(number(small_lake(), "SELECT count(*) FROM simulations") > 0);
    assert_eq!(number(small_lake(), "SELECT count(*) FROM simulations WHERE split = 'train'"), 0);
    assert_eq!(number(small_lake(), "SELECT count(*) FROM scores WHERE split = 'train'"), 0);
    assert_eq!(number(small_lake(), MIXED), 0);
    // By document: all windows of one are on one side.
    let documents = "SELECT count(*) FROM (SELECT document FROM token_sequences GROUP BY document HAVING count(DISTINCT split) > 1)";
    assert_eq!(number(small_lake(), documents), 0);
}

#[test]
fn the_paper_splits_by_rank() {
    let folder = tempfile::tempdir().unwrap();
    let summary =
        run(folder.path(), "lake", &["--split", "paper", "--limit", "40", "--layers", "0", "--neurons", "0-7"]);
    assert_eq!(written(&summary)["explanations"], 8);
    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    // Token means come from train documents; the records that are interleaved come from the others.
    assert_eq!(number(lake, "SELECT count(*) FROM token_sequences WHERE split NOT IN ('train', 'pool')"), 0);
    assert_eq!(number(lake, MIXED), 0);
    let splits = "SELECT count(DISTINCT split) FROM activation_records WHERE sample = 'top'";
    assert_eq!(number(lake, splits), 4, "train, calibration, valid, test");
    assert!(number(lake, "SELECT count(*) FROM scores WHERE value IS NOT NULL") > 0);
    assert_eq!(number(lake, "SELECT count(*) FROM scores WHERE split <> 'valid'"), 0);
    // The two strategies do not meet in one lake.
    let line = refused(folder.path(), &["run", "--limit", "40", "--layers", "0", "--neurons", "0-7"], 2);
    assert!(line.contains("split"), "{line}");
}

#[test]
fn a_query_that_would_leak_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let query = |condition: &str| {
        format!(
            "SELECT neuron, ev_correlation(activations, activations) FROM activation_records {condition} GROUP BY neuron"
        )
    };
    let ask = |condition: &str| {
        let query = query(condition);
        refused(folder.path(), &["sql", "--lake", small_lake(), &query], 1)
    };
    for condition in ["", "WHERE split <> 'valid'", "WHERE split = 'valid' OR neuron = 3", "WHERE split = 'train'"] {
        assert_eq!(
            ask(condition),
            "error: refused: 'ev_correlation' reads table 'activation_records' without excluding split 'train', which the \
             explainer saw; add a condition such as split = 'valid'",
            "{condition}"
        );
    }
    let held_out = query("WHERE split = 'valid'");
    assert_eq!(
        number(small_lake(), &format!("SELECT count(*) FROM ({held_out})")),
        number(small_lake(), "SELECT count(DISTINCT neuron) FROM activation_records")
    );
}
