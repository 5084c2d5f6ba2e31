//! Trained models: stories260K against an independent computation, SmolLM2 from its GGUF file.

use candle_core::{DType, Device};

use super::*;

/// Data shared by the tests, beside the checkout.
fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path)
}

fn stories() -> SubjectModel {
    SubjectModel::load(&ModelSource::Path(shared("stories260k/stories260K.bin"))).unwrap()
}

/// The token of the largest logit after a sequence.
fn greedy(model: &SubjectModel, token_ids: &[u32]) -> u32 {
    let logits = model.logits(token_ids).unwrap();
    let last = logits.chunks_exact(model.config().n_vocab).next_back().unwrap();
    (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap() as u32
}

/// The file was computed in f64 by a numpy program that reproduces llama2.c's text (shared data's README).
#[test]
fn stories260k_agrees_with_an_independent_computation() {
    let model = stories();
    let golden = candle_core::safetensors::load(shared("golden/stories260k.safetensors"), &Device::Cpu).unwrap();
    let values = |name: &str| -> Vec<f32> {
        golden[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let token_ids: Vec<u32> = values("token_ids").iter().map(|id| *id as u32).collect();
    assert_close("logits", &model.logits(&token_ids).unwrap(), &values("logits"), 1e-3);
    let hooks = model.select_hook_points("blocks.*.mlp.hook_post").unwrap();
    let got = activations(&model, &token_ids, &[0, token_ids.len()], &hooks);
    for (hook, expected) in hooks.iter().zip(values("mlp_act").chunks_exact(token_ids.len() * hooks[0].width())) {
        assert_close(hook.name(), &got[hook.name()], expected, 1e-3);
    }
    // The text is in the file's metadata; its encoding is the file's tokens.
    let bytes = std::fs::read(shared("golden/stories260k.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let text = header["__metadata__"]["text"].as_str().unwrap();
    assert_eq!(model.tokenizer().unwrap().encode(text).unwrap().token_ids, token_ids[1..]);
}

#[test]
fn stories260k_writes_what_llama2c_writes() {
    let model = stories();
    assert_eq!((model.id(), model.config().n_heads, model.config().n_kv_heads), ("stories260K", 8, 4));
    let expected = std::fs::read_to_string(shared("golden/stories260k_greedy.txt")).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let mut token_ids = vec![tokenizer.bos_token_id().unwrap()];
    token_ids.extend(tokenizer.encode("Once upon a time").unwrap().token_ids);
    while tokenizer.decode(&token_ids[1..]).trim_start().len() < expected.trim_end().len() {
        token_ids.push(greedy(&model, &token_ids));
    }
    assert_eq!(tokenizer.decode(&token_ids[1..]).trim(), expected.trim());
}

/// A model file of `scripts/fetch_test_models`.
fn fetched(name: &str) -> PathBuf {
    let folder = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/neuronlake-models")
    });
    let path = folder.join(name);
    assert!(path.is_file(), "'{}' is missing: run scripts/fetch_test_models", path.display());
    path
}

/// PyTorch's values for the same dequantised weights (scripts/make_smollm2_reference.py).
#[test]
fn smollm2_agrees_with_pytorch() {
    let model = SubjectModel::load(&ModelSource::Path(fetched("SmolLM2-135M-Instruct.Q4_1.gguf"))).unwrap();
    assert_eq!((model.id(), model.config().n_layers, model.config().d_mlp), ("SmolLM2-135M-Instruct.Q4_1", 30, 1536));
    assert_eq!(model.weights_hash(), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    let tokenizer = model.tokenizer().unwrap();
    let folder = reference_folder("smollm2");
    let texts: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("texts.json")).unwrap()).unwrap();
    let expected = candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
    let values = |name: &str| -> Vec<f32> {
        expected[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    for (n, text) in texts.as_array().unwrap().iter().enumerate() {
        let text = (text["text"].as_str().unwrap(), &text["token_ids"]);
        let token_ids = tokenizer.encode(text.0).unwrap().token_ids;
        assert_eq!(serde_json::json!(token_ids), *text.1, "{}", text.0);
        assert_eq!(tokenizer.decode(&token_ids), text.0);

        let logits = model.logits(&token_ids).unwrap();
        let mut next = Vec::new();
        let mut top = Vec::new();
        let mut top_ids = values(&format!("{n}.top_ids")).into_iter();
        for (i, row) in logits.chunks_exact(model.config().n_vocab).enumerate() {
            let log_total = row.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
            let log_probability = |id: usize| (f64::from(row[id]) - log_total) as f32;
            next.extend(token_ids.get(i + 1).map(|id| log_probability(*id as usize)));
            top.extend(top_ids.by_ref().take(5).map(|id| log_probability(id as usize)));
        }
        assert_close("next", &next, &values(&format!("{n}.next_log_probabilities")), 1e-3);
        assert_close("top", &top, &values(&format!("{n}.top_log_probabilities")), 1e-3);

        let hooks: Vec<HookPoint> = [3, 9, 21]
            .iter()
            .flat_map(|layer| model.select_hook_points(&format!("blocks.{layer}.mlp.hook_post")).unwrap())
            .collect();
        let got = activations(&model, &token_ids, &[0, token_ids.len()], &hooks);
        for hook in &hooks {
            let neurons: Vec<f32> =
                got[hook.name()].chunks_exact(hook.width()).flat_map(|row| row[..64].to_vec()).collect();
            assert_close(hook.name(), &neurons, &values(&format!("{n}.{hook}")), 1e-3);
        }
    }
}

/// Not a check of any number: what a real model knows, read from its logits.
#[test]
fn smollm2_continues_a_phrase() {
    let model = SubjectModel::load(&ModelSource::Path(fetched("SmolLM2-135M-Instruct.Q4_1.gguf"))).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let token_ids = tokenizer.encode("The capital of France is").unwrap().token_ids;
    assert_eq!(tokenizer.token_text(greedy(&model, &token_ids)), " Paris");
}
