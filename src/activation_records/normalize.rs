//! Activations as small integers, the form in which prompts show them.

/// Largest normalised activation.
pub const MAX_NORMALIZED: i8 = 10;

/// An activation on the scale 0..=10 of a maximum: `min(10, floor(10 · max(0, activation) / max))`, and 0 when `max` is not
/// above 0.
///
/// Both arguments are in the neuron's units. Computed in `f64` as the reference does: 0.57 of 1 is 5, because 10 · 0.57 lies
/// below 5.7. An `f32` activation is to be widened as it is; one that was rounded down from a multiple of a tenth of the
/// maximum comes out one lower. Source: Bills et al. 2023 (automated-interpretability, `normalize_activations`).
pub fn normalized(activation: f64, max: f64) -> i8 {
    if max > 0.0 {
        // The cast truncates, which is the floor of what is not negative, and takes NaN to 0.
        (10.0 * activation.max(0.0) / max).min(f64::from(MAX_NORMALIZED)) as i8
    } else {
        0
    }
}

/// An activation on the scale −10..=10 of a maximum, keeping its sign: `clamp(trunc(10 · activation / max), −10, 10)`, and 0
/// when `max` is not above 0.
///
/// For units that mean something on both sides of 0. Source: transformer-debugger's symmetric form (specification §3.1).
pub fn normalized_symmetric(activation: f64, max: f64) -> i8 {
    if max > 0.0 {
        let limit = f64::from(MAX_NORMALIZED);
        (10.0 * activation / max).clamp(-limit, limit) as i8
    } else {
        0
    }
}

/// A record's activations on the scale 0..=10 ([`normalized`]), shape `[seq_len]`; `max` is in the neuron's units.
pub fn normalize(activations: &[f32], max: f32) -> Vec<i8> {
    activations.iter().map(|activation| normalized(f64::from(*activation), f64::from(max))).collect()
}

/// A record's activations on the scale −10..=10 ([`normalized_symmetric`]), shape `[seq_len]`; `max` is in the neuron's units.
pub fn normalize_symmetric(activations: &[f32], max: f32) -> Vec<i8> {
    activations.iter().map(|activation| normalized_symmetric(f64::from(*activation), f64::from(max))).collect()
}
