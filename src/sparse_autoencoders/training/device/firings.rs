//! Values of a batch from its pre-activations `h`, `[n_rows, n_latents]`, by the rule of each method.

use candle_core::{Result, Tensor, WithDType};

use super::arrays::{Arrays, total};
use super::select::{kth_largest, nth_largest_of_all};
use crate::number::Number;
use crate::training::config::Method;

/// Which latents take part in a step and how strongly.
pub(super) struct Firings {
    /// 1 where a latent takes part, else 0.
    pub(super) mask: Tensor,
    /// Their values, else 0.
    pub(super) z: Tensor,
    /// As [`crate::training::select::Selected::smallest_kept`].
    pub(super) smallest_kept: Option<f64>,
}

/// What a gate lets through.
pub(super) struct Gated {
    /// `e^r`, `[n_latents]`.
    pub(super) scale: Tensor,
    /// `e^r (h − b_enc)`.
    pub(super) scaled: Tensor,
    /// 1 where gate and magnitude are positive.
    pub(super) mask: Tensor,
    pub(super) z: Tensor,
}

/// A comparison's answers as numbers.
pub(super) fn numbers<T: WithDType>(mask: &Tensor) -> Result<Tensor> {
    mask.to_dtype(T::DTYPE)
}

/// The positive ones of `h` that are not below `floor`, which has a value for each row or one for all.
fn not_below<T: WithDType>(h: &Tensor, floor: Option<&Tensor>, smallest_kept: Option<f64>) -> Result<Firings> {
    let positive = numbers::<T>(&h.gt(0.0)?)?;
    let mask = match floor {
        Some(floor) => (positive * numbers::<T>(&h.broadcast_ge(floor)?)?)?,
        None => positive,
    };
    let z = (h.relu()? * &mask)?;
    Ok(Firings { mask, z, smallest_kept })
}

/// The k largest of each row.
pub(super) fn largest_of_rows<T: Number + WithDType>(h: &Tensor, k: usize) -> Result<Firings> {
    let floor = kth_largest(h, k)?;
    let smallest = total::<T>(&floor.relu()?)? / h.dim(0)? as f64;
    not_below::<T>(h, Some(&floor), Some(smallest))
}

/// Of a gated autoencoder these are the gate's own; [`gated`] has what it lets through.
pub(super) fn firings<T: Number + WithDType>(method: &Method, h: &Tensor, weights: &Arrays) -> Result<Firings> {
    match (method, &weights.thresholds) {
        (Method::TopK { k } | Method::MultiTopK { k, .. }, _) => largest_of_rows::<T>(h, *k),
        (Method::BatchTopK { k } | Method::Matryoshka { k, .. }, _) => {
            let smallest: Option<T> = nth_largest_of_all(h, k * h.dim(0)?)?;
            let floor = Tensor::full(smallest.unwrap_or(T::ZERO), (1, 1), h.device())?;
            not_below::<T>(h, Some(&floor), smallest.map(Number::wide))
        }
        (Method::JumpRelu { .. }, Some(thresholds)) => {
            let mask = numbers::<T>(&h.broadcast_gt(thresholds)?)?;
            Ok(Firings { z: (h * &mask)?, mask, smallest_kept: None })
        }
        _ => not_below::<T>(h, None, None),
    }
}

/// `None` where there is no gate.
pub(super) fn gated<T: WithDType>(h: &Tensor, gate: &Firings, weights: &Arrays) -> Result<Option<Gated>> {
    let (Some(log_scale), Some(bias)) = (&weights.log_scale, &weights.magnitude_bias) else { return Ok(None) };
    let scale = log_scale.exp()?;
    let scaled = h.broadcast_sub(&weights.b_enc)?.broadcast_mul(&scale)?;
    let magnitude = scaled.broadcast_add(bias)?;
    let mask = (numbers::<T>(&magnitude.gt(0.0)?)? * &gate.mask)?;
    Ok(Some(Gated { scale, scaled, z: (magnitude * &mask)?, mask }))
}
