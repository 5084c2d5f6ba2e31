//! What a damaged or unsuitable model says, one line each.

use std::fs;

use super::*;

/// A copy of the reference GPT-2 to damage.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(reference_folder("gpt2-tiny").join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// The message of the error that loading `path` gives, with the temporary folder's name taken out.
fn message(path: &Path, folder: &Path) -> String {
    let error = SubjectModel::load(&ModelSource::Path(path.to_path_buf())).unwrap_err();
    let message = error.to_string().replace(&folder.display().to_string(), "F");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn edit_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn missing_files_are_named() {
    let folder = copy();
    let path = folder.path();
    assert_eq!(message(&path.join("x"), path), "model 'F/x' not found: no such folder or file");
    assert_eq!(
        message(&path.join("config.json"), path),
        "model 'F/config.json' not found: expected a folder, a .gguf file or a llama2.c .bin file"
    );
    assert_eq!(
        message(path, path),
        "tokenizer 'F': expected tokenizer.json, or vocab.json and merges.txt, in the folder, got neither"
    );
    fs::remove_file(path.join("model.safetensors")).unwrap();
    assert_eq!(
        message(path, path),
        "model 'F' not found: expected model.safetensors or model.safetensors.index.json in the folder, got neither"
    );
    fs::remove_file(path.join("config.json")).unwrap();
    assert_eq!(message(path, path), "model 'F' not found: expected config.json in the folder");
}

#[test]
fn a_bad_configuration_is_named() {
    let folder = copy();
    let path = folder.path();
    edit_config(path, "\"gelu_new\"", "\"relu\"");
    assert_eq!(
        message(path, path),
        "model 'F/config.json': unsupported architecture: expected gpt2 with activation gelu_new, got 'gpt2 with activation relu'"
    );
    edit_config(path, "\"gpt2\"", "\"mamba\"");
    assert_eq!(
        message(path, path),
        "model 'F/config.json': unsupported architecture: expected gpt2, llama or qwen2, got 'mamba'"
    );
    fs::write(path.join("config.json"), "<html>not found</html>").unwrap();
    assert_eq!(
        message(path, path),
        "model file 'F/config.json': expected a JSON configuration, got expected value at line 1 column 1"
    );
    fs::write(path.join("config.json"), "{\"model_type\": \"gpt2\"}").unwrap();
    assert!(message(path, path).contains("missing field `vocab_size`"));
}

#[test]
fn damaged_weights_are_named() {
    let folder = copy();
    let path = folder.path();
    fs::write(path.join("tokenizer.json"), include_bytes!("../embedded/tokenizer.json")).unwrap();
    assert!(
        message(path, path).starts_with("tokenizer 'F': expected at most 101 token ids, as the model embeds, got ")
    );

    let weights = path.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    edit_config(path, "\"n_inner\": 128", "\"n_inner\": 100");
    // The tokenizer is checked before the tensors, so one that fits is written for what follows.
    write_word_tokenizer(path);
    assert_eq!(
        message(path, path),
        "model file 'F/model.safetensors': tensor 'transformer.h.0.mlp.c_fc.weight': expected shape [32, 100], got [32, 128]"
    );
    edit_config(path, "\"n_inner\": 100", "\"n_inner\": 128");
    edit_config(path, "\"n_layer\": 2", "\"n_layer\": 3");
    assert_eq!(
        message(path, path),
        "model file 'F/model.safetensors': tensor 'transformer.h.2.ln_1.weight' is missing, expected shape [32]"
    );
    edit_config(path, "\"n_layer\": 3", "\"n_layer\": 2");
    assert_eq!(SubjectModel::load(&ModelSource::Path(path.to_path_buf())).unwrap().config().n_layers, 2);

    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).unwrap();
        let message = message(path, path);
        assert!(
            message.starts_with(&format!(
                "model file 'F/model.safetensors': expected a whole safetensors file, got {length} bytes"
            )),
            "{message}"
        );
    }
    fs::remove_file(&weights).unwrap();
    let index = serde_json::json!({ "weight_map": { "wte.weight": "part-1.safetensors" } });
    fs::write(path.join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_eq!(message(path, path), "file 'F/part-1.safetensors': No such file or directory (os error 2)");
    fs::write(path.join("tokenizer.json"), "{}").unwrap();
    fs::write(&weights, &whole).unwrap();
    assert!(message(path, path).starts_with("tokenizer 'F/tokenizer.json': expected a tokenizer.json, got "));
}

#[test]
fn a_damaged_llama2c_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stories.bin");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/stories260k");
    let whole = fs::read(shared.join("stories260K.bin")).unwrap();
    fs::write(&path, &whole).unwrap();
    let first = message(&path, folder.path());
    assert!(
        first.starts_with(
            "tokenizer 'F/tokenizer.bin': expected a llama2.c tokenizer file beside the model's .bin file: "
        )
    );
    let tokenizer = fs::read(shared.join("tok512.bin")).unwrap();
    fs::write(folder.path().join("tok512.bin"), &tokenizer[..tokenizer.len() - 1]).unwrap();
    assert_eq!(
        message(&path, folder.path()),
        "tokenizer 'F/tok512.bin': expected 512 pieces, as the model embeds, got 511"
    );
    fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    assert_eq!(
        message(&path, folder.path()),
        "model file 'F/stories.bin': expected 1056540 bytes, as its header says, got 1056536 (half downloaded?)"
    );
    fs::write(&path, b"{\"this\": \"is some other file, not a checkpoint\"}").unwrap();
    assert!(
        message(&path, folder.path())
            .starts_with("model file 'F/stories.bin': expected a llama2.c version 0 header, got ")
    );
    fs::write(&path, b"short").unwrap();
    assert_eq!(
        message(&path, folder.path()),
        "model file 'F/stories.bin': expected a llama2.c header of 28 bytes, got 5 bytes"
    );
}

#[test]
fn a_damaged_gguf_file_is_named() {
    use candle_core::quantized::gguf_file::{self, Value};
    use candle_core::quantized::{GgmlDType, QTensor};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let write = |architecture: &str| {
        let tensor = candle_core::Tensor::ones((4, 32), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap();
        let architecture = Value::String(architecture.to_owned());
        let mut file = fs::File::create(&path).unwrap();
        gguf_file::write(&mut file, &[("general.architecture", &architecture)], &[("token_embd.weight", &tensor)])
            .unwrap();
    };
    fs::write(&path, b"GGUF").unwrap();
    assert!(
        message(&path, folder.path()).starts_with("model file 'F/m.gguf': expected a whole GGUF header, got 4 bytes: ")
    );
    write("gemma3");
    assert_eq!(
        message(&path, folder.path()),
        "model 'F/m.gguf': unsupported architecture: expected llama or qwen2, got 'gemma3'"
    );
    write("llama");
    assert_eq!(
        message(&path, folder.path()),
        "model file 'F/m.gguf': expected a whole number in metadata 'llama.embedding_length'"
    );
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert!(message(&path, folder.path()).contains("bytes, as its header says, got "));
}
