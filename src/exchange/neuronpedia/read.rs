//! The import: batches of every source, in the order features, activations, explanations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::dashboard;
use super::layout::{Dump, Selection, dumps};
use super::records::{self, Read};
use super::rows::{ActivationRow, ExplanationRow, FeatureRow, Index, ScoreRow};
use super::units::{self, Numbers, Shared};
use crate::error::{Error, Result};
use crate::exchange::fault::Fault;
use crate::exchange::importer::{Importer, Outlet};
use crate::exchange::known::Known;
use crate::exchange::lines::Input;
use crate::exchange::loose_json;
use crate::exchange::pump::{Pump, pump};
use crate::exchange::source::Source;

/// Lines of activations held at a time, in bytes; a batch of the site's own has about 60 MB.
const HELD: usize = 256 << 20;

/// An import of dumps or of SAEDashboard's batches.
#[derive(Debug)]
pub struct Neuronpedia {
    folder: Source,
    selection: Selection,
    dumps: Vec<Dump>,
    // Features whose activations were read, by source: a second file with some of them would be dropped in silence.
    seen: Vec<Seen>,
}

type Seen = Arc<Mutex<HashMap<i32, String>>>;

impl Neuronpedia {
    /// Looks for dumps and batches below a folder.
    ///
    /// # Errors
    /// [`crate::exchange::fault::ExchangeError::NoSuchSource`] when there is none that is wanted, when a hook point is not known, or when
    /// there are several models or corpora.
    pub async fn open(folder: Source, selection: Selection) -> Result<Self> {
        let dumps = dumps(&folder, &selection).await?;
        let seen = dumps.iter().map(|_| Seen::default()).collect();
        Ok(Self { folder, selection, dumps, seen })
    }

    fn first(&self) -> Option<&Shared> {
        self.dumps.first().map(|dump| &dump.shared)
    }
}

/// Files that are read by one parser, in order.
#[derive(Debug)]
pub struct Part {
    source: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Features(String),
    Activations(String),
    // All files: the number of an explanation among those of its explainer goes on from file to file.
    Explanations(Vec<String>, Vec<String>),
    Dashboard(String),
}

#[async_trait]
impl Importer for Neuronpedia {
    type Part = Part;

    fn format(&self) -> &'static str {
        "neuronpedia"
    }

    fn model(&self) -> &str {
        self.first().map_or("", |shared| &shared.model)
    }

    fn corpus(&self) -> &str {
        self.first().map_or("", |shared| &shared.corpus)
    }

    fn parameters(&self) -> serde_json::Value {
        let Selection { model, sources, hooks, corpus } = &self.selection;
        serde_json::json!({
            "source": self.folder.shown(), "model": model, "sources": sources, "hooks": hooks, "corpus": corpus,
        })
    }

    async fn parts(&self, _known: &Known) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (source, dump) in self.dumps.iter().enumerate() {
            let files = &dump.files;
            let part = |kind| Part { source, kind };
            parts.extend(files.dashboards.iter().cloned().map(Kind::Dashboard).map(part));
            parts.extend(files.features.iter().cloned().map(Kind::Features).map(part));
            parts.extend(files.activations.iter().cloned().map(Kind::Activations).map(part));
            if !files.explanations.is_empty() {
                parts.push(part(Kind::Explanations(files.explanations.clone(), files.scores.clone())));
            }
        }
        Ok(parts)
    }

    async fn read(&self, part: Part, _known: &Known, out: &mut Outlet) -> Result<()> {
        let dump = self.dumps.get(part.source).ok_or_else(|| Error::internal("a part of no source"))?;
        let (shared, source) = (dump.shared.clone(), dump.source.clone());
        let seen = Arc::clone(&self.seen[part.source]);
        match part.kind {
            Kind::Features(path) => {
                let Some(input) = self.input(&path, "features", out).await? else { return Ok(()) };
                pump(out, move |pump| read_features(&input, &shared, &source, pump)).await
            }
            Kind::Activations(path) => {
                let Some(input) = self.input(&path, "activations", out).await? else { return Ok(()) };
                pump(out, move |pump| read_activations(&input, &shared, &source, &seen, HELD, pump)).await
            }
            Kind::Explanations(files, scores) => {
                let mut numbers = Numbers::default();
                for path in files {
                    let Some(input) = self.input(&path, "explanations", out).await? else { continue };
                    let beside = scores.iter().find(|other| other.rsplit('/').next() == path.rsplit('/').next());
                    let beside = match beside {
                        Some(path) => Input::of(&self.folder, path).await?,
                        None => None,
                    };
                    let (shared, source) = (shared.clone(), source.clone());
                    let (sender, receiver) = std::sync::mpsc::channel();
                    let given = std::mem::take(&mut numbers);
                    pump(out, move |pump| {
                        let mut numbers = given;
                        let read = read_explanations(&input, beside.as_ref(), &shared, &source, &mut numbers, pump);
                        let _ = sender.send(numbers);
                        read
                    })
                    .await?;
                    numbers = receiver.recv().unwrap_or_default();
                }
                Ok(())
            }
            Kind::Dashboard(path) => {
                let Some(input) = self.input(&path, "batch", out).await? else { return Ok(()) };
                pump(out, move |pump| dashboard::read(&input, &shared, pump)).await
            }
        }
    }
}

