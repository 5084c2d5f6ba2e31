//! Quick charts of a result: where the marks stand, for a template that draws them as SVG.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use super::numbers::significant;
use crate::error::Result;

/// Size of the drawing, in units of its view box.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for what stands beside the axes.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Room above the first bar of one category.
const MARGIN: f64 = 8.0;
/// Height of the bar of one category.
const BAR: f64 = 20.0;
/// Room for the name of a category.
const NAMES: f64 = 150.0;
/// Bars of a histogram.
const BINS: usize = 30;
/// Points of a scatter plot; of more, evenly spaced ones are drawn.
const DOTS: usize = 2_000;
/// Values beyond are left out: differences and sums of them must stay finite.
const LARGEST: f64 = 1e200;
/// Values below are drawn as zero.
const SMALLEST: f64 = 1e-200;
/// Categories whose means are drawn.
const CATEGORIES: usize = 40;

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How many rows have a value in each range.
    Histogram,
    /// One point a row.
    Scatter,
    /// The mean of one column for each value of another.
    Mean,
}

impl Kind {
    /// The kind of this name in an address; `None` for no chart.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "histogram" => Some(Self::Histogram),
            "scatter" => Some(Self::Scatter),
            "mean" => Some(Self::Mean),
            _ => None,
        }
    }
}

/// A drawing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Chart {
    width: f64,
    height: f64,
    /// What it shows, in a sentence.
    title: String,
    /// What it leaves out.
    notes: Vec<String>,
    bars: Vec<Bar>,
    dots: Vec<Dot>,
    lines: Vec<Line>,
    labels: Vec<Label>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    x1: f64,
    y1: f64,
    x2: f64,
    y2: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Label {
    x: f64,
    y: f64,
    anchor: &'static str,
    text: String,
}

/// Whether a column's values can stand on an axis.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// A chart of columns of a result. `x` is the column of a histogram, of the horizontal axis, or of the categories.
///
/// # Errors
/// The reason, in words, why there is nothing to draw; engine faults inside.
pub(crate) fn draw(
    kind: Kind,
    batches: &[RecordBatch],
    x: &str,
    y: &str,
) -> Result<std::result::Result<Chart, String>> {
    let numbers_of = |name: &str| numbers(batches, name);
    Ok(match kind {
        Kind::Histogram => numbers_of(x)?.and_then(|values| histogram(x, &values)),
        Kind::Scatter => match (numbers_of(x)?, numbers_of(y)?) {
            (Ok(xs), Ok(ys)) => scatter((x, &xs), (y, &ys)),
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
        },
        Kind::Mean => match (texts(batches, x)?, numbers_of(y)?) {
            (Ok(names), Ok(values)) => means((x, &names), (y, &values)),
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
        },
    })
}

type Column<T> = std::result::Result<Vec<Option<T>>, String>;

fn column<'a>(batches: &'a [RecordBatch], name: &str) -> std::result::Result<Vec<&'a ArrayRef>, String> {
    let columns: Option<Vec<_>> = batches.iter().map(|batch| batch.column_by_name(name)).collect();
    match columns {
        Some(columns) if !columns.is_empty() => Ok(columns),
        Some(_) => Err("there are no rows to draw".to_owned()),
        None => Err(format!("the result has no column '{name}'")),
    }
}

