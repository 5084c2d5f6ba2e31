//! Timetables under a clock that the tests step: nothing sleeps.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::error::Error;

/// A clock that stands until it is set.
struct StepClock {
    now: watch::Sender<DateTime<Utc>>,
}

impl StepClock {
    fn at(time: &str) -> Self {
        Self { now: watch::Sender::new(utc(time)) }
    }

    fn set(&self, time: &str) {
        self.now.send_replace(utc(time));
    }

    fn step(&self, seconds: i64) {
        self.now.send_modify(|now| *now += TimeDelta::seconds(seconds));
    }
}

#[async_trait]
impl Clock for StepClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.borrow()
    }

    async fn wait(&self, until: DateTime<Utc>) {
        // The sender is this clock itself.
        self.now.subscribe().wait_for(|now| *now >= until).await.unwrap();
    }
}

/// Work that takes some seconds of the clock.
struct Counted<'a> {
    clock: &'a StepClock,
    seconds: i64,
    began: Mutex<Vec<DateTime<Utc>>>,
    fails: bool,
}

impl<'a> Counted<'a> {
    fn new(clock: &'a StepClock, seconds: i64) -> Self {
        Self { clock, seconds, began: Mutex::default(), fails: false }
    }

    fn times(&self) -> Vec<String> {
        self.began.lock().iter().map(|time| time.format("%d %H:%M").to_string()).collect()
    }
}

#[async_trait]
impl Work for Counted<'_> {
    async fn run(&self) -> Result<()> {
        self.began.lock().push(self.clock.now());
        self.clock.step(self.seconds);
        if self.fails { Err(Error::internal("on purpose")) } else { Ok(()) }
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("{text}:00Z")).unwrap().with_timezone(&Utc)
}

fn lake(folder: &tempfile::TempDir) -> Lake {
    Lake::at(folder.path().to_str().unwrap()).unwrap()
}

fn keeper<'a>(lake: &Lake, cron: &str, clock: &'a StepClock, work: &'a dyn Work) -> Keeper<'a> {
    Keeper::new(lake, "nightly", Timetable::new(cron, "UTC").unwrap(), clock, work).unwrap()
}

fn going() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[tokio::test]
async fn a_pipeline_runs_at_its_times_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted::new(&clock, 60);
    let keeper = keeper(&lake(&folder), "0 3 * * *", &clock, &work);
    let stop = going();
    // What was due before anybody kept the times was not missed.
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-02T03:00"))));
    clock.set("2026-03-02T02:59");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-02T03:00"))));
    clock.set("2026-03-02T03:00");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::Ran);
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-03T03:00"))));
    assert_eq!(work.times(), ["02 03:00"]);
}

#[tokio::test]
async fn times_missed_while_nobody_was_there_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted::new(&clock, 60);
    let stop = going();
    keeper(&lake(&folder), "0 3 * * *", &clock, &work).look(&stop).await.unwrap();
    // The process ends; another one starts four nights later.
    clock.set("2026-03-05T09:30");
    let restarted = keeper(&lake(&folder), "0 3 * * *", &clock, &work);
    assert_eq!(restarted.look(&stop).await.unwrap(), Outcome::Ran);
    assert_eq!(restarted.states.load().await.unwrap().unwrap().n_missed, 3);
    assert_eq!(restarted.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-06T03:00"))));
    assert_eq!(work.times(), ["05 09:30"]);
}

#[tokio::test]
async fn times_that_come_while_a_run_goes_on_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T11:50");
    // Every hour, and a run takes two and a half.
    let work = Counted::new(&clock, 9_000);
    let keeper = keeper(&lake(&folder), "0 * * * *", &clock, &work);
    let stop = going();
    keeper.look(&stop).await.unwrap();
    clock.set("2026-03-01T12:00");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::Ran);
    let state = keeper.states.load().await.unwrap().unwrap();
    assert_eq!((state.n_skipped, state.kept_until), (2, utc("2026-03-01T14:00")));
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-01T15:00"))));
    assert_eq!(work.times(), ["01 12:00"]);
}

#[tokio::test]
async fn a_clock_that_jumps_neither_repeats_nor_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted::new(&clock, 0);
    let keeper = keeper(&lake(&folder), "0 * * * *", &clock, &work);
    let stop = going();
    keeper.look(&stop).await.unwrap();
    // Forward over five times: one run for them all.
    clock.set("2026-03-01T17:20");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::Ran);
    // A little back: what was kept is not kept again.
    clock.set("2026-03-01T16:50");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-01T18:00"))));
    // Years back: the clock was wrong, and what comes next is kept.
    clock.set("2024-01-01T00:30");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2024-01-01T01:00"))));
    clock.set("2024-01-01T01:00");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::Ran);
    assert_eq!(work.times(), ["01 17:20", "01 01:00"]);
}

