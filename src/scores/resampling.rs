//! Intervals of many sets of windows: the same numbers as drawing one draw after another, several draws at a time.

use std::collections::HashMap;

use crate::models::kernels::isa::multiversion;
use crate::scores::bootstrap::{Bootstrap, ends, interval};
use crate::scores::metric::Metric;
use crate::scores::order::{Middle, Neighbours};
use crate::scores::summary::Interval;
use crate::scores::window_sums::{N_SUMS, WindowSums};

/// Draws that are merged side by side.
const LANES: usize = 8;
/// Draws of more windows than these are made anew for every set: their tables would take more memory than they save time.
const KEPT_WINDOWS: usize = 128;
/// Numbers of a window: tokens, then [`WindowSums::to_array`].
const N_NUMBERS: usize = N_SUMS + 1;

type Row = [f64; N_NUMBERS];
type Lanes = [f64; LANES];
/// Of [`LANES`] draws, the window that each takes at one place.
type Places = [u32; LANES];

/// The draws of one [`Bootstrap`], for one set of windows after another.
///
/// Which windows a draw takes depends on the seed and the number of windows alone, so the choice is made once a number. The sums of a
/// draw are merged in the draw's order and every operation is rounded as in [`WindowSums::merge`], so the results are those of
/// merging one draw after another, to the bit, on any processor.
#[derive(Debug)]
pub struct Resampler {
    bootstrap: Bootstrap,
    kept: HashMap<usize, Vec<Places>>,
    anew: Vec<Places>,
    rows: Vec<Row>,
    sums: DrawnSums,
    correlations: Vec<f64>,
    values: Vec<f64>,
    middle: Middle,
}

/// The sums of every draw that metrics are read from, a column a number.
#[derive(Debug, Default)]
struct DrawnSums {
    m2_actual: Vec<Lanes>,
    m2_expected: Vec<Lanes>,
    co_moment: Vec<Lanes>,
    absolute_error: Vec<Lanes>,
    absolute_actual: Vec<Lanes>,
    squared_error: Vec<Lanes>,
    squared_actual: Vec<Lanes>,
}

impl Resampler {
    /// Nothing is drawn yet.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            bootstrap,
            kept: HashMap::new(),
            anew: Vec::new(),
            rows: Vec::new(),
            sums: DrawnSums::default(),
            correlations: Vec::new(),
            values: Vec::new(),
            middle: Middle::default(),
        }
    }

    /// How intervals are drawn.
    pub fn bootstrap(&self) -> Bootstrap {
        self.bootstrap
    }

    /// See [`Bootstrap::intervals`].
    pub fn intervals<const N: usize>(&mut self, metrics: [Metric; N], windows: &[WindowSums]) -> [Option<Interval>; N] {
        let n_draws = self.bootstrap.n_draws as usize;
        if windows.len() < 2 || n_draws == 0 {
            return [None; N];
        }
        // Windows without tokens change nothing where they are drawn, which is a case of its own for every merge: rare, so slow.
        if windows.iter().any(|window| window.n() == 0) {
            return self.one_after_another(metrics, windows);
        }
        self.merge(windows);
        let wants = |metric| metrics.contains(&metric);
        let mut correlation = None;
        if wants(Metric::EvCorrelation) || wants(Metric::ExplainedVariance) {
            correlations(&self.sums, n_draws, &mut self.correlations);
            correlation = ends(&self.correlations, n_draws, &mut self.middle);
        }
        metrics.map(|metric| {
            let (sums, values) = (&self.sums, &mut self.values);
            match metric {
                Metric::EvCorrelation => {}
                Metric::ExplainedVariance if least(&self.correlations) >= 0.0 => {
                    return correlation.map(|ends| Interval::between(ends.map(Neighbours::squared)));
                }
                Metric::ExplainedVariance => squares(&self.correlations, values),
                Metric::RsquaredUncentred => {
                    one_minus_ratios(&sums.squared_error, &sums.squared_actual, n_draws, values)
                }
                Metric::AbsoluteDevExplained => {
                    one_minus_ratios(&sums.absolute_error, &sums.absolute_actual, n_draws, values);
                }
            }
            let ends =
                if metric == Metric::EvCorrelation { correlation } else { ends(values, n_draws, &mut self.middle) };
            ends.map(Interval::between)
        })
    }

    /// The sums of every draw.
    fn merge(&mut self, windows: &[WindowSums]) {
        self.rows.clear();
        self.rows.extend(windows.iter().map(|window| {
            let mut row = [window.n() as f64; N_NUMBERS];
            row[1..].copy_from_slice(&window.to_array());
            row
        }));
        let n_windows = windows.len();
        let bootstrap = self.bootstrap;
        let places = if n_windows <= KEPT_WINDOWS {
            self.kept.entry(n_windows).or_insert_with(|| {
                let mut places = Vec::new();
                choose(bootstrap, n_windows, &mut places);
                places
            })
        } else {
            choose(bootstrap, n_windows, &mut self.anew);
            &self.anew
        };
        merge_draws(&self.rows, places, &mut self.sums);
    }

    fn one_after_another<const N: usize>(&self, metrics: [Metric; N], windows: &[WindowSums]) -> [Option<Interval>; N] {
        let mut values = [const { Vec::new() }; N];
        for draw in 0..u64::from(self.bootstrap.n_draws) {
            let drawn = self.bootstrap.drawn(draw, windows.len()).map(|i| &windows[i]);
            let sums = WindowSums::merged(drawn);
            for (metric, values) in metrics.iter().zip(&mut values) {
                values.extend(metric.value(&sums));
            }
        }
        values.map(|values| interval(&values, self.bootstrap.n_draws as usize))
    }
}

