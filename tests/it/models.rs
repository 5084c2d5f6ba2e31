//! Runs on real files: a Hugging Face folder, a llama2.c file, a GGUF file.

use std::path::PathBuf;

use crate::support::{assert_same, model_folder, number, run, shared, small_lake, values, written};

#[test]
fn a_hugging_face_folder_gives_what_the_same_model_inside_gives() {
    let folder = tempfile::tempdir().unwrap();
    model_folder(folder.path(), "neuronlake-default");
    run(folder.path(), "lake", &[&crate::support::SMALL[..], &["--model", "./neuronlake-default"]].concat());
    assert_same(&values(folder.path(), "lake"), &values(folder.path(), small_lake()));
}

#[test]
fn a_llama2c_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let model = shared("stories260k/stories260K.bin");
    let corpus = shared("corpus/stories260k-samples/*.txt");
    let summary = written(&run(
        folder.path(),
        "lake",
        &["--model", &model, "--corpus", &corpus, "--layers", "0,4", "--neurons", "0-31", "--limit", "60"],
    ));
    assert_eq!((summary["documents"], summary["neurons"], summary["explanations"]), (60, 64, 64));
    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    assert_eq!(number(lake, "SELECT count(*) FROM neurons WHERE model <> 'stories260K'"), 0);
    assert!(number(lake, "SELECT count(*) FROM best_explanations WHERE value > control") > 32);
    // The first token of a window is masked in this family.
    assert_eq!(number(lake, "SELECT count(*) FROM activation_records WHERE activations[1] <> 0"), 0);
}

#[test]
fn a_gguf_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let fetched = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from);
    let fetched =
        fetched.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/neuronlake-models"));
    let model = fetched.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(model.is_file(), "'{}' is missing: run scripts/fetch_test_models", model.display());
    let corpus = shared("corpus/masc/fiction.txt");
    let chosen = ["--layers", "9,21", "--neurons", "0-31", "--limit", "8", "--document-chars", "1000"];
    let summary = written(&run(
        folder.path(),
        "lake",
        &[&["--model", model.to_str().unwrap(), "--corpus", &corpus], &chosen[..]].concat(),
    ));
    assert_eq!((summary["documents"], summary["neurons"], summary["explanations"]), (8, 64, 64));
    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    assert_eq!(
        number(
            lake,
            "SELECT count(*) FROM neurons WHERE hook_point NOT IN ('blocks.9.mlp.hook_post', 'blocks.21.mlp.hook_post')"
        ),
        0
    );
    assert_eq!(number(lake, "SELECT count(*) FROM neurons WHERE variance > 0 AND min < max"), 64);
}
