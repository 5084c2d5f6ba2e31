//! Asking models whose context is only known once they refuse a prompt.
//!
//! An endpoint tells how long a prompt may be when one is too long. From then on [`super::Abilities`] tell it, and whoever makes a prompt
//! can make it shorter: the prompts that were refused are made again and asked again; the others stay as they are.

use futures::future::BoxFuture;

use super::LanguageModel;
use super::reply::Reply;
use super::request::Call;
use super::slots::{Reading, SlotPrompt, SlotReading};
use crate::error::{Error, Result};

/// Times that a prompt is made shorter: an estimate of its tokens may be too low more than once.
const TRIES: usize = 4;

/// Asks many things of a model.
type Ask<P, R> = for<'a> fn(&'a dyn LanguageModel, &'a [P]) -> BoxFuture<'a, Vec<Result<R>>>;

/// Replies to `n` calls, of which `call` makes the one of a number so that it fits the context that is known by then.
///
/// # Errors
/// What `call` returns before anything is asked. Afterwards each result is on its own: [`Error::ContextTooShort`] where nothing
/// more can be left out.
pub async fn complete_fitting(
    model: &dyn LanguageModel,
    n: usize,
    call: impl Fn(usize) -> Result<Call> + Send,
) -> Result<Vec<Result<Reply>>> {
    ask_fitting(model, n, call, |model, calls| model.complete_all(calls)).await
}

/// As [`complete_fitting`], for readings inside prompts.
///
/// # Errors
/// As [`complete_fitting`].
pub async fn read_slots_fitting(
    model: &dyn LanguageModel,
    n: usize,
    prompt: impl Fn(usize) -> Result<SlotPrompt> + Send,
) -> Result<Vec<Result<Reading<Vec<SlotReading>>>>> {
    ask_fitting(model, n, prompt, |model, prompts| model.read_slots_all(prompts)).await
}

async fn ask_fitting<P: PartialEq + Send + Sync, R: Send>(
    model: &dyn LanguageModel,
    n: usize,
    make: impl Fn(usize) -> Result<P> + Send,
    ask: Ask<P, R>,
) -> Result<Vec<Result<R>>> {
    let mut prompts: Vec<P> = (0..n).map(&make).collect::<Result<_>>()?;
    let mut results = counted(ask(model, &prompts).await, n)?;
    for _ in 0..TRIES {
        let too_long = |i: &usize| matches!(results[*i], Err(Error::ContextTooShort { .. }));
        let refused: Vec<usize> = (0..n).filter(too_long).collect();
        let mut again = Vec::new();
        let mut shorter = Vec::new();
        if model.abilities().context_length.is_some() {
            for i in refused {
                match make(i) {
                    // The same once more would be refused once more.
                    Ok(prompt) if prompt == prompts[i] => {}
                    Ok(prompt) => {
                        again.push(i);
                        shorter.push(prompt);
                    }
                    Err(error) => results[i] = Err(error),
                }
            }
        }
        if again.is_empty() {
            break;
        }
        tracing::debug!(n_prompts = again.len(), "asking again: prompts were longer than the endpoint's context");
        let asked = counted(ask(model, &shorter).await, again.len())?;
        for ((i, prompt), result) in again.into_iter().zip(shorter).zip(asked) {
            prompts[i] = prompt;
            results[i] = result;
        }
    }
    Ok(results)
}

fn counted<R>(results: Vec<Result<R>>, n: usize) -> Result<Vec<Result<R>>> {
    match results.len() == n {
        true => Ok(results),
        false => Err(Error::internal(format!("expected {n} answers, got {}", results.len()))),
    }
}
