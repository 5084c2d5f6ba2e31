//! `example_sae`: the autoencoder that the examples of the documentation are about.

use sparse_autoencoders::autoencoder::{
    Activation, Architecture, Config, DecoderBias, InputNormalization, RowMean, SparseAutoencoder,
};

use super::publish::publish;
use super::rows::Origin;
use crate::error::Result;
use crate::models::latents::Place;
use crate::session::Session;
use crate::tables::runs::RunRow;

/// Its id.
pub const EXAMPLE: &str = "example_sae";
/// Hook point of the embedded model that it reads.
pub const EXAMPLE_HOOK: &str = "blocks.3.hook_resid_post";
/// How many latents it has.
const N_LATENTS: usize = 32;

/// Makes it part of a lake: 32 latents, four a token, that read and write directions made of sines. It is not trained.
///
/// # Errors
/// As [`publish`].
pub async fn publish_example(session: &Session) -> Result<()> {
    let model = session.models().get("default")?;
    let width = model.config().d_model;
    let rows: Vec<f32> = (0..width * N_LATENTS).map(|i| ((i * i) as f64 * 0.7).sin() as f32).collect();
    let autoencoder = SparseAutoencoder {
        config: Config {
            architecture: Architecture::TopK,
            activation: Activation::TopK { k: 4 },
            n_inputs: width,
            n_outputs: width,
            n_latents: N_LATENTS,
            decoder_bias: DecoderBias::Subtracted,
            input_normalization: InputNormalization::LayerNorm { epsilon: 1e-5 },
            row_mean: RowMean::Kept,
        },
        w_enc: rows.clone(),
        b_enc: vec![0.0; N_LATENTS],
        // Shorter, as reconstructions are of the size of their rows.
        w_dec: rows.into_iter().map(|value| value / width as f32 * 2.0).collect(),
        b_dec: vec![0.0; width],
        thresholds: None,
        magnitude: None,
        w_skip: None,
    };
    let hook_point = EXAMPLE_HOOK.to_owned();
    let place =
        Place { model: model.id().to_owned(), input_hook_point: hook_point.clone(), output_hook_point: hook_point };
    let origin = Origin {
        source_format: "example".to_owned(),
        source: None,
        k: None,
        first_token: None,
        norm_limit: None,
        n_tokens: None,
        seed: None,
        parameters: "{}".to_owned(),
    };
    let run = RunRow { model: Some(model.id().to_owned()), ..RunRow::starting(EXAMPLE, "{}".to_owned()) };
    run.record(session.lake()).await?;
    publish(session, &model, EXAMPLE, &place, &autoencoder, &origin, &run).await?;
    run.finish(session.lake(), 1, 0.0).await
}
