//! Explanations corrected by what their neurons really do (Bills et al. 2023, section on revision).
//!
//! A model writes sentences that an explanation says the neuron fires on; the subject is run on them; where it stays silent, the
//! model sees that and writes anew. The new text is taken only if it scores higher on the calibration split.

mod counterexamples;
mod prompt;

use async_trait::async_trait;

use self::counterexamples::{Measured, chosen};
use super::answer;
use super::evidence::{Evidence, EvidenceRecord, block_max};
use super::explain::read;
use crate::completions::LanguageModel;
use crate::completions::fitting::complete_fitting;
use crate::completions::reply::{Failure, Reply};
use crate::completions::request::{Call, Purpose, Request};
use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// Sentences that are asked for (Bills et al. 2023).
pub const N_SENTENCES: usize = 10;
/// Tokens of the reply that holds them.
pub const SENTENCE_TOKENS: u32 = 500;
/// Tokens of the reply that holds the new explanation.
const MAX_TOKENS: u32 = 60;

/// What a revision has to know about neurons: the caller has the subject model and the scored windows.
///
/// Every method takes the whole batch. `draft` is the place of the neuron in the drafts that [`revise`] was given.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The neuron's real activations on each sentence of each draft, in its own units; one record a sentence.
    ///
    /// # Errors
    /// When the subject model cannot be run.
    async fn measure(&self, sentences: &[Sentences]) -> Result<Vec<Vec<EvidenceRecord>>>;

    /// What a text about the neuron leads one to expect on windows of tokens, 0..10, shape `[seq_len]` each; `None` where that
    /// is not known. Without it the texts' own claim counts: that every sentence written for it moves the neuron.
    ///
    /// # Errors
    /// When the simulator stops.
    async fn simulate(&self, wanted: &[Expectation]) -> Result<Vec<Found<Vec<f32>>>> {
        Ok(wanted.iter().map(|_| Found::default()).collect())
    }

    /// The score of each text about its draft's neuron on the calibration split, never on a window that is scored later;
    /// `None` where it is undefined.
    ///
    /// # Errors
    /// When the simulator stops.
    async fn calibration_scores(&self, candidates: &[Candidate]) -> Result<Vec<Found<f64>>>;
}

/// What a simulator was asked for, and what that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<T> {
    /// `None` where it is not known or undefined.
    pub value: Option<T>,
    /// Keys of the replies it was read from, as far as they were stored.
    pub completions: Vec<String>,
}

/// Sentences on which a neuron is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentences {
    /// Place of the neuron among the drafts.
    pub draft: usize,
    /// The sentences.
    pub sentences: Vec<String>,
}

/// A window on which a text is to be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Place of the neuron among the drafts.
    pub draft: usize,
    /// The explanation.
    pub text: String,
    /// The window.
    pub tokens: Vec<String>,
}

/// A text to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Place of the neuron among the drafts.
    pub draft: usize,
    /// The explanation.
    pub text: String,
}

/// An explanation that may be revised.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What its explainer saw.
    pub evidence: Evidence,
    /// The explanation so far.
    pub text: String,
}

/// What became of one explanation in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// 1-based number of the round.
    pub round: u32,
    /// The new text, taken or not.
    pub text: String,
    /// Whether it scored higher than the old one on the calibration split. Not so where a score is undefined.
    pub accepted: bool,
    /// Score of the old text on the calibration split.
    pub score_before: Option<f64>,
    /// Score of the new text on the calibration split.
    pub score_after: Option<f64>,
    /// Sentences that were written for the old text.
    pub n_sentences: usize,
    /// … and those of them that left the neuron silent.
    pub n_silent: usize,
    /// Keys of all replies that the round took, in order, as far as they were stored: the one with the sentences, those that told
    /// what the text leads one to expect on them, the one with the new text, those that decided between the two.
    pub completions: Vec<String>,
}

