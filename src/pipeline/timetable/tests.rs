//! Times in zones whose clocks move.

use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

fn times(cron: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
    let times = Timetable::new(cron, zone).unwrap().between(utc(after), utc(until), 100);
    times.iter().map(|time| time.format("%d %H:%M").to_string()).collect()
}

#[test]
fn hours_are_those_of_the_time_zone() {
    let winter = times("0 3 * * *", "Europe/Berlin", "2026-01-10T00:00:00Z", "2026-01-12T00:00:00Z");
    assert_eq!(winter, ["10 02:00", "11 02:00"]);
    let summer = times("0 3 * * *", "Europe/Berlin", "2026-07-10T00:00:00Z", "2026-07-12T00:00:00Z");
    assert_eq!(summer, ["10 01:00", "11 01:00"]);
    assert_eq!(times("0 3 * * *", "UTC", "2026-07-10T03:00:00Z", "2026-07-11T03:00:00Z"), ["11 03:00"]);
}

#[test]
fn a_time_that_the_clocks_leave_out_is_due_right_after_it() {
    // On 29 March 2026 at 02:00 clocks in Berlin are put forward to 03:00, which is 01:00 UTC.
    let fixed = times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
    assert_eq!(fixed, ["28 01:30", "29 01:00", "30 00:30"]);
    let repeated = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z");
    assert_eq!(repeated, ["29 00:30", "29 01:00", "29 01:30", "29 02:00"]);
}

#[test]
fn a_time_that_the_clocks_repeat_is_due_once() {
    // On 25 October 2026 at 03:00 they are put back to 02:00: 02:30 comes at 00:30 and at 01:30 UTC.
    let fixed = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    assert_eq!(fixed, ["25 00:30", "26 01:30"]);
    let repeated = times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z");
    assert_eq!(repeated, ["25 00:30", "25 01:00", "25 01:30", "25 02:00"]);
}

#[test]
fn what_cannot_be_read_is_told_with_what_is_near() {
    let faults = Timetable::faults("61 * * * *", "Europe/Berln");
    assert_eq!(faults.iter().map(|fault| fault.field).collect::<Vec<_>>(), ["cron", "time_zone"]);
    assert!(faults[1].expected.contains("'Europe/Berlin'"), "{faults:?}");
    assert!(Timetable::faults("0 3 * * *", "UTC").is_empty());
    // The thirtieth of February never comes.
    let never = Timetable::faults("0 0 30 2 *", "UTC");
    assert_eq!(never.iter().map(|fault| fault.field).collect::<Vec<_>>(), ["cron"]);
}
