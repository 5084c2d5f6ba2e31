//! Pipelines at their times: one loop a pipeline, whose state is in the lake and not in memory.
//!
//! What is due follows from two things: the timetable, and how far the lake says that it was kept. A process that starts, or another
//! one beside it, therefore goes on where the last one ended. A lease in the lake (`tables::lease`), which knows no clocks, lets one
//! process at a time run a pipeline; should two run it all the same (a lease that ran out under a process that was stopped and woke), the
//! log of each table refuses the second of two commits of the same work.

pub mod clock;
mod state;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::metrics::metrics;
use crate::pipeline::timetable::Timetable;
use crate::tables::lake::Lake;
use crate::tables::lease::{Asked, Lease};
use clock::Clock;
use state::{State, States};

/// How long one waits for another process before one looks again.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);
/// How far ahead of the clock the lake may be before the clock is taken to have been set back.
const SET_BACK: TimeDelta = TimeDelta::hours(1);
/// Missed or skipped times that are counted one by one.
const COUNTED: usize = 10_000;

/// What a scheduler does when a pipeline is due.
#[async_trait]
pub trait Work: Send + Sync {
    /// Does it; dropped when the scheduler ends or its lease is lost.
    async fn run(&self) -> Result<()>;

    /// After a run that was dropped: waits for what must not be dropped.
    async fn settle(&self) {}
}

/// How a look at the timetable ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was due, and it ran.
    Ran,
    /// It was due, and the run failed; it is due again at its next time.
    Failed,
    /// It is due at this time, or never.
    NotDue(Option<DateTime<Utc>>),
    /// It is due, and another process runs it.
    Busy,
    /// The scheduler was told to end; a run cut short is due again when one starts.
    Stopped,
}

/// What came of work that one process at a time does.
#[derive(Debug)]
pub enum Alone<T> {
    /// It was done.
    Done(T),
    /// It was not begun: this process is at it.
    Busy(String),
}

/// Does a pipeline's work, unless another process is at it.
///
/// # Errors
/// When the lake cannot be reached; [`Error::Refused`] when another process takes the lease over while the work goes on, which is then
/// dropped.
pub async fn alone<T>(lake: &Lake, pipeline: &str, work: impl Future<Output = T>) -> Result<Alone<T>> {
    let lease = match Lease::ask(lake, &work_of(pipeline)).await? {
        Asked::Held(lease) => lease,
        Asked::Busy(holder) => return Ok(Alone::Busy(holder)),
    };
    let done = tokio::select! {
        done = work => done,
        () = lease.lost() => {
            let reason = "another process took its lease; what was committed stays".to_owned();
            return Err(Error::Refused { what: "the rest of the run".to_owned(), reason });
        }
    };
    lease.release().await;
    Ok(Alone::Done(done))
}

/// The name of a pipeline's lease.
fn work_of(pipeline: &str) -> String {
    format!("pipeline {pipeline}")
}

/// One pipeline that is kept to its times.
pub struct Keeper<'a> {
    name: String,
    timetable: Timetable,
    states: States,
    lake: Lake,
    clock: &'a dyn Clock,
    work: &'a dyn Work,
}

