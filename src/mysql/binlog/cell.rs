//! One column's values in a row image: how long they are, and how their bytes reach the column's formatter.

use super::row::Width;
use super::table_map::{MapColumn, Wire};
use crate::mysql::value::{Civil, Clock, Formatter, ValueError, ValueOptions, ValueWriter, packed_decimal_bytes};
use crate::schema::{Column, ColumnType, TargetColumn};
use crate::{Error, Result};

/// Reads one column's values for one target column.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    form: Form,
    formatter: Formatter,
}

/// The physical form; `Wire` with what the definition adds.
#[derive(Debug, Clone, Copy)]
enum Form {
    Signed,
    Unsigned,
    Float,
    Double,
    Decimal,
    Bytes,
    Year,
    Date,
    Time {
        digits: u8,
    },
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// MariaDB's own forms of 1 to 6 digits, from before it took over MySQL's.
    MariaTime {
        digits: u8,
    },
    MariaDateTime {
        digits: u8,
    },
    MariaTimestamp {
        digits: u8,
    },
}

/// Bytes of MariaDB's own TIME and DATETIME of so many digits (`Field_time_hires`, `Field_datetime_hires`); of none they are
/// MySQL's old decimal numbers.
const MARIA_TIME_BYTES: [usize; 7] = [3, 4, 4, 5, 5, 5, 6];
const MARIA_DATE_TIME_BYTES: [usize; 7] = [8, 6, 6, 7, 7, 7, 8];

fn old_digits(defined: &ColumnType) -> u8 {
    match defined {
        ColumnType::Time { digits } | ColumnType::DateTime { digits } | ColumnType::Timestamp { digits } => *digits,
        _ => 0,
    }
}

/// How long the values are; `None` for a type that Towpath cannot read. Of the old forms of times the log does not tell the
/// digits, so the definition must.
pub(super) fn width(wire: Wire, defined: &ColumnType) -> Option<Width> {
    let fixed = |bytes: usize| Some(Width::Fixed(bytes as u32));
    let fraction = |digits: u8| usize::from(digits).div_ceil(2);
    match wire {
        Wire::OldTime | Wire::OldDateTime | Wire::OldTimestamp if old_digits(defined) > 0 => {
            let digits = old_digits(defined);
            match wire {
                Wire::OldTime => fixed(*MARIA_TIME_BYTES.get(usize::from(digits))?),
                Wire::OldDateTime => fixed(*MARIA_DATE_TIME_BYTES.get(usize::from(digits))?),
                _ => fixed(4 + fraction(digits)),
            }
        }
        Wire::Integer { bytes } | Wire::Enum { bytes: bytes @ 1..=2 } | Wire::Set { bytes: bytes @ 1..=8 } => {
            fixed(bytes.into())
        }
        Wire::Float | Wire::OldTimestamp => fixed(4),
        Wire::Double | Wire::OldDateTime => fixed(8),
        Wire::Decimal { precision, scale } if scale <= precision => fixed(packed_decimal_bytes(precision, scale)),
        Wire::Bit { bits: bits @ 1..=64 } => fixed(usize::from(bits).div_ceil(8)),
        Wire::Varchar { bytes } | Wire::Text { bytes } => Some(Width::Prefixed(if bytes > 255 { 2 } else { 1 })),
        Wire::Blob { length_bytes: length @ 1..=4 }
        | Wire::Json { length_bytes: length @ 1..=4 }
        | Wire::Geometry { length_bytes: length @ 1..=4 }
        | Wire::Vector { length_bytes: length @ 1..=4 } => Some(Width::Prefixed(length)),
        Wire::Year => fixed(1),
        Wire::Date | Wire::OldTime => fixed(3),
        Wire::Time { digits: digits @ 0..=6 } => fixed(3 + fraction(digits)),
        Wire::DateTime { digits: digits @ 0..=6 } => fixed(5 + fraction(digits)),
        Wire::Timestamp { digits: digits @ 0..=6 } => fixed(4 + fraction(digits)),
        _ => None,
    }
}

