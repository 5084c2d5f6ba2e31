//! Sends a request again where the fault may pass: our middleware between the model and its connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http::Extensions;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Request, Response, StatusCode};
use reqwest_middleware::{Error, Middleware, Next, Result};
use retry_policies::policies::ExponentialBackoff;
use retry_policies::{Jitter, RetryDecision, RetryPolicy};

use super::wire;
use crate::completions::limits::Limits;
use crate::metrics::metrics;

/// Tokens that a request counts for under the limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight(pub(super) u32);

/// No try brought an answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct GaveUp {
    pub(super) tries: u32,
    /// The last fault; may hold what the endpoint said, and therefore what it was sent.
    pub(super) reason: String,
}

/// The middleware. Each try waits for its own turn, and nothing is held while a call waits for another try.
pub(super) struct Retry {
    limits: Arc<Limits>,
    policy: ExponentialBackoff,
}

impl Retry {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let (shortest, longest) = limits.options().waits;
        let policy = ExponentialBackoff::builder()
            .retry_bounds(shortest.min(longest), longest)
            .jitter(Jitter::Bounded)
            .build_with_max_retries(limits.options().retries);
        Self { limits, policy }
    }

    /// The wait before another try, or `None` when the last was made or the endpoint asks for too long a wait.
    fn wait(&self, tries: u32, fault: &Fault) -> Option<Duration> {
        // What the time is here only decides how long one waits.
        let now = SystemTime::now();
        match self.policy.should_retry(now, tries - 1) {
            RetryDecision::DoNotRetry => None,
            RetryDecision::Retry { execute_after } => {
                let backoff = execute_after.duration_since(now).unwrap_or_default();
                // The jitter on top: all who were sent away together would come back together.
                let jitter = |asked: Duration| asked + backoff.min(asked / 10);
                fault
                    .asked
                    .map_or(Some(backoff), |asked| (asked <= self.limits.options().longest_wait).then(|| jitter(asked)))
            }
        }
    }
}

/// A try that may go better another time.
struct Fault {
    reason: String,
    asked: Option<Duration>,
}

#[async_trait]
impl Middleware for Retry {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let weight = extensions.get::<Weight>().map_or(0, |weight| weight.0);
        let mut tries = 0;
        loop {
            let again = request.try_clone().ok_or_else(|| Error::middleware(gave_up(0, "a body that is a stream")))?;
            let outcome = {
                let _turn = self.limits.turn(weight).await.map_err(Error::middleware)?;
                one_try(next.clone().run(again, extensions).await).await
            };
            tries += 1;
            let fault = match outcome? {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            let Some(wait) = self.wait(tries, &fault) else {
                return Err(Error::middleware(GaveUp { tries, reason: fault.reason }));
            };
            metrics().call_retries.inc();
            tracing::debug!(tries, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "asking again");
            tokio::time::sleep(wait).await;
        }
    }
}

fn gave_up(tries: u32, reason: &str) -> GaveUp {
    GaveUp { tries, reason: reason.to_owned() }
}

/// The outer result is for what no other try can mend. The response that comes back is whole: its body was read.
async fn one_try(sent: Result<Response>) -> Result<std::result::Result<Response, Fault>> {
    let passing = |reason: String| Ok(Err(Fault { reason, asked: None }));
    let response = match sent {
        Ok(response) => response,
        Err(Error::Reqwest(error)) if error.is_builder() => return Err(Error::Reqwest(error)),
        Err(Error::Reqwest(error)) => return passing(in_words(error)),
        Err(other) => return Err(other),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return passing(in_words(error)),
    };
    let fault = |reason: String| Ok(Err(Fault { reason, asked: retry_after(&headers, SystemTime::now()) }));
    if passes(status) && !is_out_of_quota(&body) {
        let said = String::from_utf8_lossy(&body);
        return fault(format!("HTTP status {status}: {said}"));
    }
    if status.is_success() {
        match wire::check(&body) {
            wire::Check::Answer => {}
            wire::Check::Malformed(reason) => return fault(format!("a malformed reply: {reason}")),
            wire::Check::Fault { status, reason } if passes(status) => {
                return fault(format!("HTTP status {status}: {reason}"));
            }
            wire::Check::Fault { status, .. } => return Ok(whole(status, &headers, body)),
        }
    }
    Ok(whole(status, &headers, body))
}

fn whole(status: StatusCode, headers: &HeaderMap, body: Bytes) -> std::result::Result<Response, Fault> {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    Ok(Response::from(response))
}

/// Statuses that may be others next time: the endpoint is busy, starting, or fell over.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 425 | 429)
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// OpenAI says 429 too when an account is empty; no wait helps there.
fn is_out_of_quota(body: &[u8]) -> bool {
    body.windows(18).any(|window| window == b"insufficient_quota")
}

/// Why a connection failed, down to its cause, without the address.
fn in_words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no reply in time".to_owned();
    }
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}

/// The wait that an endpoint asks for, in seconds or until a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = UNIX_EPOCH + Duration::from_secs(http_date(text)?);
    // A date that is past asks for no wait.
    Some(date.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let [hour, minute, second] =
        time.split(':').map(str::parse).collect::<std::result::Result<Vec<u64>, _>>().ok()?[..]
    else {
        return None;
    };
    // Days of the civil calendar, with years that start in March (Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    Some(days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second)
}