/// The windows of every draw, [`LANES`] draws side by side: `[draws / LANES, windows]`. Places past the last draw take the first window.
fn choose(bootstrap: Bootstrap, n_windows: usize, places: &mut Vec<Places>) {
    let n_blocks = (bootstrap.n_draws as usize).div_ceil(LANES);
    places.clear();
    places.resize(n_blocks * n_windows, [0; LANES]);
    for draw in 0..u64::from(bootstrap.n_draws) {
        let (block, lane) = (draw as usize / LANES, draw as usize % LANES);
        for (i, window) in bootstrap.drawn(draw, n_windows).enumerate() {
            // Fewer windows than memory has bytes for, but not than u32 counts: a set of four billion windows is none.
            places[block * n_windows + i][lane] = window as u32;
        }
    }
}

multiversion! {
    /// Merges the windows of each draw in the draw's order.
    fn merge_draws(rows: &[Row], places: &[Places], sums: &mut DrawnSums) = merge_draws_body
}

#[inline(always)]
fn merge_draws_body<const FUSED: bool>(rows: &[Row], places: &[Places], sums: &mut DrawnSums) {
    let columns = [
        &mut sums.m2_actual,
        &mut sums.m2_expected,
        &mut sums.co_moment,
        &mut sums.absolute_error,
        &mut sums.absolute_actual,
        &mut sums.squared_error,
        &mut sums.squared_actual,
    ];
    columns.into_iter().for_each(Vec::clear);
    for draws in places.chunks_exact(rows.len()) {
        let [
            mut n_a,
            mut mean_actual,
            mut mean_expected,
            mut m2_actual,
            mut m2_expected,
            mut co_moment,
            ref mut added @ ..,
        ] = taken(rows, &draws[0]);
        for places in &draws[1..] {
            let [
                n_b,
                other_actual,
                other_expected,
                other_m2_actual,
                other_m2_expected,
                other_co_moment,
                ref others @ ..,
            ] = taken(rows, places);
            for l in 0..LANES {
                let n = n_a[l] + n_b[l];
                let between = n_a[l] * n_b[l] / n;
                let (dr, dp) = (other_actual[l] - mean_actual[l], other_expected[l] - mean_expected[l]);
                mean_actual[l] += dr * n_b[l] / n;
                mean_expected[l] += dp * n_b[l] / n;
                m2_actual[l] = m2_actual[l] + other_m2_actual[l] + dr * dr * between;
                m2_expected[l] = m2_expected[l] + other_m2_expected[l] + dp * dp * between;
                co_moment[l] = co_moment[l] + other_co_moment[l] + dr * dp * between;
                n_a[l] = n;
            }
            for (sum, other) in added.iter_mut().zip(others) {
                for l in 0..LANES {
                    sum[l] += other[l];
                }
            }
        }
        let [absolute_error, absolute_actual, squared_error, squared_actual] = *added;
        sums.m2_actual.push(m2_actual);
        sums.m2_expected.push(m2_expected);
        sums.co_moment.push(co_moment);
        sums.absolute_error.push(absolute_error);
        sums.absolute_actual.push(absolute_actual);
        sums.squared_error.push(squared_error);
        sums.squared_actual.push(squared_actual);
    }
}

