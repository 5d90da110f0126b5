//! Dates and times: one text for each, with as many digits of fraction as the column has.
//!
//! `2024-02-29`, `2024-02-29 12:34:56`, `2024-02-29 12:34:56.120` for a column of three digits, `-838:59:59.000000`.
//!
//! A TIMESTAMP is a moment, and is written as the configured zone's clocks showed it. Dates that no calendar has
//! (`0000-00-00`, `2020-00-10`, and with `ALLOW_INVALID_DATES` `2021-02-30`) go by the job's `defaultZeroDate`.
//!
//! # In a key
//! Two values of a key must not become one text, or two rows become one. Two rules could do that, so a key column
//! refuses what would have company: of a zone that sets its clocks back, the hour that they show twice; and of the
//! dates that `defaultZeroDate` replaces, all but `0000-00-00`, together with the replacement itself.

use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{ValueError, ValueOptions, ValueWriter};
use crate::config::ZeroDate;
use crate::{Error, Result};

/// A date and time of day as the server stores it, parts unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Civil {
    pub(crate) year: u32,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) micros: u32,
}

/// A TIME: a span of up to 839 hours, of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Clock {
    pub(crate) negative: bool,
    pub(crate) hours: u32,
    pub(crate) minutes: u32,
    pub(crate) seconds: u32,
    pub(crate) micros: u32,
}

impl Civil {
    fn exists(&self) -> bool {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        // The server has no leap day in year 0.
        let leap = leap && self.year > 0;
        let days = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap),
            _ => return false,
        };
        (1..=days).contains(&self.day)
    }

    fn in_range(&self) -> bool {
        self.year <= 9999
            && self.month <= 12
            && self.day <= 31
            && self.hour <= 23
            && self.minute <= 59
            && self.second <= 59
            && self.micros <= 999_999
    }

    fn is_zero(&self) -> bool {
        self.year == 0 && self.month == 0 && self.day == 0
    }

    /// Seconds since 1970 in UTC, for a date that exists.
    fn seconds(&self) -> i64 {
        // Days from 1970 by eras of 400 years, the year beginning in March.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = i64::from(self.month);
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * 86_400 + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// The inverse of [`Civil::seconds`]. Seconds must lie within the years 0 to 9999.
    fn from_seconds(seconds: i64, micros: u32) -> Civil {
        let days = seconds.div_euclid(86_400) + 719_468;
        let rest = seconds.rem_euclid(86_400) as u32;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil {
            year: year as u32,
            month: month as u32,
            day: (day_of_year - (153 * shifted + 2) / 5 + 1) as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            micros,
        }
    }
}

/// Writes a DATE, DATETIME or TIMESTAMP column.
#[derive(Debug, Clone)]
pub(crate) struct DateFormat {
    with_time: bool,
    digits: u8,
    zero: Zero,
    zone: Zone,
    /// In the key: no two values may have one text.
    key: bool,
}

#[derive(Debug, Clone)]
enum Zero {
    Null,
    Text(Box<[u8]>),
    Error(&'static str),
}

/// Most jobs have a fixed offset; asking a zone's rules costs far more than an addition.
#[derive(Debug, Clone)]
enum Zone {
    Fixed(i64),
    Rules(TimeZone),
}

impl DateFormat {
    /// For a DATE without time (`digits` is then 0), else with `digits` of fraction.
    ///
    /// # Errors
    /// A replacement for zero dates that is no date.
    pub(crate) fn new(
        with_time: bool,
        digits: u8,
        target_nullable: bool,
        options: &ValueOptions,
    ) -> Result<DateFormat> {
        let zone = match options.zone.to_fixed_offset() {
            Ok(offset) => Zone::Fixed(i64::from(offset.seconds())),
            Err(_) => Zone::Rules(options.zone.clone()),
        };
        let mut format = DateFormat { with_time, digits: digits.min(6), zero: Zero::Null, zone, key: false };
        format.zero = match &options.zero_date {
            ZeroDate::Null if target_nullable => Zero::Null,
            ZeroDate::Null => {
                Zero::Error("NULL cannot stand for it in a NOT NULL column; set defaultZeroDate to a date")
            }
            ZeroDate::Error => Zero::Error("defaultZeroDate is error; set it to null or a date"),
            ZeroDate::Value(text) => {
                let date = parse_date(text).ok_or_else(|| {
                    Error::usage(format!("defaultZeroDate {text:?} is no date")).hint("write it as YYYY-MM-DD")
                })?;
                let mut buffer = [0; 32];
                Zero::Text(format.format(&date, &mut buffer).into())
            }
        };
        Ok(format)
    }

