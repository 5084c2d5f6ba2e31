//! Whether some single latent knows a property of a token: one-latent logistic probes (arXiv 2406.04093, section 4.2).
//!
//! The paper's 61 tasks label whole texts and need data sets of their own. These label tokens, and need nothing but the corpus. A probe is
//! chosen and fitted on one half of the windows and its loss is taken on the other, so that the choice among many latents flatters none.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use sparse_autoencoders::metrics::probe::{Probe, SparseValues, fit_sparse};

use super::{Fired, Work};
use crate::autoencoders::rows::Metric;
use crate::error::Result;
use crate::error::autoencoder::AutoencoderError;
use crate::models::tokenizer::Tokenizer;
use crate::neurons::pass::OwnedWindow;

/// What is asked of a token, by the name of its metric.
const TASKS: [&str; 8] = [
    "probe_loss_begins_word",
    "probe_loss_capital",
    "probe_loss_digit",
    "probe_loss_punctuation",
    "probe_loss_line_break",
    "probe_loss_repeated",
    "probe_loss_next_begins_word",
    "probe_loss_next_punctuation",
];

/// What the text of a token says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) begins_word: bool,
    pub(super) capital: bool,
    pub(super) digit: bool,
    pub(super) punctuation: bool,
    pub(super) line_break: bool,
}

impl Text {
    pub(super) fn of(text: &str) -> Self {
        let first_letter = text.chars().find(|c| c.is_alphabetic());
        Self {
            begins_word: text.starts_with(' ') && text.trim_start().starts_with(char::is_alphanumeric),
            capital: first_letter.is_some_and(char::is_uppercase),
            digit: text.chars().any(char::is_numeric),
            punctuation: !text.contains(char::is_alphanumeric) && text.contains(|c: char| c.is_ascii_punctuation()),
            line_break: text.contains('\n'),
        }
    }
}

/// The labels of every token of a window, in the order of [`TASKS`]; `None` for what the last token has no answer to.
pub(super) fn labels(token_ids: &[u32], text: &mut dyn FnMut(u32) -> Text) -> Vec<[Option<bool>; TASKS.len()]> {
    let texts: Vec<Text> = token_ids.iter().map(|token| text(*token)).collect();
    let mut before = HashSet::new();
    let one = |(position, token): (usize, &u32)| {
        let (own, next) = (texts[position], texts.get(position + 1));
        let repeated = !before.insert(*token);
        [
            Some(own.begins_word),
            Some(own.capital),
            Some(own.digit),
            Some(own.punctuation),
            Some(own.line_break),
            Some(repeated),
            next.map(|next| next.begins_word),
            next.map(|next| next.punctuation),
        ]
    };
    token_ids.iter().enumerate().map(one).collect()
}

/// Counted tokens of one half of the windows.
#[derive(Default)]
struct Half {
    labels: Vec<[Option<bool>; TASKS.len()]>,
    /// Row and value of each firing, by latent.
    firings: HashMap<u32, Vec<(usize, f32)>>,
}

impl Half {
    fn of(windows: &[OwnedWindow], fired: &[Fired], tokenizer: &Tokenizer) -> Self {
        let mut half = Self::default();
        let mut known = HashMap::new();
        let mut text = |token: u32| *known.entry(token).or_insert_with(|| Text::of(&tokenizer.token_text(token)));
        for (window, fired) in windows.iter().zip(fired) {
            let labels = labels(&window.token_ids, &mut text);
            for (row, position) in fired.positions.iter().enumerate() {
                let (latents, values) = fired.codes.row(row);
                for (latent, value) in latents.iter().zip(values) {
                    half.firings.entry(*latent).or_default().push((half.labels.len(), *value));
                }
                half.labels.push(labels[*position]);
            }
        }
        half
    }

    /// Rows of a task, and those whose label is true.
    fn counts(&self, task: usize) -> (u64, u64) {
        let answered = || self.labels.iter().filter_map(|labels| labels[task]);
        (answered().count() as u64, answered().filter(|label| *label).count() as u64)
    }

