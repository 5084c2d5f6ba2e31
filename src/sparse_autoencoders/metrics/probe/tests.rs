use super::*;
use crate::random::Random;

#[test]
fn the_gradient_is_zero_at_the_fit() {
    let mut random = Random::seeded(5);
    for scale in [1e-3, 1.0, 300.0] {
        let values: Vec<f32> = (0..400).map(|_| (scale * (random.normal() + 3.0)) as f32).collect();
        let labels: Vec<bool> = values.iter().map(|x| f64::from(*x) / scale + 2.0 * random.normal() > 3.5).collect();
        let probe = fit(&values, &labels).unwrap();
        let residual =
            |x: f32, y: bool| 1.0 / (1.0 + (-(probe.weight * f64::from(x) + probe.bias)).exp()) - f64::from(y);
        let gradient: f64 = values.iter().zip(&labels).map(|(x, y)| residual(*x, *y)).sum();
        let slope: f64 = values.iter().zip(&labels).map(|(x, y)| residual(*x, *y) * f64::from(*x) / scale).sum();
        // Per value, of a loss near 0.6.
        assert!(gradient.abs() / 400.0 < 1e-6 && slope.abs() / 400.0 < 1e-5, "{gradient} {slope}");
    }
}

#[test]
fn the_latent_that_knows_is_found() {
    let mut random = Random::seeded(6);
    let labels: Vec<bool> = (0..60).map(|at| at % 3 == 0).collect();
    let codes: Vec<f32> = labels
        .iter()
        .flat_map(|label| {
            [0.0, random.normal() as f32, f32::from(u8::from(*label)) * 2.0 + 0.1 * random.normal() as f32]
        })
        .collect();
    let found = best(&codes, 3, &labels).unwrap();
    assert_eq!(found.latent, 2);
    assert!(found.probe.loss < 0.01, "{found:?}");
    // A latent that never fires knows the share of true labels, and nothing else.
    let silent = fit(&[0.0; 60], &labels).unwrap();
    let entropy = -(1.0 / 3.0_f64).ln() / 3.0 - (2.0 / 3.0_f64).ln() * 2.0 / 3.0;
    assert!((silent.loss - entropy).abs() < 1e-12 && silent.weight == 0.0, "{silent:?}");
    assert!(fit(&[1.0, 2.0], &[true, true]).is_err());
}

#[test]
fn sparse_values_are_fitted_as_dense_ones() {
    let mut random = Random::seeded(7);
    for share in [0.02, 0.3, 1.0] {
        let values: Vec<f32> = (0..500)
            .map(|_| if random.normal().abs() < share { random.normal().abs() as f32 + 0.1 } else { 0.0 })
            .collect();
        let labels: Vec<bool> = values.iter().map(|x| f64::from(*x) + random.normal() > 0.8).collect();
        let sparse = |values: &[f32], labels: &[bool]| SparseValues {
            n_rows: values.len() as u64,
            n_true: labels.iter().filter(|label| **label).count() as u64,
            firings: values.iter().copied().zip(labels.iter().copied()).filter(|(value, _)| *value != 0.0).collect(),
        };
        let (dense, found) = (fit(&values, &labels).unwrap(), fit_sparse(&sparse(&values, &labels)).unwrap());
        for (a, b) in [(dense.weight, found.weight), (dense.bias, found.bias), (dense.loss, found.loss)] {
            assert!((a - b).abs() < 1e-6 * (1.0 + a.abs()), "{dense:?} {found:?}");
        }
        // On the rows it was fitted on the loss is its own; on other labels it is another.
        assert!((found.loss_on(&sparse(&values, &labels)).unwrap() - found.loss).abs() < 1e-9);
        let other: Vec<bool> = labels.iter().map(|label| !label).collect();
        assert!(found.loss_on(&sparse(&values, &other)).unwrap() > found.loss);
    }
    let broken = SparseValues { n_rows: 3, n_true: 1, firings: vec![(1.0, true), (2.0, true)] };
    assert!(fit_sparse(&broken).unwrap_err().to_string().contains("'firings'"));
    assert!(fit_sparse(&SparseValues { n_rows: 3, n_true: 3, firings: Vec::new() }).is_err());
}
