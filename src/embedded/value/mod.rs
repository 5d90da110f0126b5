//! From a text or JSON value to what one typed column stores, by StarRocks' rules.
//!
//! There are three ways in, because StarRocks has three: [`from_csv`] (one converter a type),
//! [`from_json`] (numbers stay numbers, everything else passes through text) and [`from_text`] (the cast
//! that SQL literals and `columns` expressions go through). All end in the same [`Cell`], the canonical
//! storage value: a decimal always has its `scale` digits and a datetime one spelling, so that equal values
//! are equal bytes in SQLite.
//!
//! A value that cannot be converted is [`Bad::Invalid`]: the caller makes it NULL (`strict_mode: false`) or
//! drops the row (`true`). What only the table sink of the real server refuses ([`Bad::Sink`]) drops the row in
//! both modes. [`check`] does the sink's part: NULL into NOT NULL, and lengths in bytes.

mod decimal;
mod json;
mod temporal;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use serde_json::value::RawValue;

use decimal::DecimalError;
use json::{array, canonical_json};
pub(crate) use json::{from_json, json_string};
use temporal::DateTime;

use super::types::ColumnType;

/// A storage value, borrowed from the input where the input has that form already.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    /// Valid UTF-8 for CHAR and VARCHAR; kept as bytes, since CSV rows are checked as a whole.
    Text(Cow<'a, [u8]>),
    Blob(Cow<'a, [u8]>),
}

impl<'a> Cell<'a> {
    fn text(text: impl Into<Vec<u8>>) -> Cell<'a> {
        Cell::Text(Cow::Owned(text.into()))
    }

    pub(crate) fn into_owned(self) -> Cell<'static> {
        match self {
            Cell::Null => Cell::Null,
            Cell::Int(value) => Cell::Int(value),
            Cell::Real(value) => Cell::Real(value),
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Blob(bytes) => Cell::Blob(Cow::Owned(bytes.into_owned())),
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(value) => ValueRef::Integer(*value),
            Cell::Real(value) => ValueRef::Real(*value),
            Cell::Text(text) => ValueRef::Text(text),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Why there is no cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The converter's failure: NULL or a filtered row, as `strict_mode` says.
    Invalid,
    /// The table sink's failure, with its text: the row is filtered in both modes.
    Sink(String),
}

/// One CSV field that is not `\N`. `base64_binary`: VARBINARY fields are base64 (StarRocks 3.2 and later)
/// instead of hex.
pub(crate) fn from_csv<'a>(ty: &ColumnType, name: &str, field: &'a [u8], base64_binary: bool) -> Result<Cell<'a>, Bad> {
    match ty {
        ColumnType::Char(limit) | ColumnType::Varchar(limit) => {
            if field.len() > *limit as usize {
                return Err(Bad::Invalid);
            }
            Ok(Cell::Text(Cow::Borrowed(field)))
        }
        ColumnType::Varbinary(limit) => {
            let bytes = if base64_binary {
                STANDARD.decode(field).map_or(Cow::Borrowed(field), Cow::Owned)
            } else {
                Cow::Owned(decode_hex(field).ok_or(Bad::Invalid)?)
            };
            if bytes.len() > *limit as usize {
                return Err(Bad::Invalid);
            }
            Ok(Cell::Blob(bytes))
        }
        _ => from_text(ty, name, field),
    }
}

