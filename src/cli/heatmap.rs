//! Token heat maps: one shade behind every token, the stronger the activation the darker.

use std::fmt::Write;

use crate::cli::escape::{escape, fitting, width};

#[cfg(test)]
mod tests;

/// A token of at least this share of the scale is marked where there are no colours.
const MARKED: f32 = 0.3;

/// Shades in the legend.
const LEGEND_STEPS: u8 = 8;

/// How shades are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// No colours: strong tokens are written `[token 8.9]`, and brackets of the text as `\[`.
    Plain,
    /// The 256-colour palette of older terminals.
    Color256,
    /// 24-bit colour.
    TrueColor,
}

impl Palette {
    /// What a terminal can show, told from its environment.
    ///
    /// `NO_COLOR` (if not empty) and `TERM=dumb` turn colours off, `COLORTERM=truecolor` or `24bit` turns all of them on. Whether
    /// the output is a terminal at all is for the caller to ask, and to take [`Palette::Plain`] if not.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        match variable("TERM").as_deref() {
            _ if no_color => Self::Plain,
            None | Some("dumb" | "") => Self::Plain,
            Some(term) => match variable("COLORTERM").as_deref() {
                Some("truecolor" | "24bit") => Self::TrueColor,
                _ if term.ends_with("-direct") => Self::TrueColor,
                _ => Self::Color256,
            },
        }
    }
}

/// A colour as red, green, blue, each 0..=255.
type Rgb = [u8; 3];

/// The ends of the 24-bit ramp: pale to dark orange. Lightness alone tells the steps apart, so it works for every kind of colour vision.
const PALE: Rgb = [255, 242, 224];
const DARK: Rgb = [140, 45, 4];

/// The same ramp in the 256-colour palette, pale to dark.
const RAMP_256: [u8; 8] = [230, 223, 216, 209, 202, 166, 130, 94];

/// Draws tokens with their activations, wrapped at `columns`, and a line with the scale below.
///
/// `tokens` and `activations` (raw units of the model) have the same length `[seq_len]`; tokens without an activation, or with
/// NaN, are shown without a shade, surplus activations are ignored. Shades go from 0 to `max`, or to the largest finite activation if `None`; values
/// of zero and below have no shade. Control characters in tokens are made visible, so no token can colour or move anything itself.
/// The result ends with a line end.
pub fn heatmap(tokens: &[&str], activations: &[f32], max: Option<f32>, palette: Palette, columns: usize) -> String {
    let largest = activations.iter().take(tokens.len()).copied().filter(|value| value.is_finite()).reduce(f32::max);
    let scale = max.filter(|max| max.is_finite()).or(largest).unwrap_or(0.0);
    let mut lines = Wrapped::new(columns);
    for (index, token) in tokens.iter().enumerate() {
        let activation = activations.get(index).copied();
        let share = activation.map_or(0.0, |activation| share(activation, scale));
        match palette {
            Palette::Plain => push_plain(&mut lines, token, activation, share),
            _ if share > 0.0 => {
                lines.push(&escape(token), Some(&background(palette, share)));
            }
            _ => lines.push(&escape(token), None),
        }
    }
    let mut out = lines.finish();
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&legend(tokens, activations, scale, palette));
    out.push('\n');
    out
}

/// Where on the scale an activation lies, 0..=1; 0 also for NaN and for a scale without a positive value.
fn share(activation: f32, scale: f32) -> f32 {
    if activation > 0.0 && scale > 0.0 { (activation / scale).min(1.0) } else { 0.0 }
}

/// `[token 8.9]` for a strong token, with the space before the token before the bracket.
fn push_plain(lines: &mut Wrapped, token: &str, activation: Option<f32>, share: f32) {
    let shown = escape(token).replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
    match activation {
        Some(activation) if share >= MARKED => {
            let word = shown.trim_start_matches(' ');
            let spaces = shown.get(..shown.len() - word.len()).unwrap_or_default();
            lines.push(&format!("{spaces}[{word} {}]", number(activation)), None);
        }
        _ => lines.push(&shown, None),
    }
}