impl Neuronpedia {
    async fn input(&self, path: &str, kind: &str, out: &mut Outlet) -> Result<Option<Input>> {
        let input = Input::of(&self.folder, path).await?;
        if input.is_none() {
            out.missing(kind);
        }
        Ok(input)
    }
}

/// Whether the reading of a file goes on after a line.
enum Then {
    Next,
    End,
}

/// Whether what is wrong with a file is told: once, however often it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    Tell,
    Told,
}

impl Faults {
    fn tell(self, fault: Fault, pump: &mut Pump) -> Result<()> {
        match self {
            Self::Tell => pump.bad(fault),
            Self::Told => Ok(()),
        }
    }
}

/// Parses every line; faults go to the pump with their line.
fn each_line<T: DeserializeOwned>(
    input: &Input,
    faults: Faults,
    pump: &mut Pump,
    mut take: impl FnMut(T, usize, usize, &mut Pump) -> Result<Then>,
) -> Result<()> {
    let mut lines = input.lines()?;
    loop {
        let (number, line) = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            // What follows in the file cannot be read.
            Err((number, reason)) => return faults.tell(Fault::in_line(&input.shown, number, reason), pump),
        };
        match loose_json::parse::<T>(line) {
            Ok(row) => {
                if let Then::End = take(row, number, line.len(), pump)? {
                    return Ok(());
                }
            }
            Err(error) => faults.tell(Fault::in_line(&input.shown, number, without_line(&error)), pump)?,
        }
    }
}

/// A parser's fault in one line: its column is kept, its line is always 1.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at column")
}

/// Whether a row is of the model and source whose folder it stands in.
fn belongs(model: Option<&str>, source: Option<&str>, shared: &Shared, own: &str) -> Result<(), String> {
    let other_model = model.filter(|model| *model != shared.model);
    let other_source = source.filter(|source| *source != own);
    if other_model.is_none() && other_source.is_none() {
        return Ok(());
    }
    let got = (model.unwrap_or(&shared.model), source.unwrap_or(own));
    Err(format!("expected rows of '{}', source '{own}', got one of '{}', source '{}'", shared.model, got.0, got.1))
}

fn read_features(input: &Input, shared: &Shared, source: &str, pump: &mut Pump) -> Result<()> {
    each_line(input, Faults::Tell, pump, |row: FeatureRow, number, _, pump| {
        let read = belongs(row.model_id.as_deref(), row.source.as_deref(), shared, source)
            .and_then(|()| units::feature(row, shared));
        match read {
            Ok((unit, not_kept)) => {
                for what in not_kept {
                    pump.not_kept(what)?;
                }
                pump.unit(unit)?;
            }
            Err(reason) => pump.bad(Fault::in_line(&input.shown, number, reason))?,
        }
        Ok(Then::Next)
    })?;
    pump.file(input.size())
}

