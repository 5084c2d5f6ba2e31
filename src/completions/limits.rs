//! How fast and how patiently endpoints are asked.

use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// Limits of one session, shared by all its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOptions {
    /// Calls in flight at most.
    pub in_flight: usize,
    /// Tries a minute, over all models; `None` for as many as go.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, of prompts and of the longest replies allowed; `None` for as many as go.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Time that one try may take, until the last byte of its reply.
    pub time_out: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// The shortest and the longest wait before another try, where the endpoint names none.
    pub waits: (Duration, Duration),
    /// The longest wait that an endpoint may ask for; a call that would have to wait longer fails.
    pub longest_wait: Duration,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            in_flight: 32,
            requests_per_minute: None,
            tokens_per_minute: None,
            time_out: Duration::from_secs(120),
            retries: 8,
            waits: (Duration::from_millis(500), Duration::from_secs(60)),
            longest_wait: Duration::from_secs(300),
        }
    }
}

/// The limits, and what is left of them at the moment.
#[derive(Debug)]
pub struct Limits {
    options: LimitOptions,
    in_flight: Semaphore,
    requests: Option<DefaultDirectRateLimiter>,
    tokens: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
}

impl Limits {
    /// Limits that nothing has used up yet.
    pub fn new(options: LimitOptions) -> Self {
        // A tenth of a minute's worth at once: with a whole minute's, the first minute would see twice its share.
        let tenth = |n: NonZeroU32| NonZeroU32::new(n.get() / 10).unwrap_or(NonZeroU32::MIN);
        let limiter = |n: NonZeroU32| RateLimiter::direct(Quota::per_minute(n).allow_burst(tenth(n)));
        Self {
            options,
            in_flight: Semaphore::new(options.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            requests: options.requests_per_minute.map(limiter),
            tokens: options.tokens_per_minute.map(|n| (limiter(n), tenth(n))),
        }
    }

    /// What was asked for.
    pub fn options(&self) -> &LimitOptions {
        &self.options
    }

    /// Runs work numbered from 0, and gives the results in that order. More of it is begun than may be in flight, for the time that
    /// some waits for another try; and as soon as any of it ends, for one long wait must not hold up all that comes after it.
    pub(super) async fn spread<F: Future>(&self, n: usize, one: impl Fn(usize) -> F) -> Vec<F::Output> {
        let begun = self.options.in_flight.saturating_mul(4).clamp(1, 4_096);
        let work = futures::stream::iter(0..n).map(|i| {
            let work = one(i);
            async move { (i, work.await) }
        });
        let mut results: Vec<(usize, F::Output)> = work.buffer_unordered(begun).collect().await;
        results.sort_unstable_by_key(|(i, _)| *i);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Waits for the turn of one try; it is over when the permit is dropped.
    pub(super) async fn turn(&self, n_tokens: u32) -> Result<SemaphorePermit<'_>> {
        let permit = self.in_flight.acquire().await.map_err(|_| Error::internal("the limits were closed"))?;
        if let Some(requests) = &self.requests {
            requests.until_ready().await;
        }
        if let Some((tokens, at_once)) = &self.tokens {
            // A call of more tokens than may pass at once takes them in parts.
            let mut rest = n_tokens;
            while let Some(part) = NonZeroU32::new(rest.min(at_once.get())) {
                tokens.until_n_ready(part).await.map_err(|e| Error::internal(e.to_string()))?;
                rest -= part.get();
            }
        }
        Ok(permit)
    }
}
