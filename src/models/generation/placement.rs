//! Where a language model's weights are computed with, and in which precision.

use std::fmt;
use std::str::FromStr;

#[cfg(any(test, feature = "cuda"))]
use super::device::decoder::DeviceDecoder;
use crate::error::device::DeviceError;
use crate::error::{Error, Result};
use crate::models::subject_model::SubjectModel;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first CUDA device where the program can use one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of a number.
    Cuda(usize),
}

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
    #[cfg(any(test, feature = "cuda"))]
    Device(Box<DeviceDecoder>),
}

impl Placement {
    /// Refuses what this program can never do, before anything is loaded.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`], [`DeviceError::Precision`].
    pub fn check(self) -> Result<()> {
        let built = cfg!(feature = "cuda");
        match self.device {
            Device::Cuda(_) if !built => Err(DeviceError::NotBuilt { device: self.device.to_string() }.into()),
            Device::Auto if built => Ok(()),
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
        Self::open_checked(model, placement)
    }

    #[cfg(not(feature = "cuda"))]
    fn open_checked(_: &SubjectModel, _: Placement) -> Result<Self> {
        Ok(Self::Cpu)
    }

    #[cfg(feature = "cuda")]
    fn open_checked(model: &SubjectModel, placement: Placement) -> Result<Self> {
        let number = match placement.device {
            Device::Cpu => return Ok(Self::Cpu),
            Device::Auto => 0,
            Device::Cuda(number) => number,
        };
        match candle_core::Device::new_cuda(number) {
            Ok(device) => {
                let decoder = DeviceDecoder::upload(model, &device, placement.precision)?;
                tracing::info!(device = number, precision = %placement.precision, "language model on a CUDA device");
                Ok(Self::Device(Box::new(decoder)))
            }
            Err(error) if placement.device == Device::Auto => {
                tracing::info!(
                    reason = super::device::reason(&error),
                    "no CUDA device: language model on the processor"
                );
                Placement { device: Device::Cpu, ..placement }.check()?;
                Ok(Self::Cpu)
            }
            Err(error) => Err(DeviceError::NotFound {
                device: placement.device.to_string(),
                reason: super::device::reason(&error),
            }
            .into()),
        }
    }

    /// The precision that replies come from.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu => Precision::F32,
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(decoder) => decoder.precision(),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fault = || Error::Argument {
            argument: "--device".to_owned(),
            expected: "auto, cpu, cuda or cuda:NUMBER".to_owned(),
            got: text.to_owned(),
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| fault()),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
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
