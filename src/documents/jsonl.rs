//! JSON lines: one object a line, the text in one of its fields.

use serde_json::{Map, Value};

use crate::documents::emit::{Emitter, Flow};
use crate::documents::lines::Lines;
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};

/// The fields that the embedded corpus has.
const EMBEDDED_TITLE: &str = "document";
const EMBEDDED_TEXT: &str = "text";

/// The most field names shown in a message.
const FIELDS_SHOWN: usize = 20;

/// Reads the text field of every line into the emitter; blank lines are skipped, `null` counts as an empty text.
///
/// # Errors
/// Those of [`Lines::next`], and [`CorpusError::Field`].
pub(crate) fn read_json_lines(mut lines: Lines, field: &str, emitter: &mut Emitter) -> Result<Flow> {
    while let Some(mut object) = next_object(&mut lines, field)? {
        let text = take_text(&lines, &mut object, field)?;
        if emitter.emit(text).is_break() {
            return Ok(Flow::Break(()));
        }
    }
    Ok(Flow::Continue(()))
}

/// Reads the embedded corpus, whose lines have a title each.
///
/// # Errors
/// As [`read_json_lines`].
pub(crate) fn read_embedded(mut lines: Lines, emitter: &mut Emitter) -> Result<Flow> {
    while let Some(mut object) = next_object(&mut lines, EMBEDDED_TEXT)? {
        let title = take_text(&lines, &mut object, EMBEDDED_TITLE)?;
        let text = take_text(&lines, &mut object, EMBEDDED_TEXT)?;
        if emitter.emit_from(format!("embedded:{title}"), text).is_break() {
            return Ok(Flow::Break(()));
        }
    }
    Ok(Flow::Continue(()))
}

/// The next line that is not blank, parsed.
fn next_object(lines: &mut Lines, field: &str) -> Result<Option<Map<String, Value>>> {
    loop {
        let parsed = match lines.next()? {
            None => return Ok(None),
            Some(line) if line.trim().is_empty() => continue,
            Some(line) => serde_json::from_str::<Value>(line),
        };
        let reason = match parsed {
            Ok(Value::Object(object)) => return Ok(Some(object)),
            Ok(value) => format!("{} (one JSON object a line is wanted)", kind(&value)),
            Err(error) => format!("no valid JSON: {error}"),
        };
        return Err(fault(lines, field, reason));
    }
}

/// Takes a text out of an object.
fn take_text(lines: &Lines, object: &mut Map<String, Value>, field: &str) -> Result<String> {
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) => Ok(String::new()),
        Some(value) => Err(fault(lines, field, format!("{} in it", kind(&value)))),
        None => Err(fault(lines, field, names("fields", object.keys().map(String::as_str)))),
    }
}

fn fault(lines: &Lines, field: &str, reason: String) -> Error {
    CorpusError::Field { url: lines.url().to_owned(), line: lines.number(), field: field.to_owned(), reason }.into()
}

/// What a JSON value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The names that were found instead of the wanted one, for messages.
pub(crate) fn names<'a>(what: &str, found: impl ExactSizeIterator<Item = &'a str>) -> String {
    let n = found.len();
    if n == 0 {
        return format!("no {what}");
    }
    let mut list: Vec<String> = found.take(FIELDS_SHOWN).map(|name| format!("'{}'", name.escape_debug())).collect();
    if n > FIELDS_SHOWN {
        list.push(format!("and {} more", n - FIELDS_SHOWN));
    }
    format!("{what} {}", list.join(", "))
}
