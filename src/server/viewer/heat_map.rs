//! Windows of tokens coloured by what a unit did on them, and by what a simulator expected.

use serde::{Deserialize, Deserializer, Serialize};

use super::numbers::digits;
use super::palette::LEVELS;
use super::render::visible;

/// Characters of a token that a page shows.
const LONGEST_TOKEN: usize = 200;

/// Scale of simulated values that lie between 0 and 10.
const NORMALIZED: &str = "simulated_normalized_activations";

/// A row of `neuron_records`, `neuron_simulations` or `neuron_own_score`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Window {
    pub(crate) sample: String,
    rank: i64,
    split: String,
    sequence: i64,
    document: i64,
    max_activation: Option<f64>,
    tokens: Vec<Option<String>>,
    #[serde(deserialize_with = "list")]
    activations: Vec<Option<f64>>,
    #[serde(default, deserialize_with = "list")]
    expected: Vec<Option<f64>>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    scale: Option<String>,
}

/// A list that may be NULL: then it is empty.
fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Option<f64>>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A window as a template draws it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HeatMap {
    sample: String,
    split: String,
    rank: i64,
    sequence: i64,
    document: i64,
    max_activation: Option<f64>,
    /// Whether there is anything of a simulator.
    simulated: bool,
    reason: Option<String>,
    cells: Vec<Cell>,
    n_cut: usize,
    /// Place of the cell with the largest activation.
    peak: usize,
}

/// One token. Short names: a page has thousands.
#[derive(Debug, Clone, Serialize, PartialEq)]
struct Cell {
    /// The token as shown.
    t: String,
    /// Classes of the real value.
    c: String,
    /// The real value.
    v: String,
    /// Classes of the simulated value.
    d: String,
    /// The simulated value.
    w: String,
}

/// The largest values of some windows, which the shared scale goes up to.
#[derive(Debug, Clone, Copy)]
struct Scale {
    real: f64,
    simulated: f64,
}

/// Windows of a page as heat maps, with one shared scale.
///
/// By the shared scale activations end at the largest one of all these windows; so do simulated values in the unit's own units, and
/// those on the scale of 0 to 10 end at 10. By its own scale a window's activations and simulated values end each at their largest.
pub(crate) fn heat_maps(windows: &[Window]) -> Vec<HeatMap> {
    let real = windows.iter().map(|window| largest(&window.activations)).fold(0.0, f64::max);
    windows.iter().map(|window| heat_map(window, real)).collect()
}

fn heat_map(window: &Window, real: f64) -> HeatMap {
    let normalized = window.scale.as_deref() == Some(NORMALIZED);
    let shared = Scale { real, simulated: if normalized { 10.0 } else { real } };
    let own = Scale { real: largest(&window.activations), simulated: largest(&window.expected) };
    let simulated = !window.expected.is_empty();
    let mut n_cut = 0;
    let cells = window.tokens.iter().enumerate().map(|(place, token)| {
        let (text, cut) = shown(token.as_deref().unwrap_or_default());
        n_cut += usize::from(cut);
        let real = window.activations.get(place).copied().flatten();
        let expected = window.expected.get(place).copied().flatten();
        Cell {
            t: text,
            c: classes(real, ("a", own.real), ("b", shared.real)),
            v: written(real),
            d: if simulated { classes(expected, ("s", own.simulated), ("t", shared.simulated)) } else { String::new() },
            w: if simulated { written(expected) } else { String::new() },
        }
    });
    let cells = cells.collect();
    let peak = window.activations.iter().enumerate().max_by(|a, b| order(*a.1).total_cmp(&order(*b.1)));
    HeatMap {
        sample: window.sample.clone(),
        split: window.split.clone(),
        rank: window.rank,
        sequence: window.sequence,
        document: window.document,
        max_activation: window.max_activation,
        simulated,
        reason: window.reason.clone(),
        cells,
        n_cut,
        peak: peak.map_or(0, |(place, _)| place),
    }
}

fn order(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NEG_INFINITY)
}

/// The largest value above 0, else 0.
fn largest(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}

fn written(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| digits(value, 3))
}

/// A class for each scale: the letter and the level, `n` between them for values below 0; nothing at level 0.
fn classes(value: Option<f64>, own: (&str, f64), shared: (&str, f64)) -> String {
    let class = |(letter, end): (&str, f64)| match level(value?, end)? {
        (true, level) => Some(format!("{letter}{level}")),
        (false, level) => Some(format!("{letter}n{level}")),
    };
    [class(own), class(shared)].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The level of a value on a scale that ends at `end`, and whether it is above 0; `None` for what rounds to 0.
fn level(value: f64, end: f64) -> Option<(bool, u8)> {
    if !(end > 0.0 && value.is_finite()) {
        return None;
    }
    let level = (value.abs() / end * f64::from(LEVELS)).round().min(f64::from(LEVELS)) as u8;
    (level > 0).then_some((value > 0.0, level))
}

/// A token with marks for what would not be seen, cut where it is very long; and whether it was.
pub(crate) fn shown(token: &str) -> (String, bool) {
    let mut text = String::with_capacity(token.len().min(4 * LONGEST_TOKEN));
    for (place, character) in token.chars().enumerate() {
        if place == LONGEST_TOKEN {
            text.push('…');
            return (text, true);
        }
        text.push(match character {
            '\n' => '↵',
            '\r' => '␍',
            '\t' => '⇥',
            _ => visible(character),
        });
    }
    if text.is_empty() {
        text.push('∅');
    }
    (text, false)
}

#[cfg(test)]
mod tests;
