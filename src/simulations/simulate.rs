//! Simulations of many windows at once, by any simulator.

use super::distribution::Numbers;
use super::prompt::Scale;
use super::simulator::Simulator;
use super::{all_at_once, embedding, log_probability_free, one_at_a_time};
use crate::completions::LanguageModel;
use crate::completions::reply::Failure;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::explanations::n2g;

/// One window to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What the unit is said to respond to.
    pub explanation: String,
    /// The window's tokens as text, in order.
    pub tokens: Vec<String>,
}

/// What one explanation leads one to expect on one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Expected activation at each token, 0..10; `None` where no number could be read.
    pub expected: Vec<Option<f32>>,
    /// Mean over the tokens of the probability, 0..1, that the model gave to numbers; `None` where no distribution is read.
    pub number_mass: Option<f32>,
    /// Tokens without a value.
    pub n_unread: u32,
    /// Keys of the replies it was read from, as far as they were stored.
    pub completions: Vec<String>,
}

/// What became of a window.
pub type Outcome = Result<Simulation, Failure>;

/// What was made of replies, with their keys either way.
pub(super) fn of_replies(made: Result<Simulation, String>, completions: Vec<String>) -> Outcome {
    match made {
        Ok(simulation) => Ok(Simulation { completions, ..simulation }),
        Err(reason) => Err(Failure { reason, completions }),
    }
}

impl Simulation {
    /// From the numbers read at each token, on a scale.
    ///
    /// # Errors
    /// A reason, when none was read anywhere.
    pub(super) fn of_numbers(numbers: &[Option<Numbers>], scale: Scale) -> Result<Self, String> {
        let n_unread = numbers.iter().filter(|numbers| numbers.is_none()).count() as u32;
        if !numbers.is_empty() && n_unread as usize == numbers.len() {
            return Err(format!("expected a number at some token, got none at {n_unread}"));
        }
        let expected = numbers.iter().map(|numbers| Some(scale.to_ten((*numbers)?.expected) as f32)).collect();
        let mass: f64 = numbers.iter().flatten().map(|numbers| numbers.mass).sum();
        let number_mass = (!numbers.is_empty()).then(|| (mass / numbers.len() as f64) as f32);
        Ok(Self { expected, number_mass, n_unread, completions: Vec::new() })
    }
}

/// Simulates windows: one result a task, in their order.
///
/// The inner error says why one window failed: it is missing then, not zero.
///
/// # Errors
/// What stops a whole query: [`Error::MethodModel`] without the model or encoder that the simulator needs,
/// [`Error::LogProbabilitiesMissing`] for a model that does not give them, [`Error::ContextTooShort`], and whatever the engine
/// reports but a malformed reply or a request refused for its content.
pub async fn simulate_all(
    simulator: Simulator,
    model: Option<&dyn LanguageModel>,
    encoder: Option<&dyn TextEncoder>,
    tasks: &[Task],
) -> Result<Vec<Outcome>> {
    let fault = |reason: String| Error::MethodModel { kind: "simulator", method: simulator.to_string(), reason };
    let model = || {
        model.ok_or_else(|| fault(format!("expected a language model, as in {simulator}@openai:gpt-4o-mini, got none")))
    };
    match simulator {
        Simulator::AllAtOnce => all_at_once::simulate(model()?, tasks).await,
        Simulator::OneAtATime => one_at_a_time::simulate(model()?, tasks).await,
        Simulator::LogProbabilityFree => log_probability_free::simulate(model()?, tasks).await,
        Simulator::Embedding => {
            let encoder = encoder.ok_or_else(|| fault("expected a text encoder, got none".to_owned()))?;
            embedding::simulate(encoder, tasks).await
        }
        Simulator::TokenLookup => Err(fault("expected the unit's token means, which no explanation holds".to_owned())),
        Simulator::N2g => Ok(tasks.iter().map(matched).collect()),
    }
}

/// A pattern matched against the tokens; a text that is no pattern is a simulation that failed.
fn matched(task: &Task) -> Outcome {
    let pattern = n2g::parse(&task.explanation)?;
    let expected = n2g::simulate(&pattern, &task.tokens).into_iter().map(Some).collect();
    Ok(Simulation { expected, number_mass: None, n_unread: 0, completions: Vec::new() })
}

/// Why one window failed, where others can go on.
///
/// # Errors
/// The fault itself, where it would meet every window: the network, the key, the budget, an unknown model.
pub(super) fn failure(error: Error) -> Result<Failure> {
    if passes(&error) { Ok(error.to_string().into()) } else { Err(error) }
}

/// Whether a fault is one of a single window: 400 and 422 are said of one request, its length or what a filter finds in it.
pub(super) fn passes(error: &Error) -> bool {
    matches!(error, Error::ReplyMalformed { .. } | Error::CompletionRefused { status: 400 | 413 | 422, .. })
}
