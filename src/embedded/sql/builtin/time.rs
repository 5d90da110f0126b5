//! Dates and times. DATETIME arguments are canonical text; the clock is UTC.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Value;
use rusqlite::{Connection, Result};

use super::{int, strict, text};
use crate::embedded::types::ColumnType;
use crate::embedded::value::{self, Cell};

pub(super) fn register(connection: &Connection) -> Result<()> {
    connection.create_scalar_function("sr_now", 0, FunctionFlags::SQLITE_UTF8, |_| Ok(now_text()))?;
    strict(connection, "sr_to_date", 1, |context| Ok(optional(date_text(&text(context, 0)))))?;
    strict(connection, "sr_to_datetime", 1, |context| Ok(optional(datetime_text(&text(context, 0)))))?;
    strict(connection, "sr_date_part", 2, |context| {
        let part = text(context, 0);
        Ok(moment(context, 1).and_then(|time| date_part(&part, time)).map_or(Value::Null, Value::Integer))
    })?;
    strict(connection, "sr_date_format", 2, |context| {
        let format = text(context, 1);
        Ok(optional(moment(context, 0).map(|time| date_format(time, &format))))
    })?;
    strict(connection, "sr_date_add", 3, |context| {
        let (amount, unit) = (int(context, 1)?, text(context, 2));
        Ok(optional(moment(context, 0).and_then(|time| add(time, amount, &unit)).map(canonical)))
    })?;
    strict(connection, "sr_date_diff", 3, |context| {
        let (unit, from, to) = (text(context, 0), moment(context, 1), moment(context, 2));
        Ok(from.zip(to).and_then(|(from, to)| difference(&unit, from, to)).map_or(Value::Null, Value::Integer))
    })?;
    strict(connection, "sr_date_trunc", 2, |context| {
        let (unit, given) = (text(context, 0), text(context, 1));
        let truncated = moment(context, 1).and_then(|time| truncate(&unit.to_lowercase(), time)).map(canonical);
        Ok(optional(truncated.map(|text| if given.len() == 10 { text[..10].to_owned() } else { text })))
    })?;
    strict(connection, "sr_last_day", 1, |context| {
        Ok(optional(moment(context, 0).map(|time| time.date().last_of_month().to_string())))
    })?;
    strict(connection, "sr_unix", 1, |context| {
        let seconds = moment(context, 0).and_then(|time| time.to_zoned(TimeZone::UTC).ok());
        Ok(seconds.map_or(Value::Null, |time| Value::Integer(time.timestamp().as_second())))
    })?;
    strict(connection, "sr_from_unix", 1, |context| {
        let time = Timestamp::from_second(int(context, 0)?).ok();
        Ok(optional(time.map(|time| canonical(TimeZone::UTC.to_datetime(time)))))
    })
}

/// The time now in UTC, whole seconds.
pub(in crate::embedded::sql) fn now_text() -> String {
    Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A text as a canonical DATE.
pub(in crate::embedded::sql) fn date_text(text: &str) -> Option<String> {
    cast(&ColumnType::Date, text)
}

/// A text as a canonical DATETIME.
pub(in crate::embedded::sql) fn datetime_text(text: &str) -> Option<String> {
    cast(&ColumnType::DateTime, text)
}

fn cast(ty: &ColumnType, text: &str) -> Option<String> {
    match value::from_text(ty, "", text.as_bytes()) {
        Ok(Cell::Text(bytes)) => String::from_utf8(bytes.into_owned()).ok(),
        _ => None,
    }
}

fn optional(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}

fn moment(context: &Context<'_>, index: usize) -> Option<DateTime> {
    let text = text(context, index);
    match text.len() {
        10 => text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)),
        _ => text.parse().ok(),
    }
}

fn canonical(time: DateTime) -> String {
    let seconds = time.strftime("%Y-%m-%d %H:%M:%S");
    match time.subsec_nanosecond() / 1000 {
        0 => seconds.to_string(),
        micros => format!("{seconds}.{micros:06}"),
    }
}

fn date_part(part: &str, time: DateTime) -> Option<i64> {
    let weekday = time.weekday();
    Some(match part {
        "year" => time.year().into(),
        "quarter" => i64::from((time.month() + 2) / 3),
        "month" => time.month().into(),
        "day" | "dayofmonth" => time.day().into(),
        "hour" => time.hour().into(),
        "minute" => time.minute().into(),
        "second" => time.second().into(),
        "microsecond" => i64::from(time.subsec_nanosecond() / 1000),
        "dayofweek" => weekday.to_sunday_one_offset().into(),
        "weekday" => weekday.to_monday_zero_offset().into(),
        "dayofyear" => time.day_of_year().into(),
        "weekofyear" => time.date().iso_week_date().week().into(),
        "week" => (i64::from(time.day_of_year()) + 6 - i64::from(weekday.to_sunday_zero_offset())) / 7,
        _ => return None,
    })
}

