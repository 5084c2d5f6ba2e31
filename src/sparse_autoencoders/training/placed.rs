//! A run on the processor or on a device, under one name.

use candle_core::{Device, DeviceLocation};

use super::device::DeviceTrainer;
use super::trainer::{Batch, StepMetrics, Trainer};
use crate::error::Result;

/// A run, wherever its weights lie.
#[derive(Debug)]
pub enum Placed {
    /// In the processor's memory, computed by our own kernels.
    Processor(Box<Trainer>),
    /// On a device.
    Device(Box<DeviceTrainer>),
}

impl Placed {
    /// Goes on with a run on a device, or on the processor without one.
    ///
    /// # Errors
    /// As [`DeviceTrainer::new`].
    pub fn new(trainer: Trainer, device: Option<&Device>) -> Result<Self> {
        Ok(match device {
            Some(device) => Self::Device(Box::new(DeviceTrainer::new(trainer, device)?)),
            None => Self::Processor(Box::new(trainer)),
        })
    }

    /// Steps taken.
    pub fn n_steps(&self) -> u64 {
        match self {
            Self::Processor(trainer) => trainer.n_steps(),
            Self::Device(trainer) => trainer.n_steps(),
        }
    }

    /// One step.
    ///
    /// # Errors
    /// As [`Trainer::step`] and [`DeviceTrainer::step`].
    pub fn step(&mut self, batch: Batch<'_>) -> Result<StepMetrics> {
        match self {
            Self::Processor(trainer) => trainer.step(batch),
            Self::Device(trainer) => trainer.step(batch),
        }
    }

    /// The run as it stands.
    ///
    /// # Errors
    /// As [`DeviceTrainer::fetch`].
    pub fn fetch(&mut self) -> Result<&Trainer> {
        match self {
            Self::Processor(trainer) => Ok(trainer),
            Self::Device(trainer) => trainer.fetch(),
        }
    }

    /// The run with its weights in the processor's memory.
    ///
    /// # Errors
    /// As [`DeviceTrainer::fetch`].
    pub fn into_trainer(self) -> Result<Trainer> {
        match self {
            Self::Processor(trainer) => Ok(*trainer),
            Self::Device(trainer) => (*trainer).into_trainer(),
        }
    }
}

/// What computes, as provenance calls it: `cpu`, `cuda:0`.
pub fn device_name(device: Option<&Device>) -> String {
    match device.map(Device::location) {
        Some(DeviceLocation::Cuda { gpu_id }) => format!("cuda:{gpu_id}"),
        _ => "cpu".to_owned(),
    }
}
