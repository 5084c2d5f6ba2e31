//! Which latents take part in a step, and their pre-activations: one scan of the encoder's tiles finds all of them.

use super::config::Method;
use super::parameters::Parameters;
use crate::autoencoder::encode::{Finds, LATENT_TILE, Scan, scan_tiles};
use crate::codes::Codes;
use crate::kernels::{scan_above, scan_over};
use crate::number::Number;

/// Rows from which BatchTopK's first threshold is estimated.
const ESTIMATE_ROWS: usize = 256;

/// Dead latents and how many of them a row may use.
#[derive(Debug)]
pub(crate) struct Dead<T> {
    /// `b_enc` of dead latents, minus infinity for the living: `[n_latents]`.
    biases: Vec<T>,
    /// Whether a tile of latents has any.
    in_tile: Vec<bool>,
    k: usize,
}

impl<T: Number> Dead<T> {
    /// `None` while no latent is dead.
    pub(crate) fn of(b_enc: &[T], rows_since_fired: &[u64], dead_after_rows: u64, k: usize) -> Option<Self> {
        let dead = |rows: &u64| *rows > dead_after_rows;
        if !rows_since_fired.iter().any(dead) {
            return None;
        }
        let biases = b_enc.iter().zip(rows_since_fired);
        Some(Self {
            biases: biases.map(|(bias, rows)| if dead(rows) { *bias } else { -T::INFINITY }).collect(),
            in_tile: rows_since_fired.chunks(LATENT_TILE).map(|rows| rows.iter().any(dead)).collect(),
            k,
        })
    }
}

/// What a step computes with. Values are pre-activations, all of latents that fire or are close to it.
#[derive(Debug)]
pub(crate) struct Selected<T> {
    pub(crate) main: Codes<T>,
    /// The `factor · k` largest of each row under MultiTopK.
    pub(crate) wide: Option<Codes<T>>,
    /// The largest of the dead latents, where there are any.
    pub(crate) auxiliary: Option<Codes<T>>,
    /// The smallest value that TopK kept on a row, averaged over rows, or that BatchTopK kept at all.
    pub(crate) smallest_kept: Option<f64>,
}

#[derive(Debug)]
struct RowFinds<T> {
    main: Finds<T>,
    auxiliary: Finds<T>,
}

/// Selects for a batch of prepared inputs. `hint` is a value that BatchTopK's threshold is expected to exceed.
pub(crate) fn select<T: Number>(
    method: &Method,
    n_inputs: usize,
    inputs: &[T],
    parameters: &Parameters<T>,
    dead: Option<&Dead<T>>,
    hint: T,
) -> Selected<T> {
    let scan = |rows: &[T], floor: T| scan(method, n_inputs, rows, parameters, dead, floor);
    let n_rows = inputs.len() / n_inputs;
    match method {
        Method::BatchTopK { k } | Method::Matryoshka { k, .. } => {
            let wanted = k * n_rows;
            let mut floor = hint;
            if floor <= T::ZERO {
                // The first rows alone say about where the threshold is, so that not every positive value is kept.
                let first = &inputs[..inputs.len().min(ESTIMATE_ROWS * n_inputs)];
                let mut values: Vec<T> = scan(first, T::ZERO)
                    .iter()
                    .flat_map(|row| row.main.found.iter().map(|found| found.value))
                    .collect();
                let wanted = 2 * k * (first.len() / n_inputs);
                floor = if values.len() > wanted { nth_largest(&mut values, wanted) } else { T::ZERO };
            }
            let mut rows = scan(inputs, floor);
            let count = |rows: &[RowFinds<T>]| rows.iter().map(|row| row.main.found.len()).sum::<usize>();
            if floor > T::ZERO && count(&rows) < wanted {
                rows = scan(inputs, T::ZERO);
            }
            let smallest_kept = keep_largest_of_batch(&mut rows, wanted);
            Selected {
                main: codes(rows.iter_mut().map(|row| &mut row.main)),
                wide: None,
                auxiliary: dead.map(|_| codes(rows.iter_mut().map(|row| &mut row.auxiliary))),
                smallest_kept,
            }
        }
        Method::MultiTopK { k, .. } | Method::TopK { k } => {
            let mut rows = scan(inputs, T::ZERO);
            let wide =
                matches!(method, Method::MultiTopK { .. }).then(|| codes(rows.iter_mut().map(|row| &mut row.main)));
            rows.iter_mut().for_each(|row| row.main.keep_largest(*k));
            let smallest = |row: &RowFinds<T>| {
                let values = row.main.found.iter().map(|found| found.value.wide());
                if row.main.found.len() < *k { 0.0 } else { values.fold(f64::INFINITY, f64::min) }
            };
            let smallest_kept = (n_rows > 0).then(|| rows.iter().map(smallest).sum::<f64>() / n_rows as f64);
            Selected {
                main: codes(rows.iter_mut().map(|row| &mut row.main)),
                wide,
                auxiliary: dead.map(|_| codes(rows.iter_mut().map(|row| &mut row.auxiliary))),
                smallest_kept,
            }
        }
        Method::Relu { .. } | Method::Gated { .. } | Method::JumpRelu { .. } => {
            let mut rows = scan(inputs, T::ZERO);
            let main = codes(rows.iter_mut().map(|row| &mut row.main));
            Selected { main, wide: None, auxiliary: None, smallest_kept: None }
        }
    }
}

