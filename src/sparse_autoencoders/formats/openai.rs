//! OpenAI's `.pt` files (`sparse_autoencoder/model.py`, `from_state_dict`), versions 1 to 5.
//!
//! One dictionary: `pre_bias` (d), `encoder.weight` (n, d), `latent_bias` (n), `decoder.weight` (d, n), statistics, and
//! `activation` with `activation_state_dict`. `h = W_enc (x − pre_bias) + latent_bias`; without `activation` it is ReLU.
//! With TopK each row is first normalised by its mean and unbiased standard deviation, plus 1e-5, and the reconstruction
//! goes back by both: no field says so, the published code does it exactly then.

use std::path::Path;

use super::torch_file::Dictionary;
use super::{Format, Imported, WritingWeights, refused};
use crate::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, RowMean, SparseAutoencoder,
};
use crate::error::Result;

/// Epsilon of the published layer norm.
const EPSILON: f64 = 1e-5;

/// Statistics of training, which do not change what is computed.
const STATISTICS: [&str; 3] = ["stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"];

/// Reads a file.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if a tensor is missing or of
/// another size; [`Error::Refused`](crate::error::Error::Refused) for another activation, or k left out.
pub fn read(path: &Path) -> Result<Imported> {
    let file = Dictionary::read(path)?;
    let (architecture, activation, input_normalization) = match file.text("activation") {
        Some("TopK") => {
            let state = file.inner("activation_state_dict");
            let k = state.and_then(|state| state.whole("k")).and_then(|k| usize::try_from(k).ok());
            let k =
                k.ok_or_else(|| refused(path, "activation is TopK, and 'activation_state_dict' has no whole 'k'"))?;
            match state.and_then(|state| state.text("postact_fn")) {
                None | Some("ReLU") => {}
                Some(other) => return Err(refused(path, format!("'postact_fn' is '{other}', only ReLU is known"))),
            }
            (Architecture::TopK, Activation::TopK { k }, InputNormalization::LayerNorm { epsilon: EPSILON })
        }
        None | Some("ReLU") => (Architecture::Relu, Activation::Relu, InputNormalization::None),
        Some(other) => return Err(refused(path, format!("activation '{other}' is not sparse: expected TopK or ReLU"))),
    };
    let mut tensors = file.into_tensors();
    let [n_latents, width] = tensors.matrix_shape("encoder.weight")?;
    for name in STATISTICS {
        if tensors.has(name) {
            tensors.take(name, &[n_latents])?;
        }
    }
    let autoencoder = SparseAutoencoder {
        config: Config {
            architecture,
            activation,
            n_inputs: width,
            n_outputs: width,
            n_latents,
            decoder_bias: DecoderBias::Subtracted,
            input_normalization,
            row_mean: RowMean::Kept,
        },
        w_enc: tensors.take("encoder.weight", &[n_latents, width])?,
        b_enc: tensors.take("latent_bias", &[n_latents])?,
        w_dec: tensors.take_transposed("decoder.weight", [width, n_latents])?,
        b_dec: tensors.take("pre_bias", &[width])?,
        thresholds: None,
        magnitude: None,
        w_skip: None,
    };
    tensors.nothing_left()?;
    autoencoder.validate()?;
    Ok(Imported {
        autoencoder,
        format: Format::OpenAi,
        model: None,
        hook_point: None,
        writing_weights: WritingWeights::AsTheyAre,
    })
}
