//! The strongest windows of either end, and random ones, from numpy arrays of a whole layer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::npy::Array;
use super::rows::{ExemplarSplit, Sign};
use crate::error::Result;
use crate::exchange::fault::Fault;
use crate::exchange::pump::Pump;
use crate::exchange::unit::{ExchangedRecord, Statistics, UnitData, Window};
use crate::models::tokenizer::Tokenizer;

/// Folders of one layer, by split.
pub(super) type Folders = BTreeMap<ExemplarSplit, PathBuf>;

/// What token ids mean.
pub(super) struct Texts {
    pub(super) tokenizer: Tokenizer,
    /// What windows are filled up with on the left.
    pub(super) pad: Option<u32>,
}

/// Activations and token ids of one end of one split.
struct Pair {
    split: ExemplarSplit,
    sign: Sign,
    activations: Array,
    ids: Array,
    shown: String,
}

/// Number of neurons of a layer, from the header of one of its arrays.
///
/// # Errors
/// When the file cannot be opened.
pub(super) fn n_neurons(folders: &Folders) -> Result<usize> {
    for folder in folders.values() {
        for name in ["max_seq_acts.npy", "min_seq_acts.npy"] {
            let path = folder.join(name);
            if path.is_file()
                && let Ok(array) = Array::open(&path)?
            {
                return Ok(array.shape.first().copied().unwrap_or(0));
            }
        }
    }
    Ok(0)
}

/// Sends the records of some neurons of a layer.
///
/// # Errors
/// Those of the pump, or when a file cannot be opened; what is wrong with a file goes through the pump.
pub(super) fn read(
    folders: &Folders,
    neurons: Range<usize>,
    texts: &Texts,
    empty: impl Fn(i32) -> UnitData,
    pump: &mut Pump,
) -> Result<()> {
    let mut pairs = Vec::new();
    let mut n_tokens = Some(0_i64);
    for (split, folder) in folders {
        if !split.is_random() {
            n_tokens = n_tokens.zip(tokens_seen(folder)).map(|(sum, seen)| sum + seen);
        }
        // Random windows are drawn once for a neuron and stand under both names.
        let signs: &[Sign] = if split.is_random() { &[Sign::Positive] } else { &[Sign::Positive, Sign::Negative] };
        for sign in signs {
            match open(folder, *split, *sign)? {
                Ok(Some(pair)) => pairs.push(pair),
                Ok(None) => {}
                // A fault of a whole file is told with its first neurons.
                Err(fault) if neurons.start == 0 => pump.bad(fault)?,
                Err(_) => {}
            }
        }
    }
    for neuron in neurons {
        let mut unit = empty(i32::try_from(neuron).unwrap_or(i32::MAX));
        let (mut max, mut min) = (None, None);
        for pair in &pairs {
            if neuron >= pair.activations.shape[0] {
                continue;
            }
            match records(pair, neuron, texts) {
                Ok(records) => {
                    for value in records.iter().flat_map(|record| &record.activations) {
                        max = Some(max.map_or(*value, |max: f32| max.max(*value)));
                        min = Some(min.map_or(*value, |min: f32| min.min(*value)));
                    }
                    unit.records.extend(records);
                }
                Err(reason) => pump.bad(Fault::of(&pair.shown, format!("neuron {neuron}: {reason}")))?,
            }
        }
        if unit.records.is_empty() {
            continue;
        }
        // The strongest windows of both ends are among the records, so their extremes are the neuron's.
        let both = [Sign::Positive, Sign::Negative].iter().all(|sign| pairs.iter().any(|pair| pair.sign == *sign));
        let n_tokens = n_tokens.filter(|n| *n > 0);
        unit.statistics = both.then(|| Statistics { n_tokens, min, max, ..Statistics::default() });
        pump.unit(unit)?;
    }
    Ok(())
}

fn tokens_seen(folder: &Path) -> Option<i64> {
    std::fs::read_to_string(folder.join("num_tokens_seen.txt")).ok()?.trim().parse().ok()
}

fn open(folder: &Path, split: ExemplarSplit, sign: Sign) -> Result<std::result::Result<Option<Pair>, Fault>> {
    let name = match sign {
        Sign::Positive => "max",
        Sign::Negative => "min",
    };
    let paths = ["seq_acts", "seq_ids"].map(|kind| folder.join(format!("{name}_{kind}.npy")));
    if !paths[0].is_file() {
        return Ok(Ok(None));
    }
    if !paths[1].is_file() {
        return Ok(Err(Fault::of(
            paths[1].display().to_string(),
            "expected the token ids of these windows, got no file",
        )));
    }
    let mut arrays = Vec::new();
    for path in &paths {
        match Array::open(path)? {
            Ok(array) => arrays.push(array),
            Err(reason) => return Ok(Err(Fault::of(path.display().to_string(), reason))),
        }
    }
    let (Some(ids), Some(activations)) = (arrays.pop(), arrays.pop()) else { return Ok(Ok(None)) };
    let shown = paths[0].display().to_string();
    if activations.shape.len() != 3 || ids.shape != activations.shape || !ids.is_whole() {
        let reason = format!(
            "expected activations and token ids of one shape [neurons, exemplars, tokens], got {:?} and {:?}",
            activations.shape, ids.shape
        );
        return Ok(Err(Fault::of(shown, reason)));
    }
    Ok(Ok(Some(Pair { split, sign, activations, ids, shown })))
}

fn records(pair: &Pair, neuron: usize, texts: &Texts) -> Result<Vec<ExchangedRecord>, String> {
    let (n_exemplars, length) = (pair.activations.shape[1], pair.activations.shape[2]);
    let sample = if pair.split.is_random() { "random" } else { pair.sign.sample() };
    let mut records = Vec::with_capacity(n_exemplars);
    for exemplar in 0..n_exemplars {
        let start = (neuron * n_exemplars + exemplar) * length;
        let is_pad = |i: &usize| texts.pad.is_some() && pair.ids.id(start + i) == texts.pad;
        let first = (0..length).find(|i| !is_pad(i)).unwrap_or(length);
        let mut window = Window::default();
        let mut ids = Vec::with_capacity(length - first);
        let mut activations = Vec::with_capacity(length - first);
        for i in first..length {
            let id = pair.ids.id(start + i).filter(|id| (*id as usize) < texts.tokenizer.n_tokens());
            let id = id.ok_or_else(|| {
                let n = texts.tokenizer.n_tokens();
                format!(
                    "expected token ids below {n} in exemplar {exemplar}, got another: is it the model's tokenizer?"
                )
            })?;
            let value = pair.activations.float(start + i);
            if !value.is_finite() {
                return Err(format!("expected finite activations in exemplar {exemplar}, got {value}"));
            }
            window.push(&texts.tokenizer.token_text(id));
            ids.push(id.cast_signed());
            activations.push(value);
        }
        if activations.is_empty() {
            continue;
        }
        window.token_ids = Some(ids);
        records.push(ExchangedRecord {
            sample: sample.to_owned(),
            rank: i32::try_from(exemplar).unwrap_or(i32::MAX),
            split: pair.split.split(),
            window,
            activations,
        });
    }
    Ok(records)
}
