//! What can go wrong with the files of a corpus.

use std::io;

/// A corpus that is not there, cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// An address is no valid URL, or of a kind that a corpus cannot be read from.
    #[error("expected a local path, file://, s3://, gs://, az://, http:// or https:// address, got '{url}': {reason}")]
    Url {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No file has this name, or none matches the pattern.
    #[error("no corpus file found at '{url}'")]
    NotFound {
        /// Path, pattern or address as it was given.
        url: String,
    },
    /// A file name whose ending names no format that is known.
    #[error("expected a corpus file ending in {known}, got '{url}'")]
    Format {
        /// The file, or the folder without any such file.
        url: String,
        /// The endings that are known, for people.
        known: &'static str,
    },
    /// The files were read and hold no document.
    #[error("corpus '{url}' has no document: {n_dropped} were empty or only whitespace")]
    Empty {
        /// The corpus as it was given.
        url: String,
        /// Number of documents without any text.
        n_dropped: u64,
    },
    /// A corpus file could not be read to its end.
    #[error("cannot read corpus file '{url}'")]
    Read {
        /// The file.
        url: String,
        /// What the operating system or the connection said.
        source: io::Error,
    },
    /// Compressed data that ends too early or is damaged.
    #[error("expected complete {codec} data in corpus file '{url}', got a truncated or damaged file")]
    Compression {
        /// The file.
        url: String,
        /// `gzip` or `zstd`.
        codec: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// Text that is not UTF-8.
    #[error("expected UTF-8 text in corpus file '{url}', got other bytes at byte {offset}")]
    NotUtf8 {
        /// The file.
        url: String,
        /// 0-based position of the first wrong byte, counted after decompression.
        offset: u64,
    },
    /// A line of a JSON lines file without the wanted text.
    #[error("expected a JSON object with text in field '{field}' at line {line} of corpus file '{url}', got {reason}")]
    Field {
        /// The file.
        url: String,
        /// 1-based line number.
        line: u64,
        /// The field that should hold the text.
        field: String,
        /// What stands there instead, or the fields found.
        reason: String,
    },
    /// A Parquet file without the wanted text column.
    #[error("expected a text column '{column}' in corpus file '{url}', got {reason}")]
    Column {
        /// The file.
        url: String,
        /// The column that should hold the text.
        column: String,
        /// Its type, or the columns found.
        reason: String,
    },
    /// A Parquet file that cannot be decoded.
    #[error("expected a Parquet file, got truncated or damaged data in '{url}'")]
    Parquet {
        /// The file.
        url: String,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One document larger than memory should hold.
    #[error("expected documents of at most {limit} bytes, got a longer one at byte {offset} of corpus file '{url}'")]
    DocumentTooLong {
        /// The file.
        url: String,
        /// Where it starts, in bytes after decompression.
        offset: u64,
        /// The largest document, in bytes.
        limit: usize,
    },
}
