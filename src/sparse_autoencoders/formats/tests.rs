//! What is read computes what the library that wrote it computes (fixtures: scripts/make_sae_fixtures.py).

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::autoencoder::{Activation, Architecture, DecoderBias, InputNormalization, RowMean};
use crate::codes::Codes;
use crate::tensors::Tensors;
use crate::training::config::{Method, TrainingConfig};
use crate::training::trainer::{Batch, Trainer};

fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if name.starts_with("openai") { path.join("sae.pt") } else { path }
}

#[track_caller]
fn near(name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        // Sums of at most 24 products in f32, in another order.
        assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{name}, value {at}: {got} is not {expected}");
    }
}

/// Codes and reconstructions of an autoencoder against those its library computed.
#[track_caller]
fn agrees(name: &str, autoencoder: &SparseAutoencoder) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let mut expected = Tensors::read_safetensors(&folder.join("expected.safetensors")).unwrap();
    let config = &autoencoder.config;
    let n_rows = expected.shape("inputs").unwrap()[0];
    let inputs = expected.take("inputs", &[n_rows, config.n_inputs]).unwrap();
    let mut codes = Codes::default();
    let mut out = vec![0.0; n_rows * config.n_outputs];
    autoencoder.reconstruct(&inputs, &mut codes, &mut out).unwrap();
    let mut dense = vec![0.0; n_rows * config.n_latents];
    autoencoder.encode_dense(&inputs, &mut dense).unwrap();
    near(name, &dense, &expected.take("codes", &[n_rows, config.n_latents]).unwrap());
    near(name, &out, &expected.take("reconstructions", &[n_rows, config.n_outputs]).unwrap());
}

#[test]
fn every_format_computes_what_its_library_computes() {
    let mut names: Vec<String> =
        fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 24);
    for name in names {
        let imported = read(&fixture(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(name.starts_with(imported.format.name()), "{name}: {:?}", imported.format);
        agrees(&name, &imported.autoencoder);
    }
}

#[test]
fn files_say_where_an_autoencoder_belongs() {
    let of = |name: &str| {
        let imported = read(&fixture(name)).unwrap();
        (imported.model.unwrap_or_default(), imported.hook_point.unwrap_or_default())
    };
    let saelens = ("gpt2-small".to_owned(), "blocks.8.hook_resid_pre".to_owned());
    assert_eq!(of("saelens_standard"), saelens);
    assert_eq!(of("saelens_5_standard"), saelens);
    let pythia = ("EleutherAI/pythia-70m-deduped".to_owned(), "resid_post_layer_3".to_owned());
    assert_eq!(of("dictionary_learning_topk"), pythia);
    assert_eq!(of("openai_v5"), Default::default());
}

#[test]
fn configurations_are_those_of_the_files() {
    let of = |name: &str| read(&fixture(name)).unwrap().autoencoder.config;
    let openai = of("openai_v5");
    assert_eq!(openai.activation, Activation::TopK { k: 4 });
    assert_eq!(openai.input_normalization, InputNormalization::LayerNorm { epsilon: 1e-5 });
    assert_eq!(of("openai_v1").input_normalization, InputNormalization::None);
    assert_eq!(of("sparsify_skip_transcoder").decoder_bias, DecoderBias::NotSubtracted);
    assert_eq!(of("dictionary_learning_matryoshka").architecture, Architecture::Matryoshka);
    assert_eq!(of("gemma_scope_transcoder").n_outputs, 5);
}

/// Copies a fixture and changes one of its files.
fn changed(name: &str, file: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
    folder
}

#[track_caller]
fn refuses(name: &str, file: &str, from: &str, to: &str, says: &str) {
    let folder = changed(name, file, |text| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    });
    let error = read(folder.path()).unwrap_err().to_string();
    assert!(error.contains(says) && error.contains(folder.path().to_str().unwrap()), "{error}");
}

