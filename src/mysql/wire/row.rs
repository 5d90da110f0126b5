//! A row of the binary protocol, as it came.
//!
//! ```text
//! 0 | a bit a column, from the third on: NULL | values of those that are not
//! ```
//! A number has the bytes of its type, a date or a time has one byte of length and then its parts, everything else a length
//! and its bytes (MySQL's `ProtocolBinary::ResultsetRow`). The row does not tell types: these come once, before the rows.

use mysql_async::Value;
use mysql_common::constants::ColumnType;

use super::answer::length;
use crate::mysql::value::{Civil, Clock};

/// How a column's values stand in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Tiny,
    UnsignedTiny,
    Short,
    UnsignedShort,
    Long,
    UnsignedLong,
    LongLong,
    UnsignedLongLong,
    Float,
    Double,
    /// A date, with or without a time of the day.
    Date,
    Time,
    Bytes,
}

impl Form {
    pub fn of(ty: ColumnType, unsigned: bool) -> Form {
        use ColumnType as T;
        match (ty, unsigned) {
            (T::MYSQL_TYPE_TINY, false) => Form::Tiny,
            (T::MYSQL_TYPE_TINY, true) => Form::UnsignedTiny,
            (T::MYSQL_TYPE_SHORT | T::MYSQL_TYPE_YEAR, false) => Form::Short,
            (T::MYSQL_TYPE_SHORT | T::MYSQL_TYPE_YEAR, true) => Form::UnsignedShort,
            (T::MYSQL_TYPE_LONG | T::MYSQL_TYPE_INT24, false) => Form::Long,
            (T::MYSQL_TYPE_LONG | T::MYSQL_TYPE_INT24, true) => Form::UnsignedLong,
            (T::MYSQL_TYPE_LONGLONG, false) => Form::LongLong,
            (T::MYSQL_TYPE_LONGLONG, true) => Form::UnsignedLongLong,
            (T::MYSQL_TYPE_FLOAT, _) => Form::Float,
            (T::MYSQL_TYPE_DOUBLE, _) => Form::Double,
            (T::MYSQL_TYPE_DATE | T::MYSQL_TYPE_DATETIME | T::MYSQL_TYPE_TIMESTAMP, _) => Form::Date,
            (T::MYSQL_TYPE_TIME, _) => Form::Time,
            _ => Form::Bytes,
        }
    }
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Date(Civil),
    Time(Clock),
    Bytes(&'a [u8]),
}

/// A row ends before its last value does, or goes on behind it, or a date has a length that no date has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// The bytes of a row.
#[derive(Debug, Clone, Copy)]
pub struct PackedRow<'a> {
    forms: &'a [Form],
    bytes: &'a [u8],
}

impl<'a> PackedRow<'a> {
    pub fn new(forms: &'a [Form], bytes: &'a [u8]) -> PackedRow<'a> {
        PackedRow { forms, bytes }
    }

    /// The number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.forms.len()
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its values from the first to the last.
    #[inline]
    pub(crate) fn cells(&self) -> Result<Cells<'a>, Damaged> {
        // The mark, then the bits, which begin with two that no column has.
        let bits = (self.forms.len() + 2).div_ceil(8);
        let (nulls, rest) = self.bytes.get(1..).and_then(|bytes| bytes.split_at_checked(bits)).ok_or(Damaged)?;
        Ok(Cells { forms: self.forms, nulls, bit: 2, rest })
    }

    /// # Errors
    /// The row is not as its columns say.
    pub fn values(&self) -> Result<Vec<Value>, Damaged> {
        let mut cells = self.cells()?;
        let values = (0..self.columns()).map(|_| {
            Ok(match cells.next()? {
                Cell::Null => Value::NULL,
                Cell::Int(value) => Value::Int(value),
                Cell::UInt(value) => Value::UInt(value),
                Cell::Float(value) => Value::Float(value),
                Cell::Double(value) => Value::Double(value),
                Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
                Cell::Date(Civil { year, month, day, hour, minute, second, micros }) => {
                    let small = |part: u32| part as u8;
                    Value::Date(
                        year as u16,
                        small(month),
                        small(day),
                        small(hour),
                        small(minute),
                        small(second),
                        micros,
                    )
                }
                Cell::Time(Clock { negative, hours, minutes, seconds, micros }) => {
                    Value::Time(negative, hours / 24, (hours % 24) as u8, minutes as u8, seconds as u8, micros)
                }
            })
        });
        let values = values.collect::<Result<_, _>>()?;
        cells.end()?;
        Ok(values)
    }
}