    /// `key`: the column is part of the key.
    pub(crate) fn in_key(self, key: bool) -> DateFormat {
        DateFormat { key, ..self }
    }

    /// A date as it stands.
    pub(crate) fn civil(&self, civil: &Civil, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        if !civil.in_range() {
            return Err(ValueError::new("a date with parts out of range"));
        }
        if !civil.exists() {
            return self.zero(civil, out);
        }
        self.put(civil, out)
    }

    /// A moment, shifted to the zone. Second 0 with no fraction is the server's `0000-00-00 00:00:00`.
    pub(crate) fn moment(&self, seconds: u32, micros: u32, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        if micros > 999_999 {
            return Err(ValueError::new("a fraction of more than six digits"));
        }
        if seconds == 0 && micros == 0 {
            return self.zero(&Civil::default(), out);
        }
        let seconds = i64::from(seconds);
        let offset = match &self.zone {
            Zone::Fixed(offset) => *offset,
            Zone::Rules(zone) => match jiff::Timestamp::from_second(seconds) {
                Ok(moment) if self.key => once(zone, moment)?,
                Ok(moment) => i64::from(zone.to_offset(moment).seconds()),
                Err(_) => return Err(ValueError::new("a TIMESTAMP out of range")),
            },
        };
        self.put(&Civil::from_seconds(seconds + offset, micros), out)
    }

    /// A moment that the server printed in UTC.
    pub(crate) fn utc(&self, civil: &Civil, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        if !civil.in_range() {
            return Err(ValueError::new("a TIMESTAMP with parts out of range"));
        }
        if !civil.exists() {
            return self.zero(civil, out);
        }
        let seconds = u32::try_from(civil.seconds()).map_err(|_| ValueError::new("a TIMESTAMP out of range"))?;
        self.moment(seconds, civil.micros, out)
    }

    fn put(&self, civil: &Civil, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        let mut buffer = [0; 32];
        let text = self.format(civil, &mut buffer);
        if self.key
            && let Zero::Text(zero) = &self.zero
            && **zero == *text
        {
            return Err(ValueError::new(
                "a date in the key that is also defaultZeroDate; set that to a date that no key has",
            ));
        }
        out.plain(text);
        Ok(())
    }

    #[cold]
    fn zero(&self, civil: &Civil, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match &self.zero {
            Zero::Null => out.null(),
            Zero::Text(_) if self.key && *civil != Civil::default() => {
                let (year, month, day) = (civil.year, civil.month, civil.day);
                return Err(ValueError::new(format!(
                    "{year:04}-{month:02}-{day:02} is no date of the calendar, and in a key only 0000-00-00 can be replaced"
                )));
            }
            Zero::Text(text) => out.plain(text),
            Zero::Error(why) => {
                let name = if civil.is_zero() { "a zero date" } else { "no date of the calendar" };
                let (year, month, day) = (civil.year, civil.month, civil.day);
                return Err(ValueError::new(format!("{year:04}-{month:02}-{day:02} is {name}: {why}")));
            }
        }
        Ok(())
    }