impl Cell {
    /// For a column whose definition and log agree.
    pub(super) fn new(
        column: &Column,
        logged: &MapColumn,
        target: &TargetColumn,
        key: bool,
        options: &ValueOptions,
    ) -> Result<Cell> {
        let formatter = Formatter::new(column, target, key, options)?;
        let form = match logged.wire {
            Wire::Integer { .. } => match column.ty {
                ColumnType::Integer { unsigned: true, .. } => Form::Unsigned,
                _ => Form::Signed,
            },
            Wire::Enum { .. } | Wire::Set { .. } => Form::Unsigned,
            Wire::Float => Form::Float,
            Wire::Double => Form::Double,
            Wire::Decimal { .. } => Form::Decimal,
            Wire::Bit { .. }
            | Wire::Varchar { .. }
            | Wire::Text { .. }
            | Wire::Blob { .. }
            | Wire::Json { .. }
            | Wire::Geometry { .. }
            | Wire::Vector { .. } => Form::Bytes,
            Wire::Year => Form::Year,
            Wire::Date => Form::Date,
            Wire::Time { digits } => Form::Time { digits },
            Wire::DateTime { digits } => Form::DateTime { digits },
            Wire::Timestamp { digits } => Form::Timestamp { digits },
            Wire::OldTime | Wire::OldDateTime | Wire::OldTimestamp => match (logged.wire, old_digits(&column.ty)) {
                (Wire::OldTime, 0) => Form::OldTime,
                (Wire::OldTime, digits) => Form::MariaTime { digits },
                (Wire::OldDateTime, 0) => Form::OldDateTime,
                (Wire::OldDateTime, digits) => Form::MariaDateTime { digits },
                (_, 0) => Form::OldTimestamp,
                (_, digits) => Form::MariaTimestamp { digits },
            },
            Wire::Unreadable { .. } => {
                return Err(Error::definite(format!("column {}: {} cannot be read", column.name, logged.wire)));
            }
        };
        Ok(Cell { form, formatter })
    }

    /// `value` is the value without its length.
    pub(super) fn write(&self, value: &[u8], out: &mut impl ValueWriter) -> Result<(), ValueError> {
        let formatter = &self.formatter;
        match self.form {
            Form::Signed => formatter.signed(signed(value), out),
            Form::Unsigned => formatter.unsigned(unsigned(value), out),
            Form::Float => formatter.float(f32::from_bits(unsigned(value) as u32), out),
            Form::Double => formatter.double(f64::from_bits(unsigned(value)), out),
            Form::Decimal => formatter.packed_decimal(value, out),
            Form::Bytes => formatter.image_bytes(value, out),
            Form::Year => formatter.unsigned(year(unsigned(value)), out),
            Form::Date => formatter.civil(&Civil::from_date(unsigned(value) as u32), out),
            Form::Time { digits } => formatter.clock(&clock(value, digits), out),
            Form::DateTime { digits } => {
                let (whole, fraction) = value.split_at_checked(5).ok_or_else(short)?;
                // The first bit is the sign, inverted; no date is negative.
                let packed = big_endian(whole).checked_sub(1 << 39);
                let packed = packed.ok_or_else(|| ValueError::new("a negative DATETIME"))?;
                formatter.civil(&Civil::from_packed(packed, micros(fraction, digits)), out)
            }
            Form::Timestamp { digits } => {
                let (seconds, fraction) = value.split_at_checked(4).ok_or_else(short)?;
                formatter.moment(big_endian(seconds) as u32, micros(fraction, digits), out)
            }
            Form::OldTime => formatter.clock(&Clock::from_decimal(signed(value) as i32), out),
            Form::OldDateTime => formatter.civil(&Civil::from_decimal(unsigned(value)), out),
            Form::OldTimestamp => formatter.moment(unsigned(value) as u32, 0, out),
            Form::MariaTime { digits } => formatter.clock(&Clock::from_offset(big_endian(value), digits), out),
            Form::MariaDateTime { digits } => formatter.civil(&Civil::from_mixed(big_endian(value), digits), out),
            Form::MariaTimestamp { digits } => {
                let (seconds, fraction) = value.split_at_checked(4).ok_or_else(short)?;
                let micros = big_endian(fraction) as u32 * 10u32.pow(6 - u32::from(digits.min(6)));
                formatter.moment(big_endian(seconds) as u32, micros, out)
            }
        }
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => bytes.iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte)),
    }
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    ((unsigned(bytes) << unused) as i64) >> unused
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

/// Stored as years since 1900, with 0 for the year 0000.
fn year(stored: u64) -> u64 {
    if stored == 0 { 0 } else { 1900 + stored }
}

/// Fraction bytes hold two digits each.
fn micros(fraction: &[u8], digits: u8) -> u32 {
    let scale = [1, 10_000, 100, 1][usize::from(digits.min(6)).div_ceil(2)];
    if fraction.is_empty() { 0 } else { big_endian(fraction) as u32 * scale }
}

/// TIME since 5.6: hours 10 bits, minutes 6, seconds 6 behind a sign bit, then the fraction; the bytes as one number
/// are offset by half their range, so that they sort.
fn clock(value: &[u8], digits: u8) -> Clock {
    let bits = 8 * value.len() as u32;
    let number = big_endian(value) as i64 - (1i64 << (bits - 1).min(62));
    let fraction_bits = bits - 24;
    // The sign belongs to the number as a whole: take it off before the parts are separated.
    let magnitude = number.unsigned_abs();
    let whole = magnitude >> fraction_bits;
    let fraction = (magnitude & ((1 << fraction_bits) - 1)) as u32;
    let scale = [1, 10_000, 100, 1][usize::from(digits.min(6)).div_ceil(2)];
    let packed = ((whole << 24) | u64::from(fraction * scale)) as i64;
    Clock::from_packed(if number < 0 { -packed } else { packed })
}

fn short() -> ValueError {
    ValueError::new("a value that is too short for its type")
}
