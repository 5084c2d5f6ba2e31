//! Against the reference values of a float64 implementation (T1 to T6), and against differences of the loss.

use super::*;
use crate::autoencoder::Activation;
use crate::codes::Codes;
use crate::training::config::{Adam, AuxiliaryLoss};
use crate::training::geometric_median::geometric_median;

mod differences;
mod invariants;
mod superposition;

const D: usize = 4;
const N: usize = 8;

/// The tiny TopK autoencoder that the reference values are of: weights by formula.
fn tiny(method: Method) -> Trainer<f64> {
    let mut config = TrainingConfig::with_method(method, D, N, 3, 1);
    config.adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 6.25e-10, clip_norm: None };
    config.decay_steps = 0;
    let rows = tiny_rows();
    let mut trainer = Trainer::new(config, Batch::of(&rows)).unwrap();
    let w_enc: Vec<f64> =
        (0..N * D).map(|at| 0.5 * (0.7 * (at / D) as f64 + 1.3 * (at % D) as f64 + 0.1).sin()).collect();
    let mut w_dec = w_enc.clone();
    w_dec.chunks_exact_mut(D).for_each(renormalize);
    trainer
        .set_parameters(Parameters {
            w_enc,
            b_enc: (0..N).map(|j| 0.01 * (j as f64 - 3.5)).collect(),
            w_dec,
            b_dec: (0..D).map(|i| 0.05 * (i as f64 - 1.5)).collect(),
            ..trainer.parameters.clone()
        })
        .unwrap();
    trainer
}

fn tiny_rows() -> Vec<f64> {
    (0..3 * D).map(|at| (0.9 * (at / D) as f64 + 0.4 * ((at % D) * (at % D)) as f64 + 0.2).cos()).collect()
}

#[track_caller]
fn near(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        // The reference values are printed with ten decimals.
        assert!((got - expected).abs() < 1e-9, "value {at}: {got} is not {expected}");
    }
}

fn norm(values: &[f64]) -> f64 {
    sum_of_squares(values).sqrt()
}

#[test]
fn a_tiny_autoencoder_encodes_and_decodes_as_the_reference() {
    let trainer = tiny(Method::TopK { k: 2 });
    let autoencoder = trainer.snapshot();
    let mut codes = Codes::default();
    let mut out = vec![0.0; 3 * D];
    autoencoder.reconstruct(&tiny_rows(), &mut codes, &mut out).unwrap();
    assert_eq!(codes.latents, [1, 2, 2, 3, 4, 5]);
    near(&codes.values, &[1.1856126801, 1.0914181366, 0.6785560666, 0.6626063917, 0.7728913191, 0.8072883253]);
    near(
        &out,
        &[
            1.1893856659,
            0.8835034065,
            -0.7533384718,
            -1.2499126655,
            0.7633487512,
            -0.0506066802,
            -0.8270482651,
            -0.3552371455,
            -0.1765377263,
            -1.1187827330,
            -0.4586334733,
            0.9100399578,
        ],
    );
    // All pre-activations: with k = n the negative ones alone are missing.
    let mut all = autoencoder;
    all.config.activation = Activation::TopK { k: N };
    let mut dense = vec![0.0; 3 * N];
    all.encode_dense(&tiny_rows(), &mut dense).unwrap();
    near(&dense[..N], &[0.7104371638, 1.1856126801, 1.0914181366, 0.4768578552, 0.0, 0.0, 0.0, 0.0]);
    near(&dense[N..2 * N], &[0.0, 0.3683154863, 0.6785560666, 0.6626063917, 0.3326709991, 0.0, 0.0, 0.0]);
    near(&dense[2 * N..], &[0.0, 0.0, 0.0, 0.3773430269, 0.7728913191, 0.8072883253, 0.4690597522, 0.0]);
}

