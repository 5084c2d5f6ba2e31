//! All that a score needs to know of one window, in a form that windows can be merged in.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Numbers of a [`WindowSums`] besides the number of tokens.
pub const N_SUMS: usize = 9;

/// Sums over the tokens of one window or of several: actual activations against simulated ones.
///
/// Second moments are about the means (Chan, Golub and LeVeque 1979), so a large offset of either series costs no digits, and
/// a series that is constant has a second moment of exactly 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowSums {
    n_tokens: u64,
    mean_actual: f64,
    mean_expected: f64,
    m2_actual: f64,
    m2_expected: f64,
    co_moment: f64,
    absolute_error: f64,
    absolute_actual: f64,
    squared_error: f64,
    squared_actual: f64,
}

impl WindowSums {
    /// Names of the numbers of [`WindowSums::to_array`], in its order.
    pub const NAMES: [&'static str; N_SUMS] = [
        "mean_actual",
        "mean_expected",
        "m2_actual",
        "m2_expected",
        "co_moment",
        "absolute_error",
        "absolute_actual",
        "squared_error",
        "squared_actual",
    ];

    /// Sums of one window: actual and expected activations at the same tokens, each on any scale.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the two are not equally long.
    pub fn of(actual: &[f32], expected: &[f32]) -> Result<Self> {
        if actual.len() != expected.len() {
            return Err(Error::LengthMismatch { actual: actual.len(), expected: expected.len() });
        }
        let (Some(first_actual), Some(first_expected)) = (actual.first(), expected.first()) else {
            return Ok(Self::default());
        };
        let (first_actual, first_expected) = (f64::from(*first_actual), f64::from(*first_expected));
        let pairs = || actual.iter().zip(expected).map(|(r, p)| (f64::from(*r), f64::from(*p)));
        let n = actual.len() as f64;
        // Means about the first value: those of a constant series are exact.
        let mean_actual = first_actual + pairs().map(|(r, _)| r - first_actual).sum::<f64>() / n;
        let mean_expected = first_expected + pairs().map(|(_, p)| p - first_expected).sum::<f64>() / n;
        let mut sums = Self { n_tokens: actual.len() as u64, mean_actual, mean_expected, ..Self::default() };
        for (r, p) in pairs() {
            let (dr, dp) = (r - mean_actual, p - mean_expected);
            sums.m2_actual += dr * dr;
            sums.m2_expected += dp * dp;
            sums.co_moment += dr * dp;
            sums.absolute_error += (r - p).abs();
            sums.absolute_actual += r.abs();
            sums.squared_error += (r - p) * (r - p);
            sums.squared_actual += r * r;
        }
        Ok(sums)
    }

    /// Sums of several windows, merged in their order.
    pub fn merged<'a>(windows: impl IntoIterator<Item = &'a WindowSums>) -> Self {
        windows.into_iter().fold(Self::default(), |sums, window| sums.merge(window))
    }

    /// The sums of both; what has no tokens changes nothing.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        if self.n_tokens == 0 {
            return *other;
        }
        if other.n_tokens == 0 {
            return *self;
        }
        let (n_a, n_b) = (self.n_tokens as f64, other.n_tokens as f64);
        let n = n_a + n_b;
        let between = n_a * n_b / n;
        let (dr, dp) = (other.mean_actual - self.mean_actual, other.mean_expected - self.mean_expected);
        Self {
            n_tokens: self.n_tokens + other.n_tokens,
            mean_actual: self.mean_actual + dr * n_b / n,
            mean_expected: self.mean_expected + dp * n_b / n,
            m2_actual: self.m2_actual + other.m2_actual + dr * dr * between,
            m2_expected: self.m2_expected + other.m2_expected + dp * dp * between,
            co_moment: self.co_moment + other.co_moment + dr * dp * between,
            absolute_error: self.absolute_error + other.absolute_error,
            absolute_actual: self.absolute_actual + other.absolute_actual,
            squared_error: self.squared_error + other.squared_error,
            squared_actual: self.squared_actual + other.squared_actual,
        }
    }

    /// Number of tokens.
    pub fn n(&self) -> u64 {
        self.n_tokens
    }

    /// Every number besides [`WindowSums::n`]: the state of an aggregate function.
    pub fn to_array(&self) -> [f64; N_SUMS] {
        [
            self.mean_actual,
            self.mean_expected,
            self.m2_actual,
            self.m2_expected,
            self.co_moment,
            self.absolute_error,
            self.absolute_actual,
            self.squared_error,
            self.squared_actual,
        ]
    }

    /// The sums that [`WindowSums::n`] and [`WindowSums::to_array`] describe.
    pub fn from_array(n: u64, sums: [f64; N_SUMS]) -> Self {
        let [
            mean_actual,
            mean_expected,
            m2_actual,
            m2_expected,
            co_moment,
            absolute_error,
            absolute_actual,
            squared_error,
            squared_actual,
        ] = sums;
        Self {
            n_tokens: n,
            mean_actual,
            mean_expected,
            m2_actual,
            m2_expected,
            co_moment,
            absolute_error,
            absolute_actual,
            squared_error,
            squared_actual,
        }
    }

    /// Sums of squares of actual and expected activations about their means, and of their products.
    pub(crate) fn central(&self) -> (f64, f64, f64) {
        (self.m2_actual, self.m2_expected, self.co_moment)
    }

    /// Sums of |actual − expected| and |actual|.
    pub(crate) fn absolute(&self) -> (f64, f64) {
        (self.absolute_error, self.absolute_actual)
    }

    /// Sums of (actual − expected)² and actual².
    pub(crate) fn squared(&self) -> (f64, f64) {
        (self.squared_error, self.squared_actual)
    }
}
