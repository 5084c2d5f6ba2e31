//! One pass over the window: the distribution over numbers is read where a number would stand after each token.
//!
//! Source: Bills et al. 2023, `ExplanationNeuronSimulator` (specification §4.2): a value depends on the explanation and on the
//! tokens up to and including its own, never on the unit's values. Prompt and examples are ours. The places are known by their
//! index and not searched for in an echo; a place without any number is unread and not 0; "10" is only asked for where it is one
//! token.

use super::distribution::Numbers;
use super::prompt::{EXAMPLES, Prompt, Scale, escape, fit, one_line};
use super::simulate::{Outcome, Simulation, Task, failure, of_replies};
use crate::completions::LanguageModel;
use crate::completions::fitting::read_slots_fitting;
use crate::completions::request::Message;
use crate::completions::slots::{Piece, SlotPrompt, SlotReading};
use crate::error::{Error, Result};

/// What stands where a number is not known.
const UNKNOWN: &str = "unknown";

/// Simulates windows; see [`super::simulate::simulate_all`].
pub(super) async fn simulate(model: &dyn LanguageModel, tasks: &[Task]) -> Result<Vec<Outcome>> {
    if !model.abilities().prompt_log_probabilities {
        let instead = if model.abilities().reply_log_probabilities {
            "use one_at_a_time or log_probability_free"
        } else {
            "use log_probability_free"
        };
        return Err(Error::LogProbabilitiesMissing {
            model: model.name().to_string(),
            what: "simulator 'all_at_once'".to_owned(),
            kind: "log-probabilities inside the prompt",
            instead: instead.to_owned(),
        });
    }
    let scale = Scale::of(model, "all_at_once")?;
    let slot_prompt = |task: &Task| -> Result<SlotPrompt> {
        let Prompt { messages, answer, .. } = fit(model, |n_examples| prompt(task, scale, n_examples))?;
        Ok(SlotPrompt { messages, answer, candidates: scale.numbers() })
    };
    let readings = read_slots_fitting(model, tasks.len(), |i| slot_prompt(&tasks[i])).await?;
    let mut simulations = Vec::with_capacity(tasks.len());
    for (task, reading) in tasks.iter().zip(readings) {
        simulations.push(match reading {
            Ok(reading) => of_replies(simulation(&reading.values, task, scale), reading.key.into_iter().collect()),
            Err(error) => Err(failure(error)?),
        });
    }
    Ok(simulations)
}

fn simulation(slots: &[SlotReading], task: &Task, scale: Scale) -> Result<Simulation, String> {
    if slots.len() != task.tokens.len() {
        return Err(format!("expected {} slots, got {}", task.tokens.len(), slots.len()));
    }
    let read = |slot: &SlotReading| {
        Numbers::read((0..).zip(&slot.log_probabilities).filter_map(|(value, lp)| Some((f64::from(value), (*lp)?))))
    };
    let numbers: Vec<Option<Numbers>> = slots.iter().map(read).collect();
    Simulation::of_numbers(&numbers, scale)
}

/// The prompt with the first examples; `answer` has one slot a token.
pub(super) fn prompt(task: &Task, scale: Scale, n_examples: usize) -> Prompt {
    let mut messages = vec![Message::system(system(scale))];
    for (i, example) in EXAMPLES[..n_examples].iter().enumerate() {
        messages.push(Message::user(question(i + 1, example.explanation)));
        let mut block = String::from("Responses:\n");
        for (position, (token, value)) in example.tokens().into_iter().enumerate() {
            let shown =
                if position < example.first_known { UNKNOWN.to_owned() } else { scale.rounded(value).to_string() };
            block.push_str(&format!("{}\t{shown}\n", escape(token)));
        }
        messages.push(Message::assistant(block));
    }
    messages.push(Message::user(question(n_examples + 1, &one_line(&task.explanation))));
    let mut answer = Vec::with_capacity(2 * task.tokens.len());
    for (position, token) in task.tokens.iter().enumerate() {
        let before = if position == 0 { "Responses:\n" } else { "\n" };
        answer.push(Piece::Text(format!("{before}{}\t", escape(token))));
        answer.push(Piece::Slot(UNKNOWN.to_owned()));
    }
    Prompt { messages, answer, max_tokens: 0 }
}

fn system(scale: Scale) -> String {
    format!(
        "A neuron inside a language model responds to something particular in the text that the model reads. You are told in a \
         few words what a neuron responds to, and then given a text cut into tokens, one a line. After each token and a tab \
         stands how strongly the neuron responds there, judged by the text up to that token: a whole number from 0 for not at \
         all to {} for as strongly as it ever does. Most tokens have 0. Where the number has not been found out yet, the word \
         {UNKNOWN} stands in its place.",
        scale.max()
    )
}

fn question(number: usize, explanation: &str) -> String {
    format!("Neuron {number} responds to: {explanation}")
}