/// One round for many explanations, in their order; a draft that was not revised is an `Err` with the reason, such as that no
/// sentence contradicts it, and what it took to find out. Rounds are numbered from 1; another number draws other sentences.
///
/// Sentences are drawn at temperature 1, the new text is the likeliest reply. Differences from the paper, which tells of its
/// prompts and has no code: prompts are our own; instead of a random half of the sentences the model sees those that contradict
/// the text most, and some that agree; the text is taken only if the calibration split speaks for it.
///
/// # Errors
/// As [`super::explain::explain_all`], and what `subject` returns.
pub async fn revise(
    model: &dyn LanguageModel,
    subject: &dyn Subject,
    drafts: &[Draft],
    round: u32,
) -> Result<Vec<Result<Revision, Failure>>> {
    let mut outcomes: Vec<Result<Revision, String>> = Vec::with_capacity(drafts.len());
    let mut taken: Vec<Vec<String>> = vec![Vec::new(); drafts.len()];
    let mut progress = Vec::new();
    for (draft, of) in drafts.iter().enumerate() {
        outcomes.push(Err(String::new()));
        match of.evidence.fault() {
            Some(fault) => outcomes[draft] = Err(fault),
            None => progress.push(draft),
        }
    }

    // Sentences that each text says its neuron fires on.
    let request = |i: usize| {
        let messages = prompt::sentences(&drafts[progress[i]].text);
        fitting(model, Request::sampled(messages, SENTENCE_TOKENS))
    };
    let mut sentences = Vec::new();
    for (draft, reply) in progress.iter().copied().zip(ask(model, progress.len(), round, request).await?) {
        match reply.and_then(|reply| {
            taken[draft].extend(reply.key);
            prompt::parse_sentences(&reply.text)
        }) {
            Ok(list) => sentences.push(Sentences { draft, sentences: list }),
            Err(reason) => outcomes[draft] = Err(reason),
        }
    }

    // What the neurons really do on them, and what the texts lead one to expect there.
    let records = of_each(subject.measure(&sentences).await?, sentences.len(), "measured drafts")?;
    for (records, asked) in records.iter().zip(&sentences) {
        let lengths = (records.len(), asked.sentences.len());
        let even = records.iter().all(|record| record.tokens.len() == record.activations.len());
        if lengths.0 != lengths.1 || !even {
            return Err(Error::internal(format!("expected {} whole records, got {}", lengths.1, lengths.0)));
        }
    }
    let wanted: Vec<Expectation> = sentences
        .iter()
        .zip(&records)
        .flat_map(|(asked, records)| {
            let text = &drafts[asked.draft].text;
            let wanted = |record: &EvidenceRecord| Expectation {
                draft: asked.draft,
                text: text.clone(),
                tokens: record.tokens.clone(),
            };
            records.iter().map(wanted).collect::<Vec<_>>()
        })
        .collect();
    let mut expected = of_each(subject.simulate(&wanted).await?, wanted.len(), "simulated windows")?.into_iter();

    // The new texts.
    let mut contradicted = Vec::new();
    let mut rounds = Vec::new();
    for (asked, records) in sentences.iter().zip(records) {
        let draft = &drafts[asked.draft];
        let max = block_max(&draft.evidence.records);
        let mut measured = Vec::with_capacity(records.len());
        for (record, expected) in records.into_iter().zip(expected.by_ref()) {
            taken[asked.draft].extend(expected.completions);
            measured.push(Measured::new(record, expected.value, max));
        }
        let n_silent = measured.iter().filter(|measured| measured.silent).count();
        let n_sentences = measured.len();
        if chosen(&measured).is_none() {
            outcomes[asked.draft] = Err(format!("none of {n_sentences} sentences written for the text contradicts it"));
            continue;
        }
        contradicted.push((asked.draft, measured, max));
        rounds.push((n_sentences, n_silent));
    }
    let request = |i: usize| {
        let (draft, measured, max) = &contradicted[i];
        revision_that_fits(model, &drafts[*draft], &chosen(measured).unwrap_or_default(), *max)
    };
    let mut revisions = Vec::new();
    let replies = ask(model, contradicted.len(), round, request).await?;
    let drafts_asked: Vec<usize> = contradicted.iter().map(|(draft, ..)| *draft).collect();
    for ((draft, reply), (n_sentences, n_silent)) in drafts_asked.into_iter().zip(replies).zip(rounds) {
        let text = reply.and_then(|reply| {
            taken[draft].extend(reply.key);
            answer::explanation(&reply.text, reply.finish)
        });
        match text {
            Ok(text) if text == drafts[draft].text => {
                outcomes[draft] = Err("the model kept the text as it was".to_owned());
            }
            Ok(text) => revisions.push((
                draft,
                Revision {
                    round,
                    text,
                    accepted: false,
                    score_before: None,
                    score_after: None,
                    n_sentences,
                    n_silent,
                    completions: Vec::new(),
                },
            )),
            Err(reason) => outcomes[draft] = Err(reason),
        }
    }

    // The judgement of the calibration split.
    let candidates: Vec<Candidate> = revisions
        .iter()
        .flat_map(|(draft, revision)| {
            [&drafts[*draft].text, &revision.text].map(|text| Candidate { draft: *draft, text: text.clone() })
        })
        .collect();
    let scores = of_each(subject.calibration_scores(&candidates).await?, candidates.len(), "scores")?;
    for ((draft, mut revision), scores) in revisions.into_iter().zip(scores.chunks_exact(2)) {
        (revision.score_before, revision.score_after) = (scores[0].value, scores[1].value);
        revision.accepted = matches!((scores[0].value, scores[1].value), (Some(before), Some(after)) if after > before);
        taken[draft].extend(scores.iter().flat_map(|score| score.completions.iter().cloned()));
        outcomes[draft] = Ok(revision);
    }
    let with_keys = |(outcome, completions): (Result<Revision, String>, Vec<String>)| match outcome {
        Ok(revision) => Ok(Revision { completions, ..revision }),
        Err(reason) => Err(Failure { reason, completions }),
    };
    Ok(outcomes.into_iter().zip(taken).map(with_keys).collect())
}

