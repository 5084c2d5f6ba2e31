//! Every hook point of tiny models against PyTorch (scripts/make_reference_models.py).

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::super::config::{Rotary, RotaryScaling};
use super::*;

/// PyTorch and the kernels here both compute in f32; sums are taken in another order.
const TOLERANCE: f32 = 1e-3;

fn expected(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(reference_folder(name).join("expected.safetensors"), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Checks logits, every hook point and every attention pattern.
fn check(name: &str) {
    let model = reference_model(name);
    let mut expected = expected(name);
    let token_ids = expected.remove("token_ids").unwrap();
    let (n_sequences, length) = token_ids.dims2().unwrap();
    let token_ids: Vec<u32> = values(&token_ids).iter().map(|id| *id as u32).collect();
    let offsets: Vec<usize> = (0..=n_sequences).map(|i| i * length).collect();

    let logits: Vec<f32> =
        token_ids.chunks_exact(length).flat_map(|sequence| model.logits(sequence).unwrap()).collect();
    assert_close("logits", &logits, &values(&expected.remove("logits").unwrap()), TOLERANCE);
    for layer in 0..model.config().n_layers {
        let hook = format!("blocks.{layer}.attn.hook_pattern");
        let patterns: Vec<f32> = token_ids
            .chunks_exact(length)
            .flat_map(|sequence| model.attention_pattern(sequence, layer).unwrap())
            .collect();
        assert_close(&hook, &patterns, &values(&expected.remove(&hook).unwrap()), TOLERANCE);
    }
    let got = activations(&model, &token_ids, &offsets, model.hook_points());
    assert_eq!(
        got.keys().cloned().collect::<std::collections::BTreeSet<_>>(),
        expected.keys().cloned().collect(),
        "hook points"
    );
    for (hook, got) in &got {
        assert_close(hook, got, &values(&expected[hook]), TOLERANCE);
    }
}

#[test]
fn gpt2_agrees_with_pytorch_at_every_hook_point() {
    check("gpt2-tiny");
}

#[test]
fn llama_agrees_with_pytorch_at_every_hook_point() {
    check("llama-tiny");
}

#[test]
fn llama_with_a_tied_head_and_its_own_head_width_agrees_with_pytorch() {
    check("llama-tied");
}

#[test]
fn tensor_names_without_their_prefix_and_in_several_files_give_the_same_model() {
    for (name, prefix) in [("gpt2-tiny", "transformer."), ("llama-tiny", "model.")] {
        let folder = tempfile::tempdir().unwrap();
        let source = reference_folder(name);
        std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
        let tensors = candle_core::safetensors::load(source.join("model.safetensors"), &Device::Cpu).unwrap();
        let mut files = [HashMap::new(), HashMap::new()];
        let mut index = serde_json::Map::new();
        for (i, (name, tensor)) in tensors.into_iter().enumerate() {
            let name = name.strip_prefix(prefix).unwrap_or(&name).to_owned();
            index.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
            files[i % 2].insert(name, tensor);
        }
        for (i, tensors) in files.iter().enumerate() {
            candle_core::safetensors::save(tensors, folder.path().join(format!("part-{i}.safetensors"))).unwrap();
        }
        let index = serde_json::json!({ "weight_map": index }).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        let path = folder.path().join("config.json");
        let config = ModelConfig::from_hugging_face(&std::fs::read(&path).unwrap(), &path).unwrap();
        let weights = SafetensorsFiles::open(folder.path()).unwrap();
        let model =
            SubjectModel::without_tokenizer(name.to_owned(), config, &weights, String::new(), folder.path()).unwrap();
        assert_eq!(model.logits(&[1, 2, 3]).unwrap(), reference_model(name).logits(&[1, 2, 3]).unwrap());
    }
}

#[test]
fn half_precision_weights_are_widened() {
    for dtype in [DType::F16, DType::BF16] {
        let folder = tempfile::tempdir().unwrap();
        let source = reference_folder("gpt2-tiny");
        let tensors = candle_core::safetensors::load(source.join("model.safetensors"), &Device::Cpu).unwrap();
        let narrow: HashMap<String, Tensor> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.to_dtype(dtype).unwrap())).collect();
        candle_core::safetensors::save(&narrow, folder.path().join("model.safetensors")).unwrap();
        let rounded = narrow["transformer.wte.weight"].to_dtype(DType::F32).unwrap();
        let config = reference_model("gpt2-tiny").config().clone();
        let weights = SafetensorsFiles::open(folder.path()).unwrap();
        let model =
            SubjectModel::without_tokenizer("x".to_owned(), config, &weights, String::new(), folder.path()).unwrap();
        let embedded = activations(&model, &[5], &[0, 1], &model.select_hook_points("hook_embed").unwrap());
        assert_eq!(embedded["hook_embed"], rounded.to_vec2::<f32>().unwrap()[5], "{dtype:?}");
    }
}