#[test]
fn gradients_and_a_step_of_adam_are_the_references() {
    let rows = tiny_rows();
    let mut trainer = tiny(Method::TopK { k: 2 });
    near(&[1.0 / trainer.state.mse_scale], &[0.3120902934]);
    let (loss, gradients) = trainer.gradients(Batch::of(&rows)).unwrap();
    near(&[loss], &[0.3155346374]);
    near(&[loss / trainer.state.mse_scale], &[0.0984752976]);
    near(&[norm(&gradients.w_enc), norm(&gradients.w_dec)], &[0.8534457845, 0.5520920494]);
    near(&gradients.b_enc, &[0.0, 0.2779964780, 0.5142561571, 0.1108760518, 0.0629048184, 0.1337493485, 0.0, 0.0]);
    near(&gradients.b_dec, &[0.0262127613, -0.3309710085, 0.3230269801, -0.0868546296]);
    near(&gradients.w_enc[D..2 * D], &[0.2933047927, 0.2363903060, -0.0701112941, -0.2407359739]);
    let squares: f64 = gradients.named().iter().map(|(_, values)| sum_of_squares(values)).sum();
    near(&[squares.sqrt()], &[1.2771747148]);
    // Without the projection.
    let mut free = trainer.clone();
    free.config.decoder_norm = DecoderNorm::Free;
    near(&[norm(&free.gradients(Batch::of(&rows)).unwrap().1.w_dec)], &[0.8227225464]);

    let mut clipped = trainer.clone();
    clipped.config.adam.clip_norm = Some(10.0);
    trainer.step(Batch::of(&rows)).unwrap();
    near(&[trainer.gradients(Batch::of(&rows)).unwrap().0], &[0.3087841399]);
    // Gradients that are written out and not clipped give the same step as those that are not written.
    let metrics = clipped.step(Batch::of(&rows)).unwrap();
    near(&[metrics.gradient_norm.unwrap()], &[1.2771747148]);
    near(&clipped.parameters.w_dec, &trainer.parameters.w_dec);
    near(&clipped.parameters.w_enc, &trainer.parameters.w_enc);
    near(&clipped.parameters.b_dec, &trainer.parameters.b_dec);
}

#[test]
fn the_auxiliary_loss_is_the_references() {
    let rows = tiny_rows();
    let mut trainer = tiny(Method::TopK { k: 2 });
    trainer.config.auxiliary = Some(AuxiliaryLoss { k: 2, coefficient: 1.0 / 32.0 });
    // The reference calls latents dead that fire in this very batch; here these are left out of the auxiliary loss, so
    // the value at which a latent counts as firing is put out of reach.
    trainer.config.fires_above = 1e3;
    let dead = |j: usize| if [1, 5, 6].contains(&j) { 10_000_001 } else { 0 };
    trainer.set_rows_since_fired((0..N).map(dead).collect()).unwrap();
    let (loss, _) = trainer.gradients(Batch::of(&rows)).unwrap();
    near(&[loss], &[0.5699884590]);
    let metrics = trainer.clone().step(Batch::of(&rows)).unwrap();
    near(&[metrics.auxiliary_loss.unwrap(), metrics.dead_share], &[8.1425222899, 1.0 * 3.0 / 8.0]);
    // A latent that fires in the batch is dead no longer: of the three only latent 6 is left.
    trainer.config.fires_above = 1e-3;
    let metrics = trainer.step(Batch::of(&rows)).unwrap();
    near(&[metrics.dead_share], &[1.0 / 8.0]);
    assert_eq!(trainer.rows_since_fired(), [3, 0, 0, 0, 0, 0, 10_000_004, 3]);
}

#[test]
fn multi_topk_is_the_references() {
    let rows = tiny_rows();
    let mut all = tiny(Method::TopK { k: 8 });
    near(&[all.gradients(Batch::of(&rows)).unwrap().0], &[0.8253382730]);
    let multi = tiny(Method::MultiTopK { k: 2, factor: 4, weight: 0.125 });
    near(&[multi.gradients(Batch::of(&rows)).unwrap().0], &[0.4187019216]);
    all.config.dead_after_rows = 2;
    all.step(Batch::of(&rows)).unwrap();
    // Latent 7 alone never fires.
    near(&[all.dead_share()], &[1.0 / 8.0]);
}

