//! Surprisal: how much less a language model is surprised by the window once it knows the explanation.

use std::collections::HashMap;

use super::ask::blame;
use super::judge::{Judge, Judgement, Task};
use super::windows::plain;
use crate::completions::LanguageModel;
use crate::completions::slots::Continuation;
use crate::error::{Error, Result};

/// What stands in place of the explanation in the prefix that tells nothing.
pub(super) const NEUTRAL: &str = "all kinds of things";

/// What stands before a window.
pub(super) fn prefix(explanation: &str) -> String {
    let words: Vec<&str> = explanation.split_whitespace().collect();
    let explanation = words.join(" ");
    format!(
        "These passages were collected because of one thing they contain: {}.\n\nPassage:",
        explanation.trim_end_matches('.')
    )
}

pub(super) async fn judge_all(model: &dyn LanguageModel, tasks: &[Task]) -> Result<Vec<Vec<Judgement>>> {
    if !model.abilities().prompt_log_probabilities {
        return Err(Error::LogProbabilitiesMissing {
            model: model.name().to_string(),
            what: format!("scorer '{}'", Judge::Surprisal),
            kind: "log-probabilities inside the prompt",
            instead: "use detection or fuzzing, or a local model".to_owned(),
        });
    }
    // Windows come again with every explanation of their neuron: the neutral reading of each is made once.
    let mut known: HashMap<Continuation, usize> = HashMap::new();
    let mut continuations = Vec::new();
    let mut place = |prefix: String, text: String| {
        let continuation = Continuation { prefix, text };
        *known.entry(continuation).or_insert_with_key(|continuation| {
            continuations.push(continuation.clone());
            continuations.len() - 1
        })
    };
    let mut pairs: Vec<Vec<(usize, usize)>> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let told = prefix(&task.explanation);
        // The space belongs to the window's first word, as tokenizers have it.
        let pair = |tokens: &[String]| (format!(" {}", plain(tokens)), told.clone());
        let own = task.examples.iter().map(|example| pair(&example.tokens));
        pairs.push(own.map(|(text, told)| (place(told, text.clone()), place(prefix(NEUTRAL), text))).collect());
    }
    let losses = model.losses_all(&continuations).await;
    if losses.len() != continuations.len() {
        return Err(Error::internal(format!("expected {} readings, got {}", continuations.len(), losses.len())));
    }
    let losses = losses.into_iter().map(blame).collect::<Result<Vec<_>>>()?;
    let judge = |(told, neutral): (usize, usize)| match (&losses[told], &losses[neutral]) {
        (Ok(told), Ok(neutral)) => Judgement {
            // The neutral reading is every explanation's.
            completion: told.key.clone(),
            ..saved(&told.values, &neutral.values).map_or_else(Judgement::missing, Judgement::of_value)
        },
        (Err(reason), _) | (_, Err(reason)) => Judgement::missing(reason),
    };
    Ok(pairs.into_iter().map(|pairs| pairs.into_iter().map(judge).collect()).collect())
}

/// Nats saved per token.
fn saved(told: &[f64], neutral: &[f64]) -> std::result::Result<f64, String> {
    if told.is_empty() || told.len() != neutral.len() {
        return Err(format!("expected as many losses after both prefixes, got {} and {}", told.len(), neutral.len()));
    }
    let saved = (neutral.iter().sum::<f64>() - told.iter().sum::<f64>()) / told.len() as f64;
    if saved.is_finite() { Ok(saved) } else { Err("expected finite losses".to_owned()) }
}