#[tokio::test]
async fn a_run_that_fails_is_told_and_its_next_time_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted { fails: true, ..Counted::new(&clock, 10) };
    let keeper = keeper(&lake(&folder), "0 * * * *", &clock, &work);
    let stop = going();
    keeper.look(&stop).await.unwrap();
    clock.set("2026-03-01T13:00");
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::Failed);
    let state = keeper.states.load().await.unwrap().unwrap();
    assert!(state.error.is_some_and(|error| error.contains("on purpose")));
    assert_eq!(keeper.look(&stop).await.unwrap(), Outcome::NotDue(Some(utc("2026-03-01T14:00"))));
}

/// Work that goes on until it is dropped.
struct Endless(AtomicUsize);

#[async_trait]
impl Work for Endless {
    async fn run(&self) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_run_cut_short_is_due_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let endless = Endless(AtomicUsize::new(0));
    let (stopping, stop) = watch::channel(false);
    let first = keeper(&lake(&folder), "0 * * * *", &clock, &endless);
    first.look(&stop).await.unwrap();
    clock.set("2026-03-01T13:00");
    let ended = async {
        while endless.0.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        stopping.send(true).unwrap();
    };
    let (outcome, ()) = tokio::join!(first.look(&stop), ended);
    assert_eq!(outcome.unwrap(), Outcome::Stopped);
    // Its lease was given back, so that whoever comes next need not wait for it to run out.
    let work = Counted::new(&clock, 1);
    let second = keeper(&lake(&folder), "0 * * * *", &clock, &work);
    assert_eq!(second.look(&going()).await.unwrap(), Outcome::Ran);
}

#[tokio::test]
async fn of_many_schedulers_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted::new(&clock, 0);
    let lake = lake(&folder);
    let keepers: Vec<Keeper<'_>> = (0..8).map(|_| keeper(&lake, "0 * * * *", &clock, &work)).collect();
    let stop = going();
    keepers[0].look(&stop).await.unwrap();
    for hour in 13..20 {
        clock.set(&format!("2026-03-01T{hour}:00"));
        let outcomes = futures::future::join_all(keepers.iter().map(|keeper| keeper.look(&stop))).await;
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Ran).count(), 1, "{outcomes:?}");
    }
    assert_eq!(work.began.lock().len(), 7);
}

/// Work during which the clock goes astray, and another process looks.
struct Astray<'a> {
    clock: &'a StepClock,
    other: Keeper<'a>,
    seen: Mutex<Vec<Outcome>>,
}

#[async_trait]
impl Work for Astray<'_> {
    async fn run(&self) -> Result<()> {
        for time in ["2026-03-02T13:00", "2036-01-01T00:00", "2026-03-01T13:10"] {
            self.clock.set(time);
            self.seen.lock().push(Outcome::Busy);
            let outcome = self.other.look(&going()).await?;
            *self.seen.lock().last_mut().unwrap() = outcome;
        }
        Ok(())
    }
}

#[tokio::test]
async fn no_clock_takes_a_lease_from_whoever_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let never = Counted::new(&clock, 0);
    let lake = lake(&folder);
    let astray = Astray { clock: &clock, other: keeper(&lake, "0 * * * *", &clock, &never), seen: Mutex::default() };
    let keeper = keeper(&lake, "0 * * * *", &clock, &astray);
    keeper.look(&going()).await.unwrap();
    clock.set("2026-03-01T13:00");
    assert_eq!(keeper.look(&going()).await.unwrap(), Outcome::Ran);
    let seen = astray.seen.lock().clone();
    assert_eq!(seen, [Outcome::Busy; 3]);
    assert!(never.times().is_empty(), "two ran it at once");
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StepClock::at("2026-03-01T12:00");
    let work = Counted::new(&clock, 0);
    let keeper = keeper(&lake(&folder), "0 * * * *", &clock, &work);
    keeper.look(&going()).await.unwrap();
    std::fs::write(folder.path().join("_schedule/nightly/state.json"), "{}").unwrap();
    let message = keeper.look(&going()).await.unwrap_err().to_string();
    assert!(message.contains("_schedule/nightly/state.json"), "{message}");
}