/// Qwen2 is Llama with biases on queries, keys and values. A query's weights sum to 1, so a bias on the values is added to
/// the heads' output as it is.
#[test]
fn qwen2_adds_its_biases() {
    let source = reference_folder("llama-tiny");
    let mut tensors = candle_core::safetensors::load(source.join("model.safetensors"), &Device::Cpu).unwrap();
    let config = reference_model("llama-tiny").config().clone();
    let zeros = |heads: usize| Tensor::zeros(heads * config.d_head, DType::F32, &Device::Cpu).unwrap();
    let value_bias: Vec<f32> = (0..config.n_kv_heads * config.d_head).map(|i| i as f32 * 0.1 - 0.5).collect();
    for layer in 0..config.n_layers {
        let name = |kind: &str| format!("model.layers.{layer}.self_attn.{kind}_proj.bias");
        tensors.insert(name("q"), zeros(config.n_heads));
        tensors.insert(name("k"), zeros(config.n_kv_heads));
        tensors.insert(name("v"), Tensor::new(value_bias.as_slice(), &Device::Cpu).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    let json = std::fs::read_to_string(source.join("config.json")).unwrap();
    let json = json.replace("\"model_type\": \"llama\"", "\"model_type\": \"qwen2\"");
    let qwen = ModelConfig::from_hugging_face(json.as_bytes(), folder.path()).unwrap();
    assert!(qwen.biases.qkv && !qwen.biases.attention_out);
    let weights = SafetensorsFiles::open(folder.path()).unwrap();
    let model = SubjectModel::without_tokenizer("x".to_owned(), qwen, &weights, String::new(), folder.path()).unwrap();

    let token_ids = [3, 50, 7, 7, 100];
    let z = |model: &SubjectModel| {
        let hooks = model.select_hook_points("blocks.0.attn.hook_z").unwrap();
        activations(model, &token_ids, &[0, 5], &hooks).remove("blocks.0.attn.hook_z").unwrap()
    };
    let (group, width) = (config.n_heads / config.n_kv_heads, config.n_heads * config.d_head);
    let mut expected = z(&reference_model("llama-tiny"));
    for (i, value) in expected.iter_mut().enumerate() {
        let (head, within) = (i % width / config.d_head, i % config.d_head);
        *value += value_bias[head / group * config.d_head + within];
    }
    assert_close("z", &z(&model), &expected, 1e-5);
}

/// Frequencies of transformers 5.23.0, `ROPE_INIT_FUNCTIONS["llama3"]`, for Llama 3.2's constants and 16 elements a head.
#[test]
fn llama3_stretches_low_frequencies() {
    let rotary = Rotary {
        theta: 500_000.0,
        scaling: RotaryScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_context: 8192.0 },
    };
    let expected =
        [1.0, 0.193_922_76, 0.037_606_03, 0.007_292_665, 4.295_567e-4, 8.570_256e-6, 1.661_967_4e-6, 3.222_893e-7];
    for (got, expected) in rotary.inverse_frequencies(16).iter().zip(expected) {
        // PyTorch takes the power of theta in f32, which costs it about 1e-5 of the lowest frequency.
        assert!((got / expected - 1.0).abs() < 5e-5, "expected {expected}, got {got}");
    }
}
