//! One long reply: the model writes the numbers itself. For endpoints that give no log-probabilities at all.
//!
//! Source: the logprob-free simulators of Bills et al. 2023's code and of transformer-debugger (specification §4.2).
//! Differences: tokens and numbers stand on lines; what comes back is matched by the tokens' text, whether as lines or as JSON; a
//! reply that does not fit fails with a reason where upstream puts zeros; a number outside 0..10 leaves its token unread.

use super::numbered_reply::read;
use super::prompt::{EXAMPLES, Prompt, Scale, escape, fit, one_line};
use super::simulate::{Outcome, Simulation, Task, failure, of_replies};
use crate::completions::LanguageModel;
use crate::completions::fitting::complete_fitting;
use crate::completions::reply::{Finish, Reply};
use crate::completions::request::{Call, Message, Purpose, Request};
use crate::error::Result;

/// Simulates windows; see [`super::simulate::simulate_all`].
pub(super) async fn simulate(model: &dyn LanguageModel, tasks: &[Task]) -> Result<Vec<Outcome>> {
    let call = |task: &Task| -> Result<Call> {
        let max_tokens = max_tokens(model, task);
        let prompt = fit(model, |n_examples| Prompt { max_tokens, ..prompt(task, n_examples) })?;
        Ok(Call::first(Purpose::Simulate, Request::greedy(prompt.messages, max_tokens)))
    };
    let replies = complete_fitting(model, tasks.len(), |i| call(&tasks[i])).await?;
    let mut simulations = Vec::with_capacity(tasks.len());
    for (task, reply) in tasks.iter().zip(replies) {
        simulations.push(match reply {
            Ok(reply) => of_replies(simulation(&reply, task), reply.key.into_iter().collect()),
            Err(error) => Err(failure(error)?),
        });
    }
    Ok(simulations)
}

fn simulation(reply: &Reply, task: &Task) -> Result<Simulation, String> {
    let expected = read(&reply.text, &task.tokens).map_err(|reason| match reply.finish {
        Finish::Length => format!("the reply ended at its {} tokens: {reason}", reply.completion_tokens),
        Finish::Stop | Finish::Other => reason,
    })?;
    let n_unread = expected.iter().filter(|value| value.is_none()).count() as u32;
    Ok(Simulation { expected, number_mass: None, n_unread, completions: Vec::new() })
}

/// Room for the window written back with a number on each line, and as much again, for a model that adds something.
fn max_tokens(model: &dyn LanguageModel, task: &Task) -> u32 {
    let tokens = |token: &String| {
        let token = escape(token);
        // Tab, number, line end.
        3 + model.count_tokens(&token).unwrap_or(token.len().div_ceil(2))
    };
    let needed: usize = task.tokens.iter().map(tokens).sum();
    u32::try_from(2 * needed + 32).unwrap_or(u32::MAX)
}

/// The prompt with the first examples.
pub(super) fn prompt(task: &Task, n_examples: usize) -> Prompt {
    let mut messages = vec![Message::system(system())];
    for example in &EXAMPLES[..n_examples] {
        let tokens = example.tokens();
        let texts: Vec<&str> = tokens.iter().map(|(token, _)| *token).collect();
        messages.push(Message::user(question(example.explanation, &texts)));
        let lines: Vec<String> = tokens.iter().map(|(token, value)| format!("{}\t{value}", escape(token))).collect();
        messages.push(Message::assistant(lines.join("\n")));
    }
    messages.push(Message::user(question(&one_line(&task.explanation), &task.tokens)));
    Prompt { messages, answer: Vec::new(), max_tokens: 0 }
}

fn system() -> String {
    format!(
        "A neuron inside a language model responds to something particular in the text that the model reads. You are told in a \
         few words what a neuron responds to, and given a text cut into tokens, one a line. Write every line again, all of them \
         and in the same order, and after each token a tab and how strongly the neuron responds there, judged by the text up to \
         that token: a number from 0 for not at all to {} for as strongly as it ever does. Most tokens have 0. Write nothing \
         else.",
        Scale::Ten.max()
    )
}

fn question<T: AsRef<str>>(explanation: &str, tokens: &[T]) -> String {
    let lines: Vec<String> = tokens.iter().map(|token| escape(token.as_ref())).collect();
    format!("The neuron responds to: {explanation}\nTokens:\n{}", lines.join("\n"))
}