/// A column's numbers; what cannot be drawn is `None`.
fn numbers(batches: &[RecordBatch], name: &str) -> Result<Column<f64>> {
    let columns = match column(batches, name) {
        Ok(columns) => columns,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut values = Vec::new();
    for array in columns {
        if !is_number(array.data_type()) {
            return Ok(Err(format!("column '{name}' holds no numbers")));
        }
        let array = cast(array, &DataType::Float64)?;
        let drawable = |value: &f64| value.abs() <= LARGEST;
        values.extend(array.as_primitive::<Float64Type>().iter().map(|value| value.filter(drawable).map(settled)));
    }
    Ok(Ok(values))
}

/// Zero for what no axis can tell from it.
fn settled(value: f64) -> f64 {
    if value.abs() < SMALLEST { 0.0 } else { value }
}

/// A column's values as texts.
fn texts(batches: &[RecordBatch], name: &str) -> Result<Column<String>> {
    let columns = match column(batches, name) {
        Ok(columns) => columns,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut values = Vec::new();
    for array in columns {
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
        let nulls = array.logical_nulls();
        for row in 0..array.len() {
            let null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            values.push((!null).then(|| formatter.value(row).to_string()));
        }
    }
    Ok(Ok(values))
}

fn histogram(name: &str, values: &[Option<f64>]) -> std::result::Result<Chart, String> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let range = Range::of(&known).ok_or_else(|| format!("column '{name}' has no value to draw"))?;
    // Few whole numbers get a bar each.
    let whole = known.iter().all(|value| value.fract() == 0.0) && range.high - range.low < BINS as f64;
    let (low, step, n) = match whole {
        true => (range.low - 0.5, 1.0, (range.high - range.low) as usize + 1),
        false => (range.low, (range.high - range.low) / BINS as f64, BINS),
    };
    let mut counts = vec![0_u64; n];
    for value in &known {
        let bin = (((value - low) / step) as usize).min(n - 1);
        counts[bin] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    let (across, up) = (Scale::across(low, low + step * n as f64), Scale::up(0.0, most));
    let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bin, count)| {
        let from = low + step * bin as f64;
        let of = match whole {
            true => significant(from + 0.5),
            false => format!("{} to {}", significant(from), significant(from + step)),
        };
        let (left, right, top) = (across.at(from), across.at(from + step), up.at(*count as f64));
        Bar {
            x: rounded(left + 0.5),
            y: rounded(top),
            width: rounded((right - left - 1.0).max(0.5)),
            height: rounded(HEIGHT - BOTTOM - top),
            title: format!("{of}: {count}"),
        }
    });
    let mut chart = Chart { bars: bars.collect(), ..Chart::framed(&across, &up, name, "rows") };
    chart.title = format!("Histogram of {name}: {} values", known.len());
    chart.note(values.len() - known.len(), "without a value");
    Ok(chart)
}

fn scatter(
    (x_name, xs): (&str, &[Option<f64>]),
    (y_name, ys): (&str, &[Option<f64>]),
) -> std::result::Result<Chart, String> {
    let points: Vec<(f64, f64)> = xs.iter().zip(ys).filter_map(|(x, y)| (*x).zip(*y)).collect();
    let of = |values: Vec<f64>| Range::of(&values).ok_or_else(|| "no row has both values".to_owned());
    let across = of(points.iter().map(|point| point.0).collect())?;
    let up = of(points.iter().map(|point| point.1).collect())?;
    // No point on an axis.
    let room = |range: &Range| (range.high - range.low) / 30.0;
    let (by_x, by_y) = (room(&across), room(&up));
    let across = Scale::across(across.low - by_x, across.high + by_x);
    let up = Scale::up(up.low - by_y, up.high + by_y);
    let step = points.len().div_ceil(DOTS).max(1);
    let dots: Vec<Dot> = points
        .iter()
        .step_by(step)
        .map(|(x, y)| Dot {
            x: rounded(across.at(*x)),
            y: rounded(up.at(*y)),
            title: format!("{x_name} {}, {y_name} {}", significant(*x), significant(*y)),
        })
        .collect();
    let mut chart = Chart { dots, ..Chart::framed(&across, &up, x_name, y_name) };
    chart.title = format!("{y_name} against {x_name}: {} points", points.len());
    chart.note(xs.len() - points.len(), "without one of the two values");
    chart.note(points.len() - chart.dots.len(), "not drawn: evenly spaced rows stand for all");
    Ok(chart)
}

fn means(
    (x_name, names): (&str, &[Option<String>]),
    (y_name, values): (&str, &[Option<f64>]),
) -> std::result::Result<Chart, String> {
    let mut sums: Vec<(&str, f64, usize)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut missing = 0;
    for (name, value) in names.iter().zip(values) {
        let Some(value) = value else {
            missing += 1;
            continue;
        };
        let name = name.as_deref().unwrap_or("–");
        let place = *places.entry(name).or_insert_with(|| {
            sums.push((name, 0.0, 0));
            sums.len() - 1
        });
        sums[place].1 += value;
        sums[place].2 += 1;
    }
    if sums.is_empty() {
        return Err(format!("column '{y_name}' has no value to draw"));
    }
    let number = |name: &str| name.parse::<f64>().ok();
    match sums.iter().all(|(name, ..)| number(name).is_some()) {
        true => sums.sort_by(|a, b| number(a.0).unwrap_or(0.0).total_cmp(&number(b.0).unwrap_or(0.0))),
        false => sums.sort_by(|a, b| a.0.cmp(b.0)),
    }
    let n_categories = sums.len();
    sums.truncate(CATEGORIES);
    let mean = |(_, sum, n): &(&str, f64, usize)| sum / *n as f64;
    let low = sums.iter().map(mean).fold(0.0, f64::min);
    let high = sums.iter().map(mean).fold(0.0, f64::max);
    let across = Scale { low, high: if high > low { high } else { low + 1.0 }, from: NAMES, to: WIDTH - 60.0 };
    let zero = across.at(0.0);
    let height = MARGIN + BAR * sums.len() as f64 + BOTTOM;
    let mut chart = Chart { width: WIDTH, height, title: format!("Mean of {y_name} by {x_name}"), ..Chart::default() };
    for (place, category) in sums.iter().enumerate() {
        let (value, top) = (mean(category), MARGIN + BAR * place as f64);
        let end = across.at(value);
        let shown: String = category.0.chars().take(22).collect();
        chart.bars.push(Bar {
            x: rounded(zero.min(end)),
            y: rounded(top + 2.0),
            width: rounded((end - zero).abs().max(0.5)),
            height: BAR - 4.0,
            title: format!("{}: {} over {} rows", category.0, significant(value), category.2),
        });
        let middle = rounded(top + BAR / 2.0 + 4.0);
        chart.labels.push(Label { x: NAMES - 8.0, y: middle, anchor: "end", text: shown });
        chart.labels.push(Label {
            x: rounded(zero.max(end) + 5.0),
            y: middle,
            anchor: "start",
            text: significant(value),
        });
    }
    let bottom = height - BOTTOM;
    chart.lines.push(Line { x1: rounded(zero), y1: MARGIN, x2: rounded(zero), y2: bottom });
    let caption = format!("mean of {y_name}, by {x_name}");
    chart.labels.push(Label { x: WIDTH / 2.0, y: height - 8.0, anchor: "middle", text: caption });
    chart.note(missing, "without a value");
    chart.note(n_categories - sums.len(), "values of the category, not drawn");
    Ok(chart)
}