#[test]
fn what_is_left_open_is_refused() {
    let cfg = "cfg.json";
    refuses("saelens_topk", cfg, "\"k\": 4, ", "", "field 'k': it to be there");
    refuses("saelens_topk", cfg, "\"apply_b_dec_to_input\": true, ", "", "'apply_b_dec_to_input'");
    refuses("saelens_topk", cfg, "\"topk\"", "\"temporal\"", "architecture 'temporal' cannot be read");
    refuses("saelens_topk", cfg, "\"d_sae\": 24", "\"d_sae\": 25", "field 'd_sae': 24");
    refuses(
        "saelens_standard",
        cfg,
        "\"normalize_activations\": \"none\"",
        "\"normalize_activations\": \"covariance_whitening\"",
        "covariance_whitening",
    );
    refuses(
        "saelens_standard",
        cfg,
        "\"normalize_activations\": \"none\"",
        "\"normalize_activations\": \"expected_average_only_in\"",
        "not stored",
    );
    refuses(
        "saelens_5_standard",
        cfg,
        "\"normalize_activations\": false",
        "\"normalize_activations\": true",
        "not stored",
    );
    refuses(
        "saelens_5_topk",
        cfg,
        "\"activation_fn_str\": \"topk\"",
        "\"activation_fn_str\": \"tanh-relu\"",
        "tanh-relu",
    );
    refuses(
        "saelens_jumprelu_skip_transcoder",
        cfg,
        "jumprelu_skip_transcoder",
        "jumprelu_transcoder",
        "skip connection",
    );
    refuses("sparsify_topk", cfg, "\"topk\"", "\"groupmax\"", "groupmax");
    refuses("sparsify_topk", cfg, "\"k\": 4", "\"k\": null", "field 'k'");
    refuses("sparsify_topk", cfg, "\"skip_connection\": false", "\"skip_connection\": true", "skip_connection");
    let config = "config.json";
    refuses("dictionary_learning_relu", config, "\"AutoEncoder\"", "\"AutoEncoderNew\"", "AutoEncoderNew");
    refuses("dictionary_learning_relu", config, "\"dict_class\": \"AutoEncoder\", ", "", "trainer.dict_class");
    refuses("dictionary_learning_relu", config, "\"AutoEncoder\"", "\"AutoEncoderTopK\"", "'k'");
    let embedding = tempfile::tempdir().unwrap();
    let folder = embedding.path().join("embedding");
    fs::create_dir(&folder).unwrap();
    fs::copy(fixture("gemma_scope").join("params.npz"), folder.join("params.npz")).unwrap();
    assert!(read(&folder).unwrap_err().to_string().contains("√d"));
    assert!(read(embedding.path()).unwrap_err().to_string().contains("expected a folder with"));
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae.pt");
    let whole = fs::read(fixture("openai_v5")).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(read(&path), Err(Error::Format { .. })), "{length}");
    }
    fs::write(folder.path().join("params.npz"), b"PK").unwrap();
    assert!(matches!(read(folder.path()), Err(Error::Format { .. })));
}

#[test]
fn a_compressed_archive_that_is_damaged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("params.npz");
    let whole = fs::read(fixture("gemma_scope_compressed").join("params.npz")).unwrap();
    assert_eq!(
        read(&fixture("gemma_scope_compressed")).unwrap().autoencoder,
        read(&fixture("gemma_scope")).unwrap().autoencoder
    );
    let damage = |at: usize, with: u8| {
        let mut bytes = whole.clone();
        bytes[at] = with;
        fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err().to_string()
    };
    let directory = whole.windows(4).position(|bytes| bytes == [0x50, 0x4b, 1, 2]).unwrap();
    // The method, and the size once unpacked, of the first member.
    let error = damage(directory + 10, 12);
    assert!(error.contains("'W_enc.npy' stored or deflated, got compression method 12"), "{error}");
    let error = damage(directory + 24, 1);
    assert!(error.contains("member 'W_enc.npy' of"), "{error}");
    // The first byte of its compressed data: a block of a kind that there is not.
    let data = 30 + usize::from(whole[26]) + usize::from(whole[28]);
    let error = damage(data, 0xff);
    assert!(error.contains("'W_enc.npy'"), "{error}");
}

