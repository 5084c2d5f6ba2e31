//! GELU against the Taylor series of erf in f64.

use super::gelu_erf;

/// erf by its Taylor series, exact to 1e-12 for |x| < 5.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn it_agrees_with_the_series() {
    let inputs: Vec<f32> = (-450..=450).map(|i| i as f32 * 0.01).collect();
    let mut got = inputs.clone();
    gelu_erf(&mut got);
    for (x, got) in inputs.iter().zip(got) {
        let expected = 0.5 * f64::from(*x) * (1.0 + erf(f64::from(*x) / 2f64.sqrt()));
        assert!((f64::from(got) - expected).abs() < 1e-6, "gelu({x}): expected {expected}, got {got}");
    }
    let mut far = [-40.0_f32, 40.0, 0.0];
    gelu_erf(&mut far);
    assert_eq!(far, [0.0, 40.0, 0.0]);
}
