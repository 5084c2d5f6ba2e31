//! What one query may take, so that no one query takes the server from the others.

use std::time::Duration;

use datafusion::error::DataFusionError;

use crate::error::Error;

/// Limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct QueryLimits {
    /// Bytes that the sorts, joins and aggregates of one query may hold, after spilling what can be spilled.
    pub memory: usize,
    /// How long a query may compute.
    pub time: Duration,
    /// Rows it may return.
    pub rows: u64,
    /// Queries that run at the same time; the next ones wait.
    pub at_once: usize,
    /// How long a query waits for its turn.
    pub wait: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            time: Duration::from_secs(60),
            rows: 100_000_000,
            at_once: 8,
            wait: Duration::from_secs(10),
        }
    }
}

/// A limit that a query reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// It computed for too long.
    #[error(
        "stopped after {} s, the time a query has here: narrow it down, or start the server with a larger --query-seconds",
        limit.as_secs_f64()
    )]
    Time {
        /// The limit.
        limit: Duration,
    },
    /// It returned too many rows.
    #[error(
        "stopped after {limit} rows, the most a query may return here: add a LIMIT, or start the server with a larger --query-rows"
    )]
    Rows {
        /// The limit.
        limit: u64,
    },
    /// It needed too much memory.
    #[error(
        "stopped at {limit} bytes, the memory a query has here: narrow it down, or allow more with {option} ({reason})"
    )]
    Memory {
        /// The limit.
        limit: usize,
        /// The option of the command that sets it.
        option: &'static str,
        /// The engine's own words.
        reason: String,
    },
    /// Too many queries were before it.
    #[error("{at_once} queries are running, the most at one time here, and none ended within {} s: try again", wait.as_secs_f64())]
    Busy {
        /// The limit.
        at_once: usize,
        /// How long it waited.
        wait: Duration,
    },
    /// Its reader took nothing for too long.
    #[error("given up: the reader took nothing for {} s", STALL.as_secs())]
    Stalled,
}

impl LimitReached {
    /// The engine's word for a full pool of `limit` bytes in ours, with the option that sets them; other faults stay what they are.
    pub(crate) fn of_memory(error: Error, limit: usize, option: &'static str) -> Error {
        if let Error::DataFusion(engine) = error.itself()
            && let DataFusionError::ResourcesExhausted(reason) = engine.find_root()
        {
            return Self::Memory { limit, option, reason: reason.clone() }.into();
        }
        error
    }
}

/// How long a reader may take nothing.
pub(crate) const STALL: Duration = Duration::from_secs(120);

/// Characters of an explanation that is to be scored at most: it goes into a simulator's prompt.
pub(crate) const LONGEST_EXPLANATION: usize = 10_000;
