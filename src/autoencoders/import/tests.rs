use sparse_autoencoders::autoencoder::{Activation, Architecture, Config, DecoderBias};

use super::*;
use crate::models::subject_model::Gpt2Shape;

fn autoencoder(width: usize, input_normalization: InputNormalization) -> SparseAutoencoder {
    SparseAutoencoder {
        config: Config {
            architecture: Architecture::Relu,
            activation: Activation::Relu,
            n_inputs: width,
            n_outputs: width,
            n_latents: 2,
            decoder_bias: DecoderBias::Subtracted,
            input_normalization,
            row_mean: RowMean::Kept,
        },
        w_enc: vec![0.0; 2 * width],
        b_enc: vec![0.0; 2],
        w_dec: vec![0.0; 2 * width],
        b_dec: vec![0.0; width],
        thresholds: None,
        magnitude: None,
        w_skip: None,
    }
}

#[test]
fn rows_of_a_stream_under_layer_norms_lose_their_mean_if_the_weights_were_centred() {
    let shape = Gpt2Shape { n_vocab: 20, n_layers: 1, d_model: 8, n_heads: 2, n_context: 8 };
    let model = SubjectModel::random_gpt2(shape, 1).unwrap();
    let decide = |hook: &str, asked: Option<RowMean>, said: WritingWeights, normalization: InputNormalization| {
        let hook = model.select_hook_points(hook).unwrap().remove(0);
        row_mean(asked, said, &model, &hook, &autoencoder(8, normalization)).map_err(|error| error.to_string())
    };
    let (stream, inside) = ("blocks.0.hook_resid_pre", "blocks.0.mlp.hook_post");
    let none = InputNormalization::None;
    assert_eq!(decide(stream, None, WritingWeights::Centred, none), Ok(RowMean::Removed));
    assert_eq!(decide("blocks.0.hook_mlp_out", None, WritingWeights::Centred, none), Ok(RowMean::Removed));
    assert_eq!(decide(stream, None, WritingWeights::AsTheyAre, none), Ok(RowMean::Kept));
    assert_eq!(decide(inside, None, WritingWeights::Centred, none), Ok(RowMean::Kept), "no weights write it");
    let layer_norm = InputNormalization::LayerNorm { epsilon: 1e-5 };
    assert_eq!(decide(stream, None, WritingWeights::Unsaid, layer_norm), Ok(RowMean::Kept), "it loses its mean anyway");

    let error = decide(stream, None, WritingWeights::Unsaid, none).unwrap_err();
    assert!(error.contains("--row-mean: expected removed or kept"), "{error}");
    assert_eq!(decide(stream, Some(RowMean::Removed), WritingWeights::Unsaid, none), Ok(RowMean::Removed));
    assert_eq!(decide(stream, Some(RowMean::Kept), WritingWeights::Centred, none), Ok(RowMean::Kept));
    assert!(decide(inside, Some(RowMean::Removed), WritingWeights::Unsaid, none).is_err());
    let error = decide("blocks.0.attn.hook_result", None, WritingWeights::Centred, none).unwrap_err();
    assert!(error.contains("every head loses a mean of its own"), "{error}");
}