/// The line that explains the shades.
fn legend(tokens: &[&str], activations: &[f32], scale: f32, palette: Palette) -> String {
    let strongest = activations.iter().take(tokens.len()).enumerate();
    let strongest = strongest.filter(|(_, value)| value.is_finite()).max_by(|a, b| a.1.total_cmp(b.1));
    let Some((index, value)) = strongest else {
        return "no activations".to_owned();
    };
    let token = tokens.get(index).map(|token| escape(token)).unwrap_or_default();
    let peak = format!("strongest {} at token {index} '{token}'", number(*value));
    if scale <= 0.0 {
        return format!("no activation above 0; {peak}");
    }
    match palette {
        Palette::Plain => {
            format!("[token activation] from {} of 0..{}; {peak}", number(scale * MARKED), number(scale))
        }
        _ => {
            let mut out = "0 ".to_owned();
            for step in 1..=LEGEND_STEPS {
                // Writing to a string cannot fail.
                let _ = write!(out, "{} {RESET}", background(palette, f32::from(step) / f32::from(LEGEND_STEPS)));
            }
            format!("{out} {}; {peak}", number(scale))
        }
    }
}

/// An activation for people: three significant digits are enough to compare.
fn number(value: f32) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.1e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// The escape sequence of a shade, with black or white letters, whichever is easier to read on it.
fn background(palette: Palette, share: f32) -> String {
    let share = share.clamp(0.0, 1.0);
    match palette {
        Palette::Plain => String::new(),
        Palette::TrueColor => {
            let [r, g, b] = ramp(share);
            let [x, y, z] = ink([r, g, b]);
            format!("\x1b[48;2;{r};{g};{b};38;2;{x};{y};{z}m")
        }
        Palette::Color256 => {
            // A share of exactly 1 is the last shade.
            let step = ((share * RAMP_256.len() as f32) as usize).min(RAMP_256.len() - 1);
            let shade = RAMP_256[step];
            let letters = if ink(rgb_256(shade)) == BLACK { 16 } else { 231 };
            format!("\x1b[48;5;{shade};38;5;{letters}m")
        }
    }
}

const BLACK: Rgb = [0, 0, 0];
const WHITE: Rgb = [255, 255, 255];

/// The 24-bit shade at a share of the scale.
fn ramp(share: f32) -> Rgb {
    let mix = |from: u8, to: u8| (f32::from(from) + (f32::from(to) - f32::from(from)) * share).round() as u8;
    [mix(PALE[0], DARK[0]), mix(PALE[1], DARK[1]), mix(PALE[2], DARK[2])]
}

/// The colour behind a number 16..=231 of the 256-colour palette: a cube of six levels a channel.
fn rgb_256(number: u8) -> Rgb {
    let level = |digit: u8| if digit == 0 { 0 } else { 55 + 40 * digit };
    let number = number.saturating_sub(16).min(215);
    [level(number / 36), level(number / 6 % 6), level(number % 6)]
}

/// Black or white, whichever has the larger contrast on a shade (contrast ratio of WCAG 2.2, section 1.4.3).
fn ink(shade: Rgb) -> Rgb {
    if contrast(shade, BLACK) >= contrast(shade, WHITE) { BLACK } else { WHITE }
}

/// Contrast ratio of two colours, 1..=21 (WCAG 2.2).
fn contrast(a: Rgb, b: Rgb) -> f32 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Relative luminance of an sRGB colour, 0..=1 (WCAG 2.2).
fn luminance([r, g, b]: Rgb) -> f32 {
    let linear = |channel: u8| {
        let share = f32::from(channel) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

/// Lines under construction, wrapped between tokens and, in tokens wider than a line, between characters.
struct Wrapped {
    out: String,
    columns: usize,
    used: usize,
}

impl Wrapped {
    /// `columns` = 0 never wraps.
    fn new(columns: usize) -> Self {
        Self { out: String::new(), columns: if columns == 0 { usize::MAX } else { columns }, used: 0 }
    }

    /// Adds escaped text with a style that is reset before every line end.
    fn push(&mut self, text: &str, style: Option<&str>) {
        let mut rest = text;
        if self.used > 0 && self.used.saturating_add(width(rest)) > self.columns {
            self.out.push('\n');
            self.used = 0;
        }
        while !rest.is_empty() {
            let (line, after) = rest.split_at(fitting(rest, self.columns));
            match style {
                Some(style) => self.out.extend([style, line, RESET]),
                None => self.out.push_str(line),
            }
            self.used += width(line);
            rest = after;
            if !rest.is_empty() {
                self.out.push('\n');
                self.used = 0;
            }
        }
    }

    fn finish(self) -> String {
        self.out
    }
}
