//! A file in an object store, read at any position: what the Parquet decoder needs.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

/// Bytes fetched per request: pages are smaller than this, and a request to a cloud costs as much as this many bytes.
const BLOCK_BYTES: u64 = 4 << 20;

/// A file in a store and the block of it that was fetched last.
pub(crate) struct StoreChunks {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    path: Path,
    handle: Handle,
    len: u64,
    /// Start of the block, and the block.
    block: Mutex<(u64, Bytes)>,
}

impl StoreChunks {
    /// Asks for the file's length. Must run on a blocking thread of the runtime, as all reading from it.
    pub(crate) fn open(store: Arc<dyn ObjectStore>, path: Path, handle: Handle) -> object_store::Result<Self> {
        let len = handle.block_on(store.head(&path))?.size;
        let block = Mutex::new((0, Bytes::new()));
        Ok(Self { inner: Arc::new(Inner { store, path, handle, len, block }) })
    }
}

impl Inner {
    /// The bytes from `start` to the end of its block; empty at the end of the file.
    fn from(&self, start: u64) -> object_store::Result<Bytes> {
        if start >= self.len {
            return Ok(Bytes::new());
        }
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let held = block.0..block.0 + block.1.len() as u64;
        if !held.contains(&start) {
            let first = start - start % BLOCK_BYTES;
            let range = first..self.len.min(first + BLOCK_BYTES);
            *block = (first, self.handle.block_on(self.store.get_range(&self.path, range))?);
        }
        let skip = (start - block.0) as usize;
        // A store that returns less than asked for ends the file here; the decoder reports it as truncated.
        Ok(if skip < block.1.len() { block.1.slice(skip..) } else { Bytes::new() })
    }
}

impl Length for StoreChunks {
    fn len(&self) -> u64 {
        self.inner.len
    }
}

impl ChunkReader for StoreChunks {
    type T = StoreChunk;

    fn get_read(&self, start: u64) -> ParquetResult<StoreChunk> {
        Ok(StoreChunk { inner: Arc::clone(&self.inner), position: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged file may ask for more than it has: never allocate what it claims.
        if start.checked_add(length as u64).is_none_or(|end| end > self.inner.len) {
            return Err(ParquetError::EOF(format!("expected {length} bytes at byte {start}, got {}", self.inner.len)));
        }
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("expected {length} bytes at byte {start}, got {}", bytes.len())));
        }
        Ok(Bytes::from(bytes))
    }
}

/// Reads on from a position.
pub(crate) struct StoreChunk {
    inner: Arc<Inner>,
    position: u64,
}

impl Read for StoreChunk {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.inner.from(self.position).map_err(io::Error::other)?;
        let n = out.len().min(bytes.len());
        bytes.copy_to_slice(&mut out[..n]);
        self.position += n as u64;
        Ok(n)
    }
}
