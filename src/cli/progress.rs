//! Progress of a pipeline on stderr: a bar for the running stage, one line for each finished one.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

#[cfg(test)]
mod tests;

/// How often a bar is drawn while nothing advances, so that its clock goes on.
const TICK: Duration = Duration::from_millis(250);

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// One line for each finished stage.
    Lines,
    /// That, and a bar that moves.
    Bars,
}

impl Verbosity {
    /// What fits stderr as it is: bars on a terminal, lines elsewhere.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Bars } else { Self::Lines }
    }
}

/// Shows the stages of one run, one after the other.
#[derive(Clone)]
pub struct StageProgress {
    n_stages: usize,
    n_started: Arc<Mutex<usize>>,
    verbosity: Verbosity,
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl StageProgress {
    /// Progress of a run of `n_stages` stages, on stderr.
    pub fn new(n_stages: usize, verbosity: Verbosity) -> Self {
        Self::with_output(n_stages, verbosity, Box::new(io::stderr()))
    }

    /// As [`StageProgress::new`] with the lines of finished stages written elsewhere; bars stay on stderr.
    pub fn with_output(n_stages: usize, verbosity: Verbosity, out: Box<dyn Write + Send>) -> Self {
        Self { n_stages, n_started: Arc::new(Mutex::new(0)), verbosity, out: Arc::new(Mutex::new(out)) }
    }

    /// Starts the next stage. `total` is the number of units to do, `None` if unknown; `unit` names them in the plural (`neurons`).
    pub fn stage(&self, name: &str, unit: &str, total: Option<u64>) -> Stage {
        let number = {
            let mut n_started = self.n_started.lock().unwrap_or_else(PoisonError::into_inner);
            *n_started += 1;
            *n_started
        };
        let title = format!("[{number}/{}] {name}", self.n_stages.max(number));
        let bar = match self.verbosity {
            Verbosity::Bars => {
                let target = ProgressDrawTarget::stderr();
                let bar =
                    ProgressBar::with_draw_target(total, target).with_style(style(total)).with_message(title.clone());
                bar.enable_steady_tick(TICK);
                bar
            }
            Verbosity::Quiet | Verbosity::Lines => ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()),
        };
        Stage { title, unit: unit.to_owned(), bar, started_at: Instant::now(), progress: self.clone() }
    }

    fn line(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // Work does not fail because nobody can watch it.
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        }
    }
}

/// One running stage. If it is dropped before [`Stage::finish`], as after an error or ^C, its bar is cleared and no line
/// says that it is done; the terminal needs no repair, because bars neither hide the cursor nor change its mode.
pub struct Stage {
    title: String,
    unit: String,
    bar: ProgressBar,
    started_at: Instant,
    progress: StageProgress,
}

impl Stage {
    /// Counts units that are done.
    pub fn advance(&self, n_units: u64) {
        self.bar.inc(n_units);
    }

    /// Sets how many units there are, when that becomes known.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
        self.bar.set_style(style(Some(total)));
    }

    /// Counts units that an earlier run has done: they make the bar longer, not the rate higher.
    pub fn resume_at(&self, n_units: u64) {
        self.bar.set_position(n_units);
        self.bar.reset_eta();
    }

    /// Counts something else from now on, from zero.
    pub fn recount(&mut self, unit: &str) {
        unit.clone_into(&mut self.unit);
        self.bar.reset();
        self.bar.set_style(style(None));
    }

    /// Runs something that prints while the bar is out of the way.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    /// Says something about the stage in a line of its own.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| self.progress.line(&format!("{}: {text}", self.title)));
    }

    /// Ends the stage: the bar gives way to one line with count, time and rate.
    pub fn finish(self) {
        let elapsed = self.started_at.elapsed();
        let line = summary(&self.title, self.bar.position(), &self.unit, elapsed);
        self.bar.finish_and_clear();
        self.progress.line(&line);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The line of a finished stage.
fn summary(title: &str, n_units: u64, unit: &str, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let mut line = format!("{title}: {} {unit} in ", HumanCount(n_units));
    // Writing to a string cannot fail.
    let _ = match seconds {
        _ if seconds < 60.0 => write!(line, "{seconds:.1} s"),
        _ => write!(line, "{}", HumanDuration(elapsed)),
    };
    if seconds >= 0.1 && n_units > 0 {
        let rate = n_units as f64 / seconds;
        let _ = if rate >= 10.0 {
            write!(line, " ({}/s)", HumanCount(rate as u64))
        } else {
            write!(line, " ({rate:.2}/s)")
        };
    }
    line
}

/// With a known total a bar and the time left, else only count, rate and time.
fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
        None => "{msg} {human_pos} {per_sec} {elapsed}",
    };
    // A template is checked at run time; the plain style is shown should it ever be wrong.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