/// Walks a row.
pub(crate) struct Cells<'a> {
    /// Of the values that come.
    forms: &'a [Form],
    nulls: &'a [u8],
    /// Of the next value.
    bit: usize,
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Cell<'a>, Damaged> {
        let (form, forms) = self.forms.split_first().ok_or(Damaged)?;
        self.forms = forms;
        let bit = self.bit;
        self.bit += 1;
        if self.nulls.get(bit / 8).ok_or(Damaged)? >> (bit % 8) & 1 == 1 {
            return Ok(Cell::Null);
        }
        Ok(match form {
            Form::Tiny => Cell::Int(i8::from_le_bytes(self.take()?).into()),
            Form::UnsignedTiny => Cell::UInt(u8::from_le_bytes(self.take()?).into()),
            Form::Short => Cell::Int(i16::from_le_bytes(self.take()?).into()),
            Form::UnsignedShort => Cell::UInt(u16::from_le_bytes(self.take()?).into()),
            Form::Long => Cell::Int(i32::from_le_bytes(self.take()?).into()),
            Form::UnsignedLong => Cell::UInt(u32::from_le_bytes(self.take()?).into()),
            Form::LongLong => Cell::Int(i64::from_le_bytes(self.take()?)),
            Form::UnsignedLongLong => Cell::UInt(u64::from_le_bytes(self.take()?)),
            Form::Float => Cell::Float(f32::from_le_bytes(self.take()?)),
            Form::Double => Cell::Double(f64::from_le_bytes(self.take()?)),
            Form::Date => Cell::Date(self.date()?),
            Form::Time => Cell::Time(self.time()?),
            Form::Bytes => {
                let length = length(&mut self.rest).flatten().ok_or(Damaged)?;
                let length = usize::try_from(length).map_err(|_| Damaged)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
                self.rest = rest;
                Cell::Bytes(bytes)
            }
        })
    }

    /// Nothing is left.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), Damaged> {
        if self.forms.is_empty() && self.rest.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Parts that are zero at the end are left out.
    fn date(&mut self) -> Result<Civil, Damaged> {
        let [length] = self.take()?;
        let mut civil = Civil::default();
        if !matches!(length, 0 | 4 | 7 | 11) {
            return Err(Damaged);
        }
        if length >= 4 {
            let [low, high, month, day] = self.take()?;
            (civil.year, civil.month, civil.day) = (u16::from_le_bytes([low, high]).into(), month.into(), day.into());
        }
        if length >= 7 {
            let [hour, minute, second] = self.take()?.map(u32::from);
            (civil.hour, civil.minute, civil.second) = (hour, minute, second);
        }
        if length == 11 {
            civil.micros = u32::from_le_bytes(self.take()?);
        }
        Ok(civil)
    }

    fn time(&mut self) -> Result<Clock, Damaged> {
        let [length] = self.take()?;
        let mut clock = Clock::default();
        if !matches!(length, 0 | 8 | 12) {
            return Err(Damaged);
        }
        if length >= 8 {
            let [negative] = self.take()?;
            let days = u32::from_le_bytes(self.take()?);
            let [hours, minutes, seconds] = self.take()?.map(u32::from);
            clock = Clock {
                negative: negative != 0,
                hours: days.saturating_mul(24).saturating_add(hours),
                minutes,
                seconds,
                micros: 0,
            };
        }
        if length == 12 {
            clock.micros = u32::from_le_bytes(self.take()?);
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What MySQL 9.7 sends for `SELECT -2, CAST(3 AS UNSIGNED), NULL, 'abc', 1.5e0, DATE'2024-02-29',
    /// TIMESTAMP'2024-02-29 12:34:56.5', TIME'-30:00:01', TIME'0', 0.25`, with the columns' forms.
    const FORMS: [Form; 10] = [
        Form::LongLong,
        Form::UnsignedLongLong,
        Form::Bytes,
        Form::Bytes,
        Form::Double,
        Form::Date,
        Form::Date,
        Form::Time,
        Form::Time,
        Form::Bytes,
    ];

    fn row() -> Vec<u8> {
        [
            &[0, 0b1_0000, 0][..],
            &(-2_i64).to_le_bytes(),
            &3_u64.to_le_bytes(),
            b"\x03abc",
            &1.5_f64.to_le_bytes(),
            &[4, 0xe8, 7, 2, 29],
            &[11, 0xe8, 7, 2, 29, 12, 34, 56, 0x20, 0xa1, 7, 0],
            &[8, 1, 1, 0, 0, 0, 6, 0, 1],
            &[0],
            b"\x040.25",
        ]
        .concat()
    }

    #[test]
    fn a_row_has_its_values_and_nothing_behind() {
        let bytes = row();
        let expected = [
            Value::Int(-2),
            Value::UInt(3),
            Value::NULL,
            Value::from("abc"),
            Value::Double(1.5),
            Value::Date(2024, 2, 29, 0, 0, 0, 0),
            Value::Date(2024, 2, 29, 12, 34, 56, 500_000),
            Value::Time(true, 1, 6, 0, 1, 0),
            Value::Time(false, 0, 0, 0, 0, 0),
            Value::from("0.25"),
        ];
        assert_eq!(PackedRow::new(&FORMS, &bytes).values().unwrap(), expected);
        for end in 0..bytes.len() {
            assert!(PackedRow::new(&FORMS, &bytes[..end]).values().is_err(), "{end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(PackedRow::new(&FORMS, &longer).values().is_err());
    }

    #[test]
    fn small_numbers_keep_their_signs() {
        let forms = [Form::Tiny, Form::UnsignedTiny, Form::Short, Form::UnsignedShort, Form::Long, Form::UnsignedLong];
        let bytes = [&[0, 0][..], &[0xff; 14]].concat();
        let values = PackedRow::new(&forms, &bytes).values().unwrap();
        let expected = [-1, 0xff, -1, 0xffff, -1, 0xffff_ffff_i64];
        for (at, (value, expected)) in values.into_iter().zip(expected).enumerate() {
            let wanted = if at % 2 == 0 { Value::Int(expected) } else { Value::UInt(expected as u64) };
            assert_eq!(value, wanted);
        }
    }
}
