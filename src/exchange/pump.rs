//! Parsing on a thread of its own: what it finds goes to the import as it comes.

use std::borrow::Cow;

use tokio::sync::mpsc;

use super::fault::Fault;
use super::importer::Outlet;
use super::unit::{Firings, UnitData, Window};
use crate::error::{Error, Result};

/// Units sent at a time.
const UNITS: usize = 64;

/// What a parser finds.
enum Event {
    Units(Vec<UnitData>),
    Firings(Vec<Firings>),
    Windows(Vec<(i64, Window)>),
    Bad(Fault),
    File(usize),
    NotKept(Cow<'static, str>),
}

/// Where a parser puts what it finds; it waits while the import is behind.
pub(crate) struct Pump {
    sender: mpsc::Sender<Event>,
    units: Vec<UnitData>,
}

impl Pump {
    /// A unit; some tens are sent together.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn unit(&mut self, unit: UnitData) -> Result<()> {
        self.units.push(unit);
        if self.units.len() < UNITS { Ok(()) } else { self.flush() }
    }

    /// Firings of some units, each with all of its own.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn firings(&mut self, units: Vec<Firings>) -> Result<()> {
        self.send(Event::Firings(units))
    }

    /// Windows that firings refer to, with their keys.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn windows(&mut self, windows: Vec<(i64, Window)>) -> Result<()> {
        self.send(Event::Windows(windows))
    }

    /// Something that is not of the format.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn bad(&mut self, fault: Fault) -> Result<()> {
        // What was found before the fault is committed before it ends the import.
        self.flush()?;
        self.send(Event::Bad(fault))
    }

    /// Counts a file that was read, with its size as stored.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn file(&mut self, bytes: u64) -> Result<()> {
        self.send(Event::File(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }

    /// Counts something that the tables have no place for.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn not_kept(&mut self, what: impl Into<Cow<'static, str>>) -> Result<()> {
        self.send(Event::NotKept(what.into()))
    }

    fn flush(&mut self) -> Result<()> {
        if self.units.is_empty() {
            return Ok(());
        }
        let units = std::mem::take(&mut self.units);
        self.send(Event::Units(units))
    }

    fn send(&self, event: Event) -> Result<()> {
        self.sender.blocking_send(event).map_err(|_| Error::Interrupted)
    }
}

/// Runs a parser off the threads of the asynchronous tasks and hands what it finds to the import.
///
/// # Errors
/// Those of the parser, and of [`Outlet`].
pub(crate) async fn pump(
    out: &mut Outlet,
    parser: impl FnOnce(&mut Pump) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (sender, mut receiver) = mpsc::channel(4);
    let work = super::source::blocking(move || {
        let mut pump = Pump { sender, units: Vec::new() };
        parser(&mut pump)?;
        pump.flush()
    });
    let work = tokio::spawn(work);
    let mut heard = Ok(());
    while let Some(event) = receiver.recv().await {
        heard = match event {
            Event::Units(units) => out.units(units).await,
            Event::Firings(units) => out.firings(units).await,
            Event::Windows(windows) => out.windows(windows).await,
            Event::Bad(fault) => out.bad(fault),
            Event::File(bytes) => {
                out.file(bytes);
                Ok(())
            }
            Event::NotKept(what) => {
                out.not_kept(&what);
                Ok(())
            }
        };
        if heard.is_err() {
            break;
        }
    }
    // The parser hears of it when it sends the next time.
    drop(receiver);
    let done = work.await.map_err(|error| Error::internal(error.to_string()))?;
    heard.and(done)
}

/// What a parser found, for tests of parsers.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) units: Vec<UnitData>,
    pub(crate) firings: Vec<Firings>,
    pub(crate) windows: Vec<(i64, Window)>,
    pub(crate) faults: Vec<String>,
    pub(crate) not_kept: std::collections::BTreeMap<Cow<'static, str>, u64>,
    pub(crate) n_files: u64,
}

/// Everything that a parser finds, in order.
#[cfg(test)]
pub(crate) fn found(parser: impl FnOnce(&mut Pump) -> Result<()> + Send) -> Found {
    let (sender, mut receiver) = mpsc::channel(4);
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            let mut pump = Pump { sender, units: Vec::new() };
            parser(&mut pump)?;
            pump.flush()
        });
        let mut found = Found::default();
        while let Some(event) = receiver.blocking_recv() {
            match event {
                Event::Units(units) => found.units.extend(units),
                Event::Firings(units) => found.firings.extend(units),
                Event::Windows(windows) => found.windows.extend(windows),
                Event::Bad(fault) => found.faults.push(fault.to_string()),
                Event::File(_) => found.n_files += 1,
                Event::NotKept(what) => *found.not_kept.entry(what).or_default() += 1,
            }
        }
        work.join().expect("the parser ends").expect("the parser succeeds");
        found
    })
}