#[test]
fn files_say_whether_the_stream_was_centred() {
    let of = |name: &str, from: &str, to: &str| {
        let folder = changed(name, "cfg.json", |text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        });
        read(folder.path()).map(|imported| imported.writing_weights)
    };
    let hook = "\"hook_name\": \"blocks.8.hook_resid_pre\"";
    let loaded = |with: &str| format!("{hook}, \"model_from_pretrained_kwargs\": {{{with}}}");
    let current = |with: &str| of("saelens_standard", hook, &loaded(with)).unwrap();
    assert_eq!(current("\"center_writing_weights\": true"), WritingWeights::Centred);
    assert_eq!(current("\"center_writing_weights\": false"), WritingWeights::AsTheyAre);
    assert_eq!(current(""), WritingWeights::AsTheyAre, "version 6 loads models without processing");
    assert_eq!(read(&fixture("saelens_standard")).unwrap().writing_weights, WritingWeights::AsTheyAre);
    assert_eq!(read(&fixture("saelens_5_standard")).unwrap().writing_weights, WritingWeights::Unsaid);
    let old = |version: &str| {
        of("saelens_5_topk", hook, &format!("{hook}, \"sae_lens_training_version\": \"{version}\"")).unwrap()
    };
    assert_eq!(old("5.10.2"), WritingWeights::AsTheyAre);
    assert_eq!(old("2.1.3"), WritingWeights::Unsaid);
    assert_eq!(
        of("saelens_5_topk", hook, &loaded("\"center_writing_weights\": true")).unwrap(),
        WritingWeights::Centred
    );
    assert_eq!(read(&fixture("gemma_scope")).unwrap().writing_weights, WritingWeights::AsTheyAre);

    // Folding changes what a norm gives, and not the stream before it.
    let folded = |hook_name: &str| {
        let place = format!("\"hook_name\": \"{hook_name}\", \"model_from_pretrained_kwargs\": {{\"fold_ln\": true}}");
        of("saelens_standard", hook, &place)
    };
    assert_eq!(folded("blocks.8.hook_resid_pre").unwrap(), WritingWeights::AsTheyAre);
    let error = folded("blocks.8.ln2.hook_normalized").unwrap_err().to_string();
    assert!(error.contains("'fold_ln', which changes the values of 'hook_normalized'"), "{error}");
}

#[test]
fn a_stored_or_given_scale_is_used_and_folds_away() {
    let folder = changed("saelens_standard", "cfg.json", |text| {
        text.replace("\"none\", \"r", "\"expected_average_only_in\", \"r")
    });
    fs::write(folder.path().join("activation_scaler.json"), "{\"scaling_factor\": 2.5}").unwrap();
    let stored = read(folder.path()).unwrap().autoencoder;
    assert_eq!(stored.config.input_normalization, InputNormalization::Scale { inputs: 2.5, outputs: 2.5 });
    assert_eq!(saelens::read_with_scale(folder.path(), 2.5).unwrap().autoencoder, stored);
    assert!(saelens::read_with_scale(folder.path(), 0.0).is_err());
    assert!(saelens::read_with_scale(&fixture("saelens_standard"), 2.0).is_err());
    folds(&stored, |autoencoder| autoencoder.fold_input_scale());
}

