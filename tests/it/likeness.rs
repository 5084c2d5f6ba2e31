//! `neuronlake like` and `neuronlake fires`, with a lake and without one.

use crate::support::{ok, refused, small_lake};

fn rows(folder: &std::path::Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let out = ok(folder, &[arguments, &["--format", "jsonl"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn units_like_one_come_most_similar_first_with_their_explanations() {
    let folder = tempfile::tempdir().unwrap();
    for by in ["input", "output", "activations"] {
        let like = ["like", "blocks.0.mlp.hook_post:3", "--by", by, "--lake", small_lake()];
        let found = rows(folder.path(), &[&like[..], &["--top", "50"]].concat());
        assert_eq!(found.len(), 50);
        let similarity = |row: &serde_json::Value| row["similarity"].as_f64().unwrap();
        assert!(found.windows(2).all(|pair| similarity(&pair[0]) >= similarity(&pair[1])), "{by}");
        assert!(found.iter().all(|row| row["layer"] != 0 || row["neuron"] != 3), "the unit itself is left out");
        let explained = rows(
            folder.path(),
            &[&like[..], &["--where", "explanation IS NOT NULL AND score > -1", "--top", "3"]].concat(),
        );
        assert_eq!(explained.len(), 3, "{by}");
        assert!(explained.iter().all(|row| row["neuron"].as_u64().unwrap() < 16 && row["layer"].as_u64().unwrap() < 2));
    }
    let layer = ["like", "blocks.0.mlp.hook_post:3", "--hook", "blocks.2.mlp.hook_post", "--where", "neuron < 5"];
    // Weights need no lake.
    let found = rows(folder.path(), &layer);
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row["layer"] == 2 && row["explanation"].is_null()));
    assert!(folder.path().read_dir().unwrap().next().is_none(), "nothing is written");
    let error = refused(folder.path(), &["like", "blocks.0.mlp.hook_post"], 2);
    assert!(error.contains("expected hook_point:neuron"), "{error}");
}

#[test]
fn units_may_be_like_one_by_what_their_explanations_mean() {
    let folder = tempfile::tempdir().unwrap();
    crate::support::copy_folder(std::path::Path::new(small_lake()), &folder.path().join("lake"));
    let like = ["like", "blocks.0.mlp.hook_post:3", "--by", "explanation", "--lake", "lake"];
    let found = rows(folder.path(), &[&like[..], &["--top", "5"]].concat());
    assert_eq!(found.len(), 5);
    let similarity = |row: &serde_json::Value| row["similarity"].as_f64().unwrap();
    assert!(found.windows(2).all(|pair| similarity(&pair[0]) >= similarity(&pair[1])));
    assert!(found.iter().all(|row| row["layer"] != 0 || row["neuron"] != 3), "the unit itself is left out");
    assert!(similarity(&found[0]) > 0.5 && found[0]["explanation"].is_string(), "{found:?}");
    let layer = rows(folder.path(), &[&like[..], &["--hook", "blocks.1.*", "--where", "neuron > 7"]].concat());
    assert_eq!(layer.len(), 8);
    assert!(layer.iter().all(|row| row["layer"] == 1));
    let error =
        refused(folder.path(), &["like", "blocks.0.mlp.hook_post:99", "--by", "explanation", "--lake", "lake"], 1);
    assert!(error.contains("explanation of unit"), "{error}");
}

#[test]
fn units_that_fire_on_a_text_come_with_the_token_they_fire_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = "The king's horse rode to the castle.";
    let found = rows(folder.path(), &["fires", text, "--lake", small_lake(), "--where", "of_max IS NOT NULL"]);
    assert_eq!(found.len(), 20);
    let share = |row: &serde_json::Value| row["of_max"].as_f64().unwrap();
    assert!(found.windows(2).all(|pair| share(&pair[0]) >= share(&pair[1])));
    assert!(found.iter().all(|row| row["explanation"].is_string() && row["activation"].as_f64().unwrap() > 0.0));
    // Without a lake: no shares, no explanations.
    let found = rows(folder.path(), &["fires", text, "--hook", "blocks.3.mlp.hook_post", "--top", "3"]);
    assert_eq!(found.len(), 3);
    for row in &found {
        assert!(row["of_max"].is_null() && row["explanation"].is_null());
        assert!(text.contains(row["token"].as_str().unwrap().trim()), "{row}");
    }
    let error = refused(folder.path(), &["fires", text, "--model", "./nowhere"], 1);
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_gpu_that_the_program_was_not_built_for_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let selftest = ["selftest", "--small", "--simulator", "local:default", "--device"];
    if cfg!(not(feature = "cuda")) {
        let error = refused(folder.path(), &[&selftest[..], &["cuda:1"]].concat(), 2);
        assert!(error.contains("scripts/build_cuda"), "{error}");
    }
    let error = refused(folder.path(), &[&selftest[..], &["cpu", "--precision", "bf16"]].concat(), 2);
    assert!(error.contains("expected f32 on the processor"), "{error}");
}
