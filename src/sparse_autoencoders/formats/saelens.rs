//! SAELens' folders: `sae_weights.safetensors` and `cfg.json`, of version 6 and before.
//!
//! `W_enc` (d_in, d_sae), `b_enc`, `W_dec` (d_sae, d_out), `b_dec`; gated ones have `b_gate`, `b_mag`, `r_mag` in place of
//! `b_enc`; JumpReLU has `threshold` (or its logarithm); skip transcoders have `W_skip` (d_out, d_in).
//!
//! Before version 6 the configuration is flat: `hook_point` may stand for `hook_name`, the activation is
//! `activation_fn_str` or `activation_fn` with `activation_fn_kwargs.k`, `normalize_activations` may be true or false, and
//! `apply_b_dec_to_input` is true where it is missing. Version 6 writes every field that matters, so a missing one is
//! refused there.

use std::path::Path;

use super::json::Fields;
use super::{Format, Imported, WritingWeights, refused};
use crate::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, Magnitude, RowMean, SparseAutoencoder,
};
use crate::error::Result;
use crate::tensors::Tensors;

pub mod export;

/// The weights' file.
pub const WEIGHTS: &str = "sae_weights.safetensors";
/// The configuration's file.
pub const CONFIG: &str = "cfg.json";
/// The file that a checkpoint keeps the scale of its inputs in.
const SCALER: &str = "activation_scaler.json";

/// Epsilon of SAELens' layer norm, added to the standard deviation.
const EPSILON: f64 = 1e-5;

/// Reads a folder.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if sizes disagree;
/// [`Error::Refused`](crate::error::Error::Refused) for architectures that are no sparse codes of single rows, and where
/// inputs are scaled by a factor that is not stored ([`read_with_scale`]).
pub fn read(folder: &Path) -> Result<Imported> {
    read_folder(folder, None)
}

/// Reads a folder whose inputs are to be multiplied by a factor that is not stored: `√d` over the mean norm of the
/// activations it was trained on (`normalize_activations: expected_average_only_in`).
///
/// # Errors
/// As [`read`].
pub fn read_with_scale(folder: &Path, scale: f64) -> Result<Imported> {
    read_folder(folder, Some(scale))
}

fn read_folder(folder: &Path, scale: Option<f64>) -> Result<Imported> {
    let fields = Fields::read(&folder.join(CONFIG))?;
    let metadata = fields.object("metadata");
    let is_current = fields.get("metadata").is_some();
    let mut tensors = Tensors::read_safetensors(&folder.join(WEIGHTS))?;
    let [n_inputs, n_latents] = tensors.matrix_shape("W_enc")?;
    let [_, n_outputs] = tensors.matrix_shape("W_dec")?;
    fields.expect_count("d_in", n_inputs)?;
    fields.expect_count("d_sae", n_latents)?;
    fields.expect_count("d_out", n_outputs)?;

    let (architecture, activation) = activation(&fields, is_current)?;
    let decoder_bias = match fields.flag("apply_b_dec_to_input")? {
        Some(true) => DecoderBias::Subtracted,
        Some(false) => DecoderBias::NotSubtracted,
        None if is_current => fields.required("apply_b_dec_to_input", None)?,
        None => DecoderBias::Subtracted,
    };
    let input_normalization = normalization(folder, &fields, scale)?;
    let magnitude = if activation == Activation::Gated {
        Some(Magnitude { log_scale: tensors.take("r_mag", &[n_latents])?, bias: tensors.take("b_mag", &[n_latents])? })
    } else {
        None
    };
    let thresholds = match activation {
        Activation::Threshold if tensors.has("log_threshold") => {
            Some(tensors.take("log_threshold", &[n_latents])?.into_iter().map(f32::exp).collect())
        }
        Activation::Threshold => Some(tensors.take("threshold", &[n_latents])?),
        _ => None,
    };
    if tensors.has("scaling_factor") {
        // Scales of latents that were fitted after training; all files before version 6 may have them, unused.
        if fields.flag("finetuning_scaling_factor")?.unwrap_or(false) {
            return Err(refused(fields.path(), "'finetuning_scaling_factor' is true, which is not supported"));
        }
        tensors.take("scaling_factor", &[n_latents])?;
    }
    let mut autoencoder = SparseAutoencoder {
        config: Config {
            architecture,
            activation,
            n_inputs,
            n_outputs,
            n_latents,
            decoder_bias,
            input_normalization,
            row_mean: RowMean::Kept,
        },
        w_enc: tensors.take_transposed("W_enc", [n_inputs, n_latents])?,
        b_enc: tensors.take(if activation == Activation::Gated { "b_gate" } else { "b_enc" }, &[n_latents])?,
        w_dec: tensors.take("W_dec", &[n_latents, n_outputs])?,
        b_dec: tensors.take("b_dec", &[n_outputs])?,
        thresholds,
        magnitude,
        w_skip: if tensors.has("W_skip") { Some(tensors.take("W_skip", &[n_outputs, n_inputs])?) } else { None },
    };
    tensors.nothing_left()?;
    let names_skip = fields.text("architecture")?.is_some_and(|name| name.contains("skip"));
    if names_skip != autoencoder.w_skip.is_some() {
        return Err(refused(fields.path(), "'architecture' and the weights disagree on a skip connection"));
    }
    if fields.flag("rescale_acts_by_decoder_norm")?.unwrap_or(false) {
        // h ‖W_dec row‖ is chosen from, and divided by the norm before decoding: rows of norm 1 and larger encoder rows.
        autoencoder.scale_latents_by_decoder_norms();
    }
    autoencoder.validate()?;
    let place = if is_current { &metadata } else { &fields };
    let hook_name = place.text("hook_name")?;
    let hook_point = if hook_name.is_none() { place.text("hook_point")? } else { hook_name };
    let writing_weights = writing_weights(place, is_current, hook_point.as_deref())?;
    let model = place.text("model_name")?;
    Ok(Imported { autoencoder, format: Format::SaeLens, model, hook_point, writing_weights })
}

