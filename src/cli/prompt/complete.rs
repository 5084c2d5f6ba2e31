//! Completion of names, keywords, commands and file names.

use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::cli::prompt::Names;
use crate::cli::prompt::command::COMMANDS;
use crate::cli::table::Format;

/// The keywords offered, in capitals as in our queries.
const KEYWORDS: [&str; 40] = [
    "ALTER",
    "AND",
    "ANALYZE",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CREATE",
    "CROSS JOIN",
    "DELETE FROM",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXPLAIN",
    "FROM",
    "GROUP BY",
    "HAVING",
    "ILIKE",
    "IN",
    "INSERT INTO",
    "IS NULL",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "NOT",
    "ON",
    "OR",
    "ORDER BY",
    "SELECT",
    "SHOW TABLES",
    "THEN",
    "UNION ALL",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// What rustyline asks while a line is edited.
pub(super) struct PromptHelper {
    names: Arc<Mutex<Names>>,
    files: FilenameCompleter,
}

impl PromptHelper {
    pub(super) fn new(names: Arc<Mutex<Names>>) -> Self {
        Self { names, files: FilenameCompleter::new() }
    }
}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, ctx: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.trim_start().starts_with("\\i ") {
            return self.files.complete(line, pos, ctx);
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, found) = candidates(line, pos, &names);
        Ok((start, found.into_iter().map(|name| Pair { display: name.clone(), replacement: name }).collect()))
    }
}

impl Hinter for PromptHelper {
    type Hint = String;
}

impl Highlighter for PromptHelper {}

impl Validator for PromptHelper {}

impl Helper for PromptHelper {}

/// Where the word before the cursor starts, and what it may become.
pub(super) fn candidates(line: &str, pos: usize, names: &Names) -> (usize, Vec<String>) {
    let before = line.get(..pos).unwrap_or(line);
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '\\' | '?')))
        .map_or(0, |at| at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
    let word = before.get(start..).unwrap_or_default().to_lowercase();
    let earlier = before.get(..start).unwrap_or_default().trim();
    let mut found: Vec<String> = match earlier {
        "" if word.starts_with('\\') => COMMANDS.iter().map(|name| (*name).to_owned()).collect(),
        "\\d" => names.tables.clone(),
        "\\format" => Format::value_variants().iter().map(|format| format.as_str().to_owned()).collect(),
        // Every keyword and name would be no help.
        _ if word.is_empty() => Vec::new(),
        _ => {
            let functions = names.functions.iter().map(|name| format!("{name}("));
            let keywords = KEYWORDS.iter().map(|name| (*name).to_owned());
            names.tables.iter().chain(&names.columns).cloned().chain(functions).chain(keywords).collect()
        }
    };
    found.retain(|name| name.to_lowercase().starts_with(&word));
    found.sort();
    found.dedup();
    (start, found)
}
