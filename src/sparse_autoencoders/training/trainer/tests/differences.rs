//! Gradients against central differences of the loss, in f64, at random shapes.

use proptest::prelude::*;

use super::*;

/// Every method with its own numbers, for 12 latents.
fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![
        (1..12_usize).prop_map(|k| Method::TopK { k }),
        (1..4_usize).prop_map(|k| Method::MultiTopK { k, factor: 3, weight: 0.125 }),
        (1..12_usize).prop_map(|k| Method::BatchTopK { k }),
        (1..12_usize).prop_map(|k| Method::Matryoshka { k, prefixes: vec![2, 5, 12] }),
        (0.0..1.0_f64).prop_map(|l1| Method::Relu { l1 }),
        // The gate's step and the decoder that is held fixed have no difference quotient: see PyTorch's comparison.
    ]
}

/// Moves one value of one array.
fn moved(trainer: &Trainer<f64>, array: usize, at: usize, by: f64) -> Trainer<f64> {
    let mut trainer = trainer.clone();
    trainer.parameters.named_mut()[array].1[at] += by;
    trainer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn gradients_are_slopes_of_the_loss(
        method in methods(),
        d in 1..7_usize,
        rows in 2..6_usize,
        transcoder in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Random::seeded(seed);
        let mut config = TrainingConfig::with_method(method, d, 12, rows, 10);
        config.seed = seed;
        config.auxiliary = None;
        config.penalty_warm_up_steps = 0;
        config.decoder_norm = DecoderNorm::Free;
        if transcoder {
            config.n_outputs = d + 2;
            config.decoder_bias = DecoderBias::NotSubtracted;
        }
        let inputs: Vec<f64> = (0..rows * d).map(|_| random.normal()).collect();
        let targets: Vec<f64> = (0..rows * config.n_outputs).map(|_| random.normal()).collect();
        let batch = if transcoder { Batch { inputs: &inputs, targets: &targets } } else { Batch::of(&inputs) };
        let mut trainer = Trainer::new(config, batch).unwrap();
        for (_, values) in trainer.parameters.named_mut() {
            values.iter_mut().for_each(|x| *x += 0.3 * random.normal());
        }
        let (_, gradients) = trainer.gradients(batch).unwrap();
        for (array, (name, gradient)) in gradients.named().iter().enumerate() {
            for at in (0..gradient.len()).step_by(1 + gradient.len() / 7) {
                let loss = |by: f64| moved(&trainer, array, at, by).gradients(batch).unwrap().0;
                let slope = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
                let (coarse, fine) = (slope(1e-5), slope(5e-6));
                // Where two steps disagree a latent enters or leaves between them: no slope to compare with.
                if (coarse - fine).abs() > 1e-6 * (1.0 + fine.abs()) {
                    continue;
                }
                let error = (gradient[at] - fine).abs();
                prop_assert!(error < 1e-6 * (1.0 + fine.abs()), "{name}[{at}]: {} is not {fine}", gradient[at]);
            }
        }
    }
}