impl std::fmt::Debug for Keeper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Keeper<'a> {
    /// Keeps the pipeline `name` of a lake to its times.
    ///
    /// # Errors
    /// When the lake's store cannot be opened.
    pub fn new(
        lake: &Lake,
        name: &str,
        timetable: Timetable,
        clock: &'a dyn Clock,
        work: &'a dyn Work,
    ) -> Result<Self> {
        Ok(Self { name: name.to_owned(), timetable, states: States::of(lake, name)?, lake: lake.clone(), clock, work })
    }

    /// Waits for each time and runs, until `stop` says so or no time comes any more.
    ///
    /// Nothing ends it but that: a run that fails is logged and its next time kept, and so is a lake that cannot be reached.
    pub async fn keep(&self, stop: &watch::Receiver<bool>) {
        loop {
            let outcome = match self.look(stop).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    // A lake that cannot be reached now may be reached soon.
                    tracing::error!(pipeline = self.name, %error, "cannot keep the timetable; looking again");
                    metrics().error("schedule");
                    Outcome::Busy
                }
            };
            let until = match outcome {
                Outcome::NotDue(Some(due)) => {
                    metrics().next_start(&self.name, due.timestamp());
                    due
                }
                Outcome::NotDue(None) => {
                    tracing::info!(pipeline = self.name, "no time comes any more");
                    return;
                }
                Outcome::Busy => self.clock.now() + LOOK_AGAIN,
                Outcome::Ran | Outcome::Failed => continue,
                Outcome::Stopped => return,
            };
            tokio::select! {
                () = self.clock.wait(until) => {}
                () = stopped(stop) => return,
            }
        }
    }

    /// Looks once, and runs if the pipeline is due.
    ///
    /// # Errors
    /// When the lake cannot be read or written.
    pub async fn look(&self, stop: &watch::Receiver<bool>) -> Result<Outcome> {
        let now = self.clock.now();
        let state = self.state(now).await?;
        match self.timetable.next_after(state.kept_until) {
            Some(due) if due <= now => {}
            other => return Ok(Outcome::NotDue(other)),
        }
        let work = work_of(&self.name);
        let asked = tokio::select! {
            asked = Lease::ask(&self.lake, &work) => asked?,
            () = stopped(stop) => return Ok(Outcome::Stopped),
        };
        let lease = match asked {
            Asked::Held(lease) => lease,
            Asked::Busy(holder) => {
                tracing::debug!(pipeline = self.name, holder, "another process runs it");
                return Ok(Outcome::Busy);
            }
        };
        let outcome = self.under(&lease, now, stop).await;
        lease.release().await;
        outcome
    }

    /// Runs if the pipeline is still due, now that nobody else does.
    async fn under(&self, lease: &Lease, now: DateTime<Utc>, stop: &watch::Receiver<bool>) -> Result<Outcome> {
        // Whoever held the lease until now may have done it.
        let state = self.state(self.clock.now()).await?;
        let due = self.timetable.between(state.kept_until, now, COUNTED);
        match due.last() {
            None => Ok(Outcome::NotDue(self.timetable.next_after(state.kept_until))),
            Some(last) => self.run(&due, *last, lease, stop).await,
        }
    }

    /// How far the timetable was kept. A lake that no scheduler saw begins now; a lake that is far ahead of the clock was written
    /// while the clock was wrong, or the clock is wrong now: either way what comes next is kept.
    async fn state(&self, now: DateTime<Utc>) -> Result<State> {
        match self.states.load().await? {
            Some(state) if state.kept_until <= now + SET_BACK => Ok(state),
            Some(state) => {
                let kept_until = self.timetable.shown(state.kept_until);
                tracing::warn!(
                    pipeline = self.name,
                    kept_until,
                    "the clock was set back; its times are kept from now on"
                );
                let state = State { kept_until: now, ..state };
                self.states.save(&state).await?;
                Ok(state)
            }
            None => {
                let state = State::beginning(now);
                self.states.save(&state).await?;
                Ok(state)
            }
        }
    }

    async fn run(
        &self,
        due: &[DateTime<Utc>],
        last: DateTime<Utc>,
        lease: &Lease,
        stop: &watch::Receiver<bool>,
    ) -> Result<Outcome> {
        let pipeline = self.name.as_str();
        if due.len() > 1 {
            tracing::warn!(pipeline, n_missed = due.len() - 1, "times were missed; one run stands for them all");
        }
        let started_at = self.clock.now();
        tracing::info!(pipeline, due = self.timetable.shown(last), "run begins");
        let result = tokio::select! {
            result = self.work.run() => result,
            () = lease.lost() => {
                self.work.settle().await;
                tracing::warn!(pipeline, "another process took the lease; this run ends");
                return Ok(Outcome::Busy);
            }
            () = stopped(stop) => {
                self.work.settle().await;
                tracing::info!(pipeline, "run cut short; it is due again at the next start");
                return Ok(Outcome::Stopped);
            }
        };
        let ended_at = self.clock.now();
        let skipped = self.timetable.between(last, ended_at, COUNTED);
        for time in &skipped {
            tracing::warn!(pipeline, due = self.timetable.shown(*time), "skipped: the run before it had not ended");
            metrics().pipeline_run(pipeline, "skipped", ended_at.timestamp());
        }
        let error = result.as_ref().err().map(ToString::to_string);
        self.states
            .save(&State {
                kept_until: skipped.last().copied().unwrap_or(last),
                started_at: Some(started_at),
                ended_at: Some(ended_at),
                n_missed: due.len() - 1,
                n_skipped: skipped.len(),
                error: error.clone(),
            })
            .await?;
        let took = (ended_at - started_at).to_std().unwrap_or(Duration::ZERO);
        match error {
            None => {
                metrics().pipeline_run(pipeline, "done", ended_at.timestamp());
                tracing::info!(pipeline, seconds = took.as_secs_f64(), "run ended");
                Ok(Outcome::Ran)
            }
            Some(error) => {
                metrics().pipeline_run(pipeline, "failed", ended_at.timestamp());
                tracing::error!(pipeline, error, seconds = took.as_secs_f64(), "run failed; the next time is kept");
                Ok(Outcome::Failed)
            }
        }
    }
}

async fn stopped(stop: &watch::Receiver<bool>) {
    let mut stop = stop.clone();
    // A sender that is gone says nothing any more.
    if stop.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
