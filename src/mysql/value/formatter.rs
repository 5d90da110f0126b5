//! What a column's values become in its target column, decided once.

use std::sync::Arc;

use super::charset::Charset;
use super::number::{self, Digits};
use super::temporal::{self, Civil, Clock, DateFormat};
use super::{ValueError, ValueOptions, ValueWriter, geometry, json, network};
use crate::schema::{Column, ColumnType, TargetColumn, TargetType};
use crate::{Error, Result};

/// Writes one column's values. The variants are the physical families; a decoder picks the method for the form it
/// holds, and a form that the column cannot have is an error.
#[derive(Debug, Clone)]
pub(crate) enum Formatter {
    Integer {
        text: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
        text: bool,
    },
    Float {
        text: bool,
    },
    Double {
        text: bool,
    },
    Bit,
    /// `limit`: the target column's length in bytes; so for the next one, as stored.
    Text {
        charset: Charset,
        trim: bool,
        json: bool,
        limit: usize,
    },
    /// `pad`: the length of a BINARY column, else 0.
    Bytes {
        pad: usize,
        hex: bool,
        limit: usize,
    },
    Date(DateFormat),
    DateTime(DateFormat),
    Timestamp(DateFormat),
    Time {
        digits: u8,
    },
    Year {
        text: bool,
    },
    /// `invalid`: the server's mark of an invalid value, number 0, may be written as the empty text that it shows.
    Enum {
        members: Arc<[Box<[u8]>]>,
        invalid: bool,
    },
    Set(Arc<[Box<[u8]>]>),
    Json {
        text: bool,
    },
    Geometry {
        limit: usize,
    },
    Vector {
        text: bool,
    },
    Uuid,
    Inet4,
    Inet6,
}

impl Formatter {
    /// `key`: the column is part of the key, so different values must stay different: what would make two keys one is an
    /// error of the value that does it.
    ///
    /// # Errors
    /// A definite error when the target's type cannot take the column's values, or its character set cannot be
    /// decoded; a usage error for a `defaultZeroDate` that is no date. The caller adds the table.
    pub(crate) fn new(column: &Column, target: &TargetColumn, key: bool, options: &ValueOptions) -> Result<Formatter> {
        let ty = target.ty;
        let limit = match ty {
            TargetType::Varchar { bytes } | TargetType::Varbinary { bytes } => bytes as usize,
            _ => usize::MAX,
        };
        let text = matches!(ty, TargetType::Varchar { .. });
        let whole = matches!(
            ty,
            TargetType::TinyInt | TargetType::SmallInt | TargetType::Int | TargetType::BigInt | TargetType::LargeInt
        );
        let number = whole || matches!(ty, TargetType::Decimal { .. } | TargetType::Float | TargetType::Double);
        let is_bytes = matches!(ty, TargetType::Varbinary { .. });
        let date = |with_time, digits| {
            DateFormat::new(with_time, digits, target.nullable, options).map(|format| format.in_key(key))
        };
        let (formatter, fits) = match &column.ty {
            ColumnType::Integer { .. } => (Formatter::Integer { text }, text || number || ty == TargetType::Boolean),
            ColumnType::Decimal { precision, scale } => {
                (Formatter::Decimal { precision: *precision, scale: *scale, text }, text || number)
            }
            ColumnType::Float => {
                (Formatter::Float { text }, text || matches!(ty, TargetType::Float | TargetType::Double))
            }
            ColumnType::Double => (Formatter::Double { text }, text || ty == TargetType::Double),
            ColumnType::Bit { .. } => (Formatter::Bit, whole || ty == TargetType::Boolean),
            ColumnType::Char { charset, .. }
            | ColumnType::Varchar { charset, .. }
            | ColumnType::Text { charset, .. } => {
                let known = Charset::named(charset).ok_or_else(|| {
                    Error::definite(format!("column {}: character set {charset} cannot be decoded", column.name))
                        .hint("convert the column to utf8mb4 at the source, or leave the table out")
                })?;
                let known = if key { known.for_key() } else { known };
                let trim = matches!(column.ty, ColumnType::Char { .. });
                let json = ty == TargetType::Json;
                (Formatter::Text { charset: known, trim, json, limit }, text || json)
            }
            ColumnType::Binary { bytes } => {
                (Formatter::Bytes { pad: *bytes as usize, hex: text, limit }, text || is_bytes)
            }
            ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => {
                (Formatter::Bytes { pad: 0, hex: text, limit }, text || is_bytes)
            }
            ColumnType::Date => {
                let with_time = ty == TargetType::DateTime;
                (Formatter::Date(date(with_time, 0)?), text || with_time || ty == TargetType::Date)
            }
            ColumnType::DateTime { digits } => {
                (Formatter::DateTime(date(true, *digits)?), text || ty == TargetType::DateTime)
            }
            ColumnType::Timestamp { digits } => {
                (Formatter::Timestamp(date(true, *digits)?), text || ty == TargetType::DateTime)
            }
            ColumnType::Time { digits } => (Formatter::Time { digits: *digits }, text),
            ColumnType::Year => (Formatter::Year { text }, text || whole),
            ColumnType::Enum { members } => {
                let invalid = !key || !members.iter().any(String::is_empty);
                (Formatter::Enum { members: texts(members), invalid }, text)
            }
            ColumnType::Set { members } => (Formatter::Set(texts(members)), text),
            ColumnType::Json => (Formatter::Json { text }, text || ty == TargetType::Json),
            ColumnType::Geometry => (Formatter::Geometry { limit }, text),
            ColumnType::Vector { .. } => {
                (Formatter::Vector { text }, text || matches!(ty, TargetType::FloatArray | TargetType::Json))
            }
            ColumnType::Uuid => (Formatter::Uuid, text),
            ColumnType::Inet4 => (Formatter::Inet4, text),
            ColumnType::Inet6 => (Formatter::Inet6, text),
        };
        if !fits {
            let (name, from) = (&column.name, &column.ty);
            return Err(Error::definite(format!("column {name}: {from:?} cannot be written to {ty:?}")));
        }
        Ok(formatter)
    }

