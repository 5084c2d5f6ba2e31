//! Losses of a batch and their gradients by the reconstructions; everything by latent follows in [`super::update`].

use rayon::prelude::*;

use super::columns::Columns;
use super::config::{Method, TrainingConfig};
use super::parameters::Parameters;
use super::select::Selected;
use crate::autoencoder::decode::{add_decoded, decode_rows};
use crate::codes::Codes;
use crate::kernels::{subtract_and_square, sum_of_squares};
use crate::number::Number;

/// Rows whose sums are added up by one thread.
const ROWS: usize = 64;

/// How a pre-activation becomes a value, and the gradients that follow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule<T> {
    /// The value is the pre-activation; `l1` times the decoder row's norm is added to its gradient.
    Linear { l1: T },
    /// The pre-activation where it exceeds the threshold.
    Jump { l0: T, bandwidth: T },
    /// A magnitude where the gate's pre-activation is positive; `l1` is added to the gate's gradient.
    Gated { l1: T },
}

/// Firings by latent and what the reconstructions they take part in pull at.
#[derive(Debug)]
pub(crate) struct Term<T> {
    pub(crate) columns: Columns<T>,
    /// Up to which latent (exclusive) each gradient holds, rising: `[n_rows, n_outputs]` each.
    pub(crate) levels: Vec<(usize, Vec<T>)>,
    pub(crate) rule: Rule<T>,
    /// The gradient of the gate's own reconstruction, which leaves the decoder alone.
    pub(crate) gate: Option<Vec<T>>,
}

/// Numbers of one step's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Parts {
    /// What is minimised.
    pub(crate) loss: f64,
    pub(crate) normalized_mse: f64,
    pub(crate) auxiliary: Option<f64>,
    pub(crate) penalty: Option<f64>,
    pub(crate) mean_firings: f64,
}

/// All that the pass over the latents needs.
#[derive(Debug)]
pub(crate) struct Terms<T> {
    pub(crate) terms: Vec<Term<T>>,
    /// The gradient of `b_dec` as it is added to reconstructions.
    pub(crate) output_sums: Vec<T>,
    pub(crate) parts: Parts,
    /// Which latents fired.
    pub(crate) fired: Vec<bool>,
}

