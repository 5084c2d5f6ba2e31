//! The normaliser of a softmax.

use super::exp::exp;
use super::isa::multiversion;

/// Partial sums kept apart, so that a sum vectorises and its order is fixed.
const LANES: usize = 32;

#[inline(always)]
fn log_total_body<const FUSED: bool>(logits: &[f32], total: &mut f64) {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut sum = 0.0_f64;
    // Sums of a few terms a lane in f32, then in f64: the error of the whole stays that of the terms.
    for block in logits.chunks(64 * LANES) {
        let mut partial = [0.0_f32; LANES];
        let chunks = block.chunks_exact(LANES);
        for value in chunks.remainder() {
            partial[0] += exp::<FUSED>(value - largest);
        }
        for chunk in chunks {
            for lane in 0..LANES {
                partial[lane] += exp::<FUSED>(chunk[lane] - largest);
            }
        }
        sum += partial.iter().map(|value| f64::from(*value)).sum::<f64>();
    }
    *total = f64::from(largest) + sum.ln();
}

multiversion! {
    /// Writes the natural logarithm of the sum of e^logit; a log-probability is a logit less this.
    pub(crate) fn log_total(logits: &[f32], total: &mut f64) = log_total_body
}