/// Reads a file as often as it takes to hold no more than `limit` bytes of its lines: rows of one unit may stand anywhere in it.
/// Each time it keeps the smallest indices that it can.
fn read_activations(
    input: &Input,
    shared: &Shared,
    source: &str,
    seen: &Seen,
    limit: usize,
    pump: &mut Pump,
) -> Result<()> {
    let mut from = Index(0);
    let mut faults = Faults::Tell;
    loop {
        let mut held: BTreeMap<Index, Vec<Read>> = BTreeMap::new();
        let mut n_bytes = 0;
        // The smallest index that was let go this time.
        let mut until: Option<Index> = None;
        let mut elsewhere = HashSet::new();
        each_line(input, faults, pump, |row: ActivationRow, number, length, pump| {
            let bad = |reason: String, pump: &mut Pump| faults.tell(Fault::in_line(&input.shown, number, reason), pump);
            if let Err(reason) = belongs(row.model_id.as_deref(), row.source.as_deref(), shared, source) {
                bad(reason, pump)?;
                return Ok(Then::Next);
            }
            let Some(index) = row.index else {
                bad("expected a field 'index', got none".to_owned(), pump)?;
                return Ok(Then::Next);
            };
            if faults == Faults::Tell && row.attribution.0 {
                pump.not_kept("direct feature attribution")?;
            }
            let other = seen.lock().get(&index.0).filter(|other| **other != input.shown).cloned();
            if let Some(other) = other {
                if elsewhere.insert(index) {
                    bad(format!("expected feature {} in one file only, got it in '{other}' too", index.0), pump)?;
                }
                return Ok(Then::Next);
            }
            match records::read(row, length) {
                Ok(_) if index < from || until.is_some_and(|until| index >= until) => {}
                Ok(read) => {
                    n_bytes += length;
                    held.entry(index).or_default().push(read);
                }
                Err(reason) => bad(reason, pump)?,
            }
            while n_bytes > limit && held.len() > 1 {
                if let Some((index, rows)) = held.pop_last() {
                    n_bytes -= rows.iter().map(|row| row.bytes).sum::<usize>();
                    until = Some(index);
                }
            }
            if n_bytes > limit {
                let reason = format!("expected at most {limit} bytes of activations of feature {}, got more", index.0);
                pump.bad(Fault::in_line(&input.shown, number, reason))?;
                held.clear();
                return Ok(Then::End);
            }
            Ok(Then::Next)
        })?;
        for (index, rows) in held {
            seen.lock().insert(index.0, input.shown.clone());
            let (records, n_twice) = records::records(rows);
            for _ in 0..n_twice {
                pump.not_kept("activation listed twice")?;
            }
            let mut unit = shared.unit(index);
            unit.records = records;
            pump.unit(unit)?;
        }
        match until {
            Some(until) => from = until,
            None => break,
        }
        faults = Faults::Told;
    }
    pump.file(input.size())
}

fn read_explanations(
    input: &Input,
    beside: Option<&Input>,
    shared: &Shared,
    source: &str,
    numbers: &mut Numbers,
    pump: &mut Pump,
) -> Result<()> {
    // A batch of ours has its scores in a file beside it too; they are read from there where the lines have none.
    let mut scores: HashMap<String, Vec<ScoreRow>> = HashMap::new();
    if let Some(input) = beside {
        each_line(input, Faults::Tell, pump, |row: ScoreRow, _, _, _| {
            if let Some(id) = row.explanation.clone() {
                scores.entry(id).or_default().push(row);
            }
            Ok(Then::Next)
        })?;
        pump.file(input.size())?;
    }
    each_line(input, Faults::Tell, pump, |row: ExplanationRow, number, _, pump| {
        let others = row.id.as_ref().and_then(|id| scores.remove(id)).unwrap_or_default();
        let read = belongs(row.model_id.as_deref(), row.source.as_deref(), shared, source)
            .and_then(|()| units::explanation(row, others, numbers));
        match read {
            Ok((index, explanation, not_kept)) => {
                for what in not_kept {
                    pump.not_kept(what)?;
                }
                let mut unit = shared.unit(index);
                unit.explanations.push(explanation);
                pump.unit(unit)?;
            }
            Err(reason) => pump.bad(Fault::in_line(&input.shown, number, reason))?,
        }
        Ok(Then::Next)
    })?;
    pump.file(input.size())
}

/// The parsers, for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::exchange::pump::{Found, found};

    pub(in super::super) fn features(name: &str, text: String, shared: &Shared, source: &str) -> Found {
        let input = Input::bytes(name, text);
        found(|pump| read_features(&input, shared, source, pump))
    }

    pub(in super::super) fn activations(
        name: &str,
        text: String,
        shared: &Shared,
        source: &str,
        limit: usize,
    ) -> Found {
        let input = Input::bytes(name, text);
        found(|pump| read_activations(&input, shared, source, &Seen::default(), limit, pump))
    }

    pub(in super::super) fn explanations(
        name: &str,
        text: String,
        beside: Option<String>,
        shared: &Shared,
        source: &str,
    ) -> Found {
        let (input, beside) = (Input::bytes(name, text), beside.map(|text| Input::bytes("scores", text)));
        found(|pump| read_explanations(&input, beside.as_ref(), shared, source, &mut Numbers::default(), pump))
    }
}
