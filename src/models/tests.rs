//! Whole models: parity with reference implementations, independence of the tile, and what a damaged model says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::ModelConfig;
use super::forward::Scratch;
use super::hook_points::HookPoint;
use super::source::ModelSource;
use super::subject_model::{Gpt2Shape, SubjectModel};
use super::token_batch::TokenBatch;
use super::weights::safetensors::SafetensorsFiles;
use crate::error::Error;

mod ablation;
mod damaged;
mod real;
mod reference;

fn reference_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference").join(name)
}

/// A reference model; its folder has no tokenizer.
fn reference_model(name: &str) -> SubjectModel {
    let folder = reference_folder(name);
    let path = folder.join("config.json");
    let config = ModelConfig::from_hugging_face(&std::fs::read(&path).unwrap(), &path).unwrap();
    let weights = SafetensorsFiles::open(&folder).unwrap();
    SubjectModel::without_tokenizer(name.to_owned(), config, &weights, String::new(), &folder).unwrap()
}

/// Values at each hook point, by name, from one forward pass.
fn activations(
    model: &SubjectModel,
    token_ids: &[u32],
    offsets: &[usize],
    hooks: &[HookPoint],
) -> BTreeMap<String, Vec<f32>> {
    let mut values = BTreeMap::new();
    let batch = TokenBatch::new(token_ids, offsets).unwrap();
    let mut sink = |hook: usize, rows: &[f32]| {
        assert_eq!(rows.len(), token_ids.len() * hooks[hook].width());
        assert!(values.insert(hooks[hook].name().to_owned(), rows.to_vec()).is_none(), "read twice: {}", hooks[hook]);
    };
    model.forward(&batch, hooks, &mut sink, &mut Scratch::default()).unwrap();
    assert_eq!(values.len(), hooks.len(), "every hook point is read");
    values
}

fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < tolerance, "{name}[{i}]: expected {expected}, got {got}");
    }
}

/// A small GPT-2 whose dimensions fill no tile.
fn small() -> SubjectModel {
    let shape = Gpt2Shape { n_vocab: 211, n_layers: 2, d_model: 60, n_heads: 5, n_context: 80 };
    SubjectModel::random_gpt2(shape, 7).unwrap()
}

fn tokens(n: usize, n_vocab: u64) -> Vec<u32> {
    (0..n as u64).map(|i| (crate::random::mix(3, i, 0) % n_vocab) as u32).collect()
}

