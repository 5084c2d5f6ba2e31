//! The one pass against direct computation, and its independence of batches, threads and interruptions.

use proptest::prelude::*;

use super::collector::{Collector, CollectorConfig, HookUnits, UnitSummary};
use super::lanes::{BLOCK, Row};
use super::moments::{BlockMoments, WindowSums, sum_window, sum_window_in_lanes};
use super::sketch::{MaximumSketch, ValueSketch};
use super::token_means::BlockTokenMeans;
use crate::activation_records::record::{ActivationRecord, QUANTILE_BOUNDARIES, Sample};
use crate::error::Error;
use crate::error::collector::CollectorError;
use crate::random::mix;
use crate::token_sequences::split::{Split, SplitStrategy};
use crate::token_sequences::window::Window;

const WIDTH: usize = 130;
const MAX_TOKENS: usize = 24;

/// A window that owns its token ids and the activations of every neuron, shape `[seq_len, WIDTH]`.
struct Owned {
    sequence: i64,
    document: i64,
    split: Split,
    token_ids: Vec<u32>,
    recordable: bool,
    first_counted: usize,
    activations: Vec<f32>,
}

impl Owned {
    fn window(&self) -> Window<'_> {
        Window {
            sequence: self.sequence,
            document: self.document,
            split: self.split,
            token_ids: &self.token_ids,
            recordable: self.recordable,
            first_counted: self.first_counted,
        }
    }

    fn counted(&self, neuron: usize) -> impl Iterator<Item = f32> {
        self.activations.iter().skip(neuron).step_by(WIDTH).skip(self.first_counted).copied()
    }

    fn max(&self, neuron: usize) -> f32 {
        self.counted(neuron).fold(f32::NEG_INFINITY, f32::max)
    }
}

