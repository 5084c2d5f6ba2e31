//! Texts as vectors: what the embedding simulator and the embedding judge compare by.

use async_trait::async_trait;

use crate::error::Result;

/// Something that turns texts into vectors whose cosine says how close their meanings are.
#[async_trait]
pub trait TextEncoder: Send + Sync + std::fmt::Debug {
    /// Model and kind, as tables name it.
    fn name(&self) -> &str;

    /// One vector of length 1 a text, in the order of the texts; all have the same width.
    ///
    /// # Errors
    /// When a text cannot be encoded, or an endpoint fails.
    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>>;
}
