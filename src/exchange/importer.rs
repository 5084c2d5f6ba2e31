//! What a format offers to the import: its parts in order, and the reading of one.

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::fault::{ExchangeError, Fault};
use super::known::Known;
use super::report::{Report, count};
use super::rows::Block;
use super::source::blocking;
use super::unit::{Firings, UnitData, Window};
use crate::error::{Error, Result};

/// A format that units can be read from.
///
/// The driver ([`super::import::import`]) asks for the parts once, reads some of them at the same time, takes their units in the
/// order of the parts, and commits. It drops rows that the lake has, so an importer may offer a unit again; it asks
/// [`Known`] only to spare itself the reading of files.
#[async_trait]
pub trait Importer: Send + Sync + 'static {
    /// Some tens of units that are read together: paths and keys, not contents.
    type Part: Send + 'static;

    /// The format's name on the command line; its runs are of stage `import_<format>`.
    fn format(&self) -> &'static str;

    /// Subject model id of every unit.
    fn model(&self) -> &str;

    /// Corpus id of every unit.
    fn corpus(&self) -> &str;

    /// Everything that decides what is read, for `runs`; no secrets.
    fn parameters(&self) -> serde_json::Value;

    /// The parts, in the order in which their units come into the tables: by hook point, then by neuron, where the format knows.
    ///
    /// # Errors
    /// When the source is not of this format.
    async fn parts(&self, known: &Known) -> Result<Vec<Self::Part>>;

    /// Reads one part and sends what it finds; parsing goes through [`blocking`].
    ///
    /// # Errors
    /// When the source fails, or what [`Outlet::bad`] returns. A file that is not of the format goes to [`Outlet::bad`].
    async fn read(&self, part: Self::Part, known: &Known, out: &mut Outlet) -> Result<()>;
}

/// Whether a file that is not of its format ends the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadFile {
    /// It does; what was read before it is committed.
    Stop,
    /// It is counted and left out.
    KeepGoing,
}

/// What a part found, on its way to the tables.
#[derive(Debug)]
pub(crate) enum Message {
    /// Rows, ready to be written.
    Rows(Box<Block>),
    /// The part ended; these are its counts.
    End(Box<Report>),
}

/// Where a part's units go; sending waits while the tables are behind.
#[derive(Debug)]
pub struct Outlet {
    sender: mpsc::Sender<Result<Message>>,
    known: Known,
    on_bad_file: OnBadFile,
    report: Report,
}

impl Outlet {
    pub(crate) fn new(sender: mpsc::Sender<Result<Message>>, known: Known, on_bad_file: OnBadFile) -> Self {
        Self { sender, known, on_bad_file, report: Report::default() }
    }

    /// Sends units; rows that the lake has are dropped on the way. Some tens of units at a time keep both cores busy.
    ///
    /// # Errors
    /// When the import has ended, and the part should too; also when a unit's own lists do not fit each other.
    pub async fn units(&mut self, units: Vec<UnitData>) -> Result<()> {
        let known = self.known.clone();
        let block = blocking(move || Block::of(units, &known)).await?;
        self.send(Message::Rows(Box::new(block))).await
    }

    /// Sends rows that were made where their units were read.
    ///
    /// # Errors
    /// When the import has ended, and the part should too.
    pub(crate) async fn block(&mut self, block: Block) -> Result<()> {
        self.send(Message::Rows(Box::new(block))).await
    }

    /// What a bad file does.
    pub(crate) fn on_bad_file(&self) -> OnBadFile {
        self.on_bad_file
    }

    /// Sends firings, each unit's all together; those of units whose firings the lake has are dropped.
    ///
    /// # Errors
    /// As [`Outlet::units`].
    pub async fn firings(&mut self, units: Vec<Firings>) -> Result<()> {
        let known = self.known.clone();
        let block = blocking(move || Block::of_firings(units, &known)).await?;
        self.send(Message::Rows(Box::new(block))).await
    }

    /// Sends windows that firings refer to, with their keys; those that the lake has are dropped.
    ///
    /// # Errors
    /// As [`Outlet::units`].
    pub async fn windows(&mut self, windows: Vec<(i64, Window)>) -> Result<()> {
        self.send(Message::Rows(Box::new(Block::of_windows(windows)))).await
    }

    /// Counts a file that was read.
    pub fn file(&mut self, bytes: usize) {
        self.report.n_files += 1;
        self.report.n_bytes += bytes as u64;
    }

    /// Counts a file that is not there; `kind` is what the format calls it.
    pub fn missing(&mut self, kind: &str) {
        count(&mut self.report.missing, kind);
    }

    /// Counts units that were not read because all of their rows are there.
    pub fn skipped(&mut self, n_units: u64) {
        self.report.n_skipped += n_units;
    }

    /// Counts something that the tables have no place for.
    pub fn not_kept(&mut self, what: &str) {
        count(&mut self.report.not_kept, what);
    }

    /// Reports a file that is not of its format.
    ///
    /// # Errors
    /// [`ExchangeError::BadFile`] unless the import keeps going; the part should end with it.
    pub fn bad(&mut self, fault: Fault) -> Result<()> {
        match self.on_bad_file {
            OnBadFile::Stop => Err(ExchangeError::BadFile(fault).into()),
            OnBadFile::KeepGoing => {
                self.report.add_fault(fault);
                Ok(())
            }
        }
    }

    /// Sends the counts, or the fault that ended the part.
    pub(crate) async fn end(mut self, result: Result<()>) {
        let last = match result {
            Ok(()) => Ok(Message::End(Box::new(std::mem::take(&mut self.report)))),
            Err(error) => Err(error),
        };
        // Nobody listens when the import ended before.
        let _ = self.sender.send(last).await;
    }

    async fn send(&self, message: Message) -> Result<()> {
        self.sender.send(Ok(message)).await.map_err(|_| Error::Interrupted)
    }
}
