//! Distributions inside prompts: slots, and the losses of given texts.

use super::super::slots::{Continuation, Piece, SlotPrompt, SlotReading};
use super::{Loaded, results};
use crate::error::{Error, Result};
use crate::models::generation::extension::Extender;
use crate::models::generation::key_values::Keep;
use crate::models::generation::placement::Backend;
use crate::models::generation::prefix_tree::{Prompt, Run};
use crate::models::generation::runner::Runner;
use crate::models::generation::sampling::Distribution;

/// Tokens that go through the model together: enough for its matrix products, and bounded memory.
const BATCH_TOKENS: usize = 2048;

/// Where a prompt is read: its number, after which of its tokens, and the tokens wanted at each of these places.
type Places = (usize, Vec<usize>, Vec<Vec<u32>>);

/// For each place, the log-probabilities of the tokens wanted there.
type Found = Vec<Vec<f64>>;

/// A prompt's tokens, and after which of them what is read.
struct Readings {
    prompt: Prompt,
    /// Token whose next one is read, and which of the prompt's sets of wanted tokens.
    at: Vec<usize>,
    wanted: Vec<Vec<u32>>,
}

impl Readings {
    fn new(mut token_ids: Vec<u32>, at: Vec<usize>, wanted: Vec<Vec<u32>>) -> Self {
        let n_shareable = at.first().copied().unwrap_or(0);
        // What stands after the last reading changes nothing.
        token_ids.truncate(at.last().map_or(0, |last| last + 1));
        Self { prompt: Prompt { token_ids, n_shareable, n_reserved: 0 }, at, wanted }
    }
}

impl Loaded {
    pub(super) fn read_slots_all(
        &self,
        prompts: &[SlotPrompt],
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> Vec<Result<Vec<SlotReading>>> {
        let readings = prompts.iter().map(|prompt| self.slots(prompt)).collect();
        let read = self.read(readings, stopped);
        let as_slots = |rows: Vec<Vec<f64>>| {
            rows.into_iter().map(|row| SlotReading { log_probabilities: row.into_iter().map(Some).collect() }).collect()
        };
        read.into_iter().map(|rows| rows.map(as_slots)).collect()
    }

    pub(super) fn losses_all(
        &self,
        continuations: &[Continuation],
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> Vec<Result<Vec<f64>>> {
        let readings = continuations.iter().map(|continuation| self.losses(continuation)).collect();
        let read = self.read(readings, stopped);
        read.into_iter().map(|rows| rows.map(|rows| rows.into_iter().flatten().map(|value| -value).collect())).collect()
    }

    /// Where a prompt's slots are, in tokens.
    fn slots(&self, prompt: &SlotPrompt) -> Result<Readings> {
        let mut candidates = Vec::with_capacity(prompt.candidates.len());
        for candidate in &prompt.candidates {
            match *self.prompts.plain(candidate)? {
                [token_id] => candidates.push(token_id),
                ref token_ids => {
                    let reason =
                        format!("slot: expected candidates of one token, got '{candidate}' of {}", token_ids.len());
                    return Err(Error::Internal { reason });
                }
            }
        }
        let mut token_ids = self.prompts.conversation(&prompt.messages)?;
        let mut at = Vec::new();
        for piece in &prompt.answer {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Slot(text) => {
                    let Some(last) = token_ids.len().checked_sub(1) else {
                        return Err(Error::Internal { reason: "slot: expected tokens before it, got none".to_owned() });
                    };
                    at.push(last);
                    text
                }
            };
            token_ids.extend_from_slice(&self.prompts.plain(text)?);
        }
        let wanted = vec![candidates; at.len()];
        let readings = Readings::new(token_ids, at, wanted);
        self.check_length(readings.prompt.token_ids.len())?;
        Ok(readings)
    }

    /// The tokens of a text that is read, each wanted after the one before it.
    fn losses(&self, continuation: &Continuation) -> Result<Readings> {
        let mut token_ids = self.prompts.start(&self.prompts.plain(&continuation.prefix)?);
        let text = self.prompts.plain(&continuation.text)?;
        let Some(last) = token_ids.len().checked_sub(1) else {
            let reason =
                "losses: expected a prefix, as this model has no token that starts a text, got none".to_owned();
            return Err(Error::Internal { reason });
        };
        let at = (last..last + text.len()).collect();
        token_ids.extend_from_slice(&text);
        let readings = Readings::new(token_ids, at, text.iter().map(|token_id| vec![*token_id]).collect());
        self.check_length(readings.prompt.token_ids.len())?;
        Ok(readings)
    }

    /// For each prompt and each place, the log-probabilities of the tokens wanted there.
    fn read(&self, readings: Vec<Result<Readings>>, stopped: &(dyn Fn() -> bool + Sync)) -> Vec<Result<Found>> {
        let mut found = Vec::with_capacity(readings.len());
        let (mut prompts, mut places) = (Vec::new(), Vec::new());
        for (i, reading) in readings.into_iter().enumerate() {
            match reading {
                Err(error) => found.push(Some(Err(error))),
                Ok(reading) if reading.at.is_empty() => found.push(Some(Ok(Vec::new()))),
                Ok(Readings { prompt, at, wanted }) => {
                    found.push(None);
                    prompts.push(prompt);
                    places.push((i, at, wanted));
                }
            }
        }
        let mut add = |i: usize, values: Found| found[i] = Some(Ok(values));
        let ran = match &self.backend {
            Backend::Cpu => read(&mut Extender::new(&self.model), &prompts, &places, &mut add, stopped),
            Backend::Device(decoder) => {
                decoder.runner().and_then(|mut runner| read(&mut runner, &prompts, &places, &mut add, stopped))
            }
        };
        results(found, ran)
    }
}

/// Runs prompts and hands what was found of each to `add`, with the prompt's number.
fn read<R: Runner>(
    runner: &mut R,
    prompts: &[Prompt],
    places: &[Places],
    add: &mut dyn FnMut(usize, Found),
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let run = Run { prompts, keep: Keep::Nothing, batch_tokens: BATCH_TOKENS, stopped };
    run.visit(runner, &mut |runner, leaves| {
        let mut rows = Vec::new();
        let mut wanted = Vec::new();
        for leaf in leaves.iter() {
            let (_, at, tokens) = &places[leaf.prompt];
            rows.extend(at.iter().map(|token| leaf.row(*token)));
            wanted.extend(tokens);
        }
        let values = runner.read(&rows, |i, logits| {
            let distribution = Distribution::new(logits);
            wanted[i].iter().map(|token_id| distribution.log_probability(*token_id)).collect()
        })?;
        let mut values = values.into_iter();
        for leaf in leaves.iter() {
            let (i, at, _) = &places[leaf.prompt];
            add(*i, values.by_ref().take(at.len()).collect());
        }
        Ok(())
    })
}
