//! Scores against the specification's numbers (§10.2) and against direct computation.

use proptest::prelude::*;

use super::bootstrap::Bootstrap;
use super::metric::{Metric, Reason};
use super::resampling::Resampler;
use super::summary::summarize;
use super::window_sums::{N_SUMS, WindowSums};
use crate::random::mix;

const ACTUAL: [f32; 6] = [0.0, 1.0, 2.0, 0.0, 4.0, 0.5];
const EXPECTED: [f32; 6] = [0.0, 2.0, 3.0, 1.0, 10.0, 0.0];

fn sums(actual: &[f32], expected: &[f32]) -> WindowSums {
    WindowSums::of(actual, expected).unwrap()
}

fn close(got: Result<f64, Reason>, expected: f64) {
    let got = got.unwrap();
    // The specification prints ten to sixteen digits.
    assert!((got - expected).abs() < 1e-9, "{got} {expected}");
}

#[test]
fn scores_have_the_reference_values() {
    let sums = sums(&ACTUAL, &EXPECTED);
    close(Metric::EvCorrelation.value(&sums), 0.9620440609499393);
    close(Metric::ExplainedVariance.value(&sums), 0.9255287752);
    close(Metric::ExplainedVariance.value(&sums).map(|square| 2.0 * square.sqrt() - 1.0), 0.9240881219);
    close(Metric::RsquaredUncentred.value(&sums), -0.8470588235);
    close(Metric::AbsoluteDevExplained.value(&sums), -0.2666666667);
}

#[test]
fn windows_are_scored_as_one_series() {
    let first = sums(&[0.0, 0.0, 1.0], &[0.0, 1.0, 2.0]);
    let second = sums(&[5.0, 0.0, 0.0], &[10.0, 0.0, 0.0]);
    let one = |sums: &WindowSums| Metric::EvCorrelation.value(sums);
    assert!((one(&first).unwrap() - 0.866_025_4).abs() < 1e-7);
    close(one(&second), 1.0);
    // Seven digits are all that the specification gives.
    assert!((one(&WindowSums::merged([&first, &second])).unwrap() - 0.994_889_3).abs() < 5e-8);
    let whole = sums(&[0.0, 0.0, 1.0, 5.0, 0.0, 0.0], &[0.0, 1.0, 2.0, 10.0, 0.0, 0.0]);
    close(one(&WindowSums::merged([&first, &second])), one(&whole).unwrap());
}

#[test]
fn what_is_undefined_has_a_reason() {
    let check = |actual: &[f32], expected: &[f32], reasons: [Option<Reason>; 4]| {
        let got = Metric::ALL.map(|metric| metric.value(&sums(actual, expected)).err());
        assert_eq!(got, reasons, "{actual:?} {expected:?}");
    };
    use Reason::{ConstantActivations, ConstantSimulation, NoWindows, ZeroActivations};
    check(&[], &[], [Some(NoWindows); 4]);
    check(&[0.1; 3], &[1.0, 2.0, 3.0], [Some(ConstantActivations), Some(ConstantActivations), None, None]);
    check(&[1.0, 2.0, 3.0], &[0.7; 3], [Some(ConstantSimulation), Some(ConstantSimulation), None, None]);
    check(
        &[0.0; 2],
        &[0.0; 2],
        [Some(ConstantActivations), Some(ConstantActivations), Some(ZeroActivations), Some(ZeroActivations)],
    );
    check(&[3.0], &[2.0], [Some(ConstantActivations), Some(ConstantActivations), None, None]);
    assert_eq!(ConstantActivations.as_str(), "constant_activations");
    assert_eq!(
        WindowSums::of(&[1.0], &[]).unwrap_err().to_string(),
        "actual and expected activations: expected equal lengths, got 1 and 0"
    );
    // A constant stays constant however it is cut and however odd its digits.
    let thirds = (1..40).map(|n| sums(&vec![0.1f32; n], &vec![0.7f32; n])).collect::<Vec<_>>();
    assert_eq!(Metric::EvCorrelation.value(&WindowSums::merged(&thirds)), Err(ConstantActivations));
}

#[test]
fn metric_names_round_trip() {
    for metric in Metric::ALL {
        assert_eq!(metric.as_str().parse::<Metric>().unwrap(), metric);
    }
    assert!("rsquared".parse::<Metric>().is_err());
}

