//! Texts as vectors, from an endpoint's `/embeddings`.

use serde_json::json;

use super::{HttpModel, count, estimated_tokens, wire};
use crate::completions::LanguageModel;
use crate::completions::budget::Amount;
use crate::error::Result;

impl HttpModel {
    /// One vector of length 1 a text, in the order of the texts, and what they took.
    ///
    /// # Errors
    /// As [`LanguageModel::complete_all`]; [`crate::Error::ReplyMalformed`] for other vectors than were asked for.
    pub(in crate::completions) async fn embed(&self, texts: &[String]) -> Result<(Vec<Vec<f32>>, Amount)> {
        let prompt_tokens = count(texts.iter().map(|text| estimated_tokens(text)).sum());
        let worst = self.worst(prompt_tokens, 0)?;
        let reserved = self.budget().reserve(worst).await?;
        let body = json!({ "model": self.name().model, "input": texts });
        let text = self.post_text(&["embeddings"], &body, prompt_tokens).await?;
        let malformed = |reason: String| self.malformed(reason);
        let answer: wire::Vectors = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let took = self.took(answer.usage.as_ref(), worst);
        reserved.settle(took);
        let mut vectors = vec![Vec::new(); texts.len()];
        for vector in answer.data {
            let place = vectors.get_mut(vector.index).ok_or_else(|| {
                malformed(format!("expected vectors 0 to {}, got number {}", texts.len() - 1, vector.index))
            })?;
            *place = normalized(vector.embedding);
        }
        if let Some(missing) = vectors.iter().position(Vec::is_empty) {
            return Err(malformed(format!("expected {} vectors, got none for text {missing}", texts.len())));
        }
        Ok((vectors, took))
    }
}

fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    vector
}
