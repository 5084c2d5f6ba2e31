//! Values at places of an order, without ordering all.

/// Standard deviations from the mean between which 90 % and 68 % of a normal distribution lie: where ends of a distribution are looked for.
const ENDS: [f64; 2] = [1.6, 1.0];
/// Sums that are added up side by side.
const LANES: usize = 8;

/// Finds the values in the middle of which a share lies; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Middle {
    end: Vec<f64>,
}

impl Middle {
    /// What stands at two shares of the way through the values in order, the first below a half and the second above.
    ///
    /// The order is that of [`f64::total_cmp`]. There must be a value.
    pub(super) fn ends(&mut self, values: &[f64], [low, high]: [f64; 2]) -> [Neighbours; 2] {
        let spread = Spread::of(values);
        let place = |share: f64| share * (values.len() - 1) as f64;
        [self.at(values, &spread, End::Low, place(low)), self.at(values, &spread, End::High, place(high))]
    }

    /// What stands at a place, counted from 0.
    fn at(&mut self, values: &[f64], spread: &Spread, end: End, place: f64) -> Neighbours {
        let first = place.floor() as usize;
        let left_out = self.take_end(values, spread, end, first);
        // Two places are wanted, not an order of all.
        let (_, &mut below, rest) = self.end.select_nth_unstable_by(first - left_out, f64::total_cmp);
        let above = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(below);
        Neighbours { below, above, way: place.fract() }
    }

    /// Copies values that are all on one side of all others, among them those at `first` and the next place; how many values are before
    /// them in order.
    fn take_end(&mut self, values: &[f64], spread: &Spread, end: End, first: usize) -> usize {
        for deviations in ENDS {
            let bound = match end {
                End::Low => spread.mean - deviations * spread.deviation,
                End::High => spread.mean + deviations * spread.deviation,
            };
            // Comparisons of numbers agree with the total order but for zeros, which stay on one side of a bound that is zero.
            let n = match end {
                End::Low => compress(values, &mut self.end, |value| value < bound),
                End::High => compress(values, &mut self.end, |value| value > bound),
            };
            let left_out = if end == End::Low { 0 } else { values.len() - n };
            let last = (first + 1).min(values.len() - 1);
            if left_out <= first && last < left_out + n {
                self.end.truncate(n);
                return left_out;
            }
        }
        self.end.clear();
        self.end.extend_from_slice(values);
        0
    }
}

/// Two values that follow each other in order, and a place between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    below: f64,
    above: f64,
    way: f64,
}

impl Neighbours {
    /// The value between the two, in proportion.
    pub(super) fn value(self) -> f64 {
        self.below + (self.above - self.below) * self.way
    }

    /// What stands there when every value is squared, if none is negative: squares are in the order of what was squared.
    pub(super) fn squared(self) -> Self {
        Self { below: self.below * self.below, above: self.above * self.above, ..self }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Low,
    High,
}

/// About where the values lie; decides only how fast a place is found.
struct Spread {
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
        // About the first value: squares of values that are nearly equal would lose the difference.
        let about = values[0];
        for values in values.chunks_exact(LANES) {
            for l in 0..LANES {
                sums[l] += values[l] - about;
                squares[l] += (values[l] - about) * (values[l] - about);
            }
        }
        let n = (values.len() / LANES * LANES).max(1) as f64;
        let mean = sums.iter().sum::<f64>() / n;
        let variance = squares.iter().sum::<f64>() / n - mean * mean;
        Self { mean: about + mean, deviation: variance.max(0.0).sqrt() }
    }
}

/// Copies the values that are wanted to the beginning of a buffer, which is as long as all of them; how many there are.
#[inline(always)]
fn compress(values: &[f64], kept: &mut Vec<f64>, wanted: impl Fn(f64) -> bool) -> usize {
    kept.resize(values.len(), 0.0);
    let kept = &mut kept[..values.len()];
    let mut n = 0;
    for &value in values {
        // Written always and kept sometimes: no branch that the processor would have to guess.
        kept[n] = value;
        n += usize::from(wanted(value));
    }
    n
}