    fn format<'a>(&self, civil: &Civil, buffer: &'a mut [u8; 32]) -> &'a [u8] {
        format(civil, self.with_time.then_some(self.digits), buffer)
    }
}

/// `digits`: of the second's fraction; `None` for a date alone.
fn format<'a>(civil: &Civil, digits: Option<u8>, buffer: &'a mut [u8; 32]) -> &'a [u8] {
    pair(buffer, 0, civil.year / 100);
    pair(buffer, 2, civil.year);
    buffer[4] = b'-';
    pair(buffer, 5, civil.month);
    buffer[7] = b'-';
    pair(buffer, 8, civil.day);
    let Some(digits) = digits else { return &buffer[..10] };
    buffer[10] = b' ';
    let end = clock(buffer, 11, (civil.hour, civil.minute, civil.second), civil.micros, digits);
    &buffer[..end]
}

/// A date inside of JSON, which is text there and so stays as it is, also one that no calendar has.
pub(crate) fn json_date(civil: &Civil, with_time: bool, out: &mut impl ValueWriter) -> Result<(), ValueError> {
    if !civil.in_range() {
        return Err(ValueError::new("a date with parts out of range"));
    }
    out.plain(format(civil, with_time.then_some(6), &mut [0; 32]));
    Ok(())
}

/// The zone's offset at a moment that its clocks show once.
fn once(zone: &TimeZone, moment: jiff::Timestamp) -> Result<i64, ValueError> {
    let offset = zone.to_offset(moment);
    let local = offset.to_datetime(moment);
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Fold { .. } => {
            let name = zone.iana_name().unwrap_or("the job's zone");
            Err(ValueError::new(format!(
                "a TIMESTAMP in the key at {local}, which the clocks of {name} showed twice; set source.timezone to an offset \
                 such as +00:00"
            )))
        }
        _ => Ok(i64::from(offset.seconds())),
    }
}

/// Whether the zone's clocks will be set back: a TIMESTAMP in a key is then refused for an hour.
pub(crate) fn will_set_back(zone: &TimeZone) -> bool {
    let now = jiff::Timestamp::now();
    let mut offset = zone.to_offset(now);
    // Two changes make a year; a zone without any has none at all.
    zone.following(now).take(4).any(|change| std::mem::replace(&mut offset, change.offset()) > change.offset())
}

/// Writes a TIME column: two digits of hours at least, three where there are more than 99.
pub(crate) fn time(time: &Clock, digits: u8, out: &mut impl ValueWriter) -> Result<(), ValueError> {
    if time.hours > 999 || time.minutes > 59 || time.seconds > 59 || time.micros > 999_999 {
        return Err(ValueError::new("a TIME with parts out of range"));
    }
    let mut buffer = [0; 32];
    let mut at = 0;
    if time.negative {
        buffer[0] = b'-';
        at = 1;
    }
    if time.hours > 99 {
        buffer[at] = b'0' + (time.hours / 100) as u8;
        at += 1;
    }
    let end = clock(&mut buffer, at, (time.hours, time.minutes, time.seconds), time.micros, digits.min(6));
    out.plain(&buffer[..end]);
    Ok(())
}

fn clock(buffer: &mut [u8; 32], at: usize, (hour, minute, second): (u32, u32, u32), micros: u32, digits: u8) -> usize {
    pair(buffer, at, hour);
    buffer[at + 2] = b':';
    pair(buffer, at + 3, minute);
    buffer[at + 5] = b':';
    pair(buffer, at + 6, second);
    if digits == 0 {
        return at + 8;
    }
    buffer[at + 8] = b'.';
    pair(buffer, at + 9, micros / 10_000);
    pair(buffer, at + 11, micros / 100);
    pair(buffer, at + 13, micros);
    at + 9 + usize::from(digits)
}

/// The last two digits of `value`.
fn pair(buffer: &mut [u8; 32], at: usize, value: u32) {
    buffer[at] = b'0' + (value / 10 % 10) as u8;
    buffer[at + 1] = b'0' + (value % 10) as u8;
}

