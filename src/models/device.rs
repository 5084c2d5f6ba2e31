//! What computes: the processor with our own kernels, or a GPU.

use std::fmt;
use std::str::FromStr;

use crate::error::device::DeviceError;
use crate::error::{Error, Result};

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

/// A device that was opened.
pub type Accelerator = candle_core::Device;

impl Device {
    /// Refuses what this program can never do, before anything is loaded.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`].
    pub fn check(self) -> Result<()> {
        match self {
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(DeviceError::NotBuilt { device: self.to_string() }.into()),
            _ => Ok(()),
        }
    }

    /// Opens the device; `None` is the processor.
    ///
    /// # Errors
    /// As [`Device::check`]; [`DeviceError::NotFound`] for a GPU that was asked for and is not there.
    pub fn open(self) -> Result<Option<Accelerator>> {
        self.check()?;
        self.open_checked()
    }

    #[cfg(not(feature = "cuda"))]
    #[expect(clippy::unnecessary_wraps, reason = "with CUDA a device may not be there")]
    fn open_checked(self) -> Result<Option<Accelerator>> {
        Ok(None)
    }

    #[cfg(feature = "cuda")]
    fn open_checked(self) -> Result<Option<Accelerator>> {
        let number = match self {
            Self::Cpu => return Ok(None),
            Self::Auto => 0,
            Self::Cuda(number) => number,
        };
        match Accelerator::new_cuda(number) {
            Ok(device) => Ok(Some(device)),
            Err(error) if self == Self::Auto => {
                tracing::info!(reason = reason(&error), "no CUDA device: computing on the processor");
                Ok(None)
            }
            Err(error) => Err(DeviceError::NotFound { device: self.to_string(), reason: reason(&error) }.into()),
        }
    }
}

/// What a device says, without candle's backtrace.
pub(super) fn reason(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => reason(inner),
        other => other.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for (text, device) in
            [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))]
        {
            assert_eq!((text.parse::<Device>().unwrap(), device.to_string().as_str()), (device, text));
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "CUDA"] {
            let error = text.parse::<Device>().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert_eq!(error.to_string(), format!("--device: expected auto, cpu, cuda or cuda:NUMBER, got '{text}'"));
        }
    }

    #[test]
    fn the_processor_can_always_be_opened() {
        assert!(Device::Cpu.open().unwrap().is_none());
        if cfg!(not(feature = "cuda")) {
            assert!(Device::Auto.open().unwrap().is_none());
            let error = Device::Cuda(1).open().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("'cuda:1': this program was built without CUDA"), "{error}");
        }
    }
}
