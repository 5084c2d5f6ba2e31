//! Lines that wait to be stored together, and those who wait for them.

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What became of a line.
pub(super) type Done = std::result::Result<(), String>;

/// A line, and who is told when it is stored.
type Line = (String, oneshot::Sender<Done>);

/// The lines that are not stored yet. One task at a time stores them; what comes meanwhile goes together the next time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    being_stored: bool,
}

/// What becomes of a line that was added, and whether somebody must begin to store.
pub(super) struct Added {
    pub(super) done: oneshot::Receiver<Done>,
    pub(super) nobody_stores: bool,
}

impl Queue {
    /// Adds a line.
    pub(super) fn add(&self, line: String) -> Added {
        let (sender, done) = oneshot::channel();
        let mut state = self.state.lock();
        state.lines.push((line, sender));
        Added { done, nobody_stores: !std::mem::replace(&mut state.being_stored, true) }
    }

    /// All lines that wait; `None`, and nobody stores any more, when there are none.
    pub(super) fn take(&self) -> Option<Vec<Line>> {
        let mut state = self.state.lock();
        if state.lines.is_empty() {
            state.being_stored = false;
            return None;
        }
        Some(std::mem::take(&mut state.lines))
    }
}

/// The lines as bytes, each with its end.
pub(super) fn bytes(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lines.iter().map(|(line, _)| line.len() + 1).sum());
    for (line, _) in lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// Tells those who wait.
pub(super) fn tell(lines: Vec<Line>, outcome: &Done) {
    for (_, sender) in lines {
        // Who asked may be gone; the line is stored all the same.
        let _ = sender.send(outcome.clone());
    }
}
