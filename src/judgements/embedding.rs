//! Embedding: the cosine between the explanation and the window.

use std::collections::HashMap;

use super::judge::{Judgement, Task};
use super::windows::plain;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};

/// Texts in the order they were first seen, each once.
#[derive(Default)]
struct Texts {
    places: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    fn place(&mut self, text: String) -> usize {
        *self.places.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            self.texts.len() - 1
        })
    }
}

pub(super) async fn judge_all(encoder: &dyn TextEncoder, tasks: &[Task]) -> Result<Vec<Vec<Judgement>>> {
    let mut texts = Texts::default();
    let pairs: Vec<(usize, Vec<usize>)> = tasks
        .iter()
        .map(|task| {
            let explanation = texts.place(task.explanation.trim().to_owned());
            (explanation, task.examples.iter().map(|example| texts.place(plain(&example.tokens))).collect())
        })
        .collect();
    let vectors = encoder.embed_all(&texts.texts).await?;
    if vectors.len() != texts.texts.len() {
        return Err(Error::internal(format!("expected {} vectors, got {}", texts.texts.len(), vectors.len())));
    }
    let judge = |explanation: usize, window: usize| match cosine(&vectors[explanation], &vectors[window]) {
        Some(cosine) => Judgement::of_value(cosine),
        None => Judgement::missing("a text without an embedding"),
    };
    let judge_task = |(explanation, windows): (usize, Vec<usize>)| {
        windows.into_iter().map(|window| judge(explanation, window)).collect()
    };
    Ok(pairs.into_iter().map(judge_task).collect())
}

/// The cosine of two vectors; `None` where one is 0, is not finite or has another width.
fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    (a.len() == b.len() && cosine.is_finite()).then(|| cosine.clamp(-1.0, 1.0))
}
