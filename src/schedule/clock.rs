//! The time, as something that can be handed over: tests bring a clock that they step themselves.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The longest sleep: a clock that is set, or a machine that was suspended, is noticed after it.
const SLICE: Duration = Duration::from_secs(20);

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> DateTime<Utc>;

    /// Returns when the clock shows this time or a later one.
    async fn wait(&self, until: DateTime<Utc>);
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn wait(&self, until: DateTime<Utc>) {
        // What is left is positive, and so a duration.
        while let Ok(left) = (until - Utc::now()).to_std() {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(SLICE)).await;
        }
    }
}
