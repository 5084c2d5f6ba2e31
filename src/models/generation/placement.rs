//! Where a language model's weights are computed with, and in which precision.

use std::fmt;
use std::str::FromStr;

use super::device::decoder::DeviceDecoder;
use crate::error::device::DeviceError;
use crate::error::{Error, Result};
use crate::models::device::{Accelerator, Device};
use crate::models::subject_model::SubjectModel;

/// Type of the weights, keys and values on a GPU. Sums, norms and the residual stream are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, with the range of f32.
    Bf16,
    /// 16 bits, with a range that some models' activations leave.
    F16,
}

/// Device and precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// What computes.
    pub device: Device,
    /// In which precision, on a GPU.
    pub precision: Precision,
}

/// What runs a model's tokens.
#[derive(Debug)]
pub enum Backend {
    /// The processor, with the subject model's own weights.
    Cpu,
    /// A device that has a copy of the weights.
    Device(Box<DeviceDecoder>),
}

impl Placement {
    /// Refuses what this program can never do, before anything is loaded.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`], [`DeviceError::Precision`].
    pub fn check(self) -> Result<()> {
        self.device.check()?;
        match self.device {
            Device::Auto if cfg!(feature = "cuda") => Ok(()),
            Device::Cpu | Device::Auto if self.precision != Precision::F32 => {
                Err(DeviceError::Precision { precision: self.precision.to_string() }.into())
            }
            _ => Ok(()),
        }
    }
}

impl Backend {
    /// Chooses the device, and copies the weights of `model` to it unless it is the processor.
    ///
    /// # Errors
    /// As [`Placement::check`]; [`DeviceError::NotFound`] for a GPU that was asked for and is not there,
    /// [`DeviceError::Computation`] if its memory does not hold the weights.
    pub fn open(model: &SubjectModel, placement: Placement) -> Result<Self> {
        placement.check()?;
        match placement.device.open()? {
            Some(device) => Self::on_device(model, &device, placement.precision),
            None => {
                Placement { device: Device::Cpu, ..placement }.check()?;
                Ok(Self::Cpu)
            }
        }
    }

    fn on_device(model: &SubjectModel, device: &Accelerator, precision: Precision) -> Result<Self> {
        let decoder = DeviceDecoder::upload(model, device, precision)?;
        tracing::info!(device = ?device.location(), %precision, "language model on a device");
        Ok(Self::Device(Box::new(decoder)))
    }

    /// The precision that replies come from.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu => Precision::F32,
            Self::Device(decoder) => decoder.precision(),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(Error::Argument {
                argument: "--precision".to_owned(),
                expected: "f32, bf16 or f16".to_owned(),
                got: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

#[cfg(test)]
mod tests;