    pub(crate) fn signed(&self, value: i64, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Integer { text: false } => out.integer(value),
            Formatter::Integer { text: true } => out.plain(itoa::Buffer::new().format(value).as_bytes()),
            // A server's number for a form that has no sign.
            _ => return self.unsigned(u64::try_from(value).map_err(|_| unexpected())?, out),
        }
        Ok(())
    }

    /// An unsigned integer, a BIT, a YEAR's number, or the index of an ENUM or SET.
    pub(crate) fn unsigned(&self, value: u64, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Integer { text: false } | Formatter::Year { text: false } | Formatter::Bit => {
                out.unsigned(value)
            }
            Formatter::Year { text: true } => {
                let year = [value / 1000 % 10, value / 100 % 10, value / 10 % 10, value % 10];
                out.plain(&year.map(|digit| b'0' + digit as u8));
            }
            Formatter::Integer { text: true } => out.plain(itoa::Buffer::new().format(value).as_bytes()),
            Formatter::Enum { members, invalid } => match value {
                // What a non-strict session stores for an unknown member.
                0 if *invalid => out.text(b""),
                0 => {
                    return Err(ValueError::new(
                        "an invalid value of an ENUM in the key reads as its empty member does",
                    ));
                }
                _ => match usize::try_from(value - 1).ok().and_then(|index| members.get(index)) {
                    Some(member) => out.text(member),
                    None => return Err(ValueError::new(format!("member {value} of an ENUM with {}", members.len()))),
                },
            },
            Formatter::Set(members) => return set(members, value, out),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    pub(crate) fn packed_decimal(&self, packed: &[u8], out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Decimal { precision, scale, text } => {
                put(*text, &number::packed_decimal(packed, *precision, *scale)?, out);
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn float(&self, value: f32, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Float { text } => put(*text, &number::float(value).ok_or_else(not_finite)?, out),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    pub(crate) fn double(&self, value: f64, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Double { text } => put(*text, &number::double(value).ok_or_else(not_finite)?, out),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    pub(crate) fn civil(&self, civil: &Civil, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Date(format) | Formatter::DateTime(format) => format.civil(civil, out),
            Formatter::Timestamp(format) => format.utc(civil, out),
            _ => Err(unexpected()),
        }
    }

    /// Seconds since 1970 and microseconds.
    pub(crate) fn moment(&self, seconds: u32, micros: u32, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Timestamp(format) => format.moment(seconds, micros, out),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn clock(&self, clock: &Clock, out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Time { digits } => temporal::time(clock, *digits, out),
            _ => Err(unexpected()),
        }
    }

    /// A value that both decoders meet as the same bytes: text, binary, BIT, geometry, vector; and for the types
    /// whose forms differ, the snapshot's: a printed decimal, JSON's text, the address types' bytes in text order.
    pub(crate) fn bytes(&self, bytes: &[u8], out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Text { charset, trim, json, limit } => {
                let mut buffer = Vec::new();
                let mut text = charset.decode(bytes, &mut buffer)?;
                if *trim {
                    text = text.trim_ascii_end_spaces();
                }
                fits(text.len(), *limit)?;
                if *json { out.json(text) } else { out.text(text) }
            }
            Formatter::Bytes { pad, hex, limit } => {
                let mut padded = Vec::new();
                let mut bytes = bytes;
                if bytes.len() < *pad {
                    padded.extend_from_slice(bytes);
                    padded.resize(*pad, 0);
                    bytes = &padded;
                }
                fits(if *hex { 2 * bytes.len() } else { bytes.len() }, *limit)?;
                if *hex {
                    let mut digits = Vec::with_capacity(2 * bytes.len());
                    network::hex(bytes, &mut digits);
                    out.plain(&digits);
                } else {
                    out.binary(bytes);
                }
            }
            Formatter::Bit => {
                if bytes.len() > 8 {
                    return Err(ValueError::new("a BIT of more than 64 bits"));
                }
                out.unsigned(bytes.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)));
            }
            Formatter::Decimal { text, .. } => put(*text, &number::printed_decimal(bytes)?, out),
            Formatter::Json { text } => {
                std::str::from_utf8(bytes).map_err(|_| ValueError::new("a JSON document that is not UTF-8"))?;
                if *text { out.text(bytes) } else { out.json(bytes) }
            }
            Formatter::Geometry { limit } => {
                let mut text = Vec::with_capacity(2 * bytes.len());
                geometry::print(bytes, &mut text)?;
                fits(text.len(), *limit)?;
                out.text(&text);
            }
            Formatter::Vector { text } => {
                let mut array = Vec::with_capacity(3 * bytes.len());
                network::vector(bytes, &mut array)?;
                if *text { out.text(&array) } else { out.json(&array) }
            }
            Formatter::Uuid => {
                let mut text = Vec::with_capacity(36);
                network::uuid(padded(bytes)?, &mut text);
                out.plain(&text);
            }
            Formatter::Inet4 => {
                let mut text = Vec::with_capacity(15);
                network::inet4(padded(bytes)?, &mut text);
                out.plain(&text);
            }
            Formatter::Inet6 => {
                let mut text = Vec::with_capacity(45);
                network::inet6(padded(bytes)?, &mut text);
                out.plain(&text);
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// As [`Formatter::bytes`], for bytes of a row image: binary JSON, and a UUID in stored order.
    pub(crate) fn image_bytes(&self, bytes: &[u8], out: &mut impl ValueWriter) -> Result<(), ValueError> {
        match self {
            Formatter::Json { .. } => {
                let mut document = Vec::with_capacity(2 * bytes.len());
                json::print(bytes, &mut document)?;
                self.bytes(&document, out)
            }
            Formatter::Uuid => self.bytes(&network::uuid_from_image(padded(bytes)?), out),
            _ => self.bytes(bytes, out),
        }
    }
}

fn texts(members: &[String]) -> Arc<[Box<[u8]>]> {
    members.iter().map(|member| member.as_bytes().into()).collect()
}

fn put(text: bool, digits: &Digits, out: &mut impl ValueWriter) {
    if text {
        out.plain(digits.as_bytes());
    } else {
        out.number(digits.as_bytes());
    }
}

fn set(members: &[Box<[u8]>], bits: u64, out: &mut impl ValueWriter) -> Result<(), ValueError> {
    if members.len() < 64 && bits >> members.len() != 0 {
        return Err(ValueError::new(format!("bits {bits:#x} of a SET with {} members", members.len())));
    }
    match (bits, members.get(bits.trailing_zeros() as usize)) {
        (0, _) => out.text(b""),
        (_, Some(member)) if bits.is_power_of_two() => out.text(member),
        _ => {
            let chosen = members.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            let mut text = Vec::new();
            for (index, (_, member)) in chosen.enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                text.extend_from_slice(member);
            }
            out.text(&text);
        }
    }
    Ok(())
}

/// A fixed length, from bytes whose trailing zeros a row image leaves out.
fn padded<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    let mut whole = [0; N];
    whole
        .get_mut(..bytes.len())
        .ok_or_else(|| ValueError::new("a value that is too long for its type"))?
        .copy_from_slice(bytes);
    Ok(whole)
}

trait TrimSpaces {
    fn trim_ascii_end_spaces(&self) -> &[u8];
}

impl TrimSpaces for [u8] {
    /// A CHAR has no trailing spaces, whichever way it came.
    fn trim_ascii_end_spaces(&self) -> &[u8] {
        let end = self.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// The target counts bytes, and would refuse the row or cut the value; here the column can still be named.
fn fits(length: usize, limit: usize) -> Result<(), ValueError> {
    if length > limit {
        return Err(too_long(length, limit));
    }
    Ok(())
}

#[cold]
fn too_long(length: usize, limit: usize) -> ValueError {
    ValueError::new(format!("a value of {length} bytes, and the target's column takes {limit}"))
}

#[cold]
fn unexpected() -> ValueError {
    ValueError::new("the server sent a form that the column's type does not have")
}

#[cold]
fn not_finite() -> ValueError {
    ValueError::new("a number that is not finite")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::schema::{Fill, Generated};

    /// Cells as text, for tests of every formatter and decoder.
    #[derive(Debug, Default)]
    pub(crate) struct Cells(pub(crate) Vec<String>);

    impl Cells {
        fn push(&mut self, bytes: &[u8]) {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
    }

    impl ValueWriter for Cells {
        fn null(&mut self) {
            self.push(b"NULL");
        }
        fn integer(&mut self, value: i64) {
            self.0.push(value.to_string());
        }
        fn unsigned(&mut self, value: u64) {
            self.0.push(value.to_string());
        }
        fn number(&mut self, digits: &[u8]) {
            assert!(serde_json::from_slice::<serde_json::Number>(digits).is_ok(), "{digits:?}");
            self.push(digits);
        }
        fn plain(&mut self, text: &[u8]) {
            assert!(text.iter().all(|byte| (b' '..0x7f).contains(byte)), "{text:?}");
            self.push(text);
        }
        fn text(&mut self, text: &[u8]) {
            self.push(text);
        }
        fn binary(&mut self, bytes: &[u8]) {
            self.0.push(format!("{bytes:02x?}"));
        }
        fn json(&mut self, document: &[u8]) {
            assert!(serde_json::from_slice::<serde_json::Value>(document).is_ok(), "{document:?}");
            self.push(document);
        }
    }

    fn formatter(ty: ColumnType, target: TargetType) -> Result<Formatter> {
        formatter_of(ty, target, false)
    }

    fn formatter_of(ty: ColumnType, target: TargetType, key: bool) -> Result<Formatter> {
        let column = Column {
            name: "c".into(),
            ty,
            nullable: true,
            default: None,
            comment: String::new(),
            generated: Generated::No,
            invisible: false,
        };
        let target = TargetColumn {
            name: "c".into(),
            ty: target,
            nullable: true,
            default: None,
            comment: String::new(),
            fill: Fill::Unknown,
            source: 0,
        };
        Formatter::new(&column, &target, key, &ValueOptions::default())
    }

    const TEXT: TargetType = TargetType::Varchar { bytes: 100 };

    #[test]
    fn members_are_written_as_text() {
        let members: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let mut cells = Cells::default();
        let one = formatter(ColumnType::Enum { members: members.clone() }, TEXT).unwrap();
        one.unsigned(0, &mut cells).unwrap();
        one.unsigned(3, &mut cells).unwrap();
        assert!(one.unsigned(4, &mut cells).is_err());
        let many = formatter(ColumnType::Set { members }, TEXT).unwrap();
        for bits in [0, 2, 5, 7] {
            many.unsigned(bits, &mut cells).unwrap();
        }
        assert!(many.unsigned(8, &mut cells).is_err());
        assert_eq!(cells.0, ["", "c", "", "b", "a,c", "a,b,c"]);
        let wide = formatter(ColumnType::Set { members: (0..64).map(|bit| bit.to_string()).collect() }, TEXT).unwrap();
        wide.unsigned(1 << 63 | 1, &mut cells).unwrap();
        assert_eq!(cells.0.last().unwrap(), "0,63");
    }

    #[test]
    fn an_invalid_member_is_no_key_beside_an_empty_one() {
        let key = |members: &[&str]| {
            let members = members.iter().map(|member| (*member).to_owned()).collect();
            formatter_of(ColumnType::Enum { members }, TEXT, true).unwrap()
        };
        let mut cells = Cells::default();
        key(&["a", "b"]).unsigned(0, &mut cells).unwrap();
        key(&["a", ""]).unsigned(2, &mut cells).unwrap();
        assert_eq!(cells.0, ["", ""]);
        assert!(key(&["a", ""]).unsigned(0, &mut cells).is_err());
    }

    #[test]
    fn a_value_longer_than_the_targets_column_is_refused_with_both_lengths() {
        let mut cells = Cells::default();
        let charset = || "latin1".to_owned();
        let text = formatter(ColumnType::Varchar { chars: 9, charset: charset() }, TargetType::Varchar { bytes: 3 });
        let text = text.unwrap();
        text.bytes(b"\xe9a", &mut cells).unwrap();
        let error = text.bytes(b"\xe9\xe9", &mut cells).unwrap_err().to_string();
        assert_eq!(error, "a value of 4 bytes, and the target's column takes 3");
        let bytes = formatter(ColumnType::Varbinary { bytes: 9 }, TargetType::Varbinary { bytes: 3 }).unwrap();
        bytes.bytes(b"abc", &mut cells).unwrap();
        assert!(bytes.bytes(b"abcd", &mut cells).is_err());
        let hex = formatter(ColumnType::Varbinary { bytes: 9 }, TargetType::Varchar { bytes: 3 }).unwrap();
        hex.bytes(b"a", &mut cells).unwrap();
        assert!(hex.bytes(b"ab", &mut cells).is_err());
    }

    #[test]
    fn binary_is_padded_and_a_key_is_hexadecimal() {
        let mut cells = Cells::default();
        let key = formatter(ColumnType::Binary { bytes: 4 }, TEXT).unwrap();
        key.bytes(&[0xab], &mut cells).unwrap();
        let value = formatter(ColumnType::Binary { bytes: 2 }, TargetType::Varbinary { bytes: 2 }).unwrap();
        value.bytes(&[], &mut cells).unwrap();
        assert_eq!(cells.0, ["ab000000", "[00, 00]"]);
    }

    #[test]
    fn a_char_ends_without_spaces_and_a_varchar_keeps_them() {
        let mut cells = Cells::default();
        let charset = || "ucs2".to_owned();
        formatter(ColumnType::Char { chars: 4, charset: charset() }, TEXT)
            .unwrap()
            .bytes(b"\0a\0 ", &mut cells)
            .unwrap();
        formatter(ColumnType::Varchar { chars: 4, charset: charset() }, TEXT)
            .unwrap()
            .bytes(b"\0a\0 ", &mut cells)
            .unwrap();
        assert_eq!(cells.0, ["a", "a "]);
    }

    #[test]
    fn what_cannot_be_written_is_refused_when_the_plan_is_made() {
        let error = formatter(ColumnType::Varchar { chars: 1, charset: "klingon".into() }, TEXT).unwrap_err();
        assert!(error.to_string().starts_with("column c: character set klingon cannot be decoded"), "{error}");
        assert!(formatter(ColumnType::Json, TargetType::Int).is_err());
        assert!(formatter(ColumnType::Double, TargetType::Float).is_err());
    }
}
