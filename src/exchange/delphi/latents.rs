//! Cached latents as firings, a range of latents at a time, so that memory stays within bounds whatever the file's size.

use super::split_file::{Content, SplitFile};
use crate::error::Result;
use crate::exchange::fault::Fault;
use crate::exchange::pump::Pump;
use crate::exchange::unit::{Firings, Statistics, UnitData, UnitKey, Window};
use crate::models::tokenizer::Tokenizer;

/// Firings held at a time: sixteen bytes each.
const HELD: u64 = 8 << 20;
/// Windows sent at a time.
const WINDOWS: usize = 256;

/// What the latents of one module share.
#[derive(Debug, Clone)]
pub(super) struct Module {
    pub(super) model: String,
    pub(super) hook_point: String,
    pub(super) layer: Option<i32>,
    pub(super) corpus: String,
}

impl Module {
    pub(super) fn key(&self, neuron: i32) -> UnitKey {
        UnitKey {
            model: self.model.clone(),
            hook_point: self.hook_point.clone(),
            layer: self.layer,
            neuron,
            corpus: self.corpus.clone(),
        }
    }

    /// A unit without anything.
    pub(super) fn unit(&self, neuron: i32) -> UnitData {
        UnitData {
            unit: self.key(neuron),
            statistics: None,
            records: Vec::new(),
            explanations: Vec::new(),
            token_means: Vec::new(),
            token_effects: Vec::new(),
            links: Vec::new(),
        }
    }
}

/// First and last latent of a file called `<first>_<last>.safetensors`.
pub(super) fn range_of(path: &str) -> Option<(i32, i32)> {
    let name = path.rsplit('/').next()?.strip_suffix(".safetensors")?;
    let (first, last) = name.split_once('_')?;
    let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
    (0 <= first && first <= last).then_some((first, last))
}

/// Reads a file: its windows first, then the firings and statistics of every latent that fires.
pub(super) fn read(
    shown: &str,
    content: &Content,
    (first, last): (i32, i32),
    module: &Module,
    tokenizer: &Tokenizer,
    pump: &mut Pump,
) -> Result<()> {
    let file = match SplitFile::parse(content.bytes()) {
        Ok(file) => file,
        Err(reason) => return pump.bad(Fault::of(shown, reason)),
    };
    let Some((n_rows, n_positions)) = file.token_shape() else {
        let reason =
            "expected a tensor 'tokens', got none: the cache was saved without its tokens, which nothing else tells";
        return pump.bad(Fault::of(shown, reason));
    };
    let counts = match counts(&file, n_rows, n_positions, last - first) {
        Ok(counts) => counts,
        Err(reason) => return pump.bad(Fault::of(shown, reason)),
    };
    let sequences = match windows(&file, n_rows, tokenizer, pump)? {
        Ok(sequences) => sequences,
        Err(reason) => return pump.bad(Fault::of(shown, reason)),
    };
    let n_tokens = (n_rows * n_positions) as i64;
    let mut from = 0;
    while from < counts.len() {
        let (mut until, mut n) = (from, 0);
        while until < counts.len() && (until == from || n + counts[until] <= HELD) {
            n += counts[until];
            until += 1;
        }
        if n > 0 {
            lot(&file, from..until, &counts, &sequences, first, n_tokens, module, pump)?;
        }
        from = until;
    }
    pump.file(content.bytes().len() as u64)
}

/// Firings of each latent, after a look at every place.
fn counts(file: &SplitFile, n_rows: usize, n_positions: usize, last: i32) -> Result<Vec<u64>, String> {
    let mut counts = vec![0_u64; usize::try_from(last).unwrap_or_default() + 1];
    let sides = [n_rows as u64, n_positions as u64, counts.len() as u64];
    for i in 0..file.len() {
        let location = file.location(i);
        if let Some(column) = (0..3).find(|column| location[*column] >= sides[*column]) {
            let name = ["a row", "a position", "a latent, counted from the file's first one,"][column];
            return Err(format!("expected {name} below {} at locations[{i}], got {}", sides[column], location[column]));
        }
        if !file.activation(i).is_finite() {
            return Err(format!("expected a finite number at activations[{i}], got {}", file.activation(i)));
        }
        counts[location[2] as usize] += 1;
    }
    Ok(counts)
}

/// Sends every row of the token matrix as a window; their keys.
fn windows(
    file: &SplitFile,
    n_rows: usize,
    tokenizer: &Tokenizer,
    pump: &mut Pump,
) -> Result<std::result::Result<Vec<i64>, String>> {
    let mut sequences = Vec::with_capacity(n_rows);
    let mut waiting = Vec::with_capacity(WINDOWS);
    for row in 0..n_rows {
        let known = |id: &u32| (*id as usize) < tokenizer.n_tokens();
        let Some(ids) = file.row(row).filter(|ids| ids.iter().all(known)) else {
            let n = tokenizer.n_tokens();
            return Ok(Err(format!(
                "expected token ids from 0 to {} in row {row}, got another: is it the model's tokenizer?",
                n - 1
            )));
        };
        let mut window = Window::default();
        ids.iter().for_each(|id| window.push(&tokenizer.token_text(*id)));
        window.token_ids = Some(ids.into_iter().map(u32::cast_signed).collect());
        let sequence = window.sequence();
        sequences.push(sequence);
        waiting.push((sequence, window));
        if waiting.len() == WINDOWS {
            pump.windows(std::mem::take(&mut waiting))?;
        }
    }
    pump.windows(waiting)?;
    Ok(Ok(sequences))
}

#[expect(clippy::too_many_arguments, reason = "one call, and every argument is another's state")]
fn lot(
    file: &SplitFile,
    latents: std::ops::Range<usize>,
    counts: &[u64],
    sequences: &[i64],
    first: i32,
    n_tokens: i64,
    module: &Module,
    pump: &mut Pump,
) -> Result<()> {
    let mut firings: Vec<Firings> = latents
        .clone()
        .map(|latent| {
            let n = counts[latent] as usize;
            Firings {
                unit: module.key(first + latent as i32),
                sequences: Vec::with_capacity(n),
                positions: Vec::with_capacity(n),
                activations: Vec::with_capacity(n),
            }
        })
        .collect();
    for i in 0..file.len() {
        let [row, position, latent] = file.location(i);
        if !latents.contains(&(latent as usize)) {
            continue;
        }
        let unit = &mut firings[latent as usize - latents.start];
        unit.sequences.push(sequences[row as usize]);
        unit.positions.push(position as i32);
        unit.activations.push(file.activation(i));
    }
    firings.retain(|unit| !unit.sequences.is_empty());
    for Firings { unit, activations, .. } in &firings {
        let n_active = activations.iter().filter(|activation| **activation > 0.0).count();
        let max = activations.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut data = module.unit(unit.neuron);
        data.statistics = Some(Statistics {
            n_tokens: Some(n_tokens),
            // What lies between −1e-5 and 1e-5 is not in the cache.
            max: Some(max),
            density: Some(n_active as f64 / n_tokens as f64),
            ..Statistics::default()
        });
        pump.unit(data)?;
    }
    pump.firings(firings)
}
