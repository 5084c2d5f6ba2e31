//! Simulations of many windows at once, by any simulator.

use super::simulator::Simulator;
use crate::completions::LanguageModel;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};

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
    /// Key of the reply it was read from, where there is one reply and it was stored.
    pub completion: Option<String>,
}

/// Simulates windows: one result a task, in their order.
///
/// The inner error says why one window failed: it is missing then, not zero.
///
/// # Errors
/// What stops a whole query: [`Error::MethodModel`] without the model or encoder that the simulator needs,
/// [`Error::LogProbabilitiesMissing`] for a model that does not give them, [`Error::ContextTooShort`], and whatever the engine
/// reports but a malformed reply.
pub async fn simulate_all(
    simulator: Simulator,
    model: Option<&dyn LanguageModel>,
    encoder: Option<&dyn TextEncoder>,
    tasks: &[Task],
) -> Result<Vec<Result<Simulation, String>>> {
    let _ = (model, encoder, tasks);
    Err(Error::internal(format!("simulator '{simulator}' is not there yet")))
}
