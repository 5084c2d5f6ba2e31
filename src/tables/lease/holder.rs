//! Who holds a lease, as the lease itself says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::hash;

/// Leases that this process asked for.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The content of a lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Holder {
    /// What the lease is for.
    pub(super) name: String,
    /// Different for every lease that anybody asks for.
    id: String,
    /// The running system and its view of processes; empty where that cannot be told.
    machine: String,
    /// The machine's name, for people.
    #[serde(default)]
    host: String,
    /// Number of the process there.
    process: u32,
    /// When the process started, as the system counts: numbers of processes are used again.
    started: String,
    /// The longest time, in seconds, that the holder leaves the lease unchanged.
    pub(super) seconds: f64,
    /// How often it was renewed.
    pub(super) beat: u64,
}

impl Holder {
    pub(super) fn this_process(name: &str, seconds: f64) -> Self {
        let process = std::process::id();
        let (machine, started) = (machine(), started(process).unwrap_or_default());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = ASKED.fetch_add(1, Ordering::Relaxed);
        let id = hash::text(&format!("{machine} {process} {started} {now} {number}"));
        Self { name: name.to_owned(), id, machine, host, process, started, seconds, beat: 0 }
    }

    /// What a lease says; `None` for what no holder wrote.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn written(&self) -> Vec<u8> {
        // Text and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether both are one lease that was asked for.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Who it is, for people.
    pub(super) fn told(&self) -> String {
        format!("process {} on {}", self.process, if self.host.is_empty() { "another machine" } else { &self.host })
    }

    /// Whether the process ran on this machine and has ended.
    pub(super) fn is_gone(&self) -> bool {
        let here = !self.machine.is_empty() && !self.started.is_empty() && self.machine == machine();
        here && started(self.process).as_ref() != Some(&self.started)
    }
}

/// The running system and its view of processes: containers on one machine number theirs apart.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let view = std::fs::read_link("/proc/self/ns/pid");
    match (boot, view) {
        (Ok(boot), Ok(view)) => format!("{} {}", boot.trim(), view.display()),
        _ => String::new(),
    }
}

/// When a process started; `None` when there is no such process, or it has ended and waits to be noticed.
fn started(process: u32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in brackets and may hold anything; after it come the state and, as the twentieth, the start.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| started.to_owned())
}