fn parse_date(text: &str) -> Option<Civil> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u32> { text.get(range)?.parse().ok() };
    let date = Civil { year: number(0..4)?, month: number(5..7)?, day: number(8..10)?, ..Civil::default() };
    date.exists().then_some(date)
}

/// Forms in which row images hold dates and times.
impl Civil {
    /// DATE: day 5 bits, month 4, year 15.
    pub(crate) fn from_date(packed: u32) -> Civil {
        Civil { day: packed & 31, month: (packed >> 5) & 15, year: packed >> 9, ..Civil::default() }
    }

    /// DATETIME since 5.6: 40 bits behind a sign bit (year*13+month 17, day 5, hour 5, minute 6, second 6).
    /// Also the upper 40 bits of a date in JSON.
    pub(crate) fn from_packed(packed: u64, micros: u32) -> Civil {
        let (date, time) = (packed >> 17, packed & 0x1_ffff);
        let months = date >> 5;
        Civil {
            year: (months / 13) as u32,
            month: (months % 13) as u32,
            day: (date & 31) as u32,
            hour: (time >> 12) as u32,
            minute: ((time >> 6) & 63) as u32,
            second: (time & 63) as u32,
            micros,
        }
    }

    /// DATETIME before 5.6: the decimal number YYYYMMDDhhmmss.
    pub(crate) fn from_decimal(number: u64) -> Civil {
        let part = |divisor: u64, modulus: u64| ((number / divisor) % modulus) as u32;
        Civil {
            year: u32::try_from(number / 10_000_000_000).unwrap_or(u32::MAX),
            month: part(100_000_000, 100),
            day: part(1_000_000, 100),
            hour: part(10_000, 100),
            minute: part(100, 100),
            second: part(1, 100),
            micros: 0,
        }
    }
}

/// MariaDB's own forms of 1 to 6 digits, which it had before MySQL's and still writes with `mysql56_temporal_format=OFF`:
/// one number of `10^-digits` seconds (its `pack_time`, `sec_part_shift`).
impl Civil {
    /// Of a calendar whose years have 13 months of 32 days.
    pub(crate) fn from_mixed(number: u64, digits: u8) -> Civil {
        let (seconds, micros) = split_fraction(number, digits);
        let days = seconds / 86_400;
        Civil {
            year: u32::try_from(days / 32 / 13).unwrap_or(u32::MAX),
            month: (days / 32 % 13) as u32,
            day: (days % 32) as u32,
            hour: (seconds / 3600 % 24) as u32,
            minute: (seconds / 60 % 60) as u32,
            second: (seconds % 60) as u32,
            micros,
        }
    }
}

impl Clock {
    /// Above 839 hours, so that no number is negative.
    pub(crate) fn from_offset(number: u64, digits: u8) -> Clock {
        let zero = 839 * 3600 * 10u64.pow(u32::from(digits.min(6)));
        let (seconds, micros) = split_fraction(number.abs_diff(zero), digits);
        Clock {
            negative: number < zero,
            hours: u32::try_from(seconds / 3600).unwrap_or(u32::MAX),
            minutes: (seconds / 60 % 60) as u32,
            seconds: (seconds % 60) as u32,
            micros,
        }
    }
}

/// Whole seconds and microseconds of a number of `10^-digits` seconds.
fn split_fraction(number: u64, digits: u8) -> (u64, u32) {
    let digits = u32::from(digits.min(6));
    let one = 10u64.pow(digits);
    (number / one, (number % one) as u32 * 10u32.pow(6 - digits))
}

