//! Replaced neurons against PyTorch (scripts/make_ablation_reference.py), against whole passes of a changed model, and against
//! themselves.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::super::ablation::{Replacement, divergences};
use super::*;

#[derive(Deserialize)]
struct Reference {
    hook_point: String,
    neuron: u32,
    values: Vec<Option<f32>>,
    divergence: f64,
}

fn hook(model: &SubjectModel, name: &str) -> HookPoint {
    model.select_hook_points(name).unwrap().remove(0)
}

fn replacement(neuron: u32, values: &[f32]) -> Replacement {
    Replacement { neuron, values: values.iter().copied().map(Some).collect() }
}

#[test]
fn divergences_agree_with_pytorch() {
    for name in ["gpt2-tiny", "llama-tiny"] {
        let folder = reference_folder(name);
        let model = reference_model(name);
        let expected = candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
        let token_ids: Vec<i64> = expected["token_ids"].get(0).unwrap().to_vec1().unwrap();
        let token_ids: Vec<u32> = token_ids.into_iter().map(|id| id as u32).collect();
        let rows: Vec<Reference> =
            serde_json::from_slice(&std::fs::read(folder.join("ablation.json")).unwrap()).unwrap();
        assert!(rows.len() > 10);
        for row in &rows {
            let replaced = Replacement { neuron: row.neuron, values: row.values.clone() };
            let found = divergences(&model, &hook(&model, &row.hook_point), &token_ids, &[replaced]).unwrap()[0];
            // PyTorch computed in f64; f32 logits of standard deviation 5 are right to 2e-5.
            let tolerance = 2e-5 * row.divergence.max(0.01);
            assert!(
                (found - row.divergence).abs() < tolerance,
                "{name} {} neuron {}: expected {}, got {found}",
                row.hook_point,
                row.neuron,
                row.divergence
            );
        }
    }
}

#[test]
fn the_true_activations_and_nothing_at_all_change_nothing() {
    for model in [small(), reference_model("llama-tiny")] {
        let token_ids = tokens(40, model.config().n_vocab as u64);
        let kinds = ["*.mlp.hook_post", "*.attn.hook_*", "*.hook_resid_*", "*_out", "*embed"];
        for hook in kinds.iter().flat_map(|pattern| model.select_hook_points(pattern).unwrap()) {
            let read = activations(&model, &token_ids, &[0, 40], std::slice::from_ref(&hook)).remove(hook.name());
            let read = read.unwrap();
            let neuron = hook.width() as u32 - 1;
            let own: Vec<f32> = read.chunks_exact(hook.width()).map(|row| row[neuron as usize]).collect();
            let other: Vec<f32> = own.iter().map(|value| value + 1.0).collect();
            let replacements = [
                replacement(neuron, &own),
                Replacement { neuron, values: vec![None; 40] },
                replacement(neuron, &other),
            ];
            let found = divergences(&model, &hook, &token_ids, &replacements).unwrap();
            // The same bits go through the same layers.
            assert_eq!(found[..2], [0.0, 0.0], "{hook}");
            assert!(found[2] > 1e-9 && found[2] < std::f64::consts::LN_2, "{hook}: {}", found[2]);
        }
    }
}

/// Whole passes, logits in f64.
fn naive(before: &SubjectModel, after: &SubjectModel, token_ids: &[u32]) -> f64 {
    let softmax = |logits: &[f32]| {
        let powers: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect::<Vec<f64>>()
    };
    let n_vocab = before.config().n_vocab;
    let (before, after) = (before.logits(token_ids).unwrap(), after.logits(token_ids).unwrap());
    let positions = before.chunks_exact(n_vocab).zip(after.chunks_exact(n_vocab));
    let half = |p: f64, q: f64| 0.5 * p * (2.0 * p / (p + q)).ln();
    let of_position = |p: Vec<f64>, q: Vec<f64>| p.iter().zip(q).map(|(p, q)| half(*p, q) + half(q, *p)).sum::<f64>();
    positions.map(|(b, a)| of_position(softmax(b), softmax(a))).sum::<f64>() / token_ids.len() as f64
}

