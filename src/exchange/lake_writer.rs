//! Blocks of rows on their way into the tables: encoded by a thread a table, committed chunk by chunk in an order that a kill cannot
//! spoil.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::known::Known;
use super::rows::{Block, TABLES, definition, window_rows};
use super::unit::Window;
use crate::error::{Error, Result};
use crate::tables::definition::TableDefinition;
use crate::tables::lake::Lake;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;

/// The table of what all others refer to: committed before them.
const SEQUENCES: &str = "token_sequences";
/// How many tables at the end of [`TABLES`] say that a file is done, and are committed after all others.
const N_LAST: usize = 2;
/// Parquet bytes, over all tables, after which a chunk is committed.
const CHUNK_BYTES: usize = 96 << 20;
/// Time after which a chunk is committed: what a kill can cost when files come slowly.
const CHUNK_TIME: Duration = Duration::from_secs(30);
/// Windows that are written together.
const WINDOWS_AT_ONCE: usize = 4_096;
/// Batches that wait for a table.
const WAITING: usize = 2;

/// Writes blocks; the run's own row comes before the first of them.
pub(crate) struct LakeWriter {
    lake: Lake,
    run: RunRow,
    known: Known,
    recorded: bool,
    tables: BTreeMap<&'static str, Encoder>,
    windows: Vec<(i64, Window)>,
    written: BTreeMap<String, u64>,
    pending: Arc<AtomicUsize>,
    committed_at: Instant,
}

/// The thread of one table.
struct Encoder {
    orders: mpsc::Sender<Order>,
    n_rows: u64,
}

enum Order {
    Write(RecordBatch),
    Commit(oneshot::Sender<Result<()>>),
}

impl LakeWriter {
    pub(crate) fn new(lake: Lake, run: RunRow, known: Known) -> Self {
        Self {
            lake,
            run,
            known,
            recorded: false,
            tables: BTreeMap::new(),
            windows: Vec::new(),
            written: BTreeMap::new(),
            pending: Arc::new(AtomicUsize::new(0)),
            committed_at: Instant::now(),
        }
    }

    /// Takes a block into the chunk under way.
    pub(crate) async fn write(&mut self, block: Block) -> Result<()> {
        for (sequence, window) in block.windows {
            if self.known.claim_sequence(sequence) {
                self.windows.push((sequence, window));
            }
        }
        if self.windows.len() >= WINDOWS_AT_ONCE {
            self.write_windows().await?;
        }
        for (table, batch) in TABLES.into_iter().zip(block.batches) {
            if let Some(batch) = batch {
                self.send(table, batch).await?;
            }
        }
        Ok(())
    }

    /// Whether the chunk is large enough to be committed.
    pub(crate) fn is_due(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > CHUNK_BYTES || self.committed_at.elapsed() > CHUNK_TIME
    }

    /// Makes the chunk visible: windows first, then what refers to them, last what says that a file is done.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.write_windows().await?;
        let (rows, last) = TABLES.split_at(TABLES.len() - N_LAST);
        for together in [&[SEQUENCES], rows, last] {
            self.commit_tables(together).await?;
        }
        self.pending.store(0, Ordering::Relaxed);
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Commits some tables at the same time; their rows do not refer to each other.
    async fn commit_tables(&mut self, tables: &[&'static str]) -> Result<()> {
        let mut answers = Vec::with_capacity(tables.len());
        for &table in tables {
            let Some(encoder) = self.tables.get_mut(table).filter(|encoder| encoder.n_rows > 0) else { continue };
            let (done, answer) = oneshot::channel();
            encoder.orders.send(Order::Commit(done)).await.map_err(|_| gone(table))?;
            answers.push((table, std::mem::take(&mut encoder.n_rows), answer));
        }
        let mut result = Ok(());
        // All are waited for, so that what was committed is counted whatever became of the others.
        for (table, n_rows, answer) in answers {
            let committed = answer.await.map_err(|_| gone(table)).flatten();
            if committed.is_ok() {
                *self.written.entry(table.to_owned()).or_default() += n_rows;
            }
            result = result.and(committed);
        }
        result
    }

    /// Completes the run's row, when there is one; the rows committed, by table.
    pub(crate) async fn finish(self) -> Result<BTreeMap<String, u64>> {
        if self.recorded {
            let n_rows: u64 = self.written.values().sum();
            self.run.finish(&self.lake, n_rows as usize, 0.0).await?;
        }
        Ok(self.written)
    }

    async fn write_windows(&mut self) -> Result<()> {
        if self.windows.is_empty() {
            return Ok(());
        }
        let mut windows = std::mem::take(&mut self.windows);
        windows.sort_unstable_by_key(|(sequence, _)| *sequence);
        let model = self.run.model.as_deref().unwrap_or_default();
        let corpus = self.run.corpus.as_deref().unwrap_or_default();
        let batch = window_rows(model, corpus, &windows)?;
        self.send(SEQUENCES, batch).await
    }

    async fn send(&mut self, table: &'static str, batch: RecordBatch) -> Result<()> {
        if !self.recorded {
            self.run.record(&self.lake).await?;
            self.recorded = true;
        }
        let n_rows = batch.num_rows() as u64;
        let encoder = match self.tables.entry(table) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(none) => {
                let definition = definition(table)?;
                let writer = TableWriter::open(&self.lake, definition, &self.run.id).await?;
                none.insert(Encoder::start(writer, definition, &self.run.id, Arc::clone(&self.pending)))
            }
        };
        encoder.n_rows += n_rows;
        encoder.orders.send(Order::Write(batch)).await.map_err(|_| gone(table))
    }
}

impl Encoder {
    /// A thread of its own: encoding and compression would hold up the tasks that fetch and parse.
    fn start(
        mut writer: TableWriter,
        definition: &'static TableDefinition,
        run: &str,
        pending: Arc<AtomicUsize>,
    ) -> Self {
        let (orders, mut inbox) = mpsc::channel(WAITING);
        let (run, handle) = (run.to_owned(), Handle::current());
        tokio::task::spawn_blocking(move || {
            handle.block_on(async move {
                // A fault is told at the next commit, and nothing is written after it.
                let mut fault = None;
                while let Some(order) = inbox.recv().await {
                    match order {
                        Order::Write(batch) if fault.is_none() => {
                            let before = writer.pending_bytes();
                            fault = write(&mut writer, definition, &run, &batch).await.err();
                            pending.fetch_add(writer.pending_bytes().saturating_sub(before), Ordering::Relaxed);
                        }
                        Order::Write(_) => {}
                        Order::Commit(done) => {
                            let result = match fault.take() {
                                Some(fault) => Err(fault),
                                None => writer.commit().await,
                            };
                            // Nobody waits when the import was given up.
                            let _ = done.send(result);
                        }
                    }
                }
            });
        });
        Self { orders, n_rows: 0 }
    }
}

/// Adds the column `run`, the last one of every table.
async fn write(writer: &mut TableWriter, definition: &TableDefinition, run: &str, batch: &RecordBatch) -> Result<()> {
    let runs: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run, batch.num_rows())));
    let columns = batch.columns().iter().cloned().chain([runs]).collect();
    let schema: &Arc<Schema> = &definition.schema;
    writer.write(&RecordBatch::try_new(Arc::clone(schema), columns)?).await
}

fn gone(table: &str) -> Error {
    Error::internal(format!("the writer of table '{table}' is gone"))
}
