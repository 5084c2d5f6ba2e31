//! Charts as lists of shapes that templates draw in SVG.

use serde::Serialize;

use super::numbers::significant;

/// Width and height that shapes are laid out in; the picture scales.
pub(crate) const WIDTH: f64 = 640.0;
pub(crate) const HEIGHT: f64 = 180.0;

/// Room for the axis below.
const BELOW: f64 = 22.0;

/// A bar with what it says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
}

/// A label at the axis.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Label {
    x: f64,
    text: String,
    anchor: &'static str,
}

/// A histogram.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Histogram {
    width: f64,
    height: f64,
    base: f64,
    bars: Vec<Bar>,
    labels: Vec<Label>,
    /// Where a line marks a value, with its words.
    mark: Option<(f64, String)>,
}

/// How many values lie from `low` to `high`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bin {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: f64,
}

/// A histogram of bins that are equally wide; `mark` is a value with its name.
pub(crate) fn counts(bins: &[Bin], mark: Option<(f64, &str)>) -> Option<Histogram> {
    let (first, last) = (bins.first()?, bins.last()?);
    let most = bins.iter().map(|bin| bin.count).fold(0.0, f64::max);
    let x = axis(first.low, last.high)?;
    if most <= 0.0 {
        return None;
    }
    let base = HEIGHT - BELOW;
    let bars = bins.iter().filter(|bin| bin.count > 0.0).map(|bin| {
        let height = (bin.count / most * (base - 16.0)).max(1.5);
        let title = format!("{} to {}: {}", significant(bin.low), significant(bin.high), bin.count);
        bar(x(bin.low), x(bin.high), base, height, title)
    });
    Some(Histogram {
        width: WIDTH,
        height: HEIGHT,
        base,
        bars: bars.collect(),
        labels: labels(first.low, last.high, &x),
        mark: mark.map(|(value, name)| (round(x(value)), format!("{name} {}", significant(value)))),
    })
}

/// A histogram between quantiles: a bar's height is how densely values lie there, on a logarithmic scale.
///
/// `levels` rise from 0 to 1 and `values` with them. Steps that no picture shows are joined with the next.
pub(crate) fn quantiles(levels: &[f64], values: &[f64]) -> Option<Histogram> {
    let (low, high) = (*values.first()?, *values.last()?);
    let x = axis(low, high)?;
    let narrowest = (high - low) / 200.0;
    let mut steps: Vec<(f64, f64, f64)> = Vec::new();
    let mut from = (*levels.first()?, low);
    for (&level, &value) in levels.iter().zip(values).skip(1) {
        if value - from.1 >= narrowest {
            steps.push((from.1, value, level - from.0));
            from = (level, value);
        }
    }
    // What is left at the upper end belongs to the last step.
    let rest = 1.0 - from.0;
    match steps.last_mut() {
        Some(step) if rest > 0.0 => *step = (step.0, high, step.2 + rest),
        Some(_) => {}
        None => steps.push((low, high, 1.0)),
    }
    let density = |(a, b, share): &(f64, f64, f64)| (share / (b - a)).log10();
    let dense: Vec<f64> = steps.iter().map(density).filter(|density| density.is_finite()).collect();
    let most = dense.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = dense.iter().copied().fold(f64::INFINITY, f64::min);
    let base = HEIGHT - BELOW;
    let bars = steps.iter().filter(|step| step.2 > 0.0).map(|step| {
        // The lowest step stands as high as a tenth of the picture.
        let part = if most > least { (density(step) - least) / (most - least) } else { 1.0 };
        let title = format!(
            "{} to {}: {} % of positions",
            significant(step.0),
            significant(step.1),
            significant(step.2 * 100.0)
        );
        bar(x(step.0), x(step.1), base, (base - 8.0) * (0.1 + 0.9 * part), title)
    });
    let mark = (low < 0.0 && high > 0.0).then(|| (round(x(0.0)), "0".to_owned()));
    Some(Histogram { width: WIDTH, height: HEIGHT, base, bars: bars.collect(), labels: labels(low, high, &x), mark })
}

/// From values to places; `None` where there is no width.
fn axis(low: f64, high: f64) -> Option<impl Fn(f64) -> f64> {
    let wide = high - low;
    (wide.is_finite() && wide > 0.0).then_some(move |value: f64| ((value - low) / wide * WIDTH).clamp(0.0, WIDTH))
}

fn bar(left: f64, right: f64, base: f64, height: f64, title: String) -> Bar {
    Bar {
        x: round(left),
        y: round(base - height),
        width: round((right - left - 0.75).max(0.75)),
        height: round(height),
        title,
    }
}

fn labels(low: f64, high: f64, x: &impl Fn(f64) -> f64) -> Vec<Label> {
    let middle = f64::midpoint(low, high);
    [(low, "start"), (middle, "middle"), (high, "end")]
        .into_iter()
        .map(|(value, anchor)| Label { x: round(x(value)), text: significant(value), anchor })
        .collect()
}

fn round(place: f64) -> f64 {
    (place * 100.0).round() / 100.0
}

/// A score with its interval and control on a line from -1 to 1.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Interval {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    control: Option<f64>,
}

/// Places on a line of 100; `None` without a value.
pub(crate) fn interval(
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    control: Option<f64>,
) -> Option<Interval> {
    let place = |score: f64| round((score.clamp(-1.0, 1.0) + 1.0) * 50.0);
    Some(Interval { value: place(value?), low: low.map(place), high: high.map(place), control: control.map(place) })
}

#[cfg(test)]
mod tests;
