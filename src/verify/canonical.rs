//! Canonical forms: two cells mean the same if and only if their canonical forms are the same bytes.
//!
//! What a cell means is decided by its source type. How a side's bytes have to be read is decided by that side: MySQL
//! sends a BIT as raw bytes, StarRocks a LARGEINT as text. A cell that cannot be read as its type should be keeps its
//! bytes behind a mark, so that it differs from every readable one and shows in the report.
//!
//! Nothing here is shared with the formatters that carry the data: a proof must not use the code that it proves.

mod json;
mod wkt;

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

use crate::config::ZeroDate;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Mysql,
    Mariadb,
    StarRocks,
}

impl Dialect {
    pub fn of(version: &str, comment: &str) -> Self {
        let comment = comment.to_ascii_lowercase();
        if comment.contains("starrocks") || comment.contains("doris") {
            Dialect::StarRocks
        } else if version.contains("MariaDB") {
            Dialect::Mariadb
        } else {
            Dialect::Mysql
        }
    }

    /// The expression that gives a column without loss, and the form its text has.
    pub fn select(self, column: &str, data_type: &str, meaning: Meaning) -> (String, Form) {
        if self == Dialect::StarRocks {
            let text_of_bytes = meaning == Meaning::Binary && (data_type == "varchar" || data_type == "char");
            return (column.to_owned(), if text_of_bytes { Form::Hex } else { Form::Text });
        }
        match data_type {
            // A FLOAT is shown with six digits only; as a DOUBLE it has all. The product keeps the sign of zero.
            "float" | "double" => (format!("{column} * 1e0"), Form::Text),
            "bit" => (column.to_owned(), Form::BigEndian),
            "vector" => (column.to_owned(), Form::LittleEndianFloats),
            _ if is_geometry(data_type) => match self {
                // Geographic systems show latitude first, but store longitude first.
                Dialect::Mysql => (format!("ST_AsText({column}, 'axis-order=long-lat')"), Form::Text),
                _ => (format!("ST_AsText({column})"), Form::Text),
            },
            _ => (column.to_owned(), Form::Text),
        }
    }
}

/// How a side's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// A moment in UTC, to be shown in the job's zone.
    Utc,
    /// Two hexadecimal digits a byte.
    Hex,
    /// An unsigned number, most significant byte first.
    BigEndian,
    /// Four bytes a number.
    LittleEndianFloats,
}

/// What a cell means, by its source type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Integers, decimals, YEAR, BIT: by value, exactly.
    Number,
    /// By bits.
    Float,
    Double,
    Text,
    Binary,
    Date,
    DateTime,
    Time,
    /// By structure: order of members does not matter.
    Json,
    /// Well-known text: coordinates by bits.
    Wkt,
    Floats,
}

impl Meaning {
    pub fn of(source_type: &str, target_type: &str) -> Self {
        match source_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "decimal" | "numeric" | "year"
            | "bit" => Meaning::Number,
            "float" => Meaning::Float,
            "double" => Meaning::Double,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Meaning::Binary,
            "date" => Meaning::Date,
            "datetime" | "timestamp" => Meaning::DateTime,
            "time" => Meaning::Time,
            "json" => Meaning::Json,
            "vector" => Meaning::Floats,
            _ if is_geometry(source_type) => Meaning::Wkt,
            // MariaDB's JSON is a LONGTEXT; as JSON at the target its text is free.
            _ if target_type == "json" => Meaning::Json,
            _ => Meaning::Text,
        }
    }
}

fn is_geometry(data_type: &str) -> bool {
    let names = ["geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"];
    names.contains(&data_type) || data_type == "geometrycollection" || data_type == "geomcollection"
}

/// A canonical cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Value(Vec<u8>),
    /// Not readable as its type.
    Odd(Vec<u8>),
}

impl Cell {
    /// Appends a tag, the length and the bytes.
    pub fn write(&self, to: &mut Vec<u8>) {
        let (tag, bytes): (u8, &[u8]) = match self {
            Cell::Null => (0, &[]),
            Cell::Value(bytes) => (1, bytes),
            Cell::Odd(bytes) => (2, bytes),
        };
        to.push(tag);
        to.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        to.extend_from_slice(bytes);
    }