impl Chart {
    /// Two axes with their marks.
    fn framed(across: &Scale, up: &Scale, x_name: &str, y_name: &str) -> Self {
        let bottom = HEIGHT - BOTTOM;
        let mut chart = Self { width: WIDTH, height: HEIGHT, ..Self::default() };
        chart.lines.push(Line { x1: LEFT, y1: bottom, x2: WIDTH - RIGHT, y2: bottom });
        chart.lines.push(Line { x1: LEFT, y1: TOP, x2: LEFT, y2: bottom });
        for (value, text) in across.ticks() {
            let x = rounded(across.at(value));
            chart.lines.push(Line { x1: x, y1: bottom, x2: x, y2: bottom + 4.0 });
            chart.labels.push(Label { x, y: bottom + 16.0, anchor: "middle", text });
        }
        for (value, text) in up.ticks() {
            let y = rounded(up.at(value));
            chart.lines.push(Line { x1: LEFT - 4.0, y1: y, x2: LEFT, y2: y });
            chart.labels.push(Label { x: LEFT - 7.0, y: y + 4.0, anchor: "end", text });
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        chart.labels.push(Label { x: middle, y: HEIGHT - 6.0, anchor: "middle", text: x_name.to_owned() });
        chart.labels.push(Label { x: 4.0, y: 14.0, anchor: "start", text: y_name.to_owned() });
        chart
    }

    /// Says that the result goes on after this many rows.
    pub(crate) fn note_cut(&mut self, n_rows: usize) {
        self.notes.push(format!("of the first {n_rows} rows"));
    }

    fn note(&mut self, n_rows: usize, what: &str) {
        if n_rows > 0 {
            self.notes.push(format!("{n_rows} {what}"));
        }
    }
}

/// The least and the largest of some values, never the same.
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(values: &[f64]) -> Option<Self> {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        let room = if low == 0.0 { 0.5 } else { low.abs() / 2.0 };
        Some(match low < high {
            true => Self { low, high },
            false => Self { low: low - room, high: high + room },
        })
    }
}

/// Where values stand on an axis.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn across(low: f64, high: f64) -> Self {
        Self { low, high, from: LEFT, to: WIDTH - RIGHT }
    }

    fn up(low: f64, high: f64) -> Self {
        Self { low, high, from: HEIGHT - BOTTOM, to: TOP }
    }

    fn at(&self, value: f64) -> f64 {
        // Halves keep the difference of the largest numbers finite.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        self.from + share * (self.to - self.from)
    }

    /// Round values between the ends, about six.
    fn ticks(&self) -> Vec<(f64, String)> {
        let rough = self.high / 6.0 - self.low / 6.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| *step >= rough * (1.0 - 1e-9));
        let Some(step) = step.filter(|step| step.is_finite() && *step > 0.0) else { return Vec::new() };
        let first = (self.low / step).ceil();
        (0..12)
            .map(|place| (first + f64::from(place)) * step)
            .take_while(|value| *value <= self.high * (1.0 + 1e-12) || (*value - self.high).abs() < step * 1e-9)
            .map(|value| (value, significant(if value.abs() < step * 1e-9 { 0.0 } else { value })))
            .collect()
    }
}

/// A tenth of a unit is finer than any screen.
fn rounded(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