/// How the subject model was loaded: `model_from_pretrained_kwargs`, and the defaults of the version where it is silent.
///
/// Since 5.0 at the latest models are loaded without processing (`load_model.py`), so what is not named was not done. 2.1 loaded
/// them with TransformerLens' defaults, which centre; between the two files leave it open.
fn writing_weights(place: &Fields, is_current: bool, hook_point: Option<&str>) -> Result<WritingWeights> {
    let loaded_with = place.object("model_from_pretrained_kwargs");
    // Values that these change are not those of the unprocessed model, and nothing here undoes them.
    for (field, changes) in [("fold_ln", "hook_normalized"), ("fold_value_biases", "attn.hook_z")] {
        if loaded_with.flag(field)?.unwrap_or(false) && hook_point.is_some_and(|name| name.ends_with(changes)) {
            let reason = format!(
                "'model_from_pretrained_kwargs' has '{field}', which changes the values of '{changes}': expected an \
                 autoencoder of the unprocessed model there"
            );
            return Err(refused(place.path(), reason));
        }
    }
    let version = place.text("sae_lens_training_version")?;
    let major = version.and_then(|version| version.split('.').next().and_then(|major| major.parse::<u32>().ok()));
    Ok(match loaded_with.flag("center_writing_weights")? {
        Some(true) => WritingWeights::Centred,
        Some(false) => WritingWeights::AsTheyAre,
        None if is_current || major.is_some_and(|major| major >= 5) => WritingWeights::AsTheyAre,
        None => WritingWeights::Unsaid,
    })
}

fn activation(fields: &Fields, is_current: bool) -> Result<(Architecture, Activation)> {
    let architecture = fields.text("architecture")?;
    let name = match architecture {
        Some(name) => name,
        None if is_current => fields.required("architecture", None)?,
        // There was one architecture before the field.
        None => "standard".to_owned(),
    };
    let old = fields.text("activation_fn_str")?;
    let function = if old.is_none() { fields.text("activation_fn")? } else { old };
    let k = fields.count("k")?;
    let k = if k.is_none() { fields.object("activation_fn_kwargs").count("k")? } else { k };
    match (name.as_str(), function.as_deref()) {
        ("standard" | "topk", Some("topk")) | ("topk" | "topk_transcoder", None) => {
            Ok((Architecture::TopK, Activation::TopK { k: fields.required("k", k)? }))
        }
        ("standard" | "transcoder" | "skip_transcoder", None | Some("relu")) => {
            Ok((Architecture::Relu, Activation::Relu))
        }
        ("jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder", None | Some("relu")) => {
            Ok((Architecture::JumpRelu, Activation::Threshold))
        }
        ("gated", None | Some("relu")) => Ok((Architecture::Gated, Activation::Gated)),
        (_, Some(function)) => {
            Err(refused(fields.path(), format!("architecture '{name}' with activation '{function}' cannot be read")))
        }
        (_, None) => Err(refused(
            fields.path(),
            format!(
                "architecture '{name}' cannot be read: expected standard, topk, jumprelu, gated, transcoder, \
                 skip_transcoder, jumprelu_transcoder or jumprelu_skip_transcoder"
            ),
        )),
    }
}

fn normalization(folder: &Path, fields: &Fields, scale: Option<f64>) -> Result<InputNormalization> {
    let name = match fields.get("normalize_activations") {
        Some(serde_json::Value::Bool(false)) | None => "none".to_owned(),
        Some(serde_json::Value::Bool(true)) => "expected_average_only_in".to_owned(),
        Some(_) => fields.text("normalize_activations")?.unwrap_or_default(),
    };
    let scaled = |factor: f64| InputNormalization::Scale { inputs: factor, outputs: factor };
    match (name.as_str(), scale) {
        ("expected_average_only_in", Some(scale)) if scale.is_finite() && scale > 0.0 => Ok(scaled(scale)),
        ("expected_average_only_in", Some(scale)) => {
            Err(refused(fields.path(), format!("the scale of its inputs must be greater than 0, got {scale}")))
        }
        ("expected_average_only_in", None) => {
            let path = folder.join(SCALER);
            if path.is_file() {
                let scaler = Fields::read(&path)?;
                if let Some(factor) = scaler.get("scaling_factor").and_then(serde_json::Value::as_f64) {
                    return Ok(scaled(factor));
                }
            }
            let reason = "'normalize_activations' is expected_average_only_in, and the factor that inputs are multiplied by is \
                          not stored: give it, or fold it into the weights with SAELens";
            Err(refused(fields.path(), reason))
        }
        (other, Some(_)) => Err(refused(
            fields.path(),
            format!("a scale was given, and 'normalize_activations' is '{other}', not expected_average_only_in"),
        )),
        ("none", None) => Ok(InputNormalization::None),
        ("layer_norm", None) => Ok(InputNormalization::LayerNorm { epsilon: EPSILON }),
        ("constant_norm_rescale", None) => Ok(InputNormalization::ConstantNorm),
        (other, None) => {
            Err(refused(fields.path(), format!("'normalize_activations' is '{other}', which is not in the weights")))
        }
    }
}
