//! The versions of a table, as its Delta log tells of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::definition::TableDefinition;
use crate::error::{Error, Result};

/// One commit of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Delta's number of the version that it made.
    pub(crate) version: u64,
    /// Milliseconds since 1970, UTC; `None` where the log does not tell.
    pub(crate) committed_at: Option<i64>,
    /// `CREATE TABLE`, `WRITE`, …; `None` where the log does not tell.
    pub(crate) operation: Option<String>,
    /// Rows of the files it added; `None` where the log counts none for one of them.
    pub(crate) n_rows_added: Option<i64>,
    /// The run that wrote it; `None` for a commit of another program.
    pub(crate) run: Option<String>,
    /// Whether its log and all its files are still there.
    pub(crate) readable: bool,
}

/// The version that a quoted name such as `"scores@12"` asks for: the table's name and what follows the `@`.
pub(crate) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((table, version)) => (table, Some(version)),
        None => (name, None),
    }
}

/// Numbers in the way people write them: `0 to 4, 7`.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let written: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first} to {last}"),
        })
        .collect();
    written.join(", ")
}

/// The fault of a name that asks for a version which is not there.
pub(crate) fn no_such_version(definition: &TableDefinition, commits: &[Commit], asked: &str) -> Error {
    let readable = ranges(commits.iter().filter(|commit| commit.readable).map(|commit| commit.version));
    let gone = commits.iter().any(|commit| !commit.readable);
    let expected = match (readable.is_empty(), gone) {
        (true, false) => "a table that was written".to_owned(),
        (true, true) => "a version whose files are still there, which none is".to_owned(),
        (false, false) => format!("one of its versions {readable}"),
        (false, true) => format!("one of its versions {readable} (files of the others were removed)"),
    };
    Error::Argument { argument: format!("table '{}@{asked}'", definition.name), expected, got: asked.to_owned() }
}

/// Every commit of a log in a folder, oldest first. Empty where the table was never written.
///
/// # Errors
/// When a file of the log cannot be read.
pub(super) fn commits(table: &Url, log: &Path) -> Result<Vec<Commit>> {
    let files = log_files(log).map_err(|source| Error::File { path: log.to_owned(), source })?;
    let first = files.first_readable();
    let read = files
        .commits
        .into_iter()
        .map(|(version, path)| {
            let read = std::fs::File::open(&path).and_then(|file| read_commit(version, BufReader::new(file)));
            read.map_err(|source| Error::File { path, source })
        })
        .collect::<Result<_>>()?;
    Ok(put_together(first, read, |path| is_there(table, path)))
}

/// Commits with what later ones say of their files. `is_there` is asked of files that were removed.
pub(super) fn put_together(first: u64, read: Vec<CommitRead>, is_there: impl Fn(&str) -> bool) -> Vec<Commit> {
    let mut added_in: HashMap<String, u64> = HashMap::new();
    let mut commits: Vec<Commit> = Vec::new();
    for read in read {
        let version = read.commit.version;
        for removed in read.removed {
            let since = added_in.remove(&removed).unwrap_or(0);
            if !is_there(&removed) {
                // It is part of every version from the one that added it to the one before this.
                for commit in commits.iter_mut().filter(|commit| commit.version >= since) {
                    commit.readable = false;
                }
            }
        }
        added_in.extend(read.added.into_iter().map(|path| (path, version)));
        commits.push(Commit { readable: version >= first, ..read.commit });
    }
    commits
}

/// The files of a log, by number.
pub(super) struct LogFiles<P> {
    pub(super) commits: BTreeMap<u64, P>,
    checkpoints: BTreeSet<u64>,
}

impl<P> Default for LogFiles<P> {
    fn default() -> Self {
        Self { commits: BTreeMap::new(), checkpoints: BTreeSet::new() }
    }
}

impl<P> LogFiles<P> {
    /// Takes a file in, if its name is one of a log.
    pub(super) fn add(&mut self, name: &str, place: P) {
        let Some((number, rest)) = name.split_once('.') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        if rest == "json" {
            self.commits.insert(number, place);
        } else if rest.starts_with("checkpoint.") {
            self.checkpoints.insert(number);
        }
    }

    /// The first version that can be read. Without the first commit a version is put together from a checkpoint at or before it.
    pub(super) fn first_readable(&self) -> u64 {
        match self.commits.contains_key(&0) {
            true => 0,
            false => self.checkpoints.first().copied().unwrap_or(u64::MAX),
        }
    }
}

fn log_files(log: &Path) -> std::io::Result<LogFiles<PathBuf>> {
    let mut files = LogFiles::default();
    let entries = match std::fs::read_dir(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str() {
            files.add(name, entry.path());
        }
    }
    Ok(files)
}

/// Whether a data file, by its path in the log, is in the table's folder; what cannot be looked up is not taken for lost.
fn is_there(table: &Url, path: &str) -> bool {
    let path = table.join(path).ok().and_then(|url| url.to_file_path().ok());
    path.is_none_or(|path| path.exists())
}

#[derive(Deserialize)]
struct Action {
    #[serde(rename = "commitInfo")]
    info: Option<serde_json::Map<String, serde_json::Value>>,
    add: Option<Added>,
    remove: Option<Removed>,
}

#[derive(Deserialize)]
struct Added {
    path: String,
    #[serde(rename = "dataChange", default)]
    data_change: bool,
    stats: Option<String>,
}

#[derive(Deserialize)]
struct Removed {
    path: String,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(rename = "numRecords")]
    n_rows: Option<i64>,
}

/// A commit, and the files that it adds and removes.
pub(super) struct CommitRead {
    commit: Commit,
    added: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// Reads the lines of a commit.
///
/// # Errors
/// When they cannot be read or are no JSON.
pub(super) fn read_commit(version: u64, lines: impl BufRead) -> std::io::Result<CommitRead> {
    let mut read = CommitRead {
        commit: Commit {
            version,
            committed_at: None,
            operation: None,
            n_rows_added: Some(0),
            run: None,
            readable: true,
        },
        added: Vec::new(),
        removed: Vec::new(),
    };
    for line in lines.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let action: Action = serde_json::from_str(&line).map_err(std::io::Error::other)?;
        if let Some(info) = action.info {
            let text = |name: &str| info.get(name).and_then(|value| value.as_str()).map(str::to_owned);
            read.commit.committed_at = info.get("timestamp").and_then(serde_json::Value::as_i64);
            read.commit.operation = text("operation");
            read.commit.run = text("neuronlake.run");
        }
        if let Some(added) = action.add {
            if added.data_change {
                let rows = added.stats.and_then(|stats| serde_json::from_str::<Statistics>(&stats).ok()?.n_rows);
                let sum = read.commit.n_rows_added.zip(rows);
                read.commit.n_rows_added = sum.and_then(|(sum, rows)| sum.checked_add(rows));
            }
            read.added.push(added.path);
        }
        if let Some(removed) = action.remove {
            read.removed.push(removed.path);
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