    /// A latent's values beside the labels of a task with these counts.
    fn values(&self, task: usize, latent: u32, (n_rows, n_true): (u64, u64)) -> SparseValues {
        let firings = self.firings.get(&latent).map_or(&[][..], Vec::as_slice);
        let firings = firings.iter().filter_map(|(row, value)| Some((*value, self.labels[*row][task]?)));
        SparseValues { n_rows, n_true, firings: firings.collect() }
    }
}

impl Work {
    /// The loss of the best latent's probe for each task and their mean, and what knowing no latent costs on the same tasks.
    pub(super) fn probe_metrics(&self, fired: &[Fired]) -> Result<Vec<Metric>> {
        let undefined = |reason: &'static str| {
            let all = ["probe_loss", "probe_loss_constant"].into_iter().chain(TASKS);
            Ok(all.map(|metric| Metric { metric, value: Err(reason) }).collect())
        };
        let Some(second) = self.second_half else {
            return undefined("all windows are of one document: none is held out");
        };
        let Ok(tokenizer) = self.model.tokenizer() else { return undefined("the model has no tokenizer") };
        let [fitted, held_out] = [
            Half::of(&self.windows[..second], &fired[..second], tokenizer),
            Half::of(&self.windows[second..], &fired[second..], tokenizer),
        ];
        let (mut losses, mut constants, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (task, metric) in TASKS.into_iter().enumerate() {
            let value = match best(&fitted, &held_out, task)? {
                Some((loss, constant)) => {
                    losses.push(loss);
                    constants.push(constant);
                    Ok(loss)
                }
                None => Err("all tokens of one half have the same label"),
            };
            tasks.push(Metric { metric, value });
        }
        let mean = |metric: &'static str, values: &[f64]| {
            let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            Metric { metric, value: mean.ok_or("no task has both labels on both halves") }
        };
        let means = [mean("probe_loss", &losses), mean("probe_loss_constant", &constants)];
        Ok(means.into_iter().chain(tasks).collect())
    }
}

/// Held-out losses of the probe that does best on the other half, and of none. `None` where a half has one label only.
fn best(fitted: &Half, held_out: &Half, task: usize) -> Result<Option<(f64, f64)>> {
    let (counts, held_out_counts) = (fitted.counts(task), held_out.counts(task));
    let both = |(n_rows, n_true): (u64, u64)| n_true > 0 && n_true < n_rows;
    if !both(counts) || !both(held_out_counts) {
        return Ok(None);
    }
    let fault = |error: sparse_autoencoders::error::Error| AutoencoderError::from(error);
    // Rows on which nothing fires: their probe knows how frequent the label is, and nothing else.
    let silent = |(n_rows, n_true)| SparseValues { n_rows, n_true, firings: Vec::new() };
    let constant = fit_sparse(&silent(counts)).map_err(fault)?;
    let mut latents: Vec<u32> = fitted.firings.keys().copied().collect();
    latents.sort_unstable();
    let probes: Vec<(u32, Probe)> = latents
        .into_par_iter()
        .map(|latent| Ok((latent, fit_sparse(&fitted.values(task, latent, counts)).map_err(fault)?)))
        .collect::<Result<_>>()?;
    // Of equal ones the lower latent; none where no latent says more than nothing.
    let better = |best: Option<(u32, Probe)>, next: (u32, Probe)| match best {
        Some(best) if best.1.loss <= next.1.loss => Some(best),
        _ => Some(next),
    };
    let chosen = probes.into_iter().filter(|(_, probe)| probe.loss < constant.loss).fold(None, better);
    let loss_of = |probe: Probe, values: &SparseValues| probe.loss_on(values).map_err(fault);
    let without = loss_of(constant, &silent(held_out_counts))?;
    let with = match chosen {
        Some((latent, probe)) => loss_of(probe, &held_out.values(task, latent, held_out_counts))?,
        None => without,
    };
    Ok(Some((with, without)))
}
