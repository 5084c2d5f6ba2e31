use super::*;
use crate::random::Random;
use crate::source::InMemory;
use crate::training::config::{DecoderNorm, Method, TrainingConfig};

fn rows(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::seeded(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

fn trainer(config: TrainingConfig) -> Trainer {
    let (inputs, targets) = (rows(50 * config.n_inputs, 1), rows(50 * config.n_outputs, 2));
    let batch = Batch { inputs: &inputs, targets: &targets };
    Trainer::new(config, batch).unwrap()
}

#[test]
fn a_scan_begins_again_after_its_last_whole_batch() {
    let firsts: Vec<Option<u64>> = (0..5).map(|step| first_row(10, 4, step)).collect();
    assert_eq!(firsts, [Some(0), Some(4), Some(0), Some(4), Some(0)]);
    assert_eq!(first_row(3, 4, 0), None);
    // A step says where in the data it is: after a resume too.
    assert_eq!(first_row(1_000_000, 1_000, 12_345), Some(345_000));
}

#[test]
fn a_transcoder_learns_what_its_inputs_become() {
    // Targets are a fixed turn of the inputs into fewer dimensions.
    let inputs = rows(600 * 8, 3);
    let targets: Vec<f32> = inputs.chunks(8).flat_map(|row| (0..5).map(|at| row[at] - 0.5 * row[at + 3])).collect();
    let mut config = TrainingConfig::top_k(8, 64, 16, 100, 400);
    config.n_outputs = 5;
    config.decoder_bias = crate::autoencoder::DecoderBias::NotSubtracted;
    config.decoder_norm = DecoderNorm::Free;
    config.adam.learning_rate = 1e-2;
    let mut trainers = [trainer(config)];
    let (mut inputs, mut targets) = (InMemory::new(8, inputs).unwrap(), InMemory::new(5, targets).unwrap());
    let mut errors = Vec::new();
    feed_transcoders(&mut inputs, &mut targets, &mut trainers, |_, metrics| {
        errors.push(metrics[0].normalized_mse);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(errors.len(), 400);
    let (first, last) = (errors[0], errors[399]);
    assert!(last < 0.1 && last < first / 5.0, "{first} {last}");
}

#[test]
fn runs_that_disagree_are_refused() {
    let config = |n_latents, batch_rows| TrainingConfig::top_k(8, n_latents, 2, batch_rows, 10);
    let mut source = InMemory::new(8, rows(100 * 8, 5)).unwrap();
    let mut fails = |mut trainers: Vec<Trainer>| {
        let error = feed(&mut source, &mut trainers, |_, _| Ok(ControlFlow::Continue(()))).unwrap_err();
        error.to_string()
    };
    let error = fails(vec![trainer(config(16, 10)), trainer(config(32, 20))]);
    assert_eq!(error, "setting 'batch_rows': expected 10, as the first run, got 20");
    let error = fails(vec![trainer(TrainingConfig::top_k(9, 16, 2, 10, 10))]);
    assert_eq!(error, "setting 'n_inputs': expected 8, the width of the inputs, got 9");
    let error = fails(vec![trainer(config(16, 101))]);
    assert_eq!(error, "'source': expected at least one batch of 101 rows, got 100 rows");
    let method = Method::BatchTopK { k: 2 };
    assert_ne!(trainer(TrainingConfig::with_method(method, 8, 16, 10, 10)), trainer(config(16, 10)));
}
