//! Documents: the texts of a corpus, streamed from files, folders, patterns, object stores or the copy inside the program.
//!
//! [`read_corpus`] finds the files (`source`), opens each with its decompression (`open`), and cuts it into documents
//! by its format: plain text (`text`), JSON lines (`jsonl`) or one column of a Parquet file (`parquet_column`).
//! All of it is ordinary blocking code on one blocking thread; a short bounded channel carries small batches to the
//! async side, so memory does not grow with the corpus and dropping the stream stops the reading.

mod emit;
mod format;
mod jsonl;
mod lines;
mod open;
mod parquet_column;
mod source;
mod store_chunks;
mod text;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::{FutureExt, Stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::documents::emit::Emitter;
use crate::documents::format::Format;
use crate::documents::source::CorpusFile;
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};

/// The `url` that means the corpus inside the program.
pub const DEFAULT_CORPUS: &str = "default";

/// Where a plain text may be cut, in characters, unless the caller says otherwise.
pub const DEFAULT_DOCUMENT_CHARS: usize = 4_000;

/// The largest document, in bytes: what keeps memory bounded when a file has no line end.
pub const MAX_DOCUMENT_BYTES: usize = 256 << 20;

/// Number of batches that may wait between the reading thread and the consumer.
const BATCHES_IN_FLIGHT: usize = 4;

/// One text of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// 0-based number in reading order; documents without text have none.
    pub document: i64,
    /// The file's address, or `embedded:` and the title for the corpus inside the program.
    pub source: String,
    /// The text; never empty or only whitespace.
    pub text: String,
}

/// Which texts to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusSpec {
    /// A local path, a pattern (`texts/*.txt`), a folder, a `file://`, `s3://`, `gs://`, `az://`, `http(s)://` address (patterns
    /// and folders too, but not over HTTP), or `default` for the corpus inside the program.
    pub url: String,
    /// The JSON field or the Parquet column that holds the text; `text` if `None`.
    pub field: Option<String>,
    /// Stop after this many documents; `None` reads all.
    pub limit: Option<u64>,
    /// A plain-text file of more characters is cut at blank lines into documents of at least this many; 0 never cuts.
    pub document_chars: usize,
}

impl CorpusSpec {
    /// All documents at an address, with the usual field name and document length.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), field: None, limit: None, document_chars: DEFAULT_DOCUMENT_CHARS }
    }

    /// Name of the field or column that holds the text.
    pub(crate) fn field(&self) -> &str {
        self.field.as_deref().unwrap_or("text")
    }
}

/// Streams the documents of a corpus in small batches, in an order that is the same at every reading.
///
/// Files come in the order of their paths, documents in the order within the file. `.txt`, `.jsonl`, `.ndjson`, `.json`
/// (JSON lines) and `.parquet` are known, the text formats also compressed (`.gz`, `.zst`, or found out by the
/// first bytes). A plain text is cut at `<|endoftext|>`, and at blank lines as [`CorpusSpec::document_chars`] says; where no blank
/// line comes for sixteen times as long, at a line end. Documents without text are dropped and counted, [`CorpusStream::n_dropped`].
///
/// # Errors
/// The stream ends with the first error: a [`CorpusError`], `File` or `Store`; [`CorpusError::Empty`] if there was no document at all.
/// Outside a tokio runtime it yields one `Internal` error.
pub fn read_corpus(spec: &CorpusSpec) -> CorpusStream {
    let n_dropped = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let reader = Handle::try_current().ok().map(|handle| {
        let spec = spec.clone();
        let emitter = Emitter::new(sender, spec.limit, Arc::clone(&n_dropped));
        let blocking = handle.clone();
        handle.spawn_blocking(move || read_all(&spec, &blocking, emitter))
    });
    CorpusStream { receiver, reader: Reader::from(reader), n_dropped }
}

/// The number of files that a corpus is made of; none is read.
///
/// # Errors
/// As the first of [`read_corpus`] when there is none, or the address cannot be used.
pub async fn look_for(spec: &CorpusSpec) -> Result<usize> {
    let (spec, handle) = (spec.clone(), Handle::current());
    let found = tokio::task::spawn_blocking(move || source::find_files(&spec, &handle)).await;
    Ok(found.map_err(|e| Error::internal(format!("the reading thread stopped: {e}")))??.len())
}

/// The documents of a corpus, batch by batch: a [`Stream`] of `Result<Vec<Document>>`.
#[derive(Debug)]
pub struct CorpusStream {
    receiver: mpsc::Receiver<Result<Vec<Document>>>,
    reader: Reader,
    n_dropped: Arc<AtomicU64>,
}

/// The thread behind a stream.
#[derive(Debug)]
enum Reader {
    /// It could not be started.
    NoRuntime,
    Running(JoinHandle<()>),
    Ended,
}

impl From<Option<JoinHandle<()>>> for Reader {
    fn from(handle: Option<JoinHandle<()>>) -> Self {
        handle.map_or(Self::NoRuntime, Self::Running)
    }
}

impl CorpusStream {
    /// Number of texts dropped so far because they were empty or only whitespace.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }
}

impl Stream for CorpusStream {
    type Item = Result<Vec<Document>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = ready!(self.receiver.poll_recv(cx)) {
            return Poll::Ready(Some(item));
        }
        // The sender is gone: the thread ended, or panicked and must not look like the end of the corpus.
        let reason = match &mut self.reader {
            Reader::Ended => return Poll::Ready(None),
            Reader::NoRuntime => "a corpus was read outside a tokio runtime".to_owned(),
            Reader::Running(handle) => match ready!(handle.poll_unpin(cx)) {
                Ok(()) => {
                    self.reader = Reader::Ended;
                    return Poll::Ready(None);
                }
                Err(error) => format!("the corpus reader stopped: {error}"),
            },
        };
        self.reader = Reader::Ended;
        Poll::Ready(Some(Err(Error::Internal { reason })))
    }
}

/// Reads every file into the emitter, and hands it the error that ends the reading.
fn read_all(spec: &CorpusSpec, handle: &Handle, mut emitter: Emitter) {
    let outcome = source::find_files(spec, handle).and_then(|files| {
        for file in &files {
            if read_file(spec, handle, file, &mut emitter)?.is_break() {
                break;
            }
        }
        Ok(())
    });
    match outcome {
        Ok(()) if emitter.n_documents() == 0 && spec.limit != Some(0) => {
            let n_dropped = emitter.n_dropped();
            emitter.fail(CorpusError::Empty { url: source::shown_url(&spec.url), n_dropped }.into());
        }
        Ok(()) => emitter.finish(),
        Err(error) => emitter.fail(error),
    }
}

/// Reads one file into the emitter.
fn read_file(spec: &CorpusSpec, handle: &Handle, file: &CorpusFile, emitter: &mut Emitter) -> Result<emit::Flow> {
    emitter.start_file(&file.url);
    match file.format {
        Format::Text => {
            let lines = lines::Lines::new(open::open(file, handle)?, &file.url, MAX_DOCUMENT_BYTES);
            text::read_text(lines, spec.document_chars, emitter)
        }
        Format::JsonLines => {
            let lines = lines::Lines::new(open::open(file, handle)?, &file.url, MAX_DOCUMENT_BYTES);
            jsonl::read_json_lines(lines, spec.field(), emitter)
        }
        Format::Embedded => {
            let lines = lines::Lines::new(open::open(file, handle)?, &file.url, MAX_DOCUMENT_BYTES);
            jsonl::read_embedded(lines, emitter)
        }
        Format::Parquet => parquet_column::read_column(file, handle, spec.field(), emitter),
    }
}
