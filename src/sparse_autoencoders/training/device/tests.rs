//! A run on candle's processor device beside the same run on our own kernels.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::select::{kth_largest, nth_largest_of_all};
use super::*;
use crate::random::Random;
use crate::training::config::{AuxiliaryLoss, DecoderNorm, Method, TrainingConfig};

const WIDTH: usize = 6;
const LATENTS: usize = 40;
const ROWS: usize = 16;
const STEPS: u64 = 12;

fn methods() -> [Method; 7] {
    [
        Method::TopK { k: 3 },
        Method::MultiTopK { k: 3, factor: 4, weight: 0.125 },
        Method::BatchTopK { k: 3 },
        Method::Matryoshka { k: 3, prefixes: vec![5, 12, LATENTS] },
        Method::Relu { l1: 0.5 },
        Method::Gated { l1: 0.5 },
        Method::JumpRelu { l0: 0.1, bandwidth: 0.5, initial_threshold: 0.2 },
    ]
}

fn rows<T: Number>(n_rows: usize, width: usize, random: &mut Random) -> Vec<T> {
    (0..n_rows * width).map(|_| T::of(random.normal())).collect()
}

/// A short run in which schedules, penalties, clipping and the auxiliary loss all act.
fn config(method: Method) -> TrainingConfig {
    let mut config = TrainingConfig::with_method(method, WIDTH, LATENTS, ROWS, STEPS);
    config.adam.learning_rate = 3e-3;
    config.warm_up_steps = 2;
    config.decay_steps = 3;
    config.penalty_warm_up_steps = config.penalty_warm_up_steps.min(2);
    config.dead_after_rows = 0;
    if let Some(auxiliary) = &mut config.auxiliary {
        *auxiliary = AuxiliaryLoss { k: 4, ..*auxiliary };
    }
    config
}

fn begun<T: Number>(config: TrainingConfig, random: &mut Random) -> Trainer<T> {
    let (inputs, targets) = (rows(64, config.n_inputs, random), rows(64, config.n_outputs, random));
    let sample = if config.n_inputs == config.n_outputs {
        Batch::of(&inputs)
    } else {
        Batch { inputs: &inputs, targets: &targets }
    };
    Trainer::new(config, sample).unwrap()
}

/// Where two runs differ by more than `tolerance`, relative to the larger of 1 and the value.
fn difference<T: Number>(ours: &Parameters<T>, theirs: &Parameters<T>, tolerance: f64) -> Option<String> {
    for ((name, ours), (_, theirs)) in ours.named().iter().zip(theirs.named()) {
        if ours.len() != theirs.len() {
            return Some(format!("{name}: {} values, {}", ours.len(), theirs.len()));
        }
        for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
            let distance = (a.wide() - b.wide()).abs() / a.wide().abs().max(1.0);
            if distance.is_nan() || distance > tolerance {
                return Some(format!("{name}[{at}]: {a}, {b}"));
            }
        }
    }
    None
}

/// Takes every step twice, here and on the device, and compares all numbers.
fn compare<T: Number + WithDType>(config: TrainingConfig, tolerance: f64) {
    let random = &mut Random::seeded(7);
    let method = config.method.clone();
    let mut ours: Trainer<T> = begun(config.clone(), random);
    let mut theirs = DeviceTrainer::new(ours.clone(), &Device::Cpu).unwrap();
    let mut revived = 0;
    for step in 0..STEPS {
        let inputs: Vec<T> = rows(ROWS, config.n_inputs, random);
        let targets: Vec<T> = rows(ROWS, config.n_outputs, random);
        let batch = if config.n_inputs == config.n_outputs {
            Batch::of(&inputs)
        } else {
            Batch { inputs: &inputs, targets: &targets }
        };
        let (our_loss, our_gradients) = ours.gradients(batch).unwrap();
        let (loss, gradients) = theirs.gradients(batch).unwrap();
        assert!(
            (our_loss - loss).abs() <= tolerance * our_loss.abs().max(1.0),
            "{method:?}, step {step}: {our_loss}, {loss}"
        );
        assert_eq!(difference(&our_gradients, &gradients, tolerance), None, "{method:?}, gradients of step {step}");
        let (a, b) = (ours.step(batch).unwrap(), theirs.step(batch).unwrap());
        assert_eq!(
            (a.step, a.rows, a.mean_firings, a.dead_share, a.learning_rate),
            (b.step, b.rows, b.mean_firings, b.dead_share, b.learning_rate)
        );
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= tolerance * a.abs().max(1.0),
            (a, b) => a == b,
        };
        assert!(near(Some(a.normalized_mse), Some(b.normalized_mse)), "{method:?}: {a:?}, {b:?}");
        assert!(near(a.auxiliary_loss, b.auxiliary_loss), "{method:?}: {a:?}, {b:?}");
        assert!(near(a.penalty, b.penalty) && near(a.gradient_norm, b.gradient_norm), "{method:?}: {a:?}, {b:?}");
        revived += usize::from(a.auxiliary_loss.is_some_and(|loss| loss > 0.0));
        let fetched = theirs.fetch().unwrap();
        assert_eq!(fetched.rows_since_fired(), ours.rows_since_fired(), "{method:?}");
        assert!(near(fetched.threshold(), ours.threshold()), "{method:?}");
        assert_eq!(difference(&ours.parameters, &fetched.parameters, tolerance), None, "{method:?}, step {step}");
    }
    assert!(config.auxiliary.is_none() || revived > 0, "{method:?}: no latent was dead");
    // Goes on here, from what it was there.
    let mut back = theirs.into_trainer().unwrap();
    assert_eq!(difference(&ours.first_moments, &back.first_moments, tolerance), None, "{method:?}");
    assert_eq!(difference(&ours.second_moments, &back.second_moments, tolerance), None, "{method:?}");
    let inputs: Vec<T> = rows(ROWS, config.n_inputs, random);
    if config.n_inputs == config.n_outputs {
        back.step(Batch::of(&inputs)).unwrap();
        ours.step(Batch::of(&inputs)).unwrap();
        assert_eq!(difference(&ours.parameters, &back.parameters, tolerance), None, "{method:?}, back");
    }
}

