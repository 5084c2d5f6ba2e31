use super::*;
use crate::codes::Codes;
use crate::random::Random;
use crate::training::config::{Method, TrainingConfig};
use crate::training::trainer::{Batch, Trainer};

fn rows(n: usize) -> Vec<f32> {
    let mut random = Random::seeded(4);
    (0..n).map(|_| random.normal() as f32 + 0.2).collect()
}

fn autoencoder(method: Method, n_latents: usize) -> SparseAutoencoder {
    let sample = rows(20 * 12);
    Trainer::new(TrainingConfig::with_method(method, 12, n_latents, 20, 10), Batch::of(&sample)).unwrap().finish()
}

#[test]
fn few_rows_on_many_threads_have_the_codes_of_one() {
    let autoencoder = autoencoder(Method::TopK { k: 9 }, 1_000);
    let encode = |threads: usize, n_rows: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut codes = Codes::default();
        pool.install(|| autoencoder.encode(&rows(n_rows * 12), &mut codes)).unwrap();
        codes
    };
    for n_rows in [0, 1, 5, 1030] {
        // 1,000 latents are 8 tiles: 3, 5 and 16 threads share them out in different ways.
        let one = encode(1, n_rows);
        assert_eq!(one.n_rows(), n_rows);
        for threads in [3, 5, 16] {
            assert_eq!(encode(threads, n_rows), one, "{n_rows} rows on {threads} threads");
        }
    }
}

#[test]
fn a_calibrated_threshold_fires_as_often_as_asked() {
    let inputs = rows(700 * 12);
    let mut autoencoder = autoencoder(Method::TopK { k: 5 }, 64);
    autoencoder.calibrate_thresholds(&inputs, 5.0).unwrap();
    let mut codes = Codes::default();
    let by_threshold = autoencoder.with_thresholds().unwrap();
    by_threshold.encode(&inputs, &mut codes).unwrap();
    assert_eq!(codes.n_firings(), 5 * 700);
    assert_eq!(codes.mean_firings(), Some(5.0));
    // More than fire at all: every positive one may.
    let mut all = by_threshold;
    assert_eq!(all.calibrate_thresholds(&inputs, 64.0).unwrap(), 0.0);
    assert!(all.calibrate_thresholds(&[], 5.0).is_err());
}

#[test]
fn normalised_rows_come_back_in_their_own_units() {
    // As many latents as there are ways to point, each with its opposite: any row is written exactly.
    let n = 12;
    let identity = |sign: f32| (0..n * n).map(move |at| if at / n == at % n { sign } else { 0.0 });
    let both: Vec<f32> = identity(1.0).chain(identity(-1.0)).collect();
    let mut exact = autoencoder(Method::TopK { k: 24 }, 24);
    (exact.w_enc, exact.w_dec) = (both.clone(), both);
    let inputs = rows(9 * n);
    let normalizations = [
        InputNormalization::None,
        InputNormalization::LayerNorm { epsilon: 0.0 },
        InputNormalization::UnitNorm,
        InputNormalization::ConstantNorm,
        InputNormalization::Scale { inputs: 3.0, outputs: 3.0 },
    ];
    for normalization in normalizations {
        exact.config.input_normalization = normalization;
        let (mut codes, mut out) = (Codes::default(), vec![0.0; inputs.len()]);
        exact.reconstruct(&inputs, &mut codes, &mut out).unwrap();
        for (got, expected) in out.iter().zip(&inputs) {
            assert!((got - expected).abs() < 1e-5, "{normalization:?}: {got} is not {expected}");
        }
        // Rows that are normalised one by one need their numbers back.
        codes.row_scales.clear();
        assert_eq!(exact.decode(&codes, &mut out).is_err(), normalization.varies_by_row());
    }
    // A row of equal values has no direction.
    exact.config.input_normalization = InputNormalization::UnitNorm;
    let (mut codes, mut out) = (Codes::default(), vec![0.0; n]);
    exact.b_dec.fill(0.0);
    exact.reconstruct(&vec![2.5; n], &mut codes, &mut out).unwrap();
    assert_eq!((codes.n_firings(), out), (0, vec![2.5; n]));
}