fn rows(n: usize) -> Vec<f32> {
    let mut random = crate::random::Random::seeded(3);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Reconstructions are what they were, to 1e-5.
#[track_caller]
fn folds(autoencoder: &SparseAutoencoder, fold: impl Fn(&mut SparseAutoencoder)) {
    let inputs = rows(50 * autoencoder.config.n_inputs);
    let run = |autoencoder: &SparseAutoencoder| {
        let mut out = vec![0.0; 50 * autoencoder.config.n_outputs];
        let mut codes = Codes::default();
        autoencoder.reconstruct(&inputs, &mut codes, &mut out).unwrap();
        (codes.latents, out)
    };
    let mut folded = autoencoder.clone();
    fold(&mut folded);
    assert_ne!(&folded, autoencoder);
    let (before, after) = (run(autoencoder), run(&folded));
    assert_eq!(before.0, after.0);
    near("folded", &after.1, &before.1);
}

#[test]
fn scales_and_norms_fold_into_the_weights() {
    for name in
        ["saelens_standard", "saelens_jumprelu", "saelens_gated", "saelens_topk", "saelens_jumprelu_skip_transcoder"]
    {
        let mut autoencoder = read(&fixture(name)).unwrap().autoencoder;
        if !matches!(autoencoder.config.activation, Activation::TopK { .. }) {
            folds(&autoencoder, |autoencoder| autoencoder.fold_decoder_norms().unwrap());
        } else {
            assert!(autoencoder.fold_decoder_norms().is_err());
        }
        // Inputs and outputs have two scales only where they are two kinds of activations.
        let outputs = if autoencoder.w_skip.is_some() { 0.3 } else { 1.7 };
        autoencoder.config.input_normalization = InputNormalization::Scale { inputs: 1.7, outputs };
        folds(&autoencoder, SparseAutoencoder::fold_input_scale);
    }
}

#[test]
fn what_is_written_for_saelens_reads_back() {
    let metadata = saelens::export::Metadata {
        model_name: Some("gpt2".to_owned()),
        hook_name: Some("blocks.0.hook_mlp_out".to_owned()),
        hook_name_out: None,
    };
    for entry in fs::read_dir(fixture("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mut autoencoder = read(&fixture(&name)).unwrap().autoencoder;
        let folder = tempfile::tempdir().unwrap();
        let written = saelens::export::write(&autoencoder, &metadata, folder.path());
        if name == "sparsify_skip_transcoder" {
            // SAELens has no TopK transcoder with a skip connection.
            assert!(written.unwrap_err().to_string().contains("'activation'"));
            continue;
        }
        written.unwrap();
        let again = read(folder.path()).unwrap();
        assert_eq!(again.model.as_deref(), Some("gpt2"));
        assert_eq!(again.writing_weights, WritingWeights::AsTheyAre);
        agrees(&name, &again.autoencoder);
        // The architecture's history is not kept, and thresholds only where they are used.
        autoencoder.config.architecture = again.autoencoder.config.architecture;
        if again.autoencoder.thresholds.is_none() {
            autoencoder.thresholds = None;
        }
        assert_eq!(again.autoencoder, autoencoder, "{name}");
    }
}

#[test]
fn what_saelens_cannot_hold_is_refused() {
    let config =
        TrainingConfig::with_method(Method::JumpRelu { l0: 0.1, bandwidth: 0.1, initial_threshold: 0.1 }, 6, 24, 4, 10);
    let mut autoencoder = Trainer::new(config, Batch::of(&rows(24))).unwrap().finish();
    let folder = tempfile::tempdir().unwrap();
    let metadata = saelens::export::Metadata::default();
    autoencoder.config.input_normalization = InputNormalization::UnitNorm;
    let error = saelens::export::write(&autoencoder, &metadata, folder.path()).unwrap_err().to_string();
    assert!(error.contains("'input_normalization'"), "{error}");
    autoencoder.config.input_normalization = InputNormalization::None;
    autoencoder.config.row_mean = RowMean::Removed;
    saelens::export::write(&autoencoder, &metadata, folder.path()).unwrap();
    assert_eq!(read(folder.path()).unwrap().writing_weights, WritingWeights::Centred);
    autoencoder.thresholds.as_mut().unwrap()[3] = -0.5;
    let error = saelens::export::write(&autoencoder, &metadata, folder.path()).unwrap_err().to_string();
    assert!(error.contains("'thresholds'") && error.contains("-0.5"), "{error}");
}
