//! Writing a folder that SAELens 6 loads with `SAE.load_from_disk`.

use std::path::Path;

use serde_json::{Value, json};

use super::{CONFIG, EPSILON, WEIGHTS};
use crate::autoencoder::{Activation, DecoderBias, InputNormalization, RowMean, SparseAutoencoder};
use crate::error::{Error, Result};
use crate::files::{write_atomically, write_tensors};
use crate::tensors::{transposed, views};

/// What SAELens is told of where an autoencoder belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// TransformerLens' name of the subject model.
    pub model_name: Option<String>,
    /// TransformerLens' name of the hook point.
    pub hook_name: Option<String>,
    /// TransformerLens' name of the hook point that a transcoder writes.
    pub hook_name_out: Option<String>,
}

/// Writes a folder, made if it is not there. A scale of inputs is folded into the weights first.
///
/// # Errors
/// [`Error::Io`]; [`Error::Setting`] for what SAELens has no form for: thresholds below 0 (its JumpReLU takes ReLU as
/// well), inputs scaled to norm 1, another epsilon of the layer norm, a TopK skip transcoder.
pub fn write(autoencoder: &SparseAutoencoder, metadata: &Metadata, folder: &Path) -> Result<()> {
    autoencoder.validate()?;
    let mut folded = autoencoder.clone();
    folded.fold_input_scale();
    let config = &folded.config;
    let normalization = match config.input_normalization {
        InputNormalization::None | InputNormalization::Scale { .. } => "none",
        InputNormalization::LayerNorm { epsilon } if epsilon == EPSILON => "layer_norm",
        InputNormalization::ConstantNorm => "constant_norm_rescale",
        other => {
            let expected = "none, scale, constant_norm or layer_norm with epsilon 1e-5 for SAELens";
            return Err(Error::setting("input_normalization", expected, format!("{other:?}")));
        }
    };
    let transcodes = config.n_inputs != config.n_outputs || folded.w_skip.is_some();
    let architecture = match (config.activation, transcodes, folded.w_skip.is_some()) {
        (Activation::Relu, false, _) => "standard",
        (Activation::TopK { .. }, false, _) => "topk",
        (Activation::Threshold, false, _) => "jumprelu",
        (Activation::Gated, false, _) => "gated",
        (Activation::Relu, true, false) => "transcoder",
        (Activation::Relu, true, true) => "skip_transcoder",
        (Activation::Threshold, true, false) => "jumprelu_transcoder",
        (Activation::Threshold, true, true) => "jumprelu_skip_transcoder",
        (other, true, _) => {
            let expected = "relu or threshold in a transcoder for SAELens";
            return Err(Error::setting("activation", expected, format!("{other:?}")));
        }
    };
    let is_topk = matches!(config.activation, Activation::TopK { .. });
    let (n_inputs, n_outputs, n_latents) = (config.n_inputs, config.n_outputs, config.n_latents);
    let w_enc = transposed(&folded.w_enc, n_latents, n_inputs);
    let mut tensors: Vec<(&str, Vec<usize>, &[f32])> = vec![
        ("W_enc", vec![n_inputs, n_latents], &w_enc),
        ("W_dec", vec![n_latents, n_outputs], &folded.w_dec),
        ("b_dec", vec![n_outputs], &folded.b_dec),
    ];
    if let Some(magnitude) = folded.magnitude.as_ref().filter(|_| config.activation == Activation::Gated) {
        tensors.push(("b_gate", vec![n_latents], &folded.b_enc));
        tensors.push(("b_mag", vec![n_latents], &magnitude.bias));
        tensors.push(("r_mag", vec![n_latents], &magnitude.log_scale));
    } else {
        tensors.push(("b_enc", vec![n_latents], &folded.b_enc));
    }
    if let Some(thresholds) = folded.thresholds.as_ref().filter(|_| config.activation == Activation::Threshold) {
        if let Some(threshold) = thresholds.iter().find(|threshold| **threshold < 0.0) {
            return Err(Error::setting("thresholds", "0 or more for SAELens", threshold));
        }
        tensors.push(("threshold", vec![n_latents], thresholds));
    }
    if let Some(skip) = &folded.w_skip {
        tensors.push(("W_skip", vec![n_outputs, n_inputs], skip));
    }
    let mut fields = json!({
        "architecture": architecture,
        "d_in": n_inputs,
        "d_sae": n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.decoder_bias == DecoderBias::Subtracted,
        "normalize_activations": normalization,
        "reshape_activations": "none",
        "metadata": {
            "model_name": metadata.model_name,
            "hook_name": metadata.hook_name,
            "hook_name_out": metadata.hook_name_out,
            // SAELens gives these to TransformerLens, whose model's stream then has no mean to take away.
            "model_from_pretrained_kwargs": {"center_writing_weights": config.row_mean == RowMean::Removed},
        },
    });
    let mut set = |name: &str, value: Value| {
        if let Value::Object(fields) = &mut fields {
            fields.insert(name.to_owned(), value);
        }
    };
    if let Activation::TopK { k } = config.activation {
        set("k", json!(k));
    }
    if is_topk {
        set("rescale_acts_by_decoder_norm", json!(false));
    }
    if transcodes {
        set("d_out", json!(n_outputs));
    }
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let path = folder.join(WEIGHTS);
    write_tensors(&path, views(&tensors, &path)?)?;
    let path = folder.join(CONFIG);
    let mut text = serde_json::to_string_pretty(&fields)
        .map_err(|error| Error::Io { path: path.clone(), source: error.into() })?;
    text.push('\n');
    write_atomically(&path, text.as_bytes())
}