/// Windows of 16 tokens whose correlation is about 0.7.
fn noisy_windows(n: u64, key: u64) -> Vec<WindowSums> {
    let uniform = |a, b| (mix(key, a, b) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    (0..n)
        .map(|window| {
            let actual: Vec<f32> = (0..16).map(|token| uniform(window, token)).collect();
            let expected: Vec<f32> =
                (0..16).map(|token| actual[token as usize] + uniform(window + 1000, token)).collect();
            sums(&actual, &expected)
        })
        .collect()
}

#[test]
fn intervals_are_reproducible_and_about_right() {
    let windows = noisy_windows(40, 1);
    let bootstrap = Bootstrap::default();
    let got = bootstrap.interval(Metric::EvCorrelation, &windows).unwrap();
    assert_eq!(bootstrap.interval(Metric::EvCorrelation, &windows), Some(got));
    let all = bootstrap.intervals(Metric::ALL, &windows);
    assert_eq!(all[0], Some(got));
    let value = Metric::EvCorrelation.value(&WindowSums::merged(&windows)).unwrap();
    assert!(got.low < value && value < got.high);
    // Of 100 corpora the true correlation, 1/√2, is covered by the nominal 95 within five binomial deviations.
    let truth = std::f64::consts::FRAC_1_SQRT_2;
    let covered = (0..100).filter(|key| {
        let interval = bootstrap.interval(Metric::EvCorrelation, &noisy_windows(40, *key)).unwrap();
        (interval.low..=interval.high).contains(&truth)
    });
    assert!(covered.count() >= 84);
    let other = Bootstrap { seed: 1, ..bootstrap };
    assert_ne!(other.interval(Metric::EvCorrelation, &windows), Some(got));
}

#[test]
fn intervals_need_two_windows_and_defined_draws() {
    let bootstrap = Bootstrap::default();
    let window = sums(&ACTUAL, &EXPECTED);
    assert_eq!(bootstrap.interval(Metric::EvCorrelation, &[]), None);
    assert_eq!(bootstrap.interval(Metric::EvCorrelation, &[window]), None);
    let same = bootstrap.interval(Metric::EvCorrelation, &[window, window]).unwrap();
    assert!((same.high - same.low).abs() < 1e-12);
    let silent = sums(&[0.0; 4], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(bootstrap.interval(Metric::EvCorrelation, &[silent, silent]), None);
    // One window in eight is defined: a draw misses it with probability (7/8)^8, about a third.
    let mut few = vec![silent; 7];
    few.push(window);
    assert!(bootstrap.interval(Metric::RsquaredUncentred, &few).is_some());
    // The neuron varies in one window only and the simulation in another: about two draws of five hold both.
    let neither = sums(&[0.5; 2], &[2.0; 2]);
    let mut apart = vec![neither; 6];
    apart.extend([sums(&[0.0, 1.0], &[2.0; 2]), sums(&[0.5; 2], &[1.0, 3.0])]);
    assert!(Metric::EvCorrelation.value(&WindowSums::merged(&apart)).is_ok());
    assert_eq!(bootstrap.interval(Metric::EvCorrelation, &apart), None);
}

#[test]
fn summaries_count_what_they_are_over() {
    let windows = noisy_windows(10, 4);
    let mut with_empty = windows.clone();
    with_empty.insert(3, WindowSums::default());
    let summary = summarize(Metric::EvCorrelation, &with_empty, 7);
    assert_eq!((summary.n_windows, summary.n_tokens), (10, 160));
    assert_eq!(summary.value, Metric::EvCorrelation.value(&WindowSums::merged(&windows)));
    let bootstrap = Bootstrap { seed: 7, ..Bootstrap::default() };
    assert_eq!(summary.interval, bootstrap.interval(Metric::EvCorrelation, &windows));
    let none = summarize(Metric::EvCorrelation, &[], 7);
    assert_eq!((none.value, none.interval, none.n_windows, none.n_tokens), (Err(Reason::NoWindows), None, 0, 0));
    let constant = [sums(&[1.0; 4], &[1.0, 2.0, 3.0, 4.0]); 3];
    assert_eq!(summarize(Metric::EvCorrelation, &constant, 0).value, Err(Reason::ConstantActivations));
    assert_eq!(summarize(Metric::EvCorrelation, &constant, 0).interval, None);
}

#[test]
fn sums_round_trip_as_numbers() {
    let sums = sums(&ACTUAL, &EXPECTED);
    assert_eq!(WindowSums::from_array(sums.n(), sums.to_array()), sums);
    let by_name: Vec<(&str, f64)> = WindowSums::NAMES.into_iter().zip(sums.to_array()).collect();
    assert_eq!(by_name.len(), N_SUMS);
    assert!(by_name.contains(&("mean_actual", 1.25)) && by_name.contains(&("squared_actual", 21.25)));
    assert!(by_name.contains(&("absolute_error", 9.5)) && by_name.contains(&("squared_error", 39.25)));
}

/// The four metrics from two passes over whole series.
fn direct(actual: &[f64], expected: &[f64]) -> [f64; 4] {
    let n = actual.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mean_actual, mean_expected) = (mean(actual), mean(expected));
    let sum = |f: &dyn Fn(f64, f64) -> f64| actual.iter().zip(expected).map(|(r, p)| f(*r, *p)).sum::<f64>();
    let rho = sum(&|r, p| (r - mean_actual) * (p - mean_expected))
        / (sum(&|r, _| (r - mean_actual).powi(2)) * sum(&|_, p| (p - mean_expected).powi(2))).sqrt();
    [
        rho,
        rho * rho,
        1.0 - sum(&|r, p| (r - p).powi(2)) / sum(&|r, _| r * r),
        1.0 - sum(&|r, p| (r - p).abs()) / sum(&|r, _| r.abs()),
    ]
}

proptest! {
    #[test]
    fn any_cut_and_any_order_of_merging_gives_the_same(
        pairs in prop::collection::vec((-20f32..20.0, 0f32..10.0), 3..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        offset in prop::sample::select(vec![0f32, 4096.0]),
        seed in any::<u64>(),
    ) {
        let actual: Vec<f32> = pairs.iter().map(|(r, _)| r + offset).collect();
        let expected: Vec<f32> = pairs.iter().map(|(_, p)| *p).collect();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(pairs.len() + 1)).chain([0, pairs.len()]).collect();
        ends.sort_unstable();
        let mut windows: Vec<WindowSums> = ends.windows(2).map(|w| sums(&actual[w[0]..w[1]], &expected[w[0]..w[1]])).collect();
        let in_order = WindowSums::merged(&windows);
        windows.sort_by_key(|window| mix(seed, window.n(), 0));
        let shuffled = WindowSums::merged(windows.iter().rev());
        let (left, right) = windows.split_at(windows.len() / 2);
        let tree = WindowSums::merged(left).merge(&WindowSums::merged(right));
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let direct = direct(&wide(&actual), &wide(&expected));
        for merged in [in_order, shuffled, tree] {
            for (metric, direct) in Metric::ALL.into_iter().zip(direct) {
                if let Ok(got) = metric.value(&merged) {
                    prop_assert!((got - direct).abs() <= 1e-9 * direct.abs().max(1.0), "{metric}: {got} {direct}");
                }
            }
        }
    }
}

/// The intervals as they are defined: every draw merged by itself, all values put in order.
fn one_draw_after_another(bootstrap: Bootstrap, windows: &[WindowSums]) -> [Option<(u64, u64)>; 4] {
    Metric::ALL.map(|metric| {
        let draw = |draw| WindowSums::merged(bootstrap.drawn(draw, windows.len()).map(|i| &windows[i]));
        let mut values: Vec<f64> =
            (0..u64::from(bootstrap.n_draws)).filter_map(|i| metric.value(&draw(i)).ok()).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (values[place as usize], values[(place as usize + 1).min(values.len() - 1)]);
            (below + (above - below) * place.fract()).to_bits()
        };
        let enough = windows.len() >= 2 && !values.is_empty() && 2 * values.len() >= bootstrap.n_draws as usize;
        enough.then(|| (at(0.025), at(0.975)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn draws_side_by_side_are_the_draws_one_after_another_to_the_bit(
        sets in prop::collection::vec(
            prop::collection::vec((0usize..30, prop::sample::select(vec![0f32, 1.0]), any::<u64>()), 0..12), 1..6),
        n_draws in prop::sample::select(vec![1u32, 7, 100, 203]),
        seed in any::<u64>(),
    ) {
        let bootstrap = Bootstrap { n_draws, seed };
        let mut resampler = Resampler::new(bootstrap);
        for set in &sets {
            // Some windows are silent or empty: metrics that only some draws have.
            let windows: Vec<WindowSums> = set.iter().map(|(n, loud, key)| {
                let uniform = |a, i| (mix(*key, a, i as u64) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
                let actual: Vec<f32> = (0..*n).map(|i| loud * uniform(0, i)).collect();
                let expected: Vec<f32> = (0..*n).map(|i| uniform(1, i) - 0.3 * actual[i]).collect();
                sums(&actual, &expected)
            }).collect();
            let got = resampler.intervals(Metric::ALL, &windows)
                .map(|interval| interval.map(|interval| (interval.low.to_bits(), interval.high.to_bits())));
            prop_assert_eq!(got, one_draw_after_another(bootstrap, &windows));
        }
    }
}
