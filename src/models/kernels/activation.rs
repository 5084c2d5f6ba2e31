//! The nonlinearities of an MLP and element-wise sums.

use super::exp::exp;
use super::isa::{multiply_add, multiversion};

/// sqrt(2 / pi), twice: the tanh form of GELU is x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 x^3)).
const GELU_SCALE: f32 = 2.0 * 0.797_884_6;

#[inline(always)]
fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

#[inline(always)]
fn gelu_body<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        let x = *value;
        let u = multiply_add::<FUSED>(0.044_715 * x * x, x, x);
        *value = x * sigmoid::<FUSED>(GELU_SCALE * u);
    }
}

multiversion! {
    /// Replaces each value by its GELU in the tanh form (Hendrycks and Gimpel 2016, §2; `gelu_new` in transformers).
    pub(crate) fn gelu(values: &mut [f32]) = gelu_body
}

#[inline(always)]
fn gated_silu_body<const FUSED: bool>(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate * sigmoid::<FUSED>(*gate) * up;
    }
}

multiversion! {
    /// SwiGLU: replaces each gate by silu(gate) * up (Shazeer 2020); the two slices have one length.
    pub(crate) fn gated_silu(gate: &mut [f32], up: &[f32]) = gated_silu_body
}

#[inline(always)]
fn add_assign_body<const FUSED: bool>(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

multiversion! {
    /// Adds `values` to `sum`, element by element.
    pub(crate) fn add_assign(sum: &mut [f32], values: &[f32]) = add_assign_body
}