/// MySQL's format letters.
fn date_format(time: DateTime, format: &str) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(letter) = chars.next() else { break };
        let native = match letter {
            'Y' | 'y' | 'm' | 'd' | 'H' | 'I' | 'j' | 'p' | 'b' | 'a' => format!("%{letter}"),
            'M' => "%B".into(),
            'W' => "%A".into(),
            'i' => "%M".into(),
            's' | 'S' => "%S".into(),
            'T' => "%H:%M:%S".into(),
            'r' => "%I:%M:%S %p".into(),
            'h' => "%I".into(),
            'c' => "%-m".into(),
            'e' => "%-d".into(),
            'k' => "%-H".into(),
            'l' => "%-I".into(),
            'f' => {
                out.push_str(&format!("{:06}", time.subsec_nanosecond() / 1000));
                continue;
            }
            other => {
                out.push(other);
                continue;
            }
        };
        out.push_str(&time.strftime(&native).to_string());
    }
    out
}

fn add(time: DateTime, amount: i64, unit: &str) -> Option<DateTime> {
    let span = Span::new();
    let span = match unit {
        "microsecond" => span.try_microseconds(amount),
        "second" => span.try_seconds(amount),
        "minute" => span.try_minutes(amount),
        "hour" => span.try_hours(amount),
        "day" => span.try_days(amount),
        "week" => span.try_weeks(amount),
        "month" => span.try_months(amount),
        "quarter" => span.try_months(amount.checked_mul(3)?),
        "year" => span.try_years(amount),
        _ => return None,
    };
    time.checked_add(span.ok()?).ok().filter(|time| time.year() >= 0)
}

/// Whole units from `from` to `to`, cut towards zero; days and weeks of 24-hour days.
fn difference(unit: &str, from: DateTime, to: DateTime) -> Option<i64> {
    if let "month" | "quarter" | "year" = unit {
        let mut months = i64::from(to.year() - from.year()) * 12 + i64::from(to.month() - from.month());
        let rest = |time: DateTime| (time.day(), time.time());
        if months > 0 && rest(to) < rest(from) {
            months -= 1;
        } else if months < 0 && rest(to) > rest(from) {
            months += 1;
        }
        let size = match unit {
            "month" => 1,
            "quarter" => 3,
            _ => 12,
        };
        return Some(months / size);
    }
    let micros = |time: DateTime| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond());
    let size = match unit {
        "microsecond" => 1,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => 86_400_000_000,
        "week" => 604_800_000_000,
        _ => return None,
    };
    Some((micros(to)? - micros(from)?) / size)
}

fn truncate(unit: &str, time: DateTime) -> Option<DateTime> {
    let date = time.date();
    Some(match unit {
        "second" => date.at(time.hour(), time.minute(), time.second(), 0),
        "minute" => date.at(time.hour(), time.minute(), 0, 0),
        "hour" => date.at(time.hour(), 0, 0, 0),
        "day" => date.at(0, 0, 0, 0),
        "week" => {
            let days = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(Span::new().try_days(days).ok()?).ok()?.at(0, 0, 0, 0)
        }
        "month" => date.first_of_month().at(0, 0, 0, 0),
        "quarter" => Date::new(date.year(), (date.month() - 1) / 3 * 3 + 1, 1).ok()?.at(0, 0, 0, 0),
        "year" => date.first_of_year().at(0, 0, 0, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    #[test]
    fn formats_follow_mysql_letters() {
        assert_eq!(
            date_format(at("2024-03-05 07:08:09.000123"), "%Y-%m-%d %H:%i:%s.%f|%c/%e|%%"),
            "2024-03-05 07:08:09.000123|3/5|%"
        );
    }

    #[test]
    fn months_are_whole_and_ends_are_kept() {
        assert_eq!(canonical(add(at("2024-01-31 00:00:00"), 1, "month").unwrap()), "2024-02-29 00:00:00");
        assert_eq!(difference("month", at("2024-01-31 00:00:00"), at("2024-03-30 00:00:00")), Some(1));
        assert_eq!(difference("day", at("2024-03-01 00:00:00"), at("2024-02-01 12:00:00")), Some(-28));
        assert_eq!(canonical(truncate("quarter", at("2024-05-17 10:00:00")).unwrap()), "2024-04-01 00:00:00");
    }
}
