//! Detection and fuzzing: several windows a prompt, a one or a zero for each.

use super::answers::{self, BinaryAnswers};
use super::ask::{TRIES, ask, overrun, request};
use super::judge::{Judgement, Task};
use super::prompts::{self, Prompt, Shots, messages};
use super::windows::{active, count, marked, mean_count, plain, random_marks, shuffled};
use crate::completions::LanguageModel;
use crate::completions::reply::Reply;
use crate::completions::request::Request;
use crate::error::Result;

/// Windows a prompt, where the context allows.
const WINDOWS: usize = 5;
/// Tokens of a reply beside its answers.
const FRAME_TOKENS: u32 = 24;
/// Tokens of one answer, with what separates it from the next.
const ANSWER_TOKENS: u32 = 4;

/// A judge of this kind.
pub(super) struct Classifier {
    prompt: &'static Prompt,
    /// The text of each window of a task, or why it cannot be shown.
    texts: fn(&Task) -> Vec<std::result::Result<String, &'static str>>,
}

/// Windows as they stand.
pub(super) const DETECTION: Classifier = Classifier {
    prompt: &prompts::DETECTION,
    texts: |task| task.examples.iter().map(|example| Ok(plain(&example.tokens))).collect(),
};

/// Windows with marked tokens.
pub(super) const FUZZING: Classifier = Classifier { prompt: &prompts::FUZZING, texts: marked_texts };

/// Activating windows with their active tokens marked, the others with as many random tokens as those have on average.
fn marked_texts(task: &Task) -> Vec<std::result::Result<String, &'static str>> {
    let true_marks: Vec<Vec<bool>> = task.examples.iter().map(active).collect();
    let counts: Vec<usize> =
        task.examples.iter().zip(&true_marks).filter(|(e, _)| e.activating).map(|(_, m)| count(m)).collect();
    let mean = mean_count(&counts);
    let windows = task.examples.iter().zip(true_marks).enumerate();
    windows
        .map(|(i, (example, true_marks))| {
            if !example.activating {
                let marks = random_marks(example.tokens.len(), mean, task.seed, i);
                return Ok(marked(&example.tokens, &marks));
            }
            if count(&true_marks) == 0 {
                return Err("the window counts as activating but has no activation above 0 to mark");
            }
            Ok(marked(&example.tokens, &true_marks))
        })
        .collect()
}

/// A prompt and the examples it asks about, in its order.
struct Group {
    request: Request,
    examples: Vec<usize>,
}

pub(super) async fn judge_all(
    classifier: &Classifier,
    model: &dyn LanguageModel,
    tasks: &[Task],
) -> Result<Vec<Vec<Judgement>>> {
    let mut judgements: Vec<Vec<Judgement>> =
        tasks.iter().map(|task| vec![Judgement::default(); task.examples.len()]).collect();
    let mut waiting: Vec<(usize, Vec<usize>)> =
        tasks.iter().enumerate().map(|(i, task)| (i, shuffled(task.examples.len(), task.seed))).collect();
    for tries in 0..=TRIES {
        let (mut requests, mut asked) = (Vec::new(), Vec::new());
        for (i, examples) in waiting.drain(..) {
            for group in groups(classifier, model, &tasks[i], &examples, &mut judgements[i])? {
                requests.push(group.request);
                asked.push((i, group.examples));
            }
        }
        for (reply, (task, examples)) in ask(model, requests).await?.into_iter().zip(asked) {
            let judged = match reply {
                Ok(reply) => read(reply, examples.len()),
                Err(refusal) if refusal.too_long && tries < TRIES && model.abilities().context_length.is_some() => {
                    waiting.push((task, examples));
                    continue;
                }
                Err(refusal) => vec![Judgement::missing(refusal.reason); examples.len()],
            };
            for (example, judgement) in examples.into_iter().zip(judged) {
                judgements[task][example] = judgement;
            }
        }
        if waiting.is_empty() {
            break;
        }
    }
    Ok(judgements)
}

/// The judgements of the `n` windows of one prompt.
fn read(reply: Reply, n: usize) -> Vec<Judgement> {
    let completion = reply.key.clone();
    match answers::binary(&reply, n) {
        Ok(BinaryAnswers { predicted, values }) => predicted
            .into_iter()
            .zip(values)
            .map(|(predicted, value)| Judgement {
                predicted: Some(predicted),
                value,
                reason: None,
                completion: completion.clone(),
            })
            .collect(),
        Err(reason) => vec![Judgement { completion, ..Judgement::missing(reason) }; n],
    }
}

/// Some windows of a task in their order, so many a prompt that every prompt fits the context; the last prompt may have fewer.
///
/// A window that fits in no prompt, and one that cannot be shown, is noted in `judgements`.
fn groups(
    classifier: &Classifier,
    model: &dyn LanguageModel,
    task: &Task,
    examples: &[usize],
    judgements: &mut [Judgement],
) -> Result<Vec<Group>> {
    let texts = (classifier.texts)(task);
    let mut order = Vec::new();
    for &i in examples {
        match &texts[i] {
            Ok(_) => order.push(i),
            Err(reason) => judgements[i] = Judgement::missing(*reason),
        }
    }
    let group = |examples: &[usize], shots: Shots| {
        let shown: Vec<String> = examples.iter().filter_map(|&i| texts[i].clone().ok()).collect();
        let max_tokens = FRAME_TOKENS + ANSWER_TOKENS * examples.len() as u32;
        let messages = messages(classifier.prompt, shots, &task.explanation, &shown);
        Group { request: request(model, messages, max_tokens), examples: examples.to_vec() }
    };
    for n_windows in (1..=WINDOWS).rev() {
        let groups: Vec<Group> = order.chunks(n_windows).map(|examples| group(examples, Shots::Shown)).collect();
        if fits(model, &groups)? {
            return Ok(groups);
        }
    }
    // One window a prompt is still too much: without examples, and what is too long even then is left out.
    let mut kept = Vec::new();
    for &i in &order {
        let alone = group(&[i], Shots::Dropped);
        match overrun(model, &alone.request)? {
            None => kept.push(alone),
            Some(error) => judgements[i] = Judgement::missing(error.to_string()),
        }
    }
    Ok(kept)
}

fn fits(model: &dyn LanguageModel, groups: &[Group]) -> Result<bool> {
    for group in groups {
        if overrun(model, &group.request)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
