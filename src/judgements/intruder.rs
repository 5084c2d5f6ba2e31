//! Intruder: four windows with their active tokens marked and one with random marks; the judge names the odd one.

use super::answers;
use super::ask::{TRIES, ask, overrun, request};
use super::judge::{Judgement, NOT_JUDGED, Task};
use super::prompts::{self, Shots, messages};
use super::windows::{active, count, marked, mean_count, random_marks, shuffled};
use crate::completions::LanguageModel;
use crate::completions::request::Request;
use crate::error::Result;
use crate::random::mix;

/// Windows a prompt, the intruder among them; a judge that guesses is right in one of so many.
const WINDOWS: usize = 5;
/// Tokens of a reply.
const REPLY_TOKENS: u32 = 16;
/// Draws of companions and places.
const COMPANIONS: u64 = 0x636f_6d70;

/// A prompt around one window that is not activating.
struct Group {
    texts: Vec<String>,
    /// Where the intruder stands among the texts.
    place: usize,
}

/// One prompt for each window that is not activating; the judgement is that window's: predicted not activating when it was named.
pub(super) async fn judge_all(model: &dyn LanguageModel, tasks: &[Task]) -> Result<Vec<Vec<Judgement>>> {
    let mut judgements: Vec<Vec<Judgement>> = Vec::with_capacity(tasks.len());
    let mut waiting = Vec::new();
    for (i, task) in tasks.iter().enumerate() {
        judgements.push(vec![Judgement::missing(NOT_JUDGED); task.examples.len()]);
        let silent = |example: &usize| !task.examples[*example].activating;
        waiting.extend((0..task.examples.len()).filter(silent).map(|example| (i, example)));
    }
    for tries in 0..=TRIES {
        let again = asked(model, tasks, std::mem::take(&mut waiting), &mut judgements).await?;
        if again.is_empty() || tries == TRIES || model.abilities().context_length.is_none() {
            break;
        }
        waiting = again;
    }
    Ok(judgements)
}

/// Asks about intruders; those whose prompts were too long for the endpoint, with that as their reason.
async fn asked(
    model: &dyn LanguageModel,
    tasks: &[Task],
    intruders: Vec<(usize, usize)>,
    judgements: &mut [Vec<Judgement>],
) -> Result<Vec<(usize, usize)>> {
    let (mut requests, mut asked, mut too_long) = (Vec::new(), Vec::new(), Vec::new());
    for (i, example) in intruders {
        match prompt(model, &tasks[i], example)? {
            Ok((request, place)) => {
                requests.push(request);
                asked.push((i, example, place));
            }
            Err(reason) => judgements[i][example] = Judgement::missing(reason),
        }
    }
    for (reply, (task, example, place)) in ask(model, requests).await?.into_iter().zip(asked) {
        judgements[task][example] = match reply {
            Err(refusal) => {
                if refusal.too_long {
                    too_long.push((task, example));
                }
                Judgement::missing(refusal.reason)
            }
            Ok(reply) => match answers::choice(&reply, WINDOWS, place) {
                Err(reason) => Judgement { completion: reply.key, ..Judgement::missing(reason) },
                Ok((named, probability)) => Judgement {
                    predicted: Some(named != place),
                    value: probability.map(|probability| 1.0 - probability),
                    reason: None,
                    completion: reply.key,
                },
            },
        };
    }
    Ok(too_long)
}

/// The request around one intruder and the intruder's place, or why there is none.
fn prompt(
    model: &dyn LanguageModel,
    task: &Task,
    intruder: usize,
) -> Result<std::result::Result<(Request, usize), String>> {
    let group = match group(task, intruder) {
        Ok(group) => group,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut reason = String::new();
    for shots in [Shots::Shown, Shots::Dropped] {
        let request = request(model, messages(&prompts::INTRUDER, shots, "", &group.texts), REPLY_TOKENS);
        match overrun(model, &request)? {
            None => return Ok(Ok((request, group.place))),
            Some(error) => reason = error.to_string(),
        }
    }
    Ok(Err(reason))
}

fn group(task: &Task, intruder: usize) -> std::result::Result<Group, String> {
    let seed = mix(task.seed, COMPANIONS, intruder as u64);
    let marks: Vec<Vec<bool>> = task.examples.iter().map(active).collect();
    let order = shuffled(task.examples.len(), seed);
    let fitting = order.into_iter().filter(|&i| task.examples[i].activating && count(&marks[i]) > 0);
    let companions: Vec<usize> = fitting.take(WINDOWS - 1).collect();
    if companions.len() < WINDOWS - 1 {
        return Err(format!(
            "expected {} activating windows beside the intruder, got {}",
            WINDOWS - 1,
            companions.len()
        ));
    }
    let mut texts: Vec<String> = companions.iter().map(|&i| marked(&task.examples[i].tokens, &marks[i])).collect();
    let counts: Vec<usize> = companions.iter().map(|&i| count(&marks[i])).collect();
    let tokens = &task.examples[intruder].tokens;
    let place = (mix(seed, 1, 0) % WINDOWS as u64) as usize;
    texts.insert(place, marked(tokens, &random_marks(tokens.len(), mean_count(&counts), task.seed, intruder)));
    Ok(Group { texts, place })
}
