//! Numbers as pages write them. What is undefined is a dash.

use minijinja::value::Value;

/// What stands for a number that is undefined.
const NONE: &str = "–";

/// A whole number with a thin space between thousands.
pub(crate) fn count(value: &Value) -> String {
    let Some(number) = value.as_i64() else { return number(value) };
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "−" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push('\u{202F}');
        }
        text.push(digit);
    }
    text
}

/// A number with four significant digits.
pub(crate) fn number(value: &Value) -> String {
    as_float(value).map_or_else(|| NONE.to_owned(), significant)
}

/// A score with three digits after the point.
pub(crate) fn score(value: &Value) -> String {
    as_float(value).map_or_else(|| NONE.to_owned(), |score| signed(&format!("{score:.3}")))
}

/// An amount of US dollars: more digits where it is small.
pub(crate) fn dollars(value: &Value) -> String {
    let digits = |amount: f64| if amount != 0.0 && amount.abs() < 1.0 { 4 } else { 2 };
    as_float(value).map_or_else(|| NONE.to_owned(), |amount| signed(&format!("${amount:.*}", digits(amount))))
}

/// A time of the lake to the minute: `2026-11-22 07:28 UTC`; another text as it is.
pub(crate) fn time(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..16), text.ends_with('Z')) {
        (Some(day), Some("T"), Some(minute), true) => format!("{day} {minute} UTC"),
        _ => text.to_owned(),
    }
}

/// Four significant digits.
pub(crate) fn significant(number: f64) -> String {
    digits(number, 4)
}

/// So many significant digits, without an exponent where that is short.
pub(crate) fn digits(number: f64, n_digits: i32) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor() as i32;
    let text = match magnitude {
        -4..=5 => {
            let text = format!("{number:.*}", (n_digits - 1 - magnitude).max(0) as usize);
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => format!("{number:.*e}", (n_digits - 1).max(0) as usize),
    };
    signed(&text)
}

/// The minus that is as wide as a plus.
fn signed(text: &str) -> String {
    text.replacen('-', "−", usize::from(text.starts_with(['-', '$'])))
}

fn as_float(value: &Value) -> Option<f64> {
    if value.is_number() { f64::try_from(value.clone()).ok().filter(|number| number.is_finite()) } else { None }
}

#[cfg(test)]
mod tests;