/// Decodes, compares with the targets `[n_rows, n_outputs]` and returns the gradients.
///
/// `share` is what the penalty's coefficient is multiplied by.
pub(crate) fn terms<T: Number>(
    config: &TrainingConfig,
    parameters: &Parameters<T>,
    mse_scale: f64,
    share: f64,
    targets: &[T],
    selected: &Selected<T>,
) -> Terms<T> {
    let Parameters { w_dec, b_dec, .. } = parameters;
    let width = config.n_outputs;
    let n_rows = targets.len() / width;
    let per_value = mse_scale / (n_rows * width) as f64;
    let per_row = 1.0 / n_rows as f64;
    let main = &selected.main;
    let values = values(config, parameters, main);
    let fired = fired(main, &values, config.n_latents, config.fires_above);
    let mut parts = Parts {
        mean_firings: values.iter().filter(|value| **value > T::ZERO).count() as f64 * per_row,
        ..Parts::default()
    };
    let decoded = |codes: &Codes<T>, values: &[T], bias: &[T]| {
        let mut out = vec![T::ZERO; targets.len()];
        decode_rows(&codes.offsets, &codes.latents, values, w_dec, bias, &mut out);
        out
    };
    let columns = |codes: &Codes<T>| Columns::of(codes, config.n_latents);
    let linear = Rule::Linear { l1: T::ZERO };

    let (rule, l) = match config.method {
        Method::Relu { l1 } => (Rule::Linear { l1: T::of(l1 * share * per_row) }, l1 * share),
        Method::Gated { l1 } => (Rule::Gated { l1: T::of(l1 * share * per_row) }, l1 * share),
        Method::JumpRelu { l0, bandwidth, .. } => {
            (Rule::Jump { l0: T::of(l0 * share * per_row), bandwidth: T::of(bandwidth) }, l0 * share)
        }
        _ => (linear, 0.0),
    };
    let penalised = !matches!(rule, Rule::Linear { .. }) || matches!(config.method, Method::Relu { .. });
    let scale = if penalised { per_row } else { per_value };

    // The main reconstruction, or those of all prefixes.
    let ends: Vec<usize> = match &config.method {
        Method::Matryoshka { prefixes, .. } => prefixes.clone(),
        _ => vec![config.n_latents],
    };
    let mut errors: Vec<Vec<T>> = Vec::with_capacity(ends.len());
    let mut prefix = vec![T::ZERO; targets.len()];
    prefix.par_chunks_mut(width).for_each(|row| row.copy_from_slice(b_dec));
    let mut squares = 0.0;
    let mut first = 0;
    for end in &ends {
        add_decoded(main, &values, first as u32..*end as u32, w_dec, width, &mut prefix);
        let mut error = prefix.clone();
        squares = subtract(&mut error, targets, width);
        parts.loss += squares * scale;
        errors.push(error);
        first = *end;
    }
    parts.normalized_mse = squares * per_value;
    let mut terms = Vec::new();
    let auxiliary = selected.auxiliary.as_ref().zip(config.auxiliary);
    if let Some((codes, settings)) = auxiliary {
        let codes = without_fired(codes, &fired);
        let residual: Vec<T> = errors.last().map(|error| error.iter().map(|e| -*e).collect()).unwrap_or_default();
        let baseline = squares_about_mean(&residual, width);
        let mut error = decoded(&codes, &codes.values, &vec![T::ZERO; width]);
        let squares = subtract(&mut error, &residual, width);
        // Nothing left to explain, or nothing that could explain it: no loss rather than 0/0.
        let loss = if baseline > 0.0 && codes.n_firings() > 0 { squares / baseline } else { 0.0 };
        parts.auxiliary = Some(loss);
        parts.loss += settings.coefficient * loss;
        if loss > 0.0 {
            multiply(&mut error, T::of(2.0 * settings.coefficient / baseline));
            terms.push(Term {
                columns: columns(&codes),
                levels: vec![(config.n_latents, error)],
                rule: linear,
                gate: None,
            });
        }
    }
    for error in &mut errors {
        multiply(error, T::of(2.0 * scale));
    }
    // A latent takes part in its own prefix and in all longer ones.
    for level in (1..errors.len()).rev() {
        let (shorter, longer) = errors.split_at_mut(level);
        let shorter = &mut shorter[level - 1];
        shorter.par_iter_mut().zip(&longer[0]).with_min_len(4096).for_each(|(a, b)| *a += *b);
    }
    let mut output_sums = column_sums(&errors[0], width);

    if let (Method::MultiTopK { weight, .. }, Some(wide)) = (&config.method, &selected.wide) {
        let mut error = decoded(wide, &wide.values, b_dec);
        let squares = subtract(&mut error, targets, width);
        parts.loss += weight * squares * scale;
        multiply(&mut error, T::of(2.0 * weight * scale));
        output_sums.iter_mut().zip(column_sums(&error, width)).for_each(|(sum, more)| *sum += more);
        terms.push(Term { columns: columns(wide), levels: vec![(config.n_latents, error)], rule: linear, gate: None });
    }
    let mut gate = None;
    if penalised {
        let penalty = penalty(config, parameters, main, &values) * per_row;
        parts.penalty = Some(penalty);
        parts.loss += l * penalty;
    }
    if matches!(config.method, Method::Gated { .. }) {
        let mut error = decoded(main, &main.values, b_dec);
        let squares = subtract(&mut error, targets, width);
        parts.loss += squares * scale;
        parts.auxiliary = Some(squares * scale);
        multiply(&mut error, T::of(2.0 * scale));
        gate = Some(error);
    }
    terms.push(Term { columns: columns(main), levels: ends.into_iter().zip(errors).collect(), rule, gate });
    Terms { terms, output_sums, parts, fired }
}

