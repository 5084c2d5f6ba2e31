//! Opens a corpus file as a stream of decompressed bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use tokio::runtime::Handle;

use crate::documents::format::Compression;
use crate::documents::source::{CorpusFile, Place};
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};

/// The corpus that every copy of the program carries.
static EMBEDDED: &[u8] = include_bytes!("embedded/corpus.jsonl.zst");

/// Bytes per read from the disk or from a decoder.
const BUFFER_BYTES: usize = 64 << 10;

/// An opened file: its decompressed bytes, and what it is packed with.
pub(crate) struct Opened {
    pub(crate) bytes: Box<dyn BufRead>,
    pub(crate) compression: Option<Compression>,
}

/// Opens a file of a text format. Must run on a blocking thread of the runtime: stores are waited for.
///
/// # Errors
/// [`Error::File`] or [`Error::Store`] if it cannot be opened.
pub(crate) fn open(file: &CorpusFile, handle: &Handle) -> Result<Opened> {
    let raw: Box<dyn Read> = match &file.place {
        Place::Embedded => Box::new(EMBEDDED),
        Place::Local(path) => {
            let opened = File::open(path).map_err(|source| Error::File { path: path.clone(), source })?;
            Box::new(opened)
        }
        Place::Store { store, path } => {
            let fault = |source| Error::Store { url: file.url.clone(), source: Box::new(source) };
            let chunks = handle.block_on(store.get(path)).map_err(fault)?.into_stream();
            Box::new(StoreReader { chunks, chunk: Bytes::new(), handle: handle.clone() })
        }
    };
    decompressed(raw, file.compression).map_err(|source| read_error(&file.url, file.compression, source))
}

/// Puts the decoder over the raw bytes that the name or the first bytes ask for.
pub(crate) fn decompressed(mut raw: impl Read + 'static, named: Option<Compression>) -> io::Result<Opened> {
    let mut head = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut head)?;
    let compression = Compression::of_bytes(&head).or(named);
    let is_empty = head.is_empty();
    let whole = BufReader::with_capacity(BUFFER_BYTES, Read::chain(Cursor::new(head), raw));
    let bytes: Box<dyn BufRead> = match compression {
        None => Box::new(whole),
        // Even an empty text leaves some bytes when it is packed.
        Some(_) if is_empty => return Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Compression::Gzip) => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole))),
        Some(Compression::Zstd) => Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(whole)?)),
    };
    Ok(Opened { bytes, compression })
}

/// Tells a failing store from damaged compressed data and from a failing disk.
pub(crate) fn read_error(url: &str, compression: Option<Compression>, source: io::Error) -> Error {
    let source = match source.downcast::<object_store::Error>() {
        Ok(store) => {
            return Error::Store { url: url.to_owned(), source: Box::new(store) };
        }
        Err(source) => source,
    };
    let damaged = matches!(
        source.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
    );
    match compression {
        Some(compression) if damaged => {
            CorpusError::Compression { url: url.to_owned(), codec: compression.as_str(), source }.into()
        }
        _ => CorpusError::Read { url: url.to_owned(), source }.into(),
    }
}

/// The body of a store's reply as a blocking reader.
struct StoreReader {
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    handle: Handle,
}

impl Read for StoreReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.chunks.next()) {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
            }
        }
        let n = out.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}