#[test]
fn rows_less_their_mean_have_the_codes_of_centred_rows() {
    let n = 12;
    let inputs = rows(40 * n);
    let means: Vec<f32> = inputs.chunks(n).map(|row| row.iter().sum::<f32>() / n as f32).collect();
    let centred: Vec<f32> =
        inputs.chunks(n).zip(&means).flat_map(|(row, mean)| row.iter().map(move |x| x - mean)).collect();
    let normalizations = [
        InputNormalization::None,
        InputNormalization::LayerNorm { epsilon: 1e-5 },
        InputNormalization::ConstantNorm,
        InputNormalization::Scale { inputs: 3.0, outputs: 3.0 },
    ];
    for normalization in normalizations {
        let mut kept = autoencoder(Method::TopK { k: 5 }, 40);
        kept.config.input_normalization = normalization;
        let removed =
            SparseAutoencoder { config: Config { row_mean: RowMean::Removed, ..kept.config.clone() }, ..kept.clone() };
        let run = |autoencoder: &SparseAutoencoder, inputs: &[f32]| {
            let (mut codes, mut out) = (Codes::default(), vec![0.0; inputs.len()]);
            autoencoder.reconstruct(inputs, &mut codes, &mut out).unwrap();
            (codes, out)
        };
        let (expected_codes, expected) = run(&kept, &centred);
        let (codes, out) = run(&removed, &inputs);
        assert_eq!(codes.latents, expected_codes.latents, "{normalization:?}");
        // In the units of the rows as they are: what a splice puts into the model has the mean that it had.
        for (row, mean) in means.iter().enumerate() {
            for at in row * n..(row + 1) * n {
                assert!(
                    (out[at] - expected[at] - mean).abs() < 1e-5,
                    "{normalization:?}: {} {}",
                    out[at],
                    expected[at]
                );
            }
        }
        let mut one = vec![0.0; 40];
        removed.clone().with_thresholds().unwrap().encode_latent(3, &inputs, &mut one).unwrap();
        let mut other = vec![0.0; 40];
        kept.with_thresholds().unwrap().encode_latent(3, &centred, &mut other).unwrap();
        assert!(one.iter().zip(&other).all(|(one, other)| (one - other).abs() < 1e-5), "{normalization:?}");
        let mut codes = codes;
        codes.row_means.clear();
        assert!(removed.decode(&codes, &mut vec![0.0; inputs.len()]).is_err(), "the means are needed back");
    }
    let mut transcoder = autoencoder(Method::TopK { k: 5 }, 40);
    transcoder.config.row_mean = RowMean::Removed;
    transcoder.w_skip = Some(vec![0.0; n * n]);
    let error = transcoder.validate().unwrap_err().to_string();
    assert!(error.contains("'row_mean': expected kept in a transcoder"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let autoencoder = autoencoder(Method::TopK { k: 3 }, 40);
    let mut codes = Codes::default();
    let error = autoencoder.encode(&[0.0; 13], &mut codes).unwrap_err().to_string();
    assert_eq!(error, "'inputs': expected rows of 12 values, got 13 values");
    let error = autoencoder.decoder_row(40).unwrap_err().to_string();
    assert_eq!(error, "the autoencoder has latents 0 to 39, got 40");
    let error = autoencoder.encode_latent(0, &[0.0; 12], &mut [0.0]).unwrap_err().to_string();
    assert!(error.contains("with_thresholds"), "{error}");
    codes.push_row([(40, 1.0)]);
    assert!(matches!(autoencoder.decode(&codes, &mut [0.0; 12]), Err(Error::LatentOutOfRange { latent: 40, .. })));
    let mut broken = autoencoder.clone();
    broken.b_enc.pop();
    assert_eq!(broken.validate().unwrap_err().to_string(), "'b_enc': expected 40 values, got 39");
    broken = autoencoder.clone();
    broken.config.activation = Activation::TopK { k: 41 };
    assert_eq!(broken.validate().unwrap_err().to_string(), "setting 'k': expected 1 to 40 (n_latents), got 41");
    broken = autoencoder;
    broken.w_skip = Some(vec![0.0; 144]);
    assert!(broken.decode(&Codes::default(), &mut []).unwrap_err().to_string().contains("reconstruct"));
}