/// How the rows of a batch are scanned.
struct Selection<'a, T> {
    method: &'a Method,
    parameters: &'a Parameters<T>,
    dead: Option<&'a Dead<T>>,
    /// What pre-activations must exceed where the method does not say.
    floor: T,
    /// What they must exceed under JumpReLU: those in the window below a threshold move it too.
    lower: Vec<T>,
    /// How many of a row can be needed.
    most: Option<usize>,
}

impl<T: Number> Scan<T> for Selection<'_, T> {
    type State = RowFinds<T>;

    fn begin(&self) -> RowFinds<T> {
        RowFinds { main: Finds::new(), auxiliary: Finds::new() }
    }

    fn visit(&self, row: &mut RowFinds<T>, products: &[T], first: usize) {
        let range = first..first + products.len();
        let biases = &self.parameters.b_enc[range.clone()];
        match (self.most, self.method) {
            (Some(most), _) => row.main.scan_top(most, products, biases, first),
            (None, Method::JumpRelu { .. }) => {
                scan_over(products, biases, &self.lower[range.clone()], first as u32, &mut row.main.found);
            }
            (None, _) => scan_above(products, biases, first as u32, self.floor, &mut row.main.found),
        }
        if let Some(dead) = self.dead.filter(|dead| dead.in_tile[first / LATENT_TILE]) {
            row.auxiliary.scan_top(dead.k, products, &dead.biases[range], first);
        }
    }

    fn merge(&self, row: &mut RowFinds<T>, later: RowFinds<T>) {
        row.main.found.extend(later.main.found);
        row.auxiliary.found.extend(later.auxiliary.found);
    }

    fn finish(&self, row: &mut RowFinds<T>) {
        if let Some(most) = self.most {
            row.main.keep_largest(most);
        }
        if let Some(dead) = self.dead {
            row.auxiliary.keep_largest(dead.k);
        }
    }
}

fn scan<T: Number>(
    method: &Method,
    n_inputs: usize,
    inputs: &[T],
    parameters: &Parameters<T>,
    dead: Option<&Dead<T>>,
    floor: T,
) -> Vec<RowFinds<T>> {
    let lower = match method {
        Method::JumpRelu { bandwidth, .. } => {
            let half = T::of(bandwidth / 2.0);
            parameters.thresholds.iter().map(|threshold| *threshold - half).collect()
        }
        _ => Vec::new(),
    };
    let most = match method {
        Method::TopK { k } => Some(*k),
        Method::MultiTopK { k, factor, .. } => Some(k * factor),
        _ => None,
    };
    scan_tiles(n_inputs, inputs, &parameters.w_enc, &Selection { method, parameters, dead, floor, lower, most })
}

fn codes<'a, T: Number>(rows: impl Iterator<Item = &'a mut Finds<T>>) -> Codes<T> {
    let mut codes = Codes::default();
    for row in rows {
        codes.push_row(row.sorted().iter().map(|found| (found.latent, found.value)));
    }
    codes
}

/// Keeps the `wanted` largest values of all rows; of equal ones those of lower rows, then of lower latents. Returns the
/// smallest one kept.
fn keep_largest_of_batch<T: Number>(rows: &mut [RowFinds<T>], wanted: usize) -> Option<f64> {
    let mut values: Vec<T> = rows.iter().flat_map(|row| row.main.found.iter().map(|found| found.value)).collect();
    if values.len() > wanted {
        let smallest = nth_largest(&mut values, wanted);
        let above = values.iter().filter(|value| **value > smallest).count();
        let mut equal = wanted - above;
        for row in rows {
            row.main.sorted();
            row.main.found.retain(|found| {
                let kept = found.value > smallest || (found.value == smallest && equal > 0);
                equal -= usize::from(kept && found.value == smallest);
                kept
            });
        }
        return Some(smallest.wide());
    }
    values.iter().map(|value| value.wide()).reduce(f64::min)
}

/// The n-th largest value, n from 1.
fn nth_largest<T: Number>(values: &mut [T], n: usize) -> T {
    let order = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal);
    *values.select_nth_unstable_by(n - 1, order).1
}
