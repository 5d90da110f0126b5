//! When a job does something by the clock: a cron expression in a time zone.
//!
//! Where the clocks of the zone go forward, a time that they leave out comes at the first moment behind the gap. Where they
//! go back, a time that they show twice comes once; a pattern such as `*/10 * * * *` goes on through both hours.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron expression of five fields and the zone whose clocks it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    expression: String,
    /// As in the job file; `None`: this machine's.
    zone_name: Option<String>,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// `Err` says what is wrong with the expression, or with the zone.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone_name = zone.map(str::to_owned);
        let zone = zone.map_or_else(|| Ok(TimeZone::system()), super::zone::parse)?;
        let wrong = |why: String| {
            format!(
                "{expression:?} {why}; write minute, hour, day of the month, month and day of the week, such as '0 3 * * *' \
                 (every day at three)"
            )
        };
        let fields = expression.split_whitespace().count();
        if fields != 5 && !expression.trim_start().starts_with('@') {
            return Err(wrong(format!("has {fields} fields, not five")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            let message = error.to_string();
            wrong(format!("is no cron expression ({})", message.trim_end_matches('.')))
        })?;
        let schedule = Schedule { expression: expression.to_owned(), zone_name, cron, zone };
        match schedule.next(Timestamp::now()) {
            Some(_) => Ok(schedule),
            None => Err(format!("{expression:?} is a time that never comes")),
        }
    }

    /// The first time behind `after`; `None`: there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()?;
        Some(next.timestamp())
    }

    /// How many times lie behind `after` and not behind `until`, counted up to `most`.
    pub fn times(&self, after: Timestamp, until: Timestamp, most: u64) -> u64 {
        let mut at = after;
        let mut times = 0;
        while times < most {
            match self.next(at) {
                Some(next) if next <= until => (at, times) = (next, times + 1),
                _ => break,
            }
        }
        times
    }

    /// As it stands in the job file.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// As it stands in the job file; `None`: this machine's.
    pub fn zone_name(&self) -> Option<&str> {
        self.zone_name.as_deref()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone_name {
            Some(zone) => write!(f, "{} {zone}", self.expression),
            None => f.write_str(&self.expression),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next times behind `after`, in UTC.
    fn next(expression: &str, zone: &str, after: &str, number: usize) -> Vec<String> {
        let schedule = Schedule::parse(expression, Some(zone)).unwrap();
        let mut at = at(after);
        let step = |_| {
            at = schedule.next(at).unwrap();
            at.to_string()
        };
        (0..number).map(step).collect()
    }

    #[test]
    fn a_time_is_one_of_the_zones_clocks() {
        assert_eq!(next("0 3 * * *", "UTC", "2026-01-01T03:00:00Z", 1), ["2026-01-02T03:00:00Z"]);
        assert_eq!(next("0 3 * * *", "+02:00", "2026-01-01T00:59:59.5Z", 1), ["2026-01-01T01:00:00Z"]);
        assert_eq!(next("30 22 * * SUN", "Asia/Shanghai", "2026-01-01T00:00:00Z", 1), ["2026-01-04T14:30:00Z"]);
        // As cron has it: the 1st, and each Monday.
        assert_eq!(
            next("0 0 1 * 1", "UTC", "2026-01-31T00:00:00Z", 2),
            ["2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"]
        );
    }

    #[test]
    fn a_day_whose_clocks_change_has_each_time_once() {
        // 02:30 does not come on 29 March 2026, and comes twice on 25 October.
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let autumn = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let hourly = next("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3);
        assert_eq!(hourly, ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]);
    }

    #[test]
    fn times_between_two_moments_are_counted() {
        let schedule = Schedule::parse("*/10 * * * *", Some("UTC")).unwrap();
        let from = at("2026-01-01T00:00:00Z");
        assert_eq!(schedule.times(from, at("2026-01-01T00:09:59Z"), 100), 0);
        assert_eq!(schedule.times(from, at("2026-01-01T00:30:00Z"), 100), 3);
        assert_eq!(schedule.times(from, at("2027-01-01T00:00:00Z"), 100), 100);
        assert_eq!(schedule.times(at("2027-01-01T00:00:00Z"), from, 100), 0);
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        let wrong = |expression| Schedule::parse(expression, Some("UTC")).unwrap_err();
        let form =
            "write minute, hour, day of the month, month and day of the week, such as '0 3 * * *' (every day at three)";
        assert_eq!(wrong("0 0 3 * * *"), format!("\"0 0 3 * * *\" has 6 fields, not five; {form}"));
        assert_eq!(wrong(""), format!("\"\" has 0 fields, not five; {form}"));
        for expression in ["0 25 * * *", "60 * * * *", "a * * * *", "@soon", "* * 0 * *", "5-1 * * * *", "*/0 * * * *"]
        {
            let said = wrong(expression);
            assert!(said.starts_with(&format!("{expression:?} is no cron expression (")), "{said}");
        }
        assert_eq!(wrong("0 0 30 2 *"), "\"0 0 30 2 *\" is a time that never comes");
        assert!(Schedule::parse("0 3 * * *", Some("Mars/Olympus")).unwrap_err().contains("is no time zone"));
        assert!(Schedule::parse("@daily", None).is_ok());
    }
}
