//! The commands that start with a backslash.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::table::Format;

/// What `\?` prints.
pub(super) const HELP: &str = "\\d          tables and views
\\d TABLE    columns of a table
\\df         functions
\\x          expanded layout on or off
\\format F   table, csv, json, jsonl or parquet
\\i FILE     run the statements of a file
\\?          this help
\\q          quit (or ^D)
A statement ends with a semicolon and may have several lines; ^C clears it, or stops it when it runs.";

/// The commands, for completion.
pub(super) const COMMANDS: [&str; 7] = ["\\d", "\\df", "\\format", "\\i", "\\q", "\\x", "\\?"];

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Tables,
    Columns(String),
    Functions,
    Expanded,
    Include(PathBuf),
    Format(Format),
    Help,
}

impl Command {
    /// Parses a line that starts with a backslash; the error says what was expected.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        // Many end a command like a statement, out of habit.
        let line = line.trim().trim_end_matches(';').trim_end();
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        let command = match (name, argument) {
            ("\\q", "") => Self::Quit,
            ("\\d", "") => Self::Tables,
            ("\\d", table) => Self::Columns(table.to_owned()),
            ("\\df", "") => Self::Functions,
            ("\\x", "") => Self::Expanded,
            ("\\?" | "\\h", "") => Self::Help,
            ("\\i", "") => return Err("expected \\i FILE, got no file".to_owned()),
            ("\\i", path) => Self::Include(PathBuf::from(path)),
            ("\\format", format) => {
                let known =
                    || Format::value_variants().iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ");
                let parsed = Format::from_str(format, true);
                Self::Format(parsed.map_err(|_| format!("expected \\format with one of {}, got '{format}'", known()))?)
            }
            ("\\q" | "\\df" | "\\x" | "\\?" | "\\h", _) => {
                return Err(format!("expected {name} alone, got '{argument}' after it"));
            }
            _ => return Err(format!("expected a command (\\? lists them), got '{name}'")),
        };
        Ok(command)
    }
}
