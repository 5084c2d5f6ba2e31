//! Parsing on a thread of its own: what it finds goes to the import as it comes.

use tokio::sync::mpsc;

use super::fault::Fault;
use super::importer::Outlet;
use super::unit::UnitData;
use crate::error::{Error, Result};

/// Units sent at a time.
const UNITS: usize = 64;

/// What a parser finds.
enum Event {
    Units(Vec<UnitData>),
    Bad(Fault),
    File(usize),
    Missing(String),
    Skipped(u64),
    NotKept(&'static str),
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

    /// Counts a file that is not there.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn missing(&mut self, kind: &str) -> Result<()> {
        self.send(Event::Missing(kind.to_owned()))
    }

    /// Counts units that were not read because the lake has them.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn skipped(&mut self, n_units: u64) -> Result<()> {
        self.send(Event::Skipped(n_units))
    }

    /// Counts something that the tables have no place for.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the import has ended.
    pub(crate) fn not_kept(&mut self, what: &'static str) -> Result<()> {
        self.send(Event::NotKept(what))
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
            Event::Bad(fault) => out.bad(fault),
            Event::File(bytes) => {
                out.file(bytes);
                Ok(())
            }
            Event::Missing(kind) => {
                out.missing(&kind);
                Ok(())
            }
            Event::Skipped(n_units) => {
                out.skipped(n_units);
                Ok(())
            }
            Event::NotKept(what) => {
                out.not_kept(what);
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