impl Clock {
    /// `packed`: hours 10 bits, minutes 6, seconds 6, microseconds 24; negative as a whole.
    pub(crate) fn from_packed(packed: i64) -> Clock {
        let value = packed.unsigned_abs();
        Clock {
            negative: packed < 0,
            hours: ((value >> 36) & 0x3ff) as u32,
            minutes: ((value >> 30) & 63) as u32,
            seconds: ((value >> 24) & 63) as u32,
            micros: (value & 0xff_ffff) as u32,
        }
    }

    /// TIME before 5.6: the decimal number hhmmss.
    pub(crate) fn from_decimal(number: i32) -> Clock {
        let value = number.unsigned_abs();
        Clock {
            negative: number < 0,
            hours: value / 10_000,
            minutes: value / 100 % 100,
            seconds: value % 100,
            micros: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::formatter::tests::Cells;
    use super::*;

    fn format(zero_date: ZeroDate, zone: &str) -> DateFormat {
        let zone = TimeZone::get(zone).unwrap();
        DateFormat::new(true, 3, true, &ValueOptions { zone, zero_date }).unwrap()
    }

    #[test]
    fn a_moment_is_written_in_the_zone_with_its_rules() {
        let mut cells = Cells::default();
        let berlin = format(ZeroDate::Null, "Europe/Berlin");
        berlin.moment(1_711_846_799, 120_000, &mut cells).unwrap();
        berlin.moment(1_711_846_800, 0, &mut cells).unwrap();
        let utc = format(ZeroDate::Null, "UTC");
        utc.moment(2_147_483_647, 999_999, &mut cells).unwrap();
        // MariaDB's TIMESTAMP since 11.5 goes on until all 32 bits are set.
        utc.moment(u32::MAX, 0, &mut cells).unwrap();
        utc.moment(0, 0, &mut cells).unwrap();
        assert_eq!(
            cells.0,
            [
                "2024-03-31 01:59:59.120",
                "2024-03-31 03:00:00.000",
                "2038-01-19 03:14:07.999",
                "2106-02-07 06:28:15.000",
                "NULL"
            ]
        );
    }

    #[test]
    fn dates_that_no_calendar_has_go_by_the_policy() {
        let mut cells = Cells::default();
        let value = format(ZeroDate::Value("1970-01-01".into()), "UTC");
        for (year, month, day) in [(0, 0, 0), (2020, 0, 10), (2020, 2, 0), (2021, 2, 29), (1900, 2, 29), (0, 2, 29)] {
            value.civil(&Civil { year, month, day, ..Civil::default() }, &mut cells).unwrap();
        }
        assert!(cells.0.iter().all(|cell| cell == "1970-01-01 00:00:00.000"), "{:?}", cells.0);
        let error = format(ZeroDate::Error, "UTC").civil(&Civil::default(), &mut cells).unwrap_err();
        assert!(error.to_string().starts_with("0000-00-00 is a zero date"), "{error}");
        let not_null = DateFormat::new(false, 0, false, &ValueOptions::default()).unwrap();
        let error = not_null.civil(&Civil { year: 2020, ..Civil::default() }, &mut cells).unwrap_err();
        assert!(error.to_string().contains("NOT NULL"), "{error}");
        assert!(
            DateFormat::new(
                false,
                0,
                true,
                &ValueOptions { zero_date: ZeroDate::Value("2021-02-30".into()), ..ValueOptions::default() }
            )
            .is_err()
        );
    }

    #[test]
    fn an_hour_that_clocks_show_twice_is_no_key() {
        let options = ValueOptions { zone: TimeZone::get("Europe/Berlin").unwrap(), ..ValueOptions::default() };
        let key = DateFormat::new(true, 0, false, &options).unwrap().in_key(true);
        let mut cells = Cells::default();
        // 2024-10-27: 02:00 to 03:00 came twice, 00:00 to 02:00 in UTC.
        let first: u32 = 1_729_987_200;
        assert!(key.moment(first - 1, 0, &mut cells).is_ok());
        for twice in [first, first + 3599, first + 3600, first + 7199] {
            let error = key.moment(twice, 0, &mut cells).unwrap_err().to_string();
            assert!(error.contains("2024-10-27T02:") && error.contains("Europe/Berlin showed twice"), "{error}");
        }
        assert!(key.moment(first + 7200, 0, &mut cells).is_ok());
        assert_eq!(cells.0, ["2024-10-27 01:59:59", "2024-10-27 03:00:00"]);
        assert!(will_set_back(&options.zone));
        for zone in ["Asia/Shanghai", "UTC"] {
            assert!(!will_set_back(&TimeZone::get(zone).unwrap()), "{zone}");
        }
    }

    #[test]
    fn the_replacement_of_zero_dates_stands_alone_in_a_key() {
        let zero_date = ZeroDate::Value("1970-01-01".into());
        let options = ValueOptions { zero_date, ..ValueOptions::default() };
        let key = DateFormat::new(true, 3, false, &options).unwrap().in_key(true);
        let mut cells = Cells::default();
        key.civil(&Civil::default(), &mut cells).unwrap();
        key.moment(0, 0, &mut cells).unwrap();
        assert_eq!(cells.0, ["1970-01-01 00:00:00.000"; 2]);
        let epoch = Civil { year: 1970, month: 1, day: 1, ..Civil::default() };
        let error = key.civil(&epoch, &mut cells).unwrap_err().to_string();
        assert!(error.contains("also defaultZeroDate"), "{error}");
        key.civil(&Civil { second: 1, ..epoch }, &mut cells).unwrap();
        let error = key.civil(&Civil { month: 0, ..epoch }, &mut cells).unwrap_err().to_string();
        assert!(error.starts_with("1970-00-01 is no date"), "{error}");
        let value = DateFormat::new(true, 3, false, &options).unwrap();
        value.civil(&epoch, &mut cells).unwrap();
    }

    #[test]
    fn times_have_a_sign_and_as_many_hours_as_they_need() {
        let mut cells = Cells::default();
        let longest = Clock { negative: true, hours: 838, minutes: 59, seconds: 59, micros: 0 };
        time(&longest, 6, &mut cells).unwrap();
        time(&Clock { hours: 1, micros: 500_000, ..Clock::default() }, 1, &mut cells).unwrap();
        time(&Clock::default(), 0, &mut cells).unwrap();
        assert_eq!(cells.0, ["-838:59:59.000000", "01:00:00.5", "00:00:00"]);
    }

    proptest! {
        #[test]
        fn seconds_and_dates_are_inverse(seconds in -62_167_219_200i64..253_402_300_800) {
            let civil = Civil::from_seconds(seconds, 0);
            prop_assert_eq!(civil.seconds(), seconds);
            let expected = TimeZone::UTC.to_datetime(jiff::Timestamp::from_second(seconds).unwrap());
            prop_assert_eq!(
                (civil.year as i16, civil.month as i8, civil.day as i8, civil.hour as i8),
                (expected.year(), expected.month(), expected.day(), expected.hour())
            );
        }

        #[test]
        fn any_packed_form_is_written_or_refused(packed: u64, micros: u32) {
            let mut cells = Cells::default();
            let format = DateFormat::new(true, 6, true, &ValueOptions::default()).unwrap();
            let _ = format.civil(&Civil::from_packed(packed, micros), &mut cells);
            let _ = format.civil(&Civil::from_decimal(packed), &mut cells);
            let _ = format.civil(&Civil::from_date(packed as u32), &mut cells);
            let _ = format.moment(packed as u32, micros, &mut cells);
            let _ = time(&Clock::from_packed(packed as i64), 6, &mut cells);
            let _ = time(&Clock::from_decimal(packed as i32), 6, &mut cells);
            for digits in 1..=6 {
                let _ = format.civil(&Civil::from_mixed(packed, digits), &mut cells);
                let _ = time(&Clock::from_offset(packed, digits), digits, &mut cells);
            }
        }
    }
}
