//! Whether training finds the directions that data were made of (T7): the error alone would not tell.

use super::*;

const WIDTH: usize = 64;
const TRUTHS: usize = 256;
const BATCH: usize = 1024;
const STEPS: u64 = 6_000;

/// Sums of directions, each there with probability 4/256 and a magnitude uniform in 0.5 to 1.5.
struct World {
    truths: Vec<f32>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mut truths: Vec<f32> = (0..TRUTHS * WIDTH).map(|_| random.normal() as f32).collect();
        truths.chunks_exact_mut(WIDTH).for_each(renormalize);
        Self { truths, random }
    }

    fn batch(&mut self, rows: &mut Vec<f32>) {
        rows.clear();
        rows.resize(BATCH * WIDTH, 0.0);
        for row in rows.chunks_exact_mut(WIDTH) {
            // Gaps between those that are there are geometric.
            let gap = |random: &mut Random| ((1.0 - random.uniform()).ln() / (1.0 - 4.0 / 256.0_f64).ln()) as usize;
            let mut truth = gap(&mut self.random);
            while truth < TRUTHS {
                let magnitude = 0.5 + self.random.uniform() as f32;
                crate::kernels::add_scaled(magnitude, &self.truths[truth * WIDTH..][..WIDTH], row);
                truth += 1 + gap(&mut self.random);
            }
        }
    }
}

#[derive(Debug)]
struct Found {
    normalized_mse: f64,
    mean_firings: f64,
    mmcs: f64,
    recovered: f64,
    dead_share: f64,
}

fn train(method: Method, steps: u64, seed: u64) -> Found {
    let mut world = World::new(seed);
    let mut config = TrainingConfig::top_k(WIDTH, TRUTHS, 4, BATCH, steps);
    config.auxiliary = match method {
        Method::Relu { .. } => None,
        _ => Some(AuxiliaryLoss { k: 32, coefficient: 1.0 / 32.0 }),
    };
    config.method = method;
    config.adam.learning_rate = 3e-3;
    config.decay_steps = steps / 5;
    config.dead_after_rows = 20 * BATCH as u64;
    config.seed = seed;
    let mut rows = Vec::new();
    world.batch(&mut rows);
    let mut trainer = Trainer::new(config, Batch::of(&rows)).unwrap();
    let (mut mse, mut firings, mut dead) = (0.0, 0.0, 0.0);
    for step in 0..steps {
        world.batch(&mut rows);
        let metrics = trainer.step(Batch::of(&rows)).unwrap();
        if step >= steps - 20 {
            mse += metrics.normalized_mse / 20.0;
            firings += metrics.mean_firings / 20.0;
            dead = metrics.dead_share;
        }
    }
    let autoencoder = trainer.finish();
    let cosines: Vec<f64> = world
        .truths
        .chunks_exact(WIDTH)
        .map(|truth| {
            let cosine = |row: &[f32]| crate::kernels::dot(row, truth).wide();
            autoencoder.w_dec.chunks_exact(WIDTH).map(cosine).fold(f64::MIN, f64::max)
        })
        .collect();
    Found {
        normalized_mse: mse,
        mean_firings: firings,
        mmcs: cosines.iter().sum::<f64>() / TRUTHS as f64,
        recovered: cosines.iter().filter(|cosine| **cosine > 0.95).count() as f64 / TRUTHS as f64,
        dead_share: dead,
    }
}

#[test]
fn topk_finds_the_true_directions() {
    let found = train(Method::TopK { k: 4 }, STEPS, 0);
    // Not near 0: a row holds 4 directions on average, often more, and 256 of them share 64 dimensions.
    assert!((0.15..0.17).contains(&found.normalized_mse), "{found:?}");
    assert!(found.mean_firings <= 4.0, "{found:?}");
    assert!(found.mmcs > 0.99 && found.recovered >= 0.97 && found.dead_share == 0.0, "{found:?}");
}

#[test]
fn batch_topk_finds_them_too_and_errs_less() {
    let found = train(Method::BatchTopK { k: 4 }, STEPS, 0);
    // TopK's band begins at 0.15.
    assert!((0.13..0.15).contains(&found.normalized_mse), "{found:?}");
    assert!((found.mean_firings - 4.0).abs() < 1e-9, "{found:?}");
    assert!(found.mmcs > 0.99 && found.recovered >= 0.97 && found.dead_share == 0.0, "{found:?}");
}

#[test]
fn a_small_error_alone_says_nothing() {
    // A ReLU autoencoder with a small penalty reconstructs better than both, with fifteen times the latents, and finds
    // hardly any direction.
    let found = train(Method::Relu { l1: 0.02 }, 1000, 0);
    assert!(found.normalized_mse < 0.1, "{found:?}");
    assert!(found.mean_firings > 60.0 && found.recovered < 0.1, "{found:?}");
}
