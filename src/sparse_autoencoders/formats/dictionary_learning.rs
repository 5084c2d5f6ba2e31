//! dictionary_learning's folders: `ae.pt` and `config.json`, whose `trainer.dict_class` says how it computes.
//!
//! | class | tensors (n latents, d wide) | codes |
//! |---|---|---|
//! | `AutoEncoder` | `encoder.weight` (n, d), `encoder.bias`, `decoder.weight` (d, n), `bias` | ReLU |
//! | `AutoEncoderTopK` | the same with `b_dec`, `k`, `threshold` | the k largest |
//! | `BatchTopKSAE` | the same | above `threshold`, which must be 0 or more |
//! | `GatedAutoEncoder` | `decoder_bias`, `r_mag`, `gate_bias`, `mag_bias` and both weights | gated |
//! | `JumpReluAutoEncoder` | `W_enc` (d, n), `b_enc`, `W_dec` (n, d), `b_dec`, `threshold` (n) | above each threshold |
//! | `MatryoshkaBatchTopKSAE` | the same with `k`, one `threshold`, `group_sizes` | above `threshold` |
//!
//! `b_dec` (or its namesake) is taken from the input by all but `JumpReluAutoEncoder` (`dictionary.py`, `encode`). The
//! norm of inputs is folded into the weights before they are saved.

use std::path::Path;

use super::json::Fields;
use super::torch_file::Dictionary;
use super::{Format, Imported, WritingWeights, refused};
use crate::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, Magnitude, RowMean, SparseAutoencoder,
};
use crate::error::Result;
use crate::tensors::Tensors;

/// The weights' file.
pub const WEIGHTS: &str = "ae.pt";
/// The configuration's file.
pub const CONFIG: &str = "config.json";

/// Reads a folder.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if sizes disagree;
/// [`Error::Refused`](crate::error::Error::Refused) for another class, or where codes would depend on the batch.
pub fn read(folder: &Path) -> Result<Imported> {
    let config = Fields::read(&folder.join(CONFIG))?;
    let trainer = config.object("trainer");
    let class = trainer.required("trainer.dict_class", trainer.text("dict_class")?)?;
    let mut tensors = Dictionary::read(&folder.join(WEIGHTS))?.into_tensors();
    let class_of = |architecture, decoder_bias| (architecture, decoder_bias);
    let (architecture, decoder_bias) = match class.as_str() {
        "AutoEncoder" => class_of(Architecture::Relu, DecoderBias::Subtracted),
        "AutoEncoderTopK" => class_of(Architecture::TopK, DecoderBias::Subtracted),
        "BatchTopKSAE" => class_of(Architecture::BatchTopK, DecoderBias::Subtracted),
        "GatedAutoEncoder" => class_of(Architecture::Gated, DecoderBias::Subtracted),
        "JumpReluAutoEncoder" => class_of(Architecture::JumpRelu, DecoderBias::NotSubtracted),
        "MatryoshkaBatchTopKSAE" => class_of(Architecture::Matryoshka, DecoderBias::Subtracted),
        other => return Err(refused(config.path(), format!("dict_class '{other}' cannot be read"))),
    };
    let linear = tensors.has("encoder.weight");
    let [n_latents, width] = if linear {
        tensors.matrix_shape("encoder.weight")?
    } else {
        let [width, n_latents] = tensors.matrix_shape("W_enc")?;
        [n_latents, width]
    };
    trainer.expect_count("activation_dim", width)?;
    trainer.expect_count("dict_size", n_latents)?;
    let rest = Rest::take(&mut tensors, folder, architecture, n_latents)?;
    let (w_enc, w_dec) = if linear {
        let w_enc = tensors.take("encoder.weight", &[n_latents, width])?;
        (w_enc, tensors.take_transposed("decoder.weight", [width, n_latents])?)
    } else {
        let w_enc = tensors.take_transposed("W_enc", [width, n_latents])?;
        (w_enc, tensors.take("W_dec", &[n_latents, width])?)
    };
    let (b_enc, b_dec) = match (architecture, linear) {
        (Architecture::Gated, _) => ("gate_bias", "decoder_bias"),
        (Architecture::Relu, _) => ("encoder.bias", "bias"),
        (_, true) => ("encoder.bias", "b_dec"),
        (_, false) => ("b_enc", "b_dec"),
    };
    let autoencoder = SparseAutoencoder {
        config: Config {
            architecture,
            activation: rest.activation,
            n_inputs: width,
            n_outputs: width,
            n_latents,
            decoder_bias,
            input_normalization: InputNormalization::None,
            row_mean: RowMean::Kept,
        },
        w_enc,
        b_enc: tensors.take(b_enc, &[n_latents])?,
        w_dec,
        b_dec: tensors.take(b_dec, &[width])?,
        thresholds: rest.thresholds,
        magnitude: rest.magnitude,
        w_skip: None,
    };
    tensors.nothing_left()?;
    autoencoder.validate()?;
    Ok(Imported {
        autoencoder,
        format: Format::DictionaryLearning,
        model: trainer.text("lm_name")?,
        hook_point: trainer.text("submodule_name")?,
        writing_weights: WritingWeights::AsTheyAre,
    })
}

/// What one class has and others do not.
struct Rest {
    activation: Activation,
    thresholds: Option<Vec<f32>>,
    magnitude: Option<Magnitude>,
}

impl Rest {
    fn take(tensors: &mut Tensors, folder: &Path, architecture: Architecture, n_latents: usize) -> Result<Self> {
        let path = folder.join(WEIGHTS);
        if tensors.has("group_sizes") {
            let shape = tensors.shape("group_sizes")?.to_vec();
            tensors.take("group_sizes", &shape)?;
        }
        let chosen = matches!(architecture, Architecture::TopK | Architecture::BatchTopK | Architecture::Matryoshka);
        let k = if chosen { tensors.take_number("k")? as usize } else { 0 };
        Ok(match architecture {
            Architecture::Gated => Self {
                activation: Activation::Gated,
                thresholds: None,
                magnitude: Some(Magnitude {
                    log_scale: tensors.take("r_mag", &[n_latents])?,
                    bias: tensors.take("mag_bias", &[n_latents])?,
                }),
            },
            Architecture::JumpRelu => Self {
                activation: Activation::Threshold,
                thresholds: Some(tensors.take("threshold", &[n_latents])?),
                magnitude: None,
            },
            Architecture::TopK => {
                // Files from before thresholds were estimated have none; −1 says that none was.
                let threshold = if tensors.has("threshold") { tensors.take_number("threshold")? } else { -1.0 };
                let thresholds = (threshold >= 0.0).then(|| vec![threshold; n_latents]);
                Self { activation: Activation::TopK { k }, thresholds, magnitude: None }
            }
            Architecture::BatchTopK | Architecture::Matryoshka => {
                let threshold = tensors.take_number("threshold")?;
                if threshold < 0.0 {
                    let reason = format!(
                        "'threshold' is {threshold}: it was never estimated, and without it codes depend on the batch"
                    );
                    return Err(refused(&path, reason));
                }
                let thresholds = Some(vec![threshold; n_latents]);
                Self { activation: Activation::Threshold, thresholds, magnitude: None }
            }
            _ => Self { activation: Activation::Relu, thresholds: None, magnitude: None },
        })
    }
}