/// The numbers of the windows that stand at these places, number by number.
#[inline(always)]
fn taken(rows: &[Row], places: &Places) -> [Lanes; N_NUMBERS] {
    let mut numbers = [[0.0; LANES]; N_NUMBERS];
    for (l, &place) in places.iter().enumerate() {
        let row = &rows[place as usize];
        for (numbers, number) in numbers.iter_mut().zip(row) {
            numbers[l] = *number;
        }
    }
    numbers
}

/// The correlation of every draw that has one, as [`Metric::EvCorrelation`] defines it.
fn correlations(sums: &DrawnSums, n_draws: usize, values: &mut Vec<f64>) {
    values.clear();
    values.resize(n_draws.next_multiple_of(LANES), 0.0);
    all_correlations(&sums.m2_actual, &sums.m2_expected, &sums.co_moment, values);
    values.truncate(n_draws);
    keep_defined(values, [&sums.m2_actual, &sums.m2_expected]);
}

multiversion! {
    fn all_correlations(m2_actual: &[Lanes], m2_expected: &[Lanes], co_moment: &[Lanes], values: &mut [f64]) = all_correlations_body
}

#[inline(always)]
fn all_correlations_body<const FUSED: bool>(
    m2_actual: &[Lanes],
    m2_expected: &[Lanes],
    co_moment: &[Lanes],
    values: &mut [f64],
) {
    let rows = m2_actual.iter().zip(m2_expected).zip(co_moment);
    for (((m2_actual, m2_expected), co_moment), values) in rows.zip(values.chunks_exact_mut(LANES)) {
        for l in 0..LANES {
            values[l] = (co_moment[l] / m2_actual[l].sqrt() / m2_expected[l].sqrt()).clamp(-1.0, 1.0);
        }
    }
}

/// `1 - error / actual` of every draw that has one.
fn one_minus_ratios(error: &[Lanes], actual: &[Lanes], n_draws: usize, values: &mut Vec<f64>) {
    values.clear();
    values.resize(n_draws.next_multiple_of(LANES), 0.0);
    all_ratios(error, actual, values);
    values.truncate(n_draws);
    keep_defined(values, [actual]);
}

multiversion! {
    fn all_ratios(error: &[Lanes], actual: &[Lanes], values: &mut [f64]) = all_ratios_body
}

#[inline(always)]
fn all_ratios_body<const FUSED: bool>(error: &[Lanes], actual: &[Lanes], values: &mut [f64]) {
    for ((error, actual), values) in error.iter().zip(actual).zip(values.chunks_exact_mut(LANES)) {
        for l in 0..LANES {
            values[l] = 1.0 - error[l] / actual[l];
        }
    }
}

/// Leaves the values of those draws whose sums in these columns are all positive.
fn keep_defined<const N: usize>(values: &mut Vec<f64>, columns: [&[Lanes]; N]) {
    if columns.iter().all(|column| least(column.as_flattened()) > 0.0) {
        return;
    }
    let mut draw = 0;
    values.retain(|_| {
        draw += 1;
        columns.iter().all(|column| column.as_flattened()[draw - 1] > 0.0)
    });
}

/// The smallest value.
fn least(values: &[f64]) -> f64 {
    let mut least = [f64::INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for l in 0..LANES {
            least[l] = least[l].min(values[l]);
        }
    }
    rest.iter().chain(&least).copied().fold(f64::INFINITY, f64::min)
}

fn squares(correlations: &[f64], values: &mut Vec<f64>) {
    values.clear();
    values.extend(correlations.iter().map(|rho| rho * rho));
}
