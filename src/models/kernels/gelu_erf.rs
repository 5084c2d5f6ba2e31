//! GELU in its exact form, x Φ(x), which BERT uses.

use super::exp::exp;
use super::isa::{multiply_add, multiversion};

/// erf(x) for x >= 0 within 2e-7: Abramowitz and Stegun 1964, formula 7.1.26 (five terms; its own error is at most 1.5e-7).
#[inline(always)]
fn erf_of_size<const FUSED: bool>(x: f32) -> f32 {
    let t = 1.0 / multiply_add::<FUSED>(0.327_591_1, x, 1.0);
    let p = 1.061_405_4;
    let p = multiply_add::<FUSED>(p, t, -1.453_152);
    let p = multiply_add::<FUSED>(p, t, 1.421_413_8);
    let p = multiply_add::<FUSED>(p, t, -0.284_496_72);
    let p = multiply_add::<FUSED>(p, t, 0.254_829_6);
    1.0 - p * t * exp::<FUSED>(-x * x)
}

#[inline(always)]
fn gelu_erf_body<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        let x = *value;
        let erf = erf_of_size::<FUSED>(x.abs() * std::f32::consts::FRAC_1_SQRT_2).copysign(x);
        *value = 0.5 * x * (1.0 + erf);
    }
}

multiversion! {
    /// Replaces each value by its GELU in the erf form (Hendrycks and Gimpel 2016); absolute error below 1e-6 for |x| < 10.
    pub(crate) fn gelu_erf(values: &mut [f32]) = gelu_erf_body
}

#[cfg(test)]
mod tests;