/// The cast from text, as SQL literals and `columns` expressions use it. Lengths are left to [`check`].
pub(crate) fn from_text<'a>(ty: &ColumnType, name: &str, text: &'a [u8]) -> Result<Cell<'a>, Bad> {
    match ty {
        ColumnType::Boolean => boolean(text).map(|value| Cell::Int(value.into())).ok_or(Bad::Invalid),
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            integer(ty, text).map(Cell::Int).ok_or(Bad::Invalid)
        }
        ColumnType::LargeInt => large_integer(text).map(|value| Cell::text(value.to_string())).ok_or(Bad::Invalid),
        ColumnType::Float => float::<f32>(text)
            .filter(|value| value.is_finite())
            .map(|value| Cell::Real(f64::from(value)))
            .ok_or(Bad::Invalid),
        ColumnType::Double => float::<f64>(text).filter(|value| value.is_finite()).map(Cell::Real).ok_or(Bad::Invalid),
        ColumnType::Decimal { precision, scale } => match decimal::canonical(text, *precision, *scale) {
            Ok(text) => Ok(Cell::text(text)),
            Err(DecimalError::Invalid) => Err(Bad::Invalid),
            Err(DecimalError::OutOfRange) => Err(Bad::Sink(format!(
                "Decimal '{}' is out of range. The type of '{name}' is {}'",
                String::from_utf8_lossy(text.trim_ascii()),
                debug_name(ty)
            ))),
        },
        ColumnType::Date if temporal::is_canonical_date(text) => Ok(Cell::Text(Cow::Borrowed(text))),
        ColumnType::Date => DateTime::parse(text).map(|time| Cell::text(time.date_text())).ok_or(Bad::Invalid),
        ColumnType::DateTime if temporal::is_canonical_datetime(text) => Ok(Cell::Text(Cow::Borrowed(text))),
        ColumnType::DateTime => DateTime::parse(text).map(|time| Cell::text(time.text())).ok_or(Bad::Invalid),
        ColumnType::Char(_) | ColumnType::Varchar(_) => Ok(Cell::Text(Cow::Borrowed(text))),
        ColumnType::Varbinary(_) => Ok(Cell::Blob(Cow::Borrowed(text))),
        ColumnType::Json => canonical_json(text).map(Cell::text).ok_or(Bad::Invalid),
        ColumnType::Array(element) => {
            let raw: &RawValue = serde_json::from_slice(text).map_err(|_| Bad::Invalid)?;
            array(element, name, raw.get()).map(Cell::text).map_err(|_| Bad::Invalid)
        }
    }
}

/// The table sink's checks: NULL, and lengths in bytes.
pub(crate) fn check(ty: &ColumnType, name: &str, nullable: bool, cell: &Cell<'_>) -> Result<(), String> {
    let (length, limit, bytes) = match (cell, ty) {
        (Cell::Null, _) if nullable => return Ok(()),
        (Cell::Null, _) => return Err(format!("NULL value in non-nullable column '{name}'")),
        (Cell::Text(bytes), ColumnType::Char(limit) | ColumnType::Varchar(limit))
        | (Cell::Blob(bytes), ColumnType::Varbinary(limit)) => (bytes.len(), *limit as usize, bytes),
        _ => return Ok(()),
    };
    if length <= limit {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&bytes[..length.min(100)]);
    let dots = if length > 100 { "..." } else { "" };
    Err(format!("String '{shown}{dots}'(length={length}) is too long. The max length of '{name}' is {limit}"))
}

/// The text that a failed cast in strict mode leaves behind.
pub(crate) fn out_of_range(ty: &ColumnType, name: &str, value: &str) -> String {
    format!("Value '{value}' is out of range. The type of '{name}' is {}'", debug_name(ty))
}

/// The type as StarRocks' error texts print it.
pub(crate) fn debug_name(ty: &ColumnType) -> String {
    match ty {
        ColumnType::Boolean => "BOOLEAN".into(),
        ColumnType::TinyInt => "TINYINT".into(),
        ColumnType::SmallInt => "SMALLINT".into(),
        ColumnType::Int => "INT".into(),
        ColumnType::BigInt => "BIGINT".into(),
        ColumnType::LargeInt => "LARGEINT".into(),
        ColumnType::Float => "FLOAT".into(),
        ColumnType::Double => "DOUBLE".into(),
        ColumnType::Decimal { precision, scale } => {
            let width = match precision {
                0..=9 => 32,
                10..=18 => 64,
                19..=38 => 128,
                _ => 256,
            };
            format!("DECIMAL{width}({precision}, {scale})")
        }
        ColumnType::Char(length) => format!("CHAR({length})"),
        ColumnType::Varchar(length) => format!("VARCHAR({length})"),
        ColumnType::Varbinary(length) => format!("VARBINARY({length})"),
        ColumnType::Date => "DATE".into(),
        ColumnType::DateTime => "DATETIME".into(),
        ColumnType::Json => "JSON".into(),
        ColumnType::Array(element) => format!("ARRAY<{}>", debug_name(element)),
    }
}

