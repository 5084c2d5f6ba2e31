//! When a pipeline is due: a cron expression, read by the clocks of a time zone.

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::error::{Error, Result};

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimetableFault {
    /// `cron` or `time_zone`.
    pub field: &'static str,
    /// What it takes.
    pub expected: String,
    /// What was given.
    pub got: String,
}

/// The times at which a pipeline is due.
///
/// Where clocks are put forward, a fixed time inside the gap is due right after it, and times that repeat (`*/5`) leave the gap out;
/// where they are put back, a fixed time is due once, at its first occurrence, and times that repeat go on through both hours.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// The times of a cron expression (five fields, or six with seconds first) in a time zone by its IANA name.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expression or a name that cannot be read.
    pub fn new(cron: &str, zone: &str) -> Result<Self> {
        let fault = |fault: TimetableFault| Error::Argument {
            argument: fault.field.to_owned(),
            expected: fault.expected,
            got: fault.got,
        };
        Ok(Self { cron: read_cron(cron).map_err(fault)?, zone: read_zone(zone).map_err(fault)? })
    }

    /// Everything that is wrong with an expression and a time zone.
    pub fn faults(cron: &str, zone: &str) -> Vec<TimetableFault> {
        let faults = [read_cron(cron).err(), read_zone(zone).err()];
        let mut faults: Vec<TimetableFault> = faults.into_iter().flatten().collect();
        if let (true, Ok(timetable)) = (faults.is_empty(), Self::new(cron, zone))
            && timetable.next_after(Utc::now()).is_none()
        {
            let expected = "a time that comes".to_owned();
            faults.push(TimetableFault { field: "cron", expected, got: cron.to_owned() });
        }
        faults
    }

    /// The first time after this one; `None` when there is none.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&time.with_timezone(&self.zone), false).ok()?;
        Some(next.with_timezone(&Utc)).filter(|next| *next > time)
    }

    /// All times after the first and up to the last, at most `limit` of them.
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>, limit: usize) -> Vec<DateTime<Utc>> {
        let mut times = Vec::new();
        let mut time = after;
        while times.len() < limit {
            match self.next_after(time) {
                Some(next) if next <= until => {
                    times.push(next);
                    time = next;
                }
                _ => break,
            }
        }
        times
    }

    /// The time as the clocks of the time zone show it.
    pub fn shown(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
    }
}

fn read_cron(text: &str) -> std::result::Result<Cron, TimetableFault> {
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    parser.parse(text).map_err(|error| TimetableFault {
        field: "cron",
        expected: format!("a cron expression such as '0 3 * * *' ({})", error.to_string().trim_end_matches('.')),
        got: text.to_owned(),
    })
}

fn read_zone(text: &str) -> std::result::Result<Tz, TimetableFault> {
    text.parse::<Tz>().map_err(|_| {
        let nearest = TZ_VARIANTS
            .iter()
            .map(|zone| (strsim::jaro_winkler(zone.name(), text), zone.name()))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or("UTC", |(_, name)| name);
        TimetableFault {
            field: "time_zone",
            expected: format!("a time zone by its IANA name (the nearest is '{nearest}')"),
            got: text.to_owned(),
        }
    })
}

#[cfg(test)]
mod tests;
