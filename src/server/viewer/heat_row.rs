//! One line of tokens coloured by the values on them.

use serde::Serialize;

use super::numbers::significant;
use super::palette::LEVELS;

/// Which of the two hues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hue {
    /// Activations.
    Real,
    /// Simulated values.
    Simulated,
}

/// A token with its colour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct HeatCell {
    /// The token as it is shown: a line end has a sign before it.
    text: String,
    /// A class of heat.css; empty for the paper's own colour.
    class: String,
    /// The value in digits, a dash where there is none.
    title: String,
}

impl HeatCell {
    /// A token whose colour is a share of the full one, and what is told of it.
    pub(crate) fn titled(token: &str, share: Option<f64>, title: String) -> Self {
        let class = share.map_or_else(String::new, |share| class(share, 1.0, Hue::Real));
        Self { text: shown(token), class, title }
    }
}

/// The tokens with their values; `most` is the value of the full colour.
pub(crate) fn heat_row<'a>(
    tokens: impl IntoIterator<Item = &'a str>,
    values: &[Option<f64>],
    most: Option<f64>,
    hue: Hue,
) -> Vec<HeatCell> {
    let cell = |(place, token): (usize, &str)| {
        let value = values.get(place).copied().flatten();
        HeatCell {
            text: shown(token),
            class: value.zip(most).map_or_else(String::new, |(value, most)| class(value, most, hue)),
            title: value.map_or_else(|| "–".to_owned(), significant),
        }
    };
    tokens.into_iter().enumerate().map(cell).collect()
}

/// The largest of some values, where it is above zero.
pub(crate) fn most<'a>(values: impl IntoIterator<Item = &'a Option<f64>>) -> Option<f64> {
    values.into_iter().flatten().copied().reduce(f64::max).filter(|most| *most > 0.0)
}

/// Characters of a token that a page shows.
const LONGEST_TOKEN: usize = 200;

/// A token as it is shown: its line ends have a sign, and an endless one ends.
pub(crate) fn shown(token: &str) -> String {
    match token.char_indices().nth(LONGEST_TOKEN) {
        Some((end, _)) => format!("{}…", token[..end].replace('\n', "↵\n")),
        None => token.replace('\n', "↵\n"),
    }
}

/// The class of a value whose full colour is at `most`.
pub(crate) fn class(value: f64, most: f64, hue: Hue) -> String {
    let level = ((value.abs() / most).min(1.0) * f64::from(LEVELS)).ceil() as u8;
    let letter = match hue {
        Hue::Real => "a",
        Hue::Simulated => "s",
    };
    match (level, value < 0.0) {
        (0, _) => String::new(),
        (level, true) => format!("{letter}n{level}"),
        (level, false) => format!("{letter}{level}"),
    }
}

#[cfg(test)]
mod tests;
