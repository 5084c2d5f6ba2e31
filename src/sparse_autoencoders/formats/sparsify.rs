//! sparsify's folders (EleutherAI): `sae.safetensors` and `cfg.json`, one folder for each hook point.
//!
//! `encoder.weight` (n, d), `encoder.bias`, `W_dec` (n, d) (latents as rows already), `b_dec`, and with a skip connection
//! `W_skip` (d_out, d). `b_dec` is taken from the input unless it is a transcoder (`sparse_coder.py`, `encode`). ReLU comes
//! before the choice of the k largest, which gives the codes that ReLU after it gives.

use std::path::Path;

use super::json::Fields;
use super::{Format, Imported, WritingWeights, refused};
use crate::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, RowMean, SparseAutoencoder,
};
use crate::error::Result;
use crate::tensors::Tensors;

/// The weights' file.
pub const WEIGHTS: &str = "sae.safetensors";
/// The configuration's file.
pub const CONFIG: &str = "cfg.json";

/// Reads a folder.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if sizes disagree;
/// [`Error::Refused`](crate::error::Error::Refused) for the activation `groupmax`, or without `k`.
pub fn read(folder: &Path) -> Result<Imported> {
    let config = Fields::read(&folder.join(CONFIG))?;
    // Files from before the field was there are TopK: there was nothing else.
    match config.text("activation")?.as_deref() {
        None | Some("topk") => {}
        Some(other) => return Err(refused(config.path(), format!("activation '{other}': only topk can be read"))),
    }
    let k = config.required("k", config.count("k")?)?;
    let transcodes = config.flag("transcode")?.unwrap_or(false);
    let mut tensors = Tensors::read_safetensors(&folder.join(WEIGHTS))?;
    let [n_latents, n_inputs] = tensors.matrix_shape("encoder.weight")?;
    let [_, n_outputs] = tensors.matrix_shape("W_dec")?;
    config.expect_count("d_in", n_inputs)?;
    if config.count("num_latents")?.is_some_and(|n| n > 0) {
        config.expect_count("num_latents", n_latents)?;
    } else if let Some(factor) = config.count("expansion_factor")?
        && factor * n_inputs != n_latents
    {
        return Err(config.fault(
            "expansion_factor",
            &format!("{n_latents} latents"),
            &format!("{factor} · {n_inputs}"),
        ));
    }
    let skip = config.flag("skip_connection")?.unwrap_or(false);
    if skip != tensors.has("W_skip") {
        return Err(refused(config.path(), format!("'skip_connection' is {skip}, and the weights say otherwise")));
    }
    if n_inputs != n_outputs && !transcodes {
        return Err(refused(config.path(), "outputs have another width than inputs, and 'transcode' is not true"));
    }
    let multi = config.flag("multi_topk")?.unwrap_or(false);
    let autoencoder = SparseAutoencoder {
        config: Config {
            architecture: if multi { Architecture::MultiTopK } else { Architecture::TopK },
            activation: Activation::TopK { k },
            n_inputs,
            n_outputs,
            n_latents,
            decoder_bias: if transcodes { DecoderBias::NotSubtracted } else { DecoderBias::Subtracted },
            input_normalization: InputNormalization::None,
            row_mean: RowMean::Kept,
        },
        w_enc: tensors.take("encoder.weight", &[n_latents, n_inputs])?,
        b_enc: tensors.take("encoder.bias", &[n_latents])?,
        w_dec: tensors.take("W_dec", &[n_latents, n_outputs])?,
        b_dec: tensors.take("b_dec", &[n_outputs])?,
        thresholds: None,
        magnitude: None,
        w_skip: if skip { Some(tensors.take("W_skip", &[n_outputs, n_inputs])?) } else { None },
    };
    tensors.nothing_left()?;
    autoencoder.validate()?;
    let hook_point = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Imported {
        autoencoder,
        format: Format::Sparsify,
        model: None,
        hook_point,
        writing_weights: WritingWeights::AsTheyAre,
    })
}
