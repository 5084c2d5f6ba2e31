//! Numbers the documents, drops empty ones, batches them and stops at the limit.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::documents::Document;
use crate::error::{Error, Result};

/// Whether more documents are wanted.
pub(crate) type Flow = ControlFlow<()>;

/// A batch is sent when it holds this many documents …
const BATCH_DOCUMENTS: usize = 64;

/// … or this many bytes of text.
const BATCH_BYTES: usize = 1 << 20;

/// The sending end of a corpus stream.
pub(crate) struct Emitter {
    sender: mpsc::Sender<Result<Vec<Document>>>,
    limit: Option<u64>,
    source: String,
    batch: Vec<Document>,
    batch_bytes: usize,
    n_documents: u64,
    n_dropped: Arc<AtomicU64>,
}

impl Emitter {
    pub(crate) fn new(
        sender: mpsc::Sender<Result<Vec<Document>>>,
        limit: Option<u64>,
        n_dropped: Arc<AtomicU64>,
    ) -> Self {
        Self { sender, limit, source: String::new(), batch: Vec::new(), batch_bytes: 0, n_documents: 0, n_dropped }
    }

    /// Number of documents so far.
    pub(crate) fn n_documents(&self) -> u64 {
        self.n_documents
    }

    /// Number of texts dropped so far.
    pub(crate) fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }

    /// Names the file that the next documents come from.
    pub(crate) fn start_file(&mut self, url: &str) {
        self.source = url.to_owned();
    }

    /// Adds a document of the current file.
    pub(crate) fn emit(&mut self, text: String) -> Flow {
        let source = self.source.clone();
        self.emit_from(source, text)
    }

    /// Adds a document with a source of its own.
    pub(crate) fn emit_from(&mut self, source: String, text: String) -> Flow {
        if self.limit_reached() {
            return Flow::Break(());
        }
        if text.trim().is_empty() {
            self.n_dropped.fetch_add(1, Ordering::Relaxed);
            // A corpus of nothing but empty texts must notice too that nobody listens.
            return if self.sender.is_closed() { Flow::Break(()) } else { Flow::Continue(()) };
        }
        self.batch_bytes += text.len();
        // Fewer than 2^63 documents can ever be counted one by one.
        self.batch.push(Document { document: self.n_documents as i64, source, text });
        self.n_documents += 1;
        let last = self.limit_reached();
        if (last || self.batch.len() >= BATCH_DOCUMENTS || self.batch_bytes >= BATCH_BYTES) && !self.send() {
            return Flow::Break(());
        }
        if last { Flow::Break(()) } else { Flow::Continue(()) }
    }

    /// Sends what is left.
    pub(crate) fn finish(mut self) {
        self.send();
    }

    /// Sends what is left and then the error.
    pub(crate) fn fail(mut self, error: Error) {
        if self.send() {
            // Nobody is left to tell if this fails.
            let _ = self.sender.blocking_send(Err(error));
        }
    }

    fn limit_reached(&self) -> bool {
        self.limit.is_some_and(|limit| self.n_documents >= limit)
    }

    /// Whether somebody still listens.
    fn send(&mut self) -> bool {
        self.batch_bytes = 0;
        if self.batch.is_empty() {
            return !self.sender.is_closed();
        }
        self.sender.blocking_send(Ok(std::mem::take(&mut self.batch))).is_ok()
    }
}