fn uniform(key: u64) -> f64 {
    (mix(17, key, 0) >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(key: u64) -> f64 {
    (-2.0 * (1.0 - uniform(2 * key)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * key + 1)).cos()
}

/// Neuron 0 is constant, 1 sparse and never negative, 2 far from 0, 3 always negative, 4 fires on token 7, the others look
/// like GELU outputs.
fn activation(neuron: usize, token_id: u32, key: u64) -> f32 {
    let x = normal(key);
    let value = match neuron {
        0 => 0.3,
        1 => (x - 1.5).max(0.0),
        2 => 10_000.0 + 0.01 * x,
        3 => -1.0 - x.abs(),
        4 => {
            if token_id == 7 {
                5.0 + x
            } else {
                0.1 * x
            }
        }
        _ => {
            let x = 2.0 * x - 1.0;
            x / (1.0 + (-1.702 * x).exp())
        }
    };
    value as f32
}

fn corpus(n_windows: usize) -> Vec<Owned> {
    let strategy = SplitStrategy::default();
    (0..n_windows as u64)
        .map(|i| {
            // Documents have one to five windows; the last of each is shorter.
            let document = i / 5 * 2 + u64::from(i % 5 == 4);
            let length = if i % 5 >= 3 { 1 + (mix(3, i, 0) % 23) as usize } else { MAX_TOKENS };
            let token_ids: Vec<u32> =
                (0..length as u64).map(|t| (mix(5, i, t) % 40).min(mix(6, i, t) % 40) as u32).collect();
            let activations = token_ids.iter().zip(0u64..).flat_map(|(token_id, t)| {
                (0..WIDTH).map(move |neuron| activation(neuron, *token_id, ((i * 64 + t) << 8) + neuron as u64))
            });
            Owned {
                sequence: i as i64 * 3,
                document: document as i64,
                split: strategy.split_of_document(document),
                activations: activations.collect(),
                recordable: i % 11 != 10,
                first_counted: usize::from(i % 2 == 0),
                token_ids,
            }
        })
        .collect()
}

fn config() -> CollectorConfig {
    let mut config = CollectorConfig::new(&SplitStrategy::default(), 9, MAX_TOKENS);
    config.tracked_token_ids = vec![1, 2, 3, 5, 7, 8, 12, 30];
    config.n_token_means = 3;
    config
}

fn hooks() -> Vec<HookUnits> {
    let some = HookUnits::selected("blocks.1.mlp.hook_post", WIDTH, vec![129, 4, 0, 64, 70, 4]).unwrap();
    vec![HookUnits::all("blocks.0.mlp.hook_post", WIDTH), some]
}

fn observe(collector: &mut Collector, corpus: &[Owned], batch: usize) {
    for windows in corpus.chunks(batch) {
        let tile: Vec<f32> = windows.iter().flat_map(|window| window.activations.iter().copied()).collect();
        let windows: Vec<Window<'_>> = windows.iter().map(Owned::window).collect();
        collector.observe(&windows, &[&tile, &tile]).unwrap();
    }
}

fn collect(corpus: &[Owned], batch: usize, n_threads: usize) -> Collector {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let mut collector = Collector::new(config(), hooks()).unwrap();
    pool.install(|| observe(&mut collector, corpus, batch));
    collector
}

fn summaries(collector: &Collector) -> Vec<UnitSummary> {
    (0..2).flat_map(|hook| collector.finish(hook)).collect()
}

fn of_sample(unit: &UnitSummary, sample: Sample, split: Split) -> Vec<&ActivationRecord> {
    unit.records.iter().filter(|record| record.sample == sample && record.split == split).collect()
}

#[test]
fn results_do_not_depend_on_batches_threads_or_interruptions() {
    let corpus = corpus(700);
    let expected = summaries(&collect(&corpus, 8, 1));
    assert_eq!(expected.len(), WIDTH + 5);
    for (batch, n_threads) in [(1, 1), (3, 2), (64, 2), (700, 1)] {
        assert!(summaries(&collect(&corpus, batch, n_threads)) == expected, "{batch} windows, {n_threads} threads");
    }
    // Interrupted before the first boundaries of the quantile ranges, between two of them, shortly before the end, where a
    // window that was admitted wrongly would not be pushed out again, and after everything.
    for cut in [0, 20, 301, 680, 695, 700] {
        let mut checkpoint = Vec::new();
        collect(&corpus[..cut], 7, 2).checkpoint(&mut checkpoint).unwrap();
        let mut collector = Collector::restore(config(), hooks(), checkpoint.as_slice()).unwrap();
        assert_eq!(collector.n_windows(), cut as u64);
        assert_eq!(collector.last_sequence(), cut.checked_sub(1).map(|i| i as i64 * 3));
        observe(&mut collector, &corpus[cut..], 8);
        assert!(summaries(&collector) == expected, "cut at {cut}");
    }
}

#[test]
fn neurons_draw_their_random_windows_independently() {
    let collector = collect(&corpus(300), 8, 1);
    let units = summaries(&collector);
    let random = |unit: &UnitSummary| {
        of_sample(unit, Sample::Random, Split::Train).iter().map(|r| r.sequence).collect::<Vec<_>>()
    };
    assert_ne!(random(&units[10]), random(&units[11]));
    // The same index at another hook point: unit 4 of the selected ones is neuron 129.
    assert_eq!((units[129].neuron, units[WIDTH + 4].neuron), (129, 129));
    assert_ne!(random(&units[129]), random(&units[WIDTH + 4]));
    assert_eq!(units[129].moments, units[WIDTH + 4].moments);
}

#[test]
fn statistics_agree_with_two_passes() {
    let corpus = corpus(300);
    let collector = collect(&corpus, 16, 2);
    for unit in collector.finish(0) {
        let values: Vec<f64> = corpus.iter().flat_map(|w| w.counted(unit.neuron as usize)).map(f64::from).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let central = |power: i32| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n;
        let moments = unit.moments;
        assert_eq!(moments.n_tokens, values.len() as u64);
        assert_eq!(collector.n_tokens(), values.len() as u64);
        let close = |got: Option<f64>, expected: f64, what: &str| {
            let got = got.unwrap();
            // Far-off neuron 2 has a relative spread of 1e-6, so two passes over f64 themselves keep some nine digits.
            assert!(
                (got - expected).abs() <= 1e-8 * expected.abs().max(1e-3),
                "neuron {}: {what} {got} {expected}",
                unit.neuron
            );
        };
        close(moments.mean, mean, "mean");
        if unit.neuron == 0 {
            assert_eq!((moments.variance, moments.skewness, moments.kurtosis), (Some(0.0), None, None));
        } else {
            let variance = central(2);
            close(moments.variance, variance, "variance");
            close(moments.skewness, central(3) / variance.powf(1.5), "skewness");
            close(moments.kurtosis, central(4) / (variance * variance), "kurtosis");
        }
        close(moments.density, values.iter().filter(|value| **value > 0.0).count() as f64 / n, "density");
        assert_eq!(moments.min.map(f64::from), values.iter().copied().reduce(f64::min));
        assert_eq!(moments.max.map(f64::from), values.iter().copied().reduce(f64::max));
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for (q, got) in collector.config().quantiles.iter().zip(&unit.quantiles) {
            let exact = sorted[(q * (n - 1.0)).floor() as usize];
            assert!((got - exact).abs() <= exact.abs() / 32.0 + 1.6e-5, "neuron {} at {q}: {got} {exact}", unit.neuron);
        }
    }
}

#[test]
fn top_records_are_the_best_window_of_each_document() {
    let corpus = corpus(700);
    let collector = collect(&corpus, 16, 1);
    for unit in collector.finish(0) {
        for split in [Split::Train, Split::Calibration, Split::Valid, Split::Test] {
            let mut all: Vec<&Owned> =
                corpus.iter().filter(|w| w.split == split && w.recordable && w.window().n_counted() > 0).collect();
            let max = |window: &Owned| window.max(unit.neuron as usize);
            all.sort_by(|a, b| max(b).total_cmp(&max(a)).then(a.sequence.cmp(&b.sequence)));
            let mut documents = std::collections::HashSet::new();
            all.retain(|window| documents.insert(window.document));
            let got = of_sample(&unit, Sample::Top, split);
            assert_eq!(got.len(), all.len().min(20));
            for (rank, (record, window)) in got.iter().zip(&all).enumerate() {
                assert_eq!((record.rank, record.sequence), (rank as u32, window.sequence), "neuron {}", unit.neuron);
                assert_eq!(record.max_activation, max(window));
                assert_eq!(record.activations.len(), window.token_ids.len());
                let column: Vec<f32> = window.counted(unit.neuron as usize).collect();
                assert_eq!(record.activations[window.first_counted..], column);
                assert!(record.activations[..window.first_counted].iter().all(|activation| *activation == 0.0));
            }
        }
    }
}

#[test]
fn random_records_are_uniform() {
    let corpus = corpus(600);
    let collector = collect(&corpus, 16, 1);
    let mut chosen = vec![0usize; corpus.len()];
    for unit in collector.finish(0) {
        for split in [Split::Train, Split::Valid] {
            let records = of_sample(&unit, Sample::Random, split);
            assert_eq!(records.len(), 10);
            assert!(records.iter().zip(0..).all(|(record, rank)| record.rank == rank));
            for record in records {
                chosen[(record.sequence / 3) as usize] += 1;
            }
        }
    }
    let eligible: Vec<usize> = (0..corpus.len())
        .filter(|i| corpus[*i].split == Split::Train && corpus[*i].recordable && corpus[*i].window().n_counted() > 0)
        .collect();
    // 130 neurons draw 10 windows each: chi-square over the eligible ones, five standard deviations wide.
    let expected = 1300.0 / eligible.len() as f64;
    let chi: f64 = eligible.iter().map(|i| (chosen[*i] as f64 - expected).powi(2) / expected).sum();
    let freedom = eligible.len() as f64 - 1.0;
    assert!((chi - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(), "{chi} with {freedom} degrees of freedom");
    assert!(corpus.iter().zip(&chosen).all(|(window, n)| window.recordable || *n == 0));
}

#[test]
fn quantile_records_lie_in_their_ranges() {
    let corpus = corpus(2500);
    let collector = collect(&corpus, 32, 2);
    let n_counted = corpus.iter().filter(|window| window.window().n_counted() > 0).count() as f64;
    let mut n_full = [0; 5];
    for unit in collector.finish(0) {
        let boundaries = unit.window_max_boundaries.unwrap();
        assert!(boundaries.is_sorted());
        let mut seen = std::collections::HashSet::new();
        for range in 0..5u8 {
            let records: Vec<_> =
                unit.records.iter().filter(|record| record.sample == Sample::Quantile(range)).collect();
            assert!(records.len() <= 5);
            n_full[usize::from(range)] += usize::from(records.len() == 5);
            for (rank, record) in records.iter().enumerate() {
                assert_eq!(record.rank, rank as u32);
                assert!(seen.insert(record.sequence), "a window in two ranges");
                let above = boundaries.iter().filter(|boundary| record.max_activation > **boundary).count();
                assert_eq!(above, usize::from(range), "neuron {}", unit.neuron);
                let window = &corpus[(record.sequence / 3) as usize];
                assert!(window.recordable && window.split == record.split);
                assert_eq!(record.max_activation, window.max(unit.neuron as usize));
            }
        }
        if unit.neuron > 4 {
            for (share, boundary) in QUANTILE_BOUNDARIES.iter().zip(boundaries) {
                let windows = corpus.iter().filter(|w| w.window().n_counted() > 0);
                let below = windows.filter(|w| w.max(unit.neuron as usize) <= boundary).count() as f64 / n_counted;
                // A sixteenth of a binade holds at most a few percent of the windows, interpolation leaves less.
                assert!(
                    (below - share).abs() < 0.02,
                    "neuron {}: {below} of the windows below the boundary for {share}",
                    unit.neuron
                );
            }
        }
    }
    // 2,500 windows hold some two or three above the last boundary, so only the first four ranges can be full.
    assert!(n_full[..4].iter().all(|n| *n >= WIDTH - 5), "{n_full:?}");
}

#[test]
fn quantile_records_are_drawn_apart_from_random_ones() {
    let collector = collect(&corpus(600), 16, 1);
    let (mut n_shared, mut n) = (0, 0);
    for unit in collector.finish(0) {
        let random: Vec<i64> = unit.records.iter().filter(|r| r.sample == Sample::Random).map(|r| r.sequence).collect();
        for record in unit.records.iter().filter(|record| record.sample == Sample::Quantile(0)) {
            n += 1;
            n_shared += usize::from(random.contains(&record.sequence));
        }
    }
    // 40 of some 500 windows are random records; by one draw for both, most of these would be shared.
    assert!(n_shared < n / 5, "{n_shared} of {n}");
}

#[test]
fn windows_of_a_silent_neuron_lie_in_the_lowest_range() {
    let collector = collect(&corpus(300), 32, 1);
    let constant = collector.finish(0).next().unwrap();
    let ranges: Vec<_> =
        constant.records.iter().filter(|r| matches!(r.sample, Sample::Quantile(_))).map(|r| r.sample).collect();
    assert_eq!(ranges, [Sample::Quantile(0); 5]);
}

#[test]
fn token_means_are_over_train_windows() {
    let corpus = corpus(700);
    let collector = collect(&corpus, 16, 2);
    let tracked = &collector.config().tracked_token_ids;
    for unit in collector.finish(0) {
        let mut values: Vec<(u32, f64)> = Vec::new();
        for window in corpus.iter().filter(|window| window.split == Split::Train) {
            let token_ids = &window.token_ids[window.first_counted.min(window.token_ids.len())..];
            values.extend(token_ids.iter().copied().zip(window.counted(unit.neuron as usize).map(f64::from)));
        }
        let lookup = unit.token_lookup.unwrap();
        assert_eq!(lookup.tokens.len(), 3);
        assert!(lookup.tokens.is_sorted_by(|a, b| a.mean_activation >= b.mean_activation));
        let mean = |of: &dyn Fn(u32) -> bool| {
            let some: Vec<f64> = values.iter().filter(|(token_id, _)| of(*token_id)).map(|(_, value)| *value).collect();
            (some.iter().sum::<f64>() / some.len() as f64, some.len() as u64)
        };
        for token in &lookup.tokens {
            assert!(tracked.contains(&token.token_id));
            let (expected, n) = mean(&|token_id| token_id == token.token_id);
            assert_eq!(token.n_occurrences, n);
            // An f32 running mean over some thousand occurrences.
            assert!(
                (f64::from(token.mean_activation) - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                "{token:?} {expected}"
            );
        }
        let (base, n_base) = mean(&|token_id| lookup.tokens.iter().all(|token| token.token_id != token_id));
        assert_eq!(lookup.n_base, n_base);
        assert!((f64::from(lookup.base) - base).abs() <= 1e-5 * base.abs().max(1.0));
        if unit.neuron == 4 {
            assert_eq!(lookup.tokens[0].token_id, 7);
        }
    }
}

#[test]
fn tokens_are_chosen_by_what_they_explain_over_the_base() {
    let mut means = BlockTokenMeans::new(3);
    // Token 50 lifts the mean over everything to 0.83: beside that token 51 would say nothing and token 52 much.
    for (row, mean) in means.rows.iter_mut().zip([10.0, 0.9, -0.2, 0.0]) {
        *row = [mean; BLOCK];
    }
    let lookup = means.lookup(5, &[50, 51, 52], &[100, 200, 100, 1000], 2).unwrap();
    let token_ids: Vec<u32> = lookup.tokens.iter().map(|token| token.token_id).collect();
    assert_eq!(token_ids, [50, 51]);
    assert_eq!(lookup.n_base, 1100);
    assert!((f64::from(lookup.base) + 20.0 / 1100.0).abs() < 1e-6);
    // When every token seen is in the table, the base is the mean over all of them.
    let all = means.lookup(0, &[50, 51, 52], &[1, 1, 0, 0], 5).unwrap();
    assert_eq!((all.tokens.len(), all.n_base), (2, 0));
    assert!((all.base - 5.45).abs() < 1e-6);
    assert_eq!(means.lookup(0, &[50, 51, 52], &[0; 4], 5), None);
}

#[test]
fn without_windows_everything_is_undefined() {
    let collector = Collector::new(config(), hooks()).unwrap();
    let unit = collector.finish(0).next().unwrap();
    assert_eq!(
        (unit.moments.n_tokens, unit.moments.mean, unit.moments.max, unit.moments.density),
        (0, None, None, None)
    );
    assert_eq!((unit.quantiles.len(), unit.records.len()), (0, 0));
    assert_eq!((unit.window_max_boundaries, unit.token_lookup), (None, None));
    assert_eq!(collector.finish(2).count(), 0);
}

#[test]
fn faults_are_named_and_change_nothing() {
    let corpus = corpus(4);
    let mut collector = Collector::new(config(), hooks()).unwrap();
    let window = corpus[1].window();
    let tile = corpus[1].activations.as_slice();
    let short = &tile[..tile.len() - 1];
    assert!(matches!(
        collector.observe(&[window], &[tile, short]),
        Err(Error::Collector(CollectorError::TileShape { .. }))
    ));
    assert!(matches!(
        collector.observe(&[window], &[tile]),
        Err(Error::Collector(CollectorError::TileCount { expected: 2, got: 1 }))
    ));
    let long = [0u32; MAX_TOKENS + 1];
    let long_tile = vec![0.0; long.len() * WIDTH];
    let too_long = Window { token_ids: &long, ..window };
    assert!(matches!(
        collector.observe(&[too_long], &[&long_tile, &long_tile]),
        Err(Error::Collector(CollectorError::WindowLength { got: 25, .. }))
    ));
    assert_eq!(collector.n_windows(), 0);
    collector.observe(&[window], &[tile, tile]).unwrap();
    let again = collector.observe(&[window], &[tile, tile]).unwrap_err();
    assert_eq!(again.to_string(), "token sequences must come in ascending order: expected one above 3, got 3");
    let mut broken = corpus[2].activations.clone();
    broken[3 * WIDTH + 70] = f32::NAN;
    let error = collector.observe(&[corpus[2].window()], &[&corpus[2].activations, &broken]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "neuron 70 of 'blocks.1.mlp.hook_post' on token sequence 6: expected finite activations"
    );
    assert!(matches!(HookUnits::selected("x", 3, vec![3]), Err(Error::NeuronOutOfRange { neuron: 3, .. })));
    let unordered = CollectorConfig { tracked_token_ids: vec![2, 1], ..config() };
    assert!(matches!(
        Collector::new(unordered, hooks()),
        Err(Error::Collector(CollectorError::Setting { field: "tracked_token_ids", .. }))
    ));
}

#[test]
fn checkpoints_of_other_settings_or_cut_short_are_refused() {
    let mut checkpoint = Vec::new();
    collect(&corpus(40), 8, 1).checkpoint(&mut checkpoint).unwrap();
    let other = CollectorConfig { seed: 10, ..config() };
    assert!(matches!(
        Collector::restore(other, hooks(), checkpoint.as_slice()),
        Err(Error::Collector(CollectorError::CheckpointMismatch { .. }))
    ));
    let fewer = hooks()[..1].to_vec();
    assert!(matches!(
        Collector::restore(config(), fewer, checkpoint.as_slice()),
        Err(Error::Collector(CollectorError::CheckpointMismatch { .. }))
    ));
    for length in [0, 5, 12, 30, checkpoint.len() / 2, checkpoint.len() - 8, checkpoint.len() - 1] {
        let restored = Collector::restore(config(), hooks(), &checkpoint[..length]);
        assert!(matches!(restored, Err(Error::Collector(CollectorError::CheckpointFormat { .. }))), "{length} bytes");
    }
}

#[test]
fn a_units_state_is_as_large_as_stated() {
    let config = CollectorConfig { tracked_token_ids: (0..1000).collect(), ..config() };
    let expected = 4 * (1024 + 512 + 1001) + (4 * 30 + 40) * (40 + 4 * MAX_TOKENS);
    assert!((expected..expected + 1000).contains(&config.state_bytes()), "{} {expected}", config.state_bytes());
}

fn row(value: f32) -> Row {
    [value; BLOCK]
}

proptest! {
    #[test]
    fn merged_windows_have_the_moments_of_their_tokens(
        lengths in prop::collection::vec(1usize..9, 1..12),
        values in prop::collection::vec(-50f32..50.0, 12 * 9),
        offset in prop::sample::select(vec![0f32, 1000.0]),
    ) {
        let mut moments = BlockMoments::new();
        let mut sums = WindowSums::zero();
        let mut n = 0;
        for length in &lengths {
            let rows: Vec<Row> = values[n..n + length].iter().map(|value| row(value + offset)).collect();
            sum_window(&rows, &mut sums);
            moments.merge(n as u64, *length as u64, &sums);
            n += length;
        }
        let values: Vec<f64> = values[..n].iter().map(|value| f64::from(value + offset)).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let central = |power| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n as f64;
        for lane in [0, BLOCK - 1] {
            let got = moments.summary(lane, n as u64);
            prop_assert!((got.mean.unwrap() - mean).abs() < 1e-9);
            prop_assert!((got.variance.unwrap() - central(2)).abs() < 1e-8);
            if let (Some(skewness), Some(kurtosis)) = (got.skewness, got.kurtosis) {
                prop_assert!((skewness - central(3) / central(2).powf(1.5)).abs() < 1e-6);
                prop_assert!((kurtosis - central(4) / central(2).powi(2)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn sketched_quantiles_are_within_a_thirtysecond(
        exponents in prop::collection::vec((-15.9f32..15.8, any::<bool>()), 1..300),
        q in 0f64..=1.0,
    ) {
        let values: Vec<f32> = exponents.iter().map(|(e, negative)| if *negative { -e.exp2() } else { e.exp2() }).collect();
        let rows: Vec<Row> = values.iter().map(|value| row(*value)).collect();
        let mut sketch = ValueSketch::new();
        sketch.add_rows(&rows, &mut vec![[0; BLOCK]; rows.len()]);
        let mut one_by_one = ValueSketch::new();
        rows.iter().for_each(|row| one_by_one.add(row));
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        let extremes = (sorted[0], sorted[sorted.len() - 1]);
        let n = sorted.len() as u64;
        for lane in [0, 17, BLOCK - 1] {
            let exact = f64::from(sorted[(q * (n - 1) as f64).floor() as usize]);
            let got = sketch.quantiles(lane, &[q], n, extremes)[0];
            prop_assert!((got - exact).abs() <= exact.abs() / 33.0 * (1.0 + 1e-9), "{got} {exact}");
            prop_assert_eq!(one_by_one.quantiles(lane, &[q], n, extremes), vec![got]);
        }
    }

    #[test]
    fn vector_width_changes_no_bit(values in prop::collection::vec(-3f32..3.0, 20 * BLOCK)) {
        let rows = values.as_chunks::<BLOCK>().0;
        let [mut widest, mut narrow, mut single] = [WindowSums::zero(), WindowSums::zero(), WindowSums::zero()];
        sum_window(rows, &mut widest);
        sum_window_in_lanes::<4>(rows, &mut narrow);
        sum_window_in_lanes::<1>(rows, &mut single);
        prop_assert_eq!(&widest, &narrow);
        prop_assert_eq!(&widest, &single);
    }

    #[test]
    fn boundaries_ascend_and_stay_inside(values in prop::collection::vec(-2f32..2.0, 1..200)) {
        let mut sketch = MaximumSketch::new();
        values.iter().for_each(|value| sketch.add(&row(*value)));
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let boundaries = sketch.boundaries(3, QUANTILE_BOUNDARIES, values.len() as u64, (min, max));
        prop_assert!(boundaries.is_sorted());
        prop_assert!(boundaries.iter().all(|boundary| (min..=max).contains(boundary)));
    }
}

#[test]
fn values_beyond_the_buckets_keep_exact_extremes() {
    let values = [-1e30f32, -1e-30, 0.0, -0.0, 1e-30, 1e30];
    let mut sketch = ValueSketch::new();
    values.iter().for_each(|value| sketch.add(&row(*value)));
    let got = sketch.quantiles(0, &[0.0, 0.2, 0.5, 0.8, 1.0], 6, (-1e30, 1e30));
    assert_eq!(got, [f64::from(-1e30f32), 0.0, 0.0, 0.0, f64::from(1e30f32)]);
    assert_eq!(sketch.quantiles(0, &[0.5], 0, (0.0, 0.0)), [0f64; 0]);
}
