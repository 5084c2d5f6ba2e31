//! The token lookup simulation, and calibration against the specification's numbers (§10.2).

mod embedding;
mod language_models;
mod replies;
mod scripted;

use super::calibration::{Calibration, FittedCalibration, LinearCalibration, PercentileMatching};
use super::token_lookup::simulate;
use crate::neurons::token_means::{TokenLookup, TokenMean};

const ACTUAL: [f32; 6] = [0.0, 1.0, 2.0, 0.0, 4.0, 0.5];
const EXPECTED: [f32; 6] = [0.0, 2.0, 3.0, 1.0, 10.0, 0.0];

#[test]
fn tokens_have_their_mean_and_others_the_base() {
    let token = |token_id, mean_activation| TokenMean { token_id, mean_activation, n_occurrences: 5 };
    let lookup = TokenLookup { tokens: vec![token(9, 4.0), token(2, 1.5), token(5, -1.0)], base: 0.1, n_base: 50 };
    assert_eq!(simulate(&lookup, &[2, 0, 9, 9, 5, 7]), [1.5, 0.1, 4.0, 4.0, -1.0, 0.1]);
    assert_eq!(simulate(&lookup, &[]), [0f32; 0]);
}

#[test]
fn linear_calibration_has_the_reference_values() {
    let line = LinearCalibration::fit(&ACTUAL, &EXPECTED).unwrap().unwrap();
    assert!((line.intercept - 0.2032710280).abs() < 1e-9, "{line:?}");
    assert!((line.slope - 0.3925233645).abs() < 1e-9, "{line:?}");
    // Calibrated and actual standard deviations are in the ratio of the correlation.
    let deviation = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let actual: Vec<f64> = ACTUAL.iter().copied().map(f64::from).collect();
    let calibrated: Vec<f64> = EXPECTED.iter().map(|p| line.apply(f64::from(*p))).collect();
    assert!((deviation(&calibrated) / deviation(&actual) - 0.9620440609499393).abs() < 1e-9);
    let error: f64 = actual.iter().zip(&calibrated).map(|(r, p)| (r - p).powi(2)).sum();
    let rsquared = 1.0 - error / actual.iter().map(|r| r * r).sum::<f64>();
    assert!((rsquared - 0.9583837273).abs() < 1e-9);
    assert_eq!(LinearCalibration::fit(&[1.0, 2.0, 4.0], &[0.1; 3]).unwrap(), None);
    assert_eq!(LinearCalibration::fit(&[], &[]).unwrap(), None);
    assert!(LinearCalibration::fit(&[1.0], &[]).is_err());
}

#[test]
fn percentile_matching_has_the_reference_values() {
    let map = PercentileMatching::fit(&ACTUAL, &EXPECTED).unwrap().unwrap();
    let got = [0.0, 0.5, 1.0, 2.5, 11.0].map(|expected| map.apply(expected));
    assert_eq!(got, [0.0, 0.25, 0.5, 1.5, 4.0]);
    assert_eq!(map.apply(-1.0), 0.0);
    assert_eq!(PercentileMatching::fit(&[], &[]).unwrap(), None);
}

#[test]
fn a_fitted_calibration_is_stored_and_applied() {
    let expected: Vec<Option<f32>> = EXPECTED.iter().copied().map(Some).chain([None]).collect();
    let actual: Vec<f32> = ACTUAL.into_iter().chain([99.0]).collect();
    for calibration in Calibration::ALL {
        assert_eq!(calibration.to_string().parse::<Calibration>().unwrap(), calibration);
        let fitted = FittedCalibration::fit(calibration, &actual, &expected).unwrap().unwrap();
        let json = serde_json::to_string(&fitted).unwrap();
        assert!(json.starts_with(&format!("{{\"kind\":\"{calibration}\"")), "{json}");
        let stored: FittedCalibration = serde_json::from_str(&json).unwrap();
        let value = match calibration {
            Calibration::None => 2.5,
            Calibration::Linear => 0.2032710280 + 2.5 * 0.3925233645,
            Calibration::Percentile => 1.5,
        };
        assert!((stored.apply(2.5) - value).abs() < 1e-9, "{calibration}");
        let units = calibration == Calibration::None;
        assert_eq!(stored.scale("simulated_normalized_activations") == "simulated_normalized_activations", units);
    }
    assert_eq!(FittedCalibration::fit(Calibration::Linear, &[1.0, 2.0], &[Some(3.0), None]).unwrap(), None);
    assert_eq!(FittedCalibration::fit(Calibration::Percentile, &[1.0], &[None]).unwrap(), None);
    assert!(FittedCalibration::fit(Calibration::None, &[1.0], &[]).is_err());
    assert!("cubic".parse::<Calibration>().is_err());
    for damaged in
        [r#"{"expected":[],"actual":[]}"#, r#"{"expected":[1,2],"actual":[1]}"#, r#"{"expected":[2,1],"actual":[1,2]}"#]
    {
        assert!(serde_json::from_str::<PercentileMatching>(damaged).is_err(), "{damaged}");
    }
}