#[test]
fn layer_norm_takes_the_unbiased_deviation() {
    let mut row = [1.0, 2.0, 4.0, 8.0];
    let (mut scales, mut shifts) = (Vec::new(), Vec::new());
    normalize_rows(InputNormalization::LayerNorm { epsilon: 1e-5 }, D, &mut row, &mut scales, &mut shifts);
    near(&row, &[-0.8883272688, -0.5652991711, 0.0807570244, 1.3728694155]);
    near(&[shifts[0], scales[0]], &[3.75, 3.0956959368]);
}

#[test]
fn the_geometric_median_of_five_points() {
    let points = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 10.0, 10.0];
    let median = geometric_median(2, &points);
    assert_eq!(median.iterations, 32);
    assert!(median.point.iter().all(|x| (x - 0.788694).abs() < 5e-7), "{median:?}");
}

#[test]
fn thresholds_of_jump_relu_move_as_their_estimator_says() {
    let z = [0.3, 0.41, 0.45, 0.5, 0.55, 0.59, 0.7];
    let values = [0.0, 0.0, 0.0, 0.0, 0.55, 0.59, 0.7];
    let by_output = [0.0, -2.5, -2.5, -2.5, -2.5, -2.5, 0.0];
    let by_step = [0.0, -5.0, -5.0, -5.0, -5.0, -5.0, 0.0];
    let by_z = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    for (at, z) in z.into_iter().enumerate() {
        for l0 in [0.0, 1.0] {
            // One latent that reads and writes one coordinate, whose reconstruction is pulled at by exactly 1.
            let method = Method::JumpRelu { l0, bandwidth: 0.2, initial_threshold: 0.5 };
            let mut config = TrainingConfig::with_method(method, 1, 1, 1, 1);
            config.penalty_warm_up_steps = 0;
            config.decoder_norm = DecoderNorm::Free;
            let mut trainer = Trainer::new(config, Batch::of(&[0.0, 1.0])).unwrap();
            let one = vec![1.0];
            let parameters =
                Parameters { w_enc: one.clone(), w_dec: one, b_dec: vec![0.0], ..trainer.parameters.clone() };
            trainer.set_parameters(parameters).unwrap();
            let batch = Batch { inputs: &[z], targets: &[values[at] - 0.5] };
            let (loss, gradients) = trainer.gradients(batch).unwrap();
            near(&[loss], &[0.25 + l0 * by_z[at]]);
            near(&gradients.thresholds, &[by_output[at] + l0 * by_step[at]]);
            near(&gradients.b_enc, &[by_z[at]]);
            let mut code = [0.0];
            trainer.snapshot().encode_dense(&[z], &mut code).unwrap();
            near(&code, &[values[at]]);
        }
    }
}

#[test]
fn a_batch_wise_choice_keeps_the_largest_of_all_rows() {
    let rows = [3.0, 1.0, 0.5, 0.0, 2.0, 0.2, 0.1, 0.0, 0.9, 0.8, 0.7, 0.6];
    let mut config = TrainingConfig::with_method(Method::BatchTopK { k: 2 }, D, D, 3, 10);
    config.decoder_bias = DecoderBias::NotSubtracted;
    let mut trainer = Trainer::new(config, Batch::of(&rows)).unwrap();
    let identity: Vec<f64> = (0..D * D).map(|at| f64::from(at / D == at % D)).collect();
    let parameters = Parameters { w_enc: identity.clone(), w_dec: identity, ..trainer.parameters.clone() };
    trainer.set_parameters(parameters).unwrap();
    let prepared = trainer.prepare(Batch::of(&rows)).unwrap();
    let (_, selected) = trainer.terms(&prepared);
    assert_eq!(selected.main.values, [3.0, 1.0, 2.0, 0.9, 0.8, 0.7]);
    assert_eq!(selected.main.offsets, [0, 2, 3, 6]);
    let metrics = trainer.step(Batch::of(&rows)).unwrap();
    near(&[trainer.state.threshold, metrics.mean_firings], &[0.007, 2.0]);
    // Read out, the running mean no longer knows that it began at 0.
    near(&[trainer.threshold().unwrap()], &[0.7]);
}