/// Values of the pre-activations selected; 0 for those that were selected for their gradient alone.
fn values<T: Number>(config: &TrainingConfig, parameters: &Parameters<T>, codes: &Codes<T>) -> Vec<T> {
    let value = |(latent, h): (&u32, &T)| {
        let latent = *latent as usize;
        match config.method {
            Method::JumpRelu { .. } => {
                if *h > parameters.thresholds[latent] {
                    *h
                } else {
                    T::ZERO
                }
            }
            Method::Gated { .. } => {
                let product = *h - parameters.b_enc[latent];
                let value = parameters.log_scale[latent].exp() * product + parameters.magnitude_bias[latent];
                if value > T::ZERO { value } else { T::ZERO }
            }
            _ => *h,
        }
    };
    codes.latents.iter().zip(&codes.values).map(value).collect()
}

/// The penalty of all rows, without its coefficient.
fn penalty<T: Number>(config: &TrainingConfig, parameters: &Parameters<T>, codes: &Codes<T>, values: &[T]) -> f64 {
    let width = config.n_outputs;
    match config.method {
        Method::Relu { .. } => {
            let norm = |row: &[T]| sum_of_squares(row).sqrt();
            let norms: Vec<f64> = parameters.w_dec.par_chunks(width).with_min_len(64).map(norm).collect();
            codes.latents.iter().zip(values).map(|(latent, z)| z.wide() * norms[*latent as usize]).sum()
        }
        Method::Gated { .. } => codes.values.iter().map(|gate| gate.wide()).sum(),
        Method::JumpRelu { .. } => values.iter().filter(|z| **z > T::ZERO).count() as f64,
        _ => 0.0,
    }
}

fn fired<T: Number>(codes: &Codes<T>, values: &[T], n_latents: usize, above: f64) -> Vec<bool> {
    let mut fired = vec![false; n_latents];
    for (latent, value) in codes.latents.iter().zip(values) {
        if value.wide() > above {
            fired[*latent as usize] = true;
        }
    }
    fired
}

/// Drops latents that were dead before this batch and fire in it.
fn without_fired<T: Number>(codes: &Codes<T>, fired: &[bool]) -> Codes<T> {
    let mut kept = Codes::default();
    for row in 0..codes.n_rows() {
        let (latents, values) = codes.row(row);
        let firings = latents.iter().copied().zip(values.iter().copied());
        kept.push_row(firings.filter(|(latent, _)| !fired[*latent as usize]));
    }
    kept
}

/// `predictions −= targets`; returns the sum of squares, in f64 and in an order that sizes alone decide.
fn subtract<T: Number>(predictions: &mut [T], targets: &[T], width: usize) -> f64 {
    let blocks = predictions.par_chunks_mut(ROWS * width).zip(targets.par_chunks(ROWS * width));
    let sums: Vec<f64> = blocks.map(|(predictions, targets)| subtract_and_square(predictions, targets)).collect();
    sums.iter().sum()
}

fn multiply<T: Number>(values: &mut [T], factor: T) {
    values.par_chunks_mut(1 << 14).for_each(|values| values.iter_mut().for_each(|x| *x *= factor));
}

/// The sum of each column of `[n_rows, width]` values.
pub(crate) fn column_sums<T: Number>(rows: &[T], width: usize) -> Vec<T> {
    let blocks: Vec<Vec<T>> = rows
        .par_chunks(ROWS * width)
        .map(|rows| {
            let mut sums = vec![T::ZERO; width];
            for row in rows.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += *x);
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0_f64; width];
    for block in &blocks {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x.wide());
    }
    sums.into_iter().map(T::of).collect()
}

/// `Σ (x − column's mean)²`.
pub(crate) fn squares_about_mean<T: Number>(rows: &[T], width: usize) -> f64 {
    let n_rows = rows.len() / width;
    let mean: Vec<T> = column_sums(rows, width).into_iter().map(|sum| T::of(sum.wide() / n_rows as f64)).collect();
    let sums: Vec<f64> = rows
        .par_chunks(ROWS * width)
        .map(|rows| {
            let mut centred = rows.to_vec();
            centred.chunks_exact_mut(width).map(|row| subtract_and_square(row, &mean)).sum::<f64>()
        })
        .collect();
    sums.iter().sum()
}