/// Replies to `n` requests, in order.
async fn ask(
    model: &dyn LanguageModel,
    n: usize,
    round: u32,
    request: impl Fn(usize) -> Result<Request> + Send + Sync,
) -> Result<Vec<Result<Reply, String>>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let call = |i: usize| Ok(Call { purpose: Purpose::Revise, request: request(i)?, sample_no: round });
    read(complete_fitting(model, n, call).await?)
}

/// A request that fits the model's context.
///
/// # Errors
/// [`Error::ContextTooShort`].
fn fitting(model: &dyn LanguageModel, request: Request) -> Result<Request> {
    match excess(model, &request)? {
        None => Ok(request),
        Some((needed, context_length)) => {
            Err(Error::ContextTooShort { model: model.name().to_string(), needed, context_length })
        }
    }
}

/// Tokens that a request needs and the context it does not fit into; `None` where it fits.
fn excess(model: &dyn LanguageModel, request: &Request) -> Result<Option<(usize, usize)>> {
    let Some(context_length) = model.abilities().context_length else { return Ok(None) };
    let needed = model.count_prompt_tokens(request)? + request.max_tokens as usize;
    Ok((needed > context_length).then_some((needed, context_length)))
}

/// The request for a new text: without the example where that is too long, then with fewer windows of the old evidence.
fn revision_that_fits(model: &dyn LanguageModel, draft: &Draft, shown: &[&Measured], max: f32) -> Result<Request> {
    let mut records = &draft.evidence.records[..];
    let mut example = prompt::Example::Shown;
    loop {
        let messages = prompt::revision(records, &draft.text, shown, max, example);
        let request = Request::greedy(messages, MAX_TOKENS);
        match excess(model, &request)? {
            None => return Ok(request),
            Some(_) if example == prompt::Example::Shown => example = prompt::Example::LeftOut,
            Some(_) if records.len() > 1 => records = &records[..records.len() - 1],
            Some(_) => return fitting(model, request),
        }
    }
}

/// A list that must have a length, from the caller's own code.
fn of_each<T>(list: Vec<T>, expected: usize, what: &str) -> Result<Vec<T>> {
    if list.len() == expected {
        return Ok(list);
    }
    Err(Error::internal(format!("{what}: expected {expected}, got {}", list.len())))
}
