//! Prepared statements: text and values under a handle, in memory only, and not for ever.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use parking_lot::Mutex;

/// Statements that are held; the one unused for longest goes first.
const MOST: usize = 1_000;
/// Bytes of their texts and values together.
const MOST_BYTES: usize = 256 << 20;
/// How long a statement is held after its last use.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// A statement that waits for values.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// The statement, with numbers for its placeholders.
    pub(super) sql: Arc<str>,
    /// Names and types of its parameters in order, where types can be told.
    pub(super) parameters: Arc<[(String, Option<DataType>)]>,
    /// Rows of values; the statement is run once a row.
    pub(super) values: Option<RecordBatch>,
}

impl Prepared {
    fn bytes(&self) -> usize {
        self.sql.len() + self.values.as_ref().map_or(0, RecordBatch::get_array_memory_size)
    }
}

#[derive(Debug)]
struct Held {
    prepared: Prepared,
    used: Instant,
}

/// The statements of all clients.
#[derive(Debug)]
pub(super) struct PreparedStatements {
    held: Mutex<HashMap<String, Held>>,
    most: usize,
    most_bytes: usize,
    unused: Duration,
}

impl Default for PreparedStatements {
    fn default() -> Self {
        Self { held: Mutex::default(), most: MOST, most_bytes: MOST_BYTES, unused: UNUSED }
    }
}

impl PreparedStatements {
    /// Holds a statement and returns its handle.
    pub(super) fn hold(&self, prepared: Prepared) -> String {
        // Two hashes of nothing under keys from the system's random numbers: nobody guesses another's handle.
        let number = || RandomState::new().build_hasher().finish();
        let handle = format!("{:016x}{:016x}", number(), number());
        self.put(handle.clone(), prepared);
        handle
    }

    /// The statement of a handle, unless it was closed or held for too long.
    pub(super) fn find(&self, handle: &str) -> Option<Prepared> {
        let mut held = self.held.lock();
        held.retain(|_, held| held.used.elapsed() < self.unused);
        let found = held.get_mut(handle)?;
        found.used = Instant::now();
        Some(found.prepared.clone())
    }

    /// Replaces the statement of a handle, where it is still held.
    pub(super) fn replace(&self, handle: &str, prepared: Prepared) {
        if self.held.lock().contains_key(handle) {
            self.put(handle.to_owned(), prepared);
        }
    }

    /// Forgets a statement.
    pub(super) fn close(&self, handle: &str) {
        self.held.lock().remove(handle);
    }

    fn put(&self, handle: String, prepared: Prepared) {
        let mut held = self.held.lock();
        held.insert(handle.clone(), Held { prepared, used: Instant::now() });
        let mut bytes: usize = held.values().map(|held| held.prepared.bytes()).sum();
        while held.len() > self.most || bytes > self.most_bytes {
            let others = held.iter().filter(|(other, _)| **other != handle);
            let Some(oldest) = others.min_by_key(|(_, held)| held.used).map(|(oldest, _)| oldest.clone()) else {
                return;
            };
            bytes -= held.remove(&oldest).map_or(0, |held| held.prepared.bytes());
        }
    }
}

#[cfg(test)]
mod tests;
