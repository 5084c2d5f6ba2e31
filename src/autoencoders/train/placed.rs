//! One training, on the processor or on a device.

use candle_core::{Device, DeviceLocation};
use sparse_autoencoders::training::device::DeviceTrainer;
use sparse_autoencoders::training::trainer::{Batch, StepMetrics, Trainer};

use crate::error::Result;
use crate::error::autoencoder::AutoencoderError;

/// A training under way.
pub(super) enum Placed {
    Processor(Box<Trainer>),
    Device(Box<DeviceTrainer>),
}

impl Placed {
    /// Goes on with a training, on a device where there is one.
    pub(super) fn new(trainer: Trainer, device: Option<&Device>) -> Result<Self> {
        Ok(match device {
            Some(device) => {
                Self::Device(Box::new(DeviceTrainer::new(trainer, device).map_err(AutoencoderError::from)?))
            }
            None => Self::Processor(Box::new(trainer)),
        })
    }

    pub(super) fn n_steps(&self) -> u64 {
        match self {
            Self::Processor(trainer) => trainer.n_steps(),
            Self::Device(trainer) => trainer.n_steps(),
        }
    }

    pub(super) fn step(&mut self, batch: Batch<'_>) -> Result<StepMetrics> {
        let metrics = match self {
            Self::Processor(trainer) => trainer.step(batch),
            Self::Device(trainer) => trainer.step(batch),
        };
        Ok(metrics.map_err(AutoencoderError::from)?)
    }

    /// The training as it stands.
    pub(super) fn fetch(&mut self) -> Result<&Trainer> {
        match self {
            Self::Processor(trainer) => Ok(trainer),
            Self::Device(trainer) => Ok(trainer.fetch().map_err(AutoencoderError::from)?),
        }
    }

    pub(super) fn into_trainer(self) -> Result<Trainer> {
        match self {
            Self::Processor(trainer) => Ok(*trainer),
            Self::Device(trainer) => Ok((*trainer).into_trainer().map_err(AutoencoderError::from)?),
        }
    }
}

/// A device as provenance calls it.
pub(super) fn name(device: Option<&Device>) -> String {
    match device.map(Device::location) {
        Some(DeviceLocation::Cuda { gpu_id }) => format!("cuda:{gpu_id}"),
        _ => "cpu".to_owned(),
    }
}