/// A neuron that is always `value` is a bias: its output row is taken out of the weights and added to the bias.
#[test]
fn a_constant_is_what_a_model_with_another_bias_gives() {
    let folder = reference_folder("gpt2-tiny");
    let model = reference_model("gpt2-tiny");
    let token_ids = tokens(24, model.config().n_vocab as u64);
    for (layer, neuron, value) in [(0_usize, 0_usize, 0.0_f32), (0, 17, 1.5), (1, 3, -2.0)] {
        let mut tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
        let name = |kind: &str| format!("transformer.h.{layer}.mlp.c_proj.{kind}");
        let weight = tensors[&name("weight")].to_dtype(DType::F32).unwrap();
        let row = weight.get(neuron).unwrap();
        let (width, d_model) = weight.dims2().unwrap();
        let keep: Vec<f32> = (0..width).map(|i| f32::from(u8::from(i != neuron))).collect();
        let keep = Tensor::from_vec(keep, (width, 1), &Device::Cpu).unwrap();
        let bias = (tensors[&name("bias")].clone() + row.affine(f64::from(value), 0.0).unwrap()).unwrap();
        assert_eq!(bias.dims(), [d_model]);
        tensors.insert(name("weight"), weight.broadcast_mul(&keep).unwrap());
        tensors.insert(name("bias"), bias);
        let changed = tempfile::tempdir().unwrap();
        candle_core::safetensors::save(&tensors, changed.path().join("model.safetensors")).unwrap();
        let weights = SafetensorsFiles::open(changed.path()).unwrap();
        let after = SubjectModel::without_tokenizer(
            "changed".to_owned(),
            model.config().clone(),
            &weights,
            String::new(),
            changed.path(),
        )
        .unwrap();
        let expected = naive(&model, &after, &token_ids);
        let hook = hook(&model, &format!("blocks.{layer}.mlp.hook_post"));
        let found = divergences(&model, &hook, &token_ids, &[replacement(neuron as u32, &[value; 24])]).unwrap()[0];
        // Logits move by 0.01 to 1 here, and f32 keeps them to 1e-6.
        assert!((found - expected).abs() < 2e-4 * expected, "{hook} {neuron}: expected {expected}, got {found}");
    }
}

#[test]
fn replacements_do_not_depend_on_each_other_nor_on_threads() {
    let model = small();
    let hook = hook(&model, "blocks.0.mlp.hook_post");
    // More replacements and positions than one tile or one chunk holds, and more tokens than are held at once.
    let token_ids = tokens(37, 211);
    let replacements: Vec<Replacement> = (0..450_u32)
        .map(|i| {
            let values = tokens(37 + i as usize, 100).into_iter().skip(i as usize).map(|v| v as f32 / 20.0);
            Replacement { neuron: i % 240, values: values.map(Some).collect() }
        })
        .collect();
    let together = divergences(&model, &hook, &token_ids, &replacements).unwrap();
    for (i, replacement) in replacements.iter().enumerate() {
        let alone = divergences(&model, &hook, &token_ids, std::slice::from_ref(replacement)).unwrap();
        assert_eq!(alone, together[i..=i], "replacement {i}");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| divergences(&model, &hook, &token_ids, &replacements)).unwrap(), together);
    assert!(together.iter().all(|divergence| *divergence > 0.0));
}

#[test]
fn what_cannot_be_replaced_says_so() {
    let model = small();
    let post = hook(&model, "blocks.0.mlp.hook_post");
    let one = |hook: &HookPoint, neuron, values: &[f32], token_ids: &[u32]| {
        divergences(&model, hook, token_ids, &[replacement(neuron, values)]).map_err(|error| error.to_string())
    };
    let pre = hook(&model, "blocks.0.mlp.hook_pre");
    assert_eq!(
        one(&pre, 0, &[0.0], &[1]).unwrap_err(),
        "hook point: expected one that writes to the residual stream, such as blocks.0.mlp.hook_post, \
         got 'blocks.0.mlp.hook_pre'"
    );
    assert!(one(&post, 240, &[0.0], &[1]).unwrap_err().contains("240"), "neuron out of range");
    assert!(one(&post, 0, &[0.0, 0.0], &[1]).unwrap_err().contains("expected equal lengths, got 1 and 2"));
    assert!(one(&post, 0, &[f32::NAN], &[1]).unwrap_err().contains("expected finite values, got 'NaN'"));
    assert!(one(&post, 0, &[0.0], &[211]).unwrap_err().contains("token id 211"));
    assert_eq!(one(&post, 0, &[], &[]).unwrap(), [0.0]);
    assert!(divergences(&model, &post, &[1], &[]).unwrap().is_empty());
}
