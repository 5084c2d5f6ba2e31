//! Plans that the leak rule refuses and plans that it lets through.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

/// What planning says; the lake is empty, the rule looks at plans only.
async fn plan(session: &Session, sql: &str) -> Result<()> {
    let frame = session.sql(sql).await?;
    frame.create_physical_plan().await?;
    Ok(())
}

fn session(folder: &tempfile::TempDir) -> Session {
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap()
}

const SCORE: &str = "SELECT ev_correlation(r.activations, s.expected) FROM simulations s JOIN activation_records r \
     ON r.neuron = s.neuron AND r.sequence = s.sequence";

#[tokio::test]
async fn a_score_on_what_the_explainer_saw_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let one = |condition: &str| {
        format!("SELECT ev_correlation(activations, activations) FROM activation_records {condition}")
    };
    let refused = [
        SCORE.to_owned(),
        format!("{SCORE} WHERE s.split = 'valid'"),
        format!("{SCORE} WHERE r.split = 'valid'"),
        format!("{SCORE} WHERE s.split = 'train' AND r.split = 'train'"),
        one(""),
        one("WHERE split = 'train'"),
        one("WHERE split IN ('train', 'valid')"),
        one("WHERE split <> 'valid'"),
        one("WHERE split = 'valid' OR neuron = 3"),
        one("WHERE split = 'valid' OR true"),
        one("WHERE split LIKE 't%'"),
        one("WHERE upper(split) = 'TRAIN'"),
        one("WHERE split < 'valid'"),
        one("WHERE split = sample"),
        one("WHERE split IS NOT NULL"),
        // A filter that holds for a part of the rows says nothing about the others.
        one("WHERE CASE WHEN neuron = 1 THEN split = 'valid' ELSE true END"),
        // The name of the column is not its value.
        "SELECT ev_correlation(activations, activations) FROM \
         (SELECT 'valid' AS split, activations FROM activation_records) WHERE split = 'valid'"
            .to_owned(),
        "SELECT ev_correlation(activations, activations) FROM \
         (SELECT sample AS split, activations FROM activation_records) WHERE split = 'valid'"
            .to_owned(),
        // The filter stands on the other side of an outer join.
        "SELECT ev_correlation(r.activations, r.activations) FROM activation_records r \
         LEFT JOIN token_sequences t ON t.sequence = r.sequence AND r.split = 'valid'"
            .to_owned(),
        // The filter is another table's.
        "SELECT ev_correlation(r.activations, r.activations) FROM activation_records r \
         JOIN token_sequences t ON t.sequence = r.sequence WHERE t.split = 'valid'"
            .to_owned(),
        "SELECT ev_correlation(activations, activations) FROM record_tokens".to_owned(),
        "WITH all_records AS (SELECT activations, split FROM activation_records) \
         SELECT ev_correlation(activations, activations) FROM all_records"
            .to_owned(),
        "SELECT 1 WHERE 0.5 < (SELECT ev_correlation(activations, activations) FROM activation_records)".to_owned(),
        "SELECT neuron FROM neurons WHERE 0.5 < (SELECT ev_correlation(activations, activations) \
         FROM activation_records) AND layer IN (SELECT layer FROM activation_records WHERE split = 'valid')"
            .to_owned(),
        "SELECT (SELECT ev_correlation(activations, activations) FROM activation_records)".to_owned(),
        "SELECT neuron FROM neurons n WHERE 0.5 < \
         (SELECT ev_correlation(r.activations, r.activations) FROM activation_records r WHERE r.neuron = n.neuron)"
            .to_owned(),
        "SELECT ev_correlation(activations, activations) OVER (PARTITION BY neuron) FROM activation_records".to_owned(),
        "SELECT ev_correlation(a, a) FROM (SELECT activations AS a FROM activation_records WHERE split = 'valid' \
         UNION ALL SELECT activations FROM activation_records)"
            .to_owned(),
        "SELECT neuron FROM activation_records ORDER BY window_sums(activations, activations)['n']".to_owned(),
        "SELECT neuron FROM activation_records GROUP BY neuron \
         HAVING explained_variance(activations, activations) > 0.5"
            .to_owned(),
        // Refused whatever stands above: records of every split come out in one list.
        "SELECT ev_correlation(r['activations'], r['activations']) FROM (SELECT unnest(records) AS r FROM \
         collect_activations('default', 'default', 'blocks.0.mlp.hook_post', '0')) WHERE r['split'] = 'train'"
            .to_owned(),
        // Refused though harmless: what stands above a LIMIT is not known of the scan.
        "SELECT ev_correlation(activations, activations) FROM \
         (SELECT activations, split FROM activation_records LIMIT 10) WHERE split = 'valid'"
            .to_owned(),
    ];
    for sql in refused {
        match plan(&session, &sql).await {
            Err(Error::Leak { .. }) => {}
            Err(error) => panic!("{sql}\n{error}"),
            Ok(()) => panic!("accepted: {sql}"),
        }
    }
}

#[tokio::test]
async fn a_score_on_other_splits_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let one = |condition: &str| {
        format!("SELECT ev_correlation(activations, activations) FROM activation_records {condition}")
    };
    let accepted = [
        format!("{SCORE} WHERE s.split = 'valid' AND r.split = 'valid'"),
        format!("{SCORE} AND r.split = s.split WHERE s.split = 'valid'"),
        one("WHERE split = 'valid'"),
        one("WHERE 'valid' = split"),
        one("WHERE split IN ('valid', 'test')"),
        one("WHERE split NOT IN ('train')"),
        one("WHERE split <> 'train'"),
        one("WHERE NOT split = 'train'"),
        one("WHERE split LIKE 'v%'"),
        one("WHERE upper(split) = 'VALID'"),
        one("WHERE split = 'valid' AND neuron = 3"),
        "SELECT 1 WHERE 0.5 < (SELECT ev_correlation(activations, activations) FROM activation_records \
         WHERE split = 'valid')"
            .to_owned(),
        one("WHERE (split = 'valid' OR split = 'test') AND (neuron = 3 OR neuron = 4)"),
        "SELECT ev_correlation(activations, activations) FROM record_tokens WHERE split = 'valid'".to_owned(),
        "SELECT split, ev_correlation(activations, activations) FROM activation_records GROUP BY split \
         HAVING split = 'valid'"
            .to_owned(),
        "SELECT ev_correlation(a, a) FROM (SELECT activations AS a, split AS s FROM activation_records) WHERE s = 'test'"
            .to_owned(),
        // Nothing here was seen by an explainer, or nothing is scored.
        "SELECT ev_correlation([1.0, 2.0], [1.0, 3.0])".to_owned(),
        "SELECT simulate('x', tokens, 'token_lookup', NULL) FROM token_sequences LIMIT 0".to_owned(),
        "SELECT neuron, heatmap(tokens, activations) FROM record_tokens WHERE split = 'train'".to_owned(),
        "SELECT avg(value) FROM scores".to_owned(),
    ];
    for sql in accepted {
        plan(&session, &sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    }
}

#[tokio::test]
async fn the_refusal_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let message = plan(&session(&folder), SCORE).await.unwrap_err().to_string();
    assert!(message.starts_with("refused: 'ev_correlation' reads table '"), "{message}");
    assert!(
        message.ends_with(
            "without excluding split 'train', which the explainer saw; add a condition such as split = 'valid'"
        ),
        "{message}"
    );
}