#[test]
fn a_window_has_the_same_activations_in_any_tile_and_on_any_thread() {
    for model in [small(), reference_model("llama-tied")] {
        let n_vocab = model.config().n_vocab as u64;
        let context = model.config().n_context;
        // Windows of 64 tokens among shorter and longer ones, as at the ends of documents.
        let lengths = [64, 64, 17, 64, 1, 64, context, 3];
        let windows: Vec<Vec<u32>> =
            lengths.iter().enumerate().map(|(i, n)| tokens(n + i, n_vocab)[i..].to_vec()).collect();
        let alone: Vec<_> =
            windows.iter().map(|w| activations(&model, w, &[0, w.len()], model.hook_points())).collect();
        for tile in [vec![0, 1, 2], vec![2, 1, 0], vec![7, 6, 5, 4, 3, 2, 1, 0], vec![4, 4, 3]] {
            let token_ids: Vec<u32> = tile.iter().flat_map(|i| windows[*i].clone()).collect();
            let mut offsets = vec![0];
            tile.iter().for_each(|i: &usize| offsets.push(offsets[offsets.len() - 1] + windows[*i].len()));
            let together = std::thread::scope(|scope| {
                let run = || activations(&model, &token_ids, &offsets, model.hook_points());
                let threads: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            for together in together {
                for hook in model.hook_points() {
                    for (i, window) in tile.iter().enumerate() {
                        let rows = &together[hook.name()][offsets[i] * hook.width()..offsets[i + 1] * hook.width()];
                        assert_eq!(rows, alone[*window][hook.name()], "{hook}, window {window} in {tile:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn reading_some_hook_points_gives_what_reading_all_gives() {
    for model in [small(), reference_model("llama-tiny")] {
        let token_ids = tokens(20, model.config().n_vocab as u64);
        let all = activations(&model, &token_ids, &[0, 20], model.hook_points());
        for hook in model.hook_points() {
            let one = activations(&model, &token_ids, &[0, 20], std::slice::from_ref(hook));
            assert_eq!(one[hook.name()], all[hook.name()], "{hook}");
        }
        // The order asked for does not matter, and nothing is also a request.
        let reversed: Vec<HookPoint> = model.hook_points().iter().rev().cloned().collect();
        assert_eq!(activations(&model, &token_ids, &[0, 20], &reversed), all);
        assert!(activations(&model, &token_ids, &[0, 20], &[]).is_empty());
        assert!(model.logits(&[]).unwrap().is_empty());
    }
}

#[test]
fn a_scratch_that_ran_a_longer_tile_gives_the_same_bits() {
    let model = small();
    let hooks = model.select_hook_points("*").unwrap();
    let (long, short) = (tokens(80, 211), tokens(5, 211));
    let mut scratch = Scratch::default();
    model.forward(&TokenBatch::new(&long, &[0, 80]).unwrap(), &hooks, &mut |_, _| (), &mut scratch).unwrap();
    let fresh = activations(&model, &short, &[0, 5], &hooks);
    let mut sink = |hook: usize, rows: &[f32]| assert_eq!(rows, fresh[hooks[hook].name()], "{}", hooks[hook]);
    model.forward(&TokenBatch::new(&short, &[0, 5]).unwrap(), &hooks, &mut sink, &mut scratch).unwrap();
}

#[test]
fn hook_points_are_listed_in_order_and_selected_by_pattern() {
    let names = |hooks: &[HookPoint]| hooks.iter().map(|hook| hook.name().to_owned()).collect::<Vec<_>>();
    let model = small();
    assert_eq!(
        names(&model.hook_points()[..12]),
        [
            "hook_embed",
            "hook_pos_embed",
            "blocks.0.hook_resid_pre",
            "blocks.0.attn.hook_z",
            "blocks.0.attn.hook_result",
            "blocks.0.hook_attn_out",
            "blocks.0.hook_resid_mid",
            "blocks.0.mlp.hook_pre",
            "blocks.0.mlp.hook_post",
            "blocks.0.hook_mlp_out",
            "blocks.0.hook_resid_post",
            "blocks.1.hook_resid_pre",
        ]
    );
    let select = |pattern: &str| names(&model.select_hook_points(pattern).unwrap());
    assert_eq!(select("blocks.*.mlp.hook_post"), ["blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post"]);
    assert_eq!(
        select("*.1.*resid*"),
        ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"]
    );
    assert_eq!(select("hook_embed"), ["hook_embed"]);
    assert_eq!(select("*").len(), 21);
    let result = &model.select_hook_points("blocks.1.attn.hook_result").unwrap()[0];
    assert_eq!((result.layer(), result.width()), (Some(1), 300));
    let llama = reference_model("llama-tiny");
    assert!(llama.select_hook_points("hook_pos_embed").is_err());
    assert_eq!(llama.select_hook_points("*.hook_pre_linear").unwrap().len(), 2);
}

#[test]
fn an_unknown_hook_point_names_the_nearest() {
    let check = |pattern: &str, message: &str| {
        assert_eq!(small().select_hook_points(pattern).unwrap_err().to_string(), message)
    };
    check(
        "blocks.1.mlp.hook_pots",
        "the model has no hook point 'blocks.1.mlp.hook_pots'; the nearest is 'blocks.1.mlp.hook_post'",
    );
    check(
        "blocks.*.mlp.post",
        "the model has no hook point 'blocks.*.mlp.post'; the nearest is 'blocks.0.mlp.hook_post'",
    );
    let other = reference_model("llama-tiny").select_hook_points("blocks.1.mlp.hook_pre_linear").unwrap();
    let batch = TokenBatch::new(&[1], &[0, 1]).unwrap();
    let error = small().forward(&batch, &other, &mut |_, _| (), &mut Scratch::default()).unwrap_err();
    assert!(matches!(error, Error::HookPointUnknown { .. }), "{error}");
}

#[test]
fn a_batch_that_does_not_fit_the_model_is_refused() {
    let model = small();
    let error = model.logits(&tokens(81, 211)).unwrap_err();
    assert_eq!(error.to_string(), "token sequence: expected at most 80 tokens, got 81");
    assert_eq!(model.logits(&[4, 211]).unwrap_err().to_string(), "token id 211: expected an id below 211");
    for offsets in [&[0, 1][..], &[1, 2], &[0, 2, 1, 2], &[]] {
        assert!(matches!(TokenBatch::new(&[4, 5], offsets), Err(Error::Internal { .. })), "{offsets:?}");
    }
}

#[test]
fn the_embedded_model_reads_prose() {
    let model = SubjectModel::load(&ModelSource::from("default")).unwrap();
    assert_eq!(model.id(), "neuronlake-default");
    assert_eq!(model.weights_hash().len(), 64);
    let tokenizer = model.tokenizer().unwrap();
    let text = "It was a fine day, and she walked to the house of her sister.";
    let token_ids: Vec<u32> =
        tokenizer.bos_token_id().into_iter().chain(tokenizer.encode(text).unwrap().token_ids).collect();
    assert!(tokenizer.decode(&token_ids).ends_with(text));
    let loss = mean_loss(&model, &token_ids);
    let uniform = (model.config().n_vocab as f64).ln();
    assert!(loss < 0.75 * uniform, "expected a trained model, got {loss} nats a token, guessing is {uniform}");
}

/// A vocabulary of 101 words for the reference models, which have none.
fn write_word_tokenizer(folder: &Path) {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..101).map(|i| (format!("t{i}"), i.into())).collect();
    let model = serde_json::json!({ "type": "WordLevel", "vocab": vocabulary, "unk_token": "t0" });
    std::fs::write(folder.join("tokenizer.json"), serde_json::json!({ "version": "1.0", "model": model }).to_string())
        .unwrap();
}

#[test]
fn a_model_is_named_by_its_folder_or_by_its_repository_on_the_hub() {
    let root = tempfile::tempdir().unwrap();
    for (folder, id) in [("my-model.v2", "my-model.v2"), ("models--owner--some-name/snapshots/0123abcd", "some-name")] {
        let folder = root.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(reference_folder("gpt2-tiny").join(file), folder.join(file)).unwrap();
        }
        write_word_tokenizer(&folder);
        let model = SubjectModel::load(&ModelSource::Path(folder)).unwrap();
        assert_eq!(model.id(), id);
        assert_eq!((model.weights_hash().len(), model.tokenizer_hash().unwrap().len()), (64, 64));
        assert_eq!(model.logits(&[1, 2]).unwrap(), reference_model("gpt2-tiny").logits(&[1, 2]).unwrap());
    }
}

/// Mean negative log-likelihood of each token after the first, in nats.
fn mean_loss(model: &SubjectModel, token_ids: &[u32]) -> f64 {
    let logits = model.logits(token_ids).unwrap();
    let rows = logits.chunks_exact(model.config().n_vocab).zip(&token_ids[1..]);
    let losses = rows.map(|(row, next)| {
        let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        total.ln() - f64::from(row[*next as usize])
    });
    losses.sum::<f64>() / (token_ids.len() - 1) as f64
}