#[test]
fn every_method_takes_the_same_steps_on_a_device() {
    for method in methods() {
        compare::<f64>(config(method), 1e-9);
    }
}

#[test]
fn every_method_takes_the_same_steps_in_single_precision() {
    for method in methods() {
        compare::<f32>(config(method), 2e-4);
    }
}

#[test]
fn variants_of_the_recipe_take_the_same_steps() {
    for method in methods() {
        let mut transcoder = config(method.clone());
        transcoder.n_outputs = WIDTH + 3;
        transcoder.decoder_bias = DecoderBias::NotSubtracted;
        compare::<f64>(transcoder, 1e-9);
        let mut clipped = config(method.clone());
        clipped.adam.clip_norm = Some(1e-2);
        compare::<f64>(clipped, 1e-9);
        let mut free = config(method);
        free.decoder_norm = match free.decoder_norm {
            DecoderNorm::Unit => DecoderNorm::Free,
            DecoderNorm::Free => DecoderNorm::Unit,
        };
        free.auxiliary = None;
        compare::<f64>(free, 1e-9);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_kth_largest_is_that_of_the_sorted_row(
        n_rows in 1..4_usize, n in 1..20_000_usize, k_share in 0.0..1.0_f64, coarse in any::<bool>(), seed in any::<u64>(),
    ) {
        let mut random = Random::seeded(seed);
        let most = if n > 8192 { 4096 } else { n };
        let k = 1 + (k_share.powi(3) * (most - 1) as f64) as usize;
        let mut values: Vec<f32> = rows(n_rows, n, &mut random);
        if coarse {
            values.iter_mut().for_each(|x| *x = (*x * 3.0).round());
        }
        let tensor = Tensor::from_slice(&values, (n_rows, n), &Device::Cpu).unwrap();
        let found: Vec<f32> = kth_largest(&tensor, k).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (row, found) in values.chunks_mut(n).zip(found) {
            row.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(row[k - 1], found);
        }
    }

    #[test]
    fn the_nth_largest_of_a_batch_is_that_of_all_values_sorted(
        n_rows in 1..5_usize, n in 1..500_usize, wanted in 1..600_usize, kind in 0..3_usize, seed in any::<u64>(),
    ) {
        let mut random = Random::seeded(seed);
        let mut values: Vec<f64> = rows(n_rows, n, &mut random);
        values.iter_mut().for_each(|x| match kind {
            0 => *x = (*x * 3.0).round(),
            1 => *x = -x.abs(),
            _ => {}
        });
        let tensor = Tensor::from_slice(&values, (n_rows, n), &Device::Cpu).unwrap();
        values.retain(|x| *x > 0.0);
        values.sort_by(|a, b| b.total_cmp(a));
        let expected = values.get(wanted - 1).or(values.last()).copied();
        prop_assert_eq!(nth_largest_of_all::<f64>(&tensor, wanted).unwrap(), expected);
    }
}

#[test]
fn a_step_that_diverges_changes_nothing() {
    let random = &mut Random::seeded(3);
    let mut ours: Trainer<f32> = begun(config(Method::TopK { k: 3 }), random);
    let mut theirs = DeviceTrainer::new(ours.clone(), &Device::Cpu).unwrap();
    let good: Vec<f32> = rows(ROWS, WIDTH, random);
    theirs.step(Batch::of(&good)).unwrap();
    ours = theirs.fetch().unwrap().clone();
    let mut bad = good;
    bad[WIDTH] = f32::NAN;
    assert!(matches!(theirs.step(Batch::of(&bad)), Err(Error::Diverged { step: 1, .. })));
    assert_eq!(*theirs.fetch().unwrap(), ours);
    assert!(matches!(theirs.step(Batch::of(&bad[1..])), Err(Error::Shape { .. })));
}

#[test]
fn a_choice_of_more_than_can_be_sorted_is_refused() {
    let random = &mut Random::seeded(4);
    let mut config = TrainingConfig::top_k(2, 9_000, 4_097, 4, 1);
    let refused = DeviceTrainer::new(begun::<f32>(config.clone(), random), &Device::Cpu);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("at most 4096") && text.contains("4097"), "{text}");
    config.method = Method::TopK { k: 4_096 };
    let mut trainer = DeviceTrainer::new(begun::<f32>(config, random), &Device::Cpu).unwrap();
    let rows: Vec<f32> = rows(4, 2, random);
    assert!(trainer.step(Batch::of(&rows)).unwrap().mean_firings <= 4_096.0);
}