/// Bytes this key cell takes in StarRocks' encoded primary key. Only a VARCHAR's size varies; one that is not
/// the last key column pays a two-byte end mark and one more byte for each zero byte in it.
pub(crate) fn encoded_key_length(ty: &ColumnType, cell: &Cell<'_>, last: bool) -> usize {
    match (ty, cell) {
        (ColumnType::Boolean | ColumnType::TinyInt, _) => 1,
        (ColumnType::SmallInt, _) => 2,
        (ColumnType::Int | ColumnType::Date, _) => 4,
        (ColumnType::BigInt | ColumnType::DateTime, _) => 8,
        (ColumnType::LargeInt, _) => 16,
        (_, Cell::Text(bytes) | Cell::Blob(bytes)) if last => bytes.len(),
        (_, Cell::Text(bytes) | Cell::Blob(bytes)) => bytes.len() + 2 + memchr::memchr_iter(0, bytes).count(),
        _ => 8,
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    if let Some(number) = plain_integer(text) {
        return Some(number != 0);
    }
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

fn limits(ty: &ColumnType) -> (i64, i64) {
    match ty {
        ColumnType::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        ColumnType::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        ColumnType::Int => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Whole numbers; a fraction is cut off, as StarRocks does. An exponent only up to INT.
fn integer(ty: &ColumnType, text: &[u8]) -> Option<i64> {
    let (low, high) = limits(ty);
    let text = text.trim_ascii();
    if let Some(number) = plain_integer(text) {
        return (low..=high).contains(&number).then_some(number);
    }
    if all_digits(text) {
        return None;
    }
    if matches!(ty, ColumnType::BigInt) {
        let whole = decimal::canonical(truncated(text)?, 38, 0).ok()?;
        return whole.parse().ok();
    }
    let number = float::<f64>(text)?.trunc();
    (number >= low as f64 && number <= high as f64).then_some(number as i64)
}

fn large_integer(text: &[u8]) -> Option<i128> {
    let text = text.trim_ascii();
    let text = if all_digits(text) { text } else { truncated(text)? };
    // The documented range leaves out -2^127, but the type holds it.
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `12.9` as `12`; `None` for anything that is no plain decimal number.
fn truncated(text: &[u8]) -> Option<&[u8]> {
    let point = memchr::memchr(b'.', text)?;
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    (all_digits(whole) && !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit)).then_some(whole)
}

fn all_digits(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// An i64 written with digits only; `None` on overflow too.
fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 40 {
        return None;
    }
    // Eighteen digits cannot overflow, so the common number needs no checked arithmetic.
    let mut value = 0i64;
    for (at, byte) in digits.iter().enumerate() {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = if at < 18 {
            value * 10 - digit
        } else {
            value.checked_mul(10).and_then(|value| value.checked_sub(digit))?
        };
    }
    if negative { Some(value) } else { value.checked_neg() }
}

fn float<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = text.trim_ascii();
    // Rust also reads "inf" and "nan"; StarRocks refuses both in a load.
    if text.iter().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(crate) fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell<'static> {
        Cell::text(text)
    }

    fn csv<'a>(ty: &ColumnType, field: &'a str) -> Result<Cell<'a>, Bad> {
        from_csv(ty, "c", field.as_bytes(), true)
    }

    #[test]
    fn integers_keep_to_their_width_and_lose_their_fraction() {
        assert_eq!(csv(&ColumnType::TinyInt, "-128"), Ok(Cell::Int(-128)));
        assert_eq!(csv(&ColumnType::TinyInt, "128"), Err(Bad::Invalid));
        assert_eq!(csv(&ColumnType::Int, " 12 "), Ok(Cell::Int(12)));
        assert_eq!(csv(&ColumnType::Int, "1.9"), Ok(Cell::Int(1)));
        assert_eq!(csv(&ColumnType::Int, "2147483648"), Err(Bad::Invalid));
        assert_eq!(csv(&ColumnType::BigInt, "-9223372036854775808"), Ok(Cell::Int(i64::MIN)));
        assert_eq!(csv(&ColumnType::BigInt, "9223372036854775808"), Err(Bad::Invalid));
        assert_eq!(csv(&ColumnType::BigInt, "12.5"), Ok(Cell::Int(12)));
        assert_eq!(csv(&ColumnType::Int, ""), Err(Bad::Invalid));
        assert_eq!(csv(&ColumnType::Int, "abc"), Err(Bad::Invalid));
        let large = "-170141183460469231731687303715884105727";
        assert_eq!(csv(&ColumnType::LargeInt, large), Ok(text(large)));
        assert_eq!(csv(&ColumnType::LargeInt, "007"), Ok(text("7")));
        assert_eq!(csv(&ColumnType::LargeInt, "170141183460469231731687303715884105728"), Err(Bad::Invalid));
    }

    #[test]
    fn floats_are_finite() {
        assert_eq!(csv(&ColumnType::Float, "0.1"), Ok(Cell::Real(f64::from(0.1f32))));
        assert_eq!(csv(&ColumnType::Double, "1e308"), Ok(Cell::Real(1e308)));
        for bad in ["1e309", "nan", "inf", "-Infinity"] {
            assert_eq!(csv(&ColumnType::Double, bad), Err(Bad::Invalid), "{bad}");
        }
        assert_eq!(csv(&ColumnType::Float, "1e39"), Err(Bad::Invalid));
    }

    #[test]
    fn a_csv_string_is_measured_in_bytes() {
        assert_eq!(csv(&ColumnType::Varchar(3), "é1"), Ok(text("é1")));
        assert_eq!(csv(&ColumnType::Varchar(2), "é1"), Err(Bad::Invalid));
        assert_eq!(csv(&ColumnType::Varchar(2), ""), Ok(text("")));
    }

    #[test]
    fn binary_csv_is_base64_when_it_can_be() {
        let ty = ColumnType::Varbinary(4);
        assert_eq!(csv(&ty, "AAECAw=="), Ok(Cell::Blob(Cow::Owned(vec![0, 1, 2, 3]))));
        assert_eq!(csv(&ty, "a b"), Ok(Cell::Blob(Cow::Borrowed(b"a b"))));
        assert_eq!(csv(&ty, "AAECAwQF"), Err(Bad::Invalid));
        assert_eq!(from_csv(&ty, "c", b"00ff", false), Ok(Cell::Blob(Cow::Owned(vec![0, 255]))));
        assert_eq!(from_csv(&ty, "c", b"0", false), Err(Bad::Invalid));
    }

    #[test]
    fn the_sink_checks_nulls_and_lengths() {
        assert_eq!(
            check(&ColumnType::Int, "c", false, &Cell::Null),
            Err("NULL value in non-nullable column 'c'".into())
        );
        let long = "x".repeat(101);
        let expected = format!("String '{}...'(length=101) is too long. The max length of 'c' is 5", &long[..100]);
        assert_eq!(check(&ColumnType::Varchar(5), "c", true, &text(&long)), Err(expected));
        let decimal = ColumnType::Decimal { precision: 5, scale: 2 };
        assert!(matches!(csv(&decimal, "1000"), Err(Bad::Sink(text)) if text.contains("is out of range")));
    }

    #[test]
    fn arrays_hold_canonical_elements() {
        let ty = ColumnType::Array(Box::new(ColumnType::Float));
        assert_eq!(csv(&ty, "[1, 0.1,null]"), Ok(text("[1,0.1,null]")));
        assert_eq!(csv(&ty, "1"), Err(Bad::Invalid));
    }

    #[test]
    fn encoded_key_counts_bytes_as_starrocks_does() {
        assert_eq!(encoded_key_length(&ColumnType::Varchar(9), &text("a\0b"), true), 3);
        assert_eq!(encoded_key_length(&ColumnType::Varchar(9), &text("a\0b"), false), 6);
        assert_eq!(encoded_key_length(&ColumnType::BigInt, &Cell::Int(1), true), 8);
    }
}
