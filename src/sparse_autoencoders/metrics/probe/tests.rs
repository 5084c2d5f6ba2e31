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
