//! Colours of heat maps: levels from the paper's colour to a full one, each with the ink that reads best on it.
//!
//! Activations are blue, simulated values orange: two hues that all kinds of colour vision tell apart. A value below zero is
//! hatched, so that no hue has to say it.

use std::fmt::Write;

/// Levels above 0; level 0 is the paper itself.
pub(crate) const LEVELS: u8 = 32;

/// The first level below 0 that shows.
const LOWEST_NEGATIVE: u8 = 3;

/// A colour of sRGB, 0..255 each.
type Colour = [u8; 3];

/// One way of showing pages.
struct Scheme {
    paper: Colour,
    real: Colour,
    simulated: Colour,
    negative: Colour,
}

const LIGHT: Scheme =
    Scheme { paper: [255, 255, 255], real: [8, 69, 148], simulated: [138, 60, 0], negative: [90, 90, 90] };
const DARK: Scheme =
    Scheme { paper: [20, 23, 28], real: [124, 188, 255], simulated: [255, 176, 92], negative: [190, 190, 190] };

/// The style sheet: `a` and `s` are levels of real and simulated values by the window's own scale, `b` and `t` by the shared one, an
/// `n` after the letter stands for below zero.
pub(crate) fn style_sheet() -> String {
    let mut sheet = String::new();
    rules(&mut sheet, &LIGHT);
    sheet.push_str("@media (prefers-color-scheme: dark) {\n");
    rules(&mut sheet, &DARK);
    sheet.push_str("}\n");
    sheet
}

fn rules(sheet: &mut String, scheme: &Scheme) {
    for level in 1..=LEVELS {
        let share = f64::from(level) / f64::from(LEVELS);
        let hatch = hexadecimal(mix(scheme.paper, scheme.negative, 0.1 + 0.9 * share));
        for ((own, shared), full) in [(('a', 'b'), scheme.real), (('s', 't'), scheme.simulated)] {
            let colour = mix(scheme.paper, full, share);
            let (colour, ink) = (hexadecimal(colour), hexadecimal(ink(colour)));
            // Writing to a string does not fail.
            let _ = writeln!(
                sheet,
                ".own .{own}{level}, .shared .{shared}{level} {{ background: {colour}; color: {ink}; }}"
            );
            // Many activation functions go a little below zero nearly everywhere: that is no news.
            if level < LOWEST_NEGATIVE {
                continue;
            }
            let _ = writeln!(
                sheet,
                ".own .{own}n{level}, .shared .{shared}n{level} {{ background-image: \
                 repeating-linear-gradient(135deg, transparent 0 4px, {hatch} 4px 5px); }}"
            );
        }
    }
}

/// Black or white, whichever differs more.
fn ink(paper: Colour) -> Colour {
    [[0, 0, 0], [255, 255, 255]]
        .into_iter()
        .max_by(|a, b| contrast(*a, paper).total_cmp(&contrast(*b, paper)))
        .expect("there are two inks")
}

/// Contrast of two colours, 1..21 (WCAG 2.2).
fn contrast(one: Colour, other: Colour) -> f64 {
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(colour: Colour) -> f64 {
    let [r, g, b] = colour.map(linear);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn hexadecimal([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colour at this share of the way, along a line of OKLab: steps look even. (Ottosson 2020, "A perceptual color space".)
fn mix(from: Colour, to: Colour, share: f64) -> Colour {
    let (from, to) = (lab(from), lab(to));
    rgb(std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share))
}

fn linear(channel: u8) -> f64 {
    let value = f64::from(channel) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn lab(colour: Colour) -> [f64; 3] {
    let [r, g, b] = colour.map(linear);
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

fn rgb([lightness, a, b]: [f64; 3]) -> Colour {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
    .map(|value| {
        let value = if value <= 0.003_130_8 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests;