    /// Reads what `write` wrote, cell after cell.
    pub fn read_all(mut from: &[u8]) -> Vec<Cell> {
        let mut cells = Vec::new();
        while let Some(([tag], rest)) = from.split_first_chunk::<1>() {
            let Some((length, rest)) = rest.split_first_chunk::<8>() else { break };
            let Some((bytes, rest)) = rest.split_at_checked(u64::from_be_bytes(*length) as usize) else { break };
            cells.push(match tag {
                0 => Cell::Null,
                1 => Cell::Value(bytes.to_vec()),
                _ => Cell::Odd(bytes.to_vec()),
            });
            from = rest;
        }
        cells
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        let bytes = match self {
            Cell::Null => return f.write_str("NULL"),
            Cell::Value(bytes) => bytes,
            Cell::Odd(bytes) => {
                f.write_str("(unreadable) ")?;
                bytes
            }
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(|c: char| c.is_control()) => {
                write!(f, "'{}'", text.chars().take(SHOWN).collect::<String>())?;
            }
            _ => {
                f.write_str("0x")?;
                for byte in bytes.iter().take(SHOWN / 2) {
                    write!(f, "{byte:02x}")?;
                }
            }
        }
        if bytes.len() > SHOWN { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
    }
}

/// What a job and a user decide about meaning.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Stands for dates that do not exist (`0000-00-00`, `2024-02-31`). `Error`: nothing does, they differ from all.
    pub zero_date: ZeroDate,
    /// The zone in which [`Form::Utc`] is shown.
    pub zone: TimeZone,
    /// Significant digits of FLOAT and DOUBLE that count; `None`: all bits.
    pub float_digits: Option<u8>,
    /// Digits of a second's fraction that count; `None`: all.
    pub time_digits: Option<u8>,
    /// An empty text is a NULL.
    pub empty_equals_null: bool,
}

impl Rules {
    /// Without any tolerance.
    pub fn exact(zone: TimeZone, zero_date: ZeroDate) -> Rules {
        Rules { zero_date, zone, float_digits: None, time_digits: None, empty_equals_null: false }
    }
}

pub fn canonical(meaning: Meaning, form: Form, bytes: Option<Vec<u8>>, rules: &Rules) -> Cell {
    let Some(bytes) = bytes else { return Cell::Null };
    let canonical = match (form, meaning) {
        (Form::BigEndian, _) => big_endian(&bytes),
        (Form::LittleEndianFloats, _) => {
            let (chunks, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| floats(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)), rules.float_digits))
        }
        (Form::Hex, _) => unhex(&bytes),
        (_, Meaning::Text | Meaning::Binary) if rules.empty_equals_null && bytes.is_empty() => return Cell::Null,
        (_, Meaning::Text | Meaning::Binary) => return Cell::Value(bytes),
        (form, meaning) => match std::str::from_utf8(&bytes) {
            Err(_) => None,
            Ok(text) => match meaning {
                Meaning::Number => number(text),
                Meaning::Float => text.parse::<f32>().ok().map(|value| float(value, rules.float_digits).into_bytes()),
                Meaning::Double => text.parse::<f64>().ok().map(|value| double(value, rules.float_digits).into_bytes()),
                Meaning::Date | Meaning::DateTime => match (date(text), form) {
                    (DateText::Exists, Form::Utc) => {
                        in_zone(text, &rules.zone).map(|text| temporal(&text, rules.time_digits))
                    }
                    (DateText::Exists, _) => Some(temporal(text, rules.time_digits)),
                    (DateText::DoesNot, _) => match &rules.zero_date {
                        ZeroDate::Null => return Cell::Null,
                        ZeroDate::Value(date) if meaning == Meaning::DateTime => Some(temporal(&midnight(date), None)),
                        ZeroDate::Value(date) => Some(temporal(date, None)),
                        ZeroDate::Error => None,
                    },
                    (DateText::Odd, _) => None,
                },
                Meaning::Time => Some(temporal(text, rules.time_digits)),
                Meaning::Json => serde_json::from_str(text).ok().map(|document| {
                    let mut out = String::new();
                    json::write(&document, rules.float_digits, &mut out);
                    out.into_bytes()
                }),
                Meaning::Wkt => Some(wkt::canonical(text, rules.float_digits).into_bytes()),
                Meaning::Floats => {
                    let list: Option<Vec<f32>> = match text.trim().strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
                        Some("") => Some(Vec::new()),
                        Some(items) => items.split(',').map(|item| item.trim().parse().ok()).collect(),
                        None => None,
                    };
                    list.map(|list| floats(list.into_iter(), rules.float_digits))
                }
                Meaning::Text | Meaning::Binary => Some(bytes.clone()),
            },
        },
    };
    match canonical {
        Some(canonical) => Cell::Value(canonical),
        None => Cell::Odd(bytes),
    }
}

