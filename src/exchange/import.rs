//! The import of any format: parts are read at the same time, their units committed in order, chunk by chunk.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::importer::{Importer, Message, OnBadFile, Outlet};
use super::known::Known;
use super::lake_writer::LakeWriter;
use super::report::Report;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::tables::lease::Lease;
use crate::tables::runs::RunRow;

/// Blocks that a part may have ready before they are taken.
const BLOCKS_AHEAD: usize = 2;

/// How an import goes about it.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions {
    /// What a bad file does.
    pub on_bad_file: OnBadFile,
    /// Parts read at the same time.
    pub parts_at_once: usize,
}

impl Default for ImportOptions {
    /// Two parts a core: one is fetched while another is parsed.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { on_bad_file: OnBadFile::Stop, parts_at_once: 2 * cores }
    }
}

/// Told how far an import is: parts done, parts in all, and what was counted so far.
pub type Watch<'a> = &'a (dyn Fn(u64, u64, &Report) + Send + Sync);

/// Imports everything that the importer's source has and the lake has not.
///
/// A chunk of whole units is committed at a time, so a kill loses at most the chunk under way; importing again adds what is missing.
///
/// # Errors
/// The first fault in the order of the parts; the units read before it are committed.
pub async fn import<I: Importer>(
    session: &Session,
    importer: Arc<I>,
    options: ImportOptions,
    watch: Watch<'_>,
) -> Result<Report> {
    // What the lake has is looked at once: another import of the same model would add the same units.
    let turn = format!("import {} {}", importer.model(), importer.corpus());
    let lease = Lease::take(session.lake(), &turn).await?;
    let report = import_alone(session, importer, options, watch).await;
    lease.release().await;
    report
}

async fn import_alone<I: Importer>(
    session: &Session,
    importer: Arc<I>,
    options: ImportOptions,
    watch: Watch<'_>,
) -> Result<Report> {
    let known = Known::load(session, importer.model(), importer.corpus()).await?;
    let parts = importer.parts(&known).await?;
    let mut run = RunRow::starting(&format!("import_{}", importer.format()), importer.parameters().to_string());
    run.model = Some(importer.model().to_owned());
    run.corpus = Some(importer.corpus().to_owned());
    let mut writer = LakeWriter::new(session.lake().clone(), run, known.clone());
    let mut report = Report::default();

    let n_parts = parts.len() as u64;
    let mut n_done = 0;
    let mut waiting = parts.into_iter();
    let mut reading: VecDeque<mpsc::Receiver<Result<Message>>> = VecDeque::new();
    let result = loop {
        while reading.len() < options.parts_at_once.max(1)
            && let Some(part) = waiting.next()
        {
            reading.push_back(read(Arc::clone(&importer), part, known.clone(), options.on_bad_file));
        }
        let Some(first) = reading.front_mut() else { break Ok(()) };
        match first.recv().await {
            Some(Ok(Message::Rows(block))) => {
                report.n_units += block.n_units;
                report.n_skipped += block.n_known;
                writer.write(*block).await?;
                if writer.is_due() {
                    writer.commit().await?;
                }
            }
            Some(Ok(Message::End(counts))) => {
                report.merge(*counts);
                n_done += 1;
                watch(n_done, n_parts, &report);
                reading.pop_front();
            }
            Some(Err(error)) => break Err(error),
            None => break Err(Error::internal("a part ended without a word")),
        }
    };
    // What was read whole before a fault stays.
    writer.commit().await?;
    result?;
    report.rows = writer.finish().await?;
    Ok(report)
}

/// Starts reading a part.
fn read<I: Importer>(
    importer: Arc<I>,
    part: I::Part,
    known: Known,
    on_bad_file: OnBadFile,
) -> mpsc::Receiver<Result<Message>> {
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    tokio::spawn(async move {
        let mut out = Outlet::new(sender, known.clone(), on_bad_file);
        let result = importer.read(part, &known, &mut out).await;
        out.end(result).await;
    });
    receiver
}
