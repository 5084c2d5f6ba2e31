//! What holds for every input (T10).

use proptest::prelude::*;

use super::*;

fn rows(n_rows: usize, width: usize, random: &mut Random) -> Vec<f64> {
    (0..n_rows * width).map(|_| random.normal()).collect()
}

fn autoencoder(method: Method, d: usize, n: usize, random: &mut Random) -> SparseAutoencoder<f64> {
    let sample = rows(8, d, random);
    let mut config = TrainingConfig::with_method(method, d, n, 8, 10);
    config.seed = random.bits();
    let mut autoencoder = Trainer::new(config, Batch::of(&sample)).unwrap().snapshot();
    autoencoder.b_enc.iter_mut().for_each(|b| *b = 0.1 * random.normal());
    autoencoder
}

/// TopK by sorting everything: the definition.
fn by_sorting(h: &[f64], k: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..h.len()).collect();
    order.sort_by(|a, b| h[*b].total_cmp(&h[*a]).then(a.cmp(b)));
    let mut out = vec![0.0; h.len()];
    for latent in &order[..k] {
        out[*latent] = h[*latent].max(0.0);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn topk_in_tiles_is_topk_by_sorting(
        d in 1..20_usize, n in 1..1200_usize, k_share in 0.0..1.0_f64, n_rows in 0..5_usize, seed in any::<u64>(),
        coarse in any::<bool>(),
    ) {
        let mut random = Random::seeded(seed);
        let k = 1 + (k_share * k_share * (n - 1) as f64) as usize;
        let mut sae = autoencoder(Method::TopK { k }, d, n, &mut random);
        let mut inputs = rows(n_rows, d, &mut random);
        if coarse {
            // Whole numbers make exact sums and many ties: the lower latent wins.
            for values in [&mut sae.w_enc, &mut sae.b_enc, &mut sae.b_dec, &mut inputs] {
                values.iter_mut().for_each(|x| *x = (*x * 3.0).round());
            }
        }
        let mut got = vec![0.0; n_rows * n];
        sae.encode_dense(&inputs, &mut got).unwrap();
        let mut all = sae.clone();
        all.config.activation = Activation::Threshold;
        all.thresholds = Some(vec![f64::MIN; n]);
        let mut h = vec![0.0; n_rows * n];
        all.encode_dense(&inputs, &mut h).unwrap();
        for (h, got) in h.chunks(n).zip(got.chunks(n)) {
            prop_assert_eq!(by_sorting(h, k), got);
        }
        // With k = n it is ReLU.
        sae.config.activation = Activation::TopK { k: n };
        let mut relu = sae.clone();
        relu.config.activation = Activation::Relu;
        let (mut a, mut b) = (Codes::default(), Codes::default());
        sae.encode(&inputs, &mut a).unwrap();
        relu.encode(&inputs, &mut b).unwrap();
        prop_assert_eq!(a, b);
    }

    #[test]
    fn permuting_latents_permutes_codes(d in 1..10_usize, n in 1..700_usize, n_rows in 1..5_usize, seed in any::<u64>()) {
        let mut random = Random::seeded(seed);
        let sae = autoencoder(Method::TopK { k: 1 + n / 5 }, d, n, &mut random);
        let inputs = rows(n_rows, d, &mut random);
        let mut order: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            order.swap(at, random.below(at + 1));
        }
        let mut permuted = sae.clone();
        for (to, from) in order.iter().enumerate() {
            permuted.w_enc[to * d..(to + 1) * d].copy_from_slice(&sae.w_enc[from * d..(from + 1) * d]);
            permuted.b_enc[to] = sae.b_enc[*from];
        }
        let (mut a, mut b) = (vec![0.0; n_rows * n], vec![0.0; n_rows * n]);
        sae.encode_dense(&inputs, &mut a).unwrap();
        permuted.encode_dense(&inputs, &mut b).unwrap();
        for (a, b) in a.chunks(n).zip(b.chunks(n)) {
            for (to, from) in order.iter().enumerate() {
                // A latent's place in its tile changes the order of no sum, but may change how it is rounded.
                prop_assert!((a[*from] - b[to]).abs() < 1e-12, "latent {from}: {} is not {}", b[to], a[*from]);
            }
        }
    }

    #[test]
    fn a_latent_alone_is_the_latent_among_all(d in 1..40_usize, n in 1..600_usize, seed in any::<u64>()) {
        let mut random = Random::seeded(seed);
        let methods = [
            Method::Relu { l1: 0.1 },
            Method::Gated { l1: 0.1 },
            Method::JumpRelu { l0: 0.1, bandwidth: 0.1, initial_threshold: 0.3 },
        ];
        for method in methods {
            let mut sae = autoencoder(method, d, n, &mut random);
            if let Some(magnitude) = &mut sae.magnitude {
                magnitude.log_scale.iter_mut().for_each(|r| *r = 0.3 * random.normal());
                magnitude.bias.iter_mut().for_each(|b| *b = 0.3 * random.normal());
            }
            let inputs = rows(5, d, &mut random);
            let mut all = vec![0.0; 5 * n];
            sae.encode_dense(&inputs, &mut all).unwrap();
            let latent = random.below(n);
            let mut alone = vec![0.0; 5];
            sae.encode_latent(latent as u32, &inputs, &mut alone).unwrap();
            for (row, alone) in alone.iter().enumerate() {
                prop_assert!((alone - all[row * n + latent]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn rows_since_a_latent_fired_are_counted(n in 1..40_usize, k in 1..4_usize, steps in 1..12_usize, seed in any::<u64>()) {
        let mut random = Random::seeded(seed);
        let mut config = TrainingConfig::top_k(3, n, k.min(n), 5, 100);
        config.seed = seed;
        config.auxiliary = None;
        config.dead_after_rows = 10;
        let sample = rows(9, 3, &mut random);
        let mut trainer = Trainer::new(config, Batch::of(&sample)).unwrap();
        // Each step's firings of each latent.
        let mut history: Vec<Vec<bool>> = Vec::new();
        for _ in 0..steps {
            let batch = rows(5, 3, &mut random);
            let mut dense = vec![0.0; 5 * n];
            trainer.snapshot().encode_dense(&batch, &mut dense).unwrap();
            history.push((0..n).map(|j| dense.chunks(n).any(|row| row[j] > 1e-3)).collect());
            trainer.step(Batch::of(&batch)).unwrap();
        }
        for j in 0..n {
            let silent = history.iter().rev().take_while(|fired| !fired[j]).count() as u64;
            prop_assert_eq!(trainer.rows_since_fired()[j], 5 * silent);
        }
        let dead = trainer.rows_since_fired().iter().filter(|rows| **rows > 10).count();
        prop_assert_eq!(trainer.dead_share(), dead as f64 / n as f64);
    }

    #[test]
    fn a_batch_wise_choice_is_the_choice_by_sorting(n in 1..700_usize, k_share in 0.0..1.0_f64, seed in any::<u64>(), hint in 0.0..2.0_f64) {
        let mut random = Random::seeded(seed);
        let k = 1 + (k_share * k_share * (n - 1) as f64) as usize;
        let sample = rows(9, 3, &mut random);
        let mut config = TrainingConfig::with_method(Method::BatchTopK { k }, 3, n, 9, 10);
        config.seed = seed;
        let mut trainer = Trainer::new(config, Batch::of(&sample)).unwrap();
        // Whatever value the threshold is expected at, the choice is the same.
        trainer.state.last_threshold = hint;
        let prepared = trainer.prepare(Batch::of(&sample)).unwrap();
        let (_, selected) = trainer.terms(&prepared);
        let mut relu = trainer.snapshot();
        relu.config.activation = Activation::Relu;
        let mut all = Codes::default();
        relu.encode(&sample, &mut all).unwrap();
        let mut values = all.values.clone();
        values.sort_by(|a, b| b.total_cmp(a));
        values.truncate(k * 9);
        let mut kept = selected.main.values.clone();
        kept.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(values, kept);
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let sample: Vec<f64> = (0..12).map(f64::from).collect();
    let mut trainer = Trainer::new(TrainingConfig::top_k(3, 8, 2, 4, 10), Batch::of(&sample)).unwrap();
    let before = trainer.clone();
    let error = trainer.step(Batch::of(&[f64::NAN; 3])).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 0, .. }), "{error}");
    assert_eq!(trainer, before);
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let fails =
        |config: TrainingConfig| Trainer::<f64>::new(config, Batch::of(&[0.0, 1.0, 2.0, 4.0])).unwrap_err().to_string();
    let good = TrainingConfig::top_k(2, 4, 2, 2, 10);
    let with = |change: fn(&mut TrainingConfig)| {
        let mut config = good.clone();
        change(&mut config);
        fails(config)
    };
    assert_eq!(with(|c| c.method = Method::TopK { k: 5 }), "setting 'k': expected 1 to 4 (n_latents), got 5");
    assert_eq!(with(|c| c.n_latents = 0), "setting 'n_latents': expected 1 to 4294967295, got 0");
    let error = with(|c| c.method = Method::Matryoshka { k: 1, prefixes: vec![3, 2] });
    assert_eq!(error, "setting 'prefixes': expected rising ends of prefixes, the last 4 (n_latents), got [3, 2]");
    let error = with(|c| c.method = Method::Relu { l1: 1.0 });
    assert!(error.starts_with("setting 'auxiliary': expected none beside a penalty"), "{error}");
    assert!(with(|c| c.n_outputs = 3).starts_with("setting 'decoder_bias'"));
}