/// A moment that is given in UTC, as clocks in `zone` show it.
fn in_zone(utc: &str, zone: &TimeZone) -> Option<String> {
    let moment: civil::DateTime = utc.parse().ok()?;
    let shown = moment.to_zoned(TimeZone::UTC).ok()?.with_time_zone(zone.clone()).datetime();
    Some(shown.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// The other way round; of an hour that clocks show twice, the first.
pub(crate) fn to_utc(shown: &str, zone: &TimeZone) -> Option<String> {
    let shown: civil::DateTime = shown.parse().ok()?;
    let moment = shown.to_zoned(zone.clone()).ok()?.with_time_zone(TimeZone::UTC).datetime();
    Some(moment.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

fn big_endian(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > 8 {
        return None;
    }
    let value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Some(value.to_string().into_bytes())
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

/// `-007.50` becomes `-7.5`; of any length. BOOLEAN words count as 1 and 0.
fn number(text: &str) -> Option<Vec<u8>> {
    match text {
        "true" => return Some(b"1".to_vec()),
        "false" => return Some(b"0".to_vec()),
        _ => {}
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let mut out = String::with_capacity(text.len());
    if negative && whole.len() + fraction.len() > 0 {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    Some(out.into_bytes())
}

/// The shortest text that reads back to the same bits, or `digits` significant digits; it keeps the sign of zero.
fn float(value: f32, digits: Option<u8>) -> String {
    match digits {
        None => format!("{value:e}"),
        Some(digits) => format!("{value:.0$e}", usize::from(digits.max(1)) - 1),
    }
}

fn double(value: f64, digits: Option<u8>) -> String {
    match digits {
        None => format!("{value:e}"),
        Some(digits) => format!("{value:.0$e}", usize::from(digits.max(1)) - 1),
    }
}

fn floats(values: impl Iterator<Item = f32>, digits: Option<u8>) -> Vec<u8> {
    format!("[{}]", values.map(|value| float(value, digits)).collect::<Vec<_>>().join(",")).into_bytes()
}

enum DateText {
    Exists,
    /// Well formed, but no such day: zero dates, and what ALLOW_INVALID_DATES lets in.
    DoesNot,
    Odd,
}

fn date(text: &str) -> DateText {
    let day = text.split(' ').next().unwrap_or(text);
    let mut parts = day.split('-').map(|part| part.parse::<u16>().ok());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) => {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
                4 | 6 | 9 | 11 => 30,
                2 if leap => 29,
                2 => 28,
                _ => 0,
            };
            if (1..=days).contains(&day) { DateText::Exists } else { DateText::DoesNot }
        }
        _ => DateText::Odd,
    }
}

fn midnight(date: &str) -> String {
    if date.contains(' ') { date.to_owned() } else { format!("{date} 00:00:00") }
}

/// Zeros at the end of the fraction say nothing; digits behind `digits` are cut off.
fn temporal(text: &str, digits: Option<u8>) -> Vec<u8> {
    match text.split_once('.') {
        None => text.as_bytes().to_vec(),
        Some((whole, fraction)) => match kept(fraction, digits).trim_end_matches('0') {
            "" => whole.as_bytes().to_vec(),
            fraction => format!("{whole}.{fraction}").into_bytes(),
        },
    }
}

fn kept(fraction: &str, digits: Option<u8>) -> &str {
    digits.and_then(|digits| fraction.get(..usize::from(digits))).unwrap_or(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> Rules {
        Rules::exact(TimeZone::UTC, ZeroDate::Null)
    }

    pub(super) fn text(meaning: Meaning, text: &str) -> Cell {
        canonical(meaning, Form::Text, Some(text.as_bytes().to_vec()), &exact())
    }

    pub(super) fn same(meaning: Meaning, a: &str, b: &str) -> bool {
        let (a, b) = (text(meaning, a), text(meaning, b));
        assert!(matches!(a, Cell::Value(_)), "{a}");
        a == b
    }

    #[test]
    fn numbers_are_equal_by_value_at_any_length() {
        assert!(same(Meaning::Number, "00042", "42"));
        assert!(same(Meaning::Number, "-1.500", "-1.5"));
        assert!(same(Meaning::Number, "-0.00", "0"));
        assert!(same(Meaning::Number, "1", "true"));
        assert!(same(Meaning::Number, &format!("{}.10", "9".repeat(63)), &format!("{}.1", "9".repeat(63))));
        assert!(!same(Meaning::Number, "18446744073709551615", "18446744073709551614"));
        assert!(matches!(text(Meaning::Number, "1e3"), Cell::Odd(_)));
    }

    #[test]
    fn floats_are_equal_by_bits() {
        assert!(same(Meaning::Float, "0.10000000149011612", "0.1"));
        assert!(!same(Meaning::Double, "0.10000000149011612", "0.1"));
        assert!(same(Meaning::Double, "1e22", "10000000000000000000000"));
        assert!(!same(Meaning::Double, "-0", "0"));
    }

    #[test]
    fn fractions_of_seconds_count_and_their_trailing_zeros_do_not() {
        assert!(same(Meaning::DateTime, "2024-02-29 01:02:03.500000", "2024-02-29 01:02:03.5"));
        assert!(same(Meaning::Time, "-838:59:59.000", "-838:59:59"));
        assert!(!same(Meaning::Time, "00:00:00.1", "00:00:00.01"));
    }

    #[test]
    fn days_that_do_not_exist_become_what_the_job_says() {
        for day in ["0000-00-00", "2024-00-10", "2023-02-29"] {
            assert_eq!(text(Meaning::Date, day), Cell::Null);
        }
        let rules = Rules { zero_date: ZeroDate::Value("1970-01-01".into()), ..exact() };
        let value = canonical(Meaning::DateTime, Form::Text, Some(b"0000-00-00 00:00:00".to_vec()), &rules);
        assert_eq!(value, text(Meaning::DateTime, "1970-01-01 00:00:00"));
    }

    #[test]
    fn days_that_do_not_exist_equal_nothing_where_the_job_refuses_them() {
        let rules = Rules { zero_date: ZeroDate::Error, ..exact() };
        let cell = canonical(Meaning::Date, Form::Text, Some(b"0000-00-00".to_vec()), &rules);
        assert_eq!(cell, Cell::Odd(b"0000-00-00".to_vec()));
    }

    #[test]
    fn each_side_has_its_own_form() {
        let bits = canonical(Meaning::Number, Form::BigEndian, Some(vec![0xff; 8]), &exact());
        assert_eq!(bits, text(Meaning::Number, "18446744073709551615"));
        let hex = canonical(Meaning::Binary, Form::Hex, Some(b"00fF".to_vec()), &exact());
        assert_eq!(hex, Cell::Value(vec![0, 255]));
        let vector = [1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let vector = canonical(Meaning::Floats, Form::LittleEndianFloats, Some(vector), &exact());
        assert_eq!(vector, text(Meaning::Floats, "[1.5, -2]"));
    }

    #[test]
    fn a_moment_is_shown_in_the_jobs_zone_and_found_again() {
        let rules = Rules::exact(TimeZone::get("Europe/Berlin").unwrap(), ZeroDate::Null);
        let shown = canonical(Meaning::DateTime, Form::Utc, Some(b"2024-07-01 22:30:00.250".to_vec()), &rules);
        assert_eq!(shown, text(Meaning::DateTime, "2024-07-02 00:30:00.25"));
        assert_eq!(to_utc("2024-07-02 00:30:00.25", &rules.zone).unwrap(), "2024-07-01 22:30:00.250000");
        assert_eq!(canonical(Meaning::DateTime, Form::Utc, Some(b"0000-00-00 00:00:00".to_vec()), &rules), Cell::Null);
    }

    #[test]
    fn tolerance_is_only_what_was_asked_for() {
        let rules = Rules { float_digits: Some(4), time_digits: Some(3), empty_equals_null: true, ..exact() };
        let tolerant = |meaning, text: &str| canonical(meaning, Form::Text, Some(text.as_bytes().to_vec()), &rules);
        assert_eq!(tolerant(Meaning::Double, "1.23449"), tolerant(Meaning::Double, "1.23441"));
        assert_ne!(tolerant(Meaning::Double, "1.2346"), tolerant(Meaning::Double, "1.2344"));
        assert_eq!(tolerant(Meaning::Json, "[1.23449]"), tolerant(Meaning::Json, "[1.23441]"));
        assert_ne!(tolerant(Meaning::Number, "1.23449"), tolerant(Meaning::Number, "1.23441"));
        assert_eq!(tolerant(Meaning::Time, "01:02:03.123456"), text(Meaning::Time, "01:02:03.123"));
        assert_ne!(tolerant(Meaning::Time, "01:02:03.122"), text(Meaning::Time, "01:02:03.123"));
        assert_eq!(tolerant(Meaning::Text, ""), Cell::Null);
        assert_ne!(text(Meaning::Text, ""), Cell::Null);
    }

    #[test]
    fn cells_read_back_as_written() {
        let cells = [Cell::Null, Cell::Value(b"x".to_vec()), Cell::Value(Vec::new()), Cell::Odd(vec![0, 1])];
        let mut bytes = Vec::new();
        cells.iter().for_each(|cell| cell.write(&mut bytes));
        assert_eq!(Cell::read_all(&bytes), cells);
    }
}
