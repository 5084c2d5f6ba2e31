//! The language models' decoder over candle tensors: for GPUs, and the same on candle's processor device, where tests run it.
//!
//! `weights` are copied to the device once. `rows` keeps the keys and values of tokens that later calls read, and a batch's
//! new tokens look at them as `plan` lays out: every shared beginning is one matrix product for all sequences
//! after it (`attention`). [`decoder`] puts this together as a [`Runner`](super::runner::Runner).

pub(crate) mod attention;
pub mod decoder;
pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod weights;

use crate::error::device::DeviceError;
use crate::models::device::reason;

/// A computation's fault, as ours.
fn fault(error: candle_core::Error) -> DeviceError {
    DeviceError::Computation { reason: reason(&error) }
}

#[cfg(test)]
mod tests;
