//! What is wrong with a pipeline file: every fault, each with its line and field.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One fault of a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// 1-based line; `None` for what the file does not say.
    pub line: Option<usize>,
    /// The field, such as `models[0].hook`; empty where the text is no TOML.
    pub field: String,
    /// What was expected and what was there.
    pub reason: String,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match self.field.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.field, self.reason),
        }
    }
}

/// A pipeline file that cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("file '{}': {}", path.display(), listed(faults))]
pub struct PipelineFaults {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, in the order of its lines.
    pub faults: Vec<FieldFault>,
}

fn listed(faults: &[FieldFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A path of keys as people write it: `models[0].hook`.
pub(super) fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        match part.parse::<usize>() {
            Ok(index) => text.push_str(&format!("[{index}]")),
            Err(_) if text.is_empty() => text.push_str(part),
            Err(_) => text.push_str(&format!(".{part}")),
        }
    }
    text
}

/// Faults as they are found.
pub(super) struct Faults<'a> {
    text: &'a str,
    found: Vec<FieldFault>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Text that is no TOML.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let line = error.span().map(|span| line(self.text, &span));
        let reason = format!("expected TOML: {}", one_line(error.message()));
        self.found.push(FieldFault { line, field: String::new(), reason });
    }

    /// A key that is not known, or a value of another type.
    pub(super) fn form(&mut self, error: &toml::de::Error, field: Option<&str>) {
        let line = error.span().map(|span| line(self.text, &span));
        self.found.push(FieldFault {
            line,
            field: field.unwrap_or_default().to_owned(),
            reason: with_value(self.text, &one_line(error.message()), error.span()),
        });
    }

    /// A value that has the right form and cannot be used.
    pub(super) fn value(&mut self, document: &DeTable<'_>, path: &[&str], expected: &str, got: &str) {
        let line = span_of(document, path).map(|span| line(self.text, &span));
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.found.push(FieldFault { line, field: shown(&path), reason: format!("expected {expected}, got '{got}'") });
    }

    /// As [`Faults::value`], in the words of another fault.
    pub(super) fn said(&mut self, document: &DeTable<'_>, path: &[&str], reason: &str) {
        let line = span_of(document, path).map(|span| line(self.text, &span));
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.found.push(FieldFault { line, field: shown(&path), reason: one_line(reason) });
    }

    pub(super) fn add(&mut self, faults: &[FieldFault]) {
        self.found.extend_from_slice(faults);
    }

    pub(super) fn into_list(mut self) -> Vec<FieldFault> {
        self.found.sort_by_key(|fault| fault.line);
        self.found
    }
}

/// Where a key stands; where it is left out, the nearest table around it that is there.
fn span_of(document: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    fn inside(value: &Spanned<DeValue<'_>>, path: &[&str]) -> Option<Range<usize>> {
        let Some((first, rest)) = path.split_first() else { return Some(value.span()) };
        let deeper = match value.get_ref() {
            DeValue::Table(table) => span_of(table, path),
            DeValue::Array(list) => list.get(first.parse::<usize>().ok()?).and_then(|item| inside(item, rest)),
            _ => None,
        };
        deeper.or_else(|| Some(value.span()))
    }
    let (first, rest) = path.split_first()?;
    let (key, value) = document.iter().find(|(key, _)| key.get_ref() == first)?;
    match rest.is_empty() {
        true => Some(key.span()),
        false => inside(value, rest),
    }
}

fn line(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The message with what stands there, where it does not say so.
fn with_value(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let there =
        span.and_then(|span| text.get(span)).map(str::trim).filter(|there| !there.is_empty() && there.len() < 60);
    match there {
        Some(there) if !message.contains(there.trim_matches('"')) => format!("{message}, got {there}"),
        _ => message.to_owned(),
    }
}
