//! Windows of tokens coloured by what a unit did on them, and by what a simulator expected.

use serde::{Deserialize, Deserializer, Serialize};

use super::numbers::digits;
use super::palette::LEVELS;
use super::render::{escape, visible};

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
    /// The tokens as HTML. Thousands of them in a template's loop would take longer than all the rest of a page.
    drawn: String,
    n_cut: usize,
}

/// One token.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    /// The token as shown.
    text: String,
    real: CellValue,
    /// `None` where nothing was simulated.
    simulated: Option<CellValue>,
}

/// A value as a cell shows it.
#[derive(Debug, Clone, PartialEq)]
struct CellValue {
    /// Its digits.
    digits: String,
    /// Its colours on both scales.
    classes: String,
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
    let cells = cells(window, own, shared);
    let peak = window.activations.iter().enumerate().max_by(|a, b| order(*a.1).total_cmp(&order(*b.1)));
    HeatMap {
        sample: window.sample.clone(),
        split: window.split.clone(),
        rank: window.rank,
        sequence: window.sequence,
        document: window.document,
        max_activation: window.max_activation,
        simulated: !window.expected.is_empty(),
        reason: window.reason.clone(),
        n_cut: window.tokens.iter().flatten().filter(|token| shown(token).1).count(),
        drawn: drawn(&cells, peak.map_or(0, |(place, _)| place)),
    }
}

fn cells(window: &Window, own: Scale, shared: Scale) -> Vec<Cell> {
    let cell = |(place, token): (usize, &Option<String>)| {
        let at = |values: &[Option<f64>]| values.get(place).copied().flatten();
        let (real, expected) = (at(&window.activations), at(&window.expected));
        let simulated = || CellValue {
            digits: written(expected),
            classes: classes(expected, ("s", own.simulated), ("t", shared.simulated)),
        };
        Cell {
            text: shown(token.as_deref().unwrap_or_default()).0,
            real: CellValue { digits: written(real), classes: classes(real, ("a", own.real), ("b", shared.real)) },
            simulated: (!window.expected.is_empty()).then(simulated),
        }
    };
    window.tokens.iter().enumerate().map(cell).collect()
}

/// The tokens as HTML; the one at `peak`, where the unit fires most, can be reached by keyboard.
fn drawn(cells: &[Cell], peak: usize) -> String {
    let mut html = String::with_capacity(cells.len() * 100);
    for (place, Cell { text, real, simulated }) in cells.iter().enumerate() {
        // Classes and digits are made of letters and numbers; only the text is of others.
        html.extend(["<span class=\"k ", &real.classes, "\" data-v=\"", &real.digits, "\""]);
        if let Some(simulated) = simulated {
            html.extend([" data-w=\"", &simulated.digits, "\""]);
        }
        html.push_str(if place == peak { " tabindex=\"0\"><bdi>" } else { "><bdi>" });
        escape(text, &mut html);
        html.push_str("</bdi>");
        if let Some(simulated) = simulated {
            html.extend(["<i class=\"", &simulated.classes, "\"></i>"]);
        }
        html.push_str("</span>");
    }
    html
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
