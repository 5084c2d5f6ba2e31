//! The sentence encoder against transformers (shared data's README), and its bad inputs.

use std::path::{Path, PathBuf};

use super::TextEncoder;
use super::encoder::SentenceEncoder;
use crate::error::Error;
use crate::models::hub::Hub;

/// The folder of `scripts/fetch_test_models`.
fn models() -> PathBuf {
    std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/neuronlake-models")
    })
}

/// all-MiniLM-L6-v2.
pub(crate) fn minilm() -> SentenceEncoder {
    let folder = models().join("all-MiniLM-L6-v2");
    assert!(folder.is_dir(), "'{}' is missing: run scripts/fetch_test_models", folder.display());
    SentenceEncoder::load(&folder).unwrap()
}

#[derive(serde::Deserialize)]
struct Golden {
    sentences: Vec<String>,
    embeddings: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/golden/minilm_embeddings.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The golden numbers have six decimals; float32 sums in another order differ by less than 1e-6.
#[test]
fn vectors_are_those_of_transformers() {
    let (encoder, golden) = (minilm(), golden());
    let got = encoder.embed(&golden.sentences).unwrap();
    assert_eq!(encoder.width(), 384);
    for ((sentence, got), expected) in golden.sentences.iter().zip(&got).zip(&golden.embeddings) {
        let difference = largest_difference(got, expected);
        assert!(difference < 5e-6, "'{sentence}': differs by {difference}");
        let length: f32 = got.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "'{sentence}': length {length}");
    }
}

#[test]
fn a_vector_is_the_same_bits_alone_and_among_others() {
    let texts: Vec<String> = (0..300).map(|i| "a cat and a dog sat by the fire ".repeat(1 + i % 17)).collect();
    let together = minilm().embed(&texts).unwrap();
    let encoder = minilm();
    for i in [0, 5, 16, 299] {
        assert_eq!(encoder.embed(&texts[i..=i]).unwrap()[0], together[i], "text {i}");
    }
    // A second time, from the vectors kept and not.
    assert_eq!(encoder.embed(&texts).unwrap(), together);
}

#[test]
fn only_the_first_256_tokens_count() {
    let text = |n: usize| "word ".repeat(n);
    let got = minilm().embed(&[text(254), text(255), text(4000), text(253)]).unwrap();
    assert_eq!(got[0], got[1]);
    assert_eq!(got[0], got[2]);
    assert_ne!(got[0], got[3]);
}

#[test]
fn empty_and_strange_texts_have_vectors_too() {
    let texts = ["", " \n", "\u{fffd}", "[SEP]", "\u{4e2d}\u{6587}"].map(str::to_owned);
    for (text, vector) in texts.iter().zip(minilm().embed(&texts).unwrap()) {
        assert!(vector.iter().all(|x| x.is_finite()), "{text:?}");
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5, "{text:?}");
    }
    assert!(minilm().embed(&[]).unwrap().is_empty());
}

#[tokio::test]
async fn it_is_a_text_encoder() {
    let (encoder, golden) = (minilm(), golden());
    let encoder: &dyn TextEncoder = &encoder;
    assert_eq!(encoder.name(), "all-MiniLM-L6-v2");
    let got = encoder.embed_all(&golden.sentences).await.unwrap();
    assert!(largest_difference(&got[3], &golden.embeddings[3]) < 5e-6);
}

#[test]
fn it_is_found_where_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint: String::new(), cache: folder.path().join("hub"), token: None };
    let find = |models: Option<&Path>| SentenceEncoder::default_folder(models, &hub);
    let missing = find(Some(folder.path())).unwrap_err().to_string();
    assert!(missing.contains("neuronlake pull minilm") && missing.contains("NEURONLAKE_MODELS"), "{missing}");
    assert!(find(None).unwrap_err().to_string().contains("(not set)"));
    let repository = hub.cache.join("models--sentence-transformers--all-MiniLM-L6-v2");
    let snapshot = repository.join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), "abc").unwrap();
    // A reference to a snapshot that is not complete is none.
    assert!(find(None).is_err());
    std::fs::write(snapshot.join("config.json"), "{}").unwrap();
    assert_eq!(find(None).unwrap(), snapshot);
    let local = folder.path().join("all-MiniLM-L6-v2");
    std::fs::create_dir(&local).unwrap();
    std::fs::write(local.join("config.json"), "{}").unwrap();
    assert_eq!(find(Some(folder.path())).unwrap(), local);
}

#[test]
fn other_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load = |config: &str| {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        SentenceEncoder::load(folder.path()).unwrap_err()
    };
    assert!(matches!(SentenceEncoder::load(folder.path()), Err(Error::ModelNotFound { .. })));
    assert!(matches!(load("{"), Error::ModelFormat { .. }));
    assert!(matches!(load(r#"{"model_type": "gpt2"}"#), Error::UnsupportedArchitecture { .. }));
    assert!(matches!(load(r#"{"model_type": "bert"}"#), Error::ModelFormat { .. }));
    let sizes = r#""vocab_size": 9, "num_hidden_layers": 1, "intermediate_size": 8, "max_position_embeddings": 16"#;
    let config = |width: usize, act: &str, more: &str| {
        format!(
            r#"{{"model_type": "bert", "hidden_act": "{act}", "hidden_size": {width}, "num_attention_heads": 3, {sizes}{more}}}"#
        )
    };
    assert!(matches!(load(&config(6, "relu", "")), Error::UnsupportedArchitecture { .. }));
    let relative = r#", "position_embedding_type": "relative_key""#;
    assert!(matches!(load(&config(6, "gelu", relative)), Error::UnsupportedArchitecture { .. }));
    assert!(matches!(load(&config(7, "gelu", "")), Error::ModelFormat { .. }));
    assert!(matches!(load(&config(0, "gelu", "")), Error::ModelFormat { .. }));
    assert!(matches!(load(&config(6, "gelu", "")), Error::ModelNotFound { .. }));
}
