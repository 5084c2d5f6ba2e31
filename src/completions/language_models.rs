//! Interim.

use std::sync::Arc;

use super::LanguageModel;
use super::model_name::ModelName;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::tables::lake::Lake;

/// Interim.
#[derive(Debug, Clone, Default)]
pub struct LanguageOptions {}

/// Interim.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    /// Interim.
    pub cost: f64,
}

/// Interim.
#[derive(Debug, Default)]
pub struct LanguageModels {}

impl LanguageModels {
    /// Interim.
    pub fn new(_: Lake, _: LanguageOptions) -> Result<Self> {
        Ok(Self {})
    }
    /// Interim.
    pub fn get(&self, name: &ModelName) -> Result<Arc<dyn LanguageModel>> {
        Err(Error::internal(format!("{name}")))
    }
    /// Interim.
    pub fn text_encoder(&self, name: &ModelName) -> Result<Arc<dyn TextEncoder>> {
        Err(Error::internal(format!("{name}")))
    }
    /// Interim.
    pub fn spent(&self) -> Spent {
        Spent::default()
    }
    /// Interim.
    pub async fn fold(&self) -> Result<()> {
        Ok(())
    }
}
