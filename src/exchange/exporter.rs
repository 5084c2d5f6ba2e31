//! What a format offers to the export: it takes units one by one.

use async_trait::async_trait;

use super::report::Report;
use super::unit::UnitData;
use crate::error::Result;

/// A format that units can be written in.
///
/// The driver ([`super::lake_reader`]) hands over the selected units, in the order of model, hook point, neuron and corpus, each with
/// everything the lake has of it.
#[async_trait]
pub trait Exporter: Send {
    /// Writes a unit.
    ///
    /// # Errors
    /// When a file cannot be written, is there already, or the format cannot say what the unit holds.
    async fn unit(&mut self, unit: UnitData) -> Result<()>;

    /// Finishes files that hold many units, and counts.
    ///
    /// # Errors
    /// When a file cannot be written.
    async fn finish(&mut self) -> Result<Report>;
}
