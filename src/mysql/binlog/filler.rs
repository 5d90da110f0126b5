//! What is written for a column that a row image lacks.
//!
//! A new row has the column's default, which the log does not repeat: it is made from the definition, through the same
//! formatter as every value. A deleted row must be a valid one too (StarRocks refuses a NULL in a NOT NULL column of a
//! row that only deletes), so there a value of the right type stands for what nobody will see.

use std::borrow::Cow;

use super::table_map::Wire;
use crate::mysql::value::{Civil, Clock, Formatter, RowError, ValueOptions, ValueWriter};
use crate::schema::{Column, ColumnType, DefaultValue, Generated, TargetColumn, TargetType, may_be_lossy};
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub(super) enum Filler {
    Null,
    Default(Box<Default>),
    /// Some value that the type has.
    Any(TargetType),
}

#[derive(Debug, Clone)]
pub(super) struct Default {
    column: String,
    formatter: Formatter,
    value: Value,
}

/// A default, in a form that the column's formatter takes.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    /// Text is UTF-8, whatever the column's character set.
    Bytes(Vec<u8>),
    /// As it is to be written.
    Plain(String),
    Civil(Civil),
    Clock(Clock),
}

impl Filler {
    pub(super) fn any(target: &TargetColumn) -> Filler {
        if target.nullable { Filler::Null } else { Filler::Any(target.ty) }
    }

    /// The default of a column that an INSERT left out.
    ///
    /// # Errors
    /// Definite: it cannot be told from the definition. The caller adds the table.
    pub(super) fn default(
        column: &Column,
        target: &TargetColumn,
        key: bool,
        options: &ValueOptions,
        mariadb: bool,
    ) -> Result<Filler> {
        let Some(value) = default_of(column, mariadb)? else { return Ok(Filler::Null) };
        let formatter = Formatter::new(&in_utf8(column), target, key, options)?;
        Ok(Filler::Default(Box::new(Default { column: column.name.clone(), formatter, value })))
    }

    pub(super) fn write(&self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        match self {
            Filler::Null => out.null(),
            Filler::Any(ty) => any(*ty, out),
            Filler::Default(default) => {
                let Default { column, formatter, value } = &**default;
                let written = match value {
                    Value::Signed(value) => formatter.signed(*value, out),
                    Value::Unsigned(value) => formatter.unsigned(*value, out),
                    Value::Float(value) => formatter.float(*value, out),
                    Value::Double(value) => formatter.double(*value, out),
                    Value::Bytes(bytes) => formatter.bytes(bytes, out),
                    Value::Plain(text) => {
                        out.plain(text.as_bytes());
                        Ok(())
                    }
                    Value::Civil(civil) => formatter.civil(civil, out),
                    Value::Clock(clock) => formatter.clock(clock, out),
                };
                written.map_err(|error| RowError::column(column, error))?;
            }
        }
        Ok(())
    }
}

/// Some value that the column may have.
pub(crate) fn write_any(target: &TargetColumn, out: &mut impl ValueWriter) {
    match Filler::any(target) {
        Filler::Any(ty) => any(ty, out),
        _ => out.null(),
    }
}

fn any(ty: TargetType, out: &mut impl ValueWriter) {
    match ty {
        TargetType::Boolean
        | TargetType::TinyInt
        | TargetType::SmallInt
        | TargetType::Int
        | TargetType::BigInt
        | TargetType::LargeInt => out.integer(0),
        TargetType::Decimal { .. } | TargetType::Float | TargetType::Double => out.number(b"0"),
        TargetType::Date => out.plain(b"1970-01-01"),
        TargetType::DateTime => out.plain(b"1970-01-01 00:00:00"),
        TargetType::Varchar { .. } => out.text(b""),
        TargetType::Varbinary { .. } => out.binary(b""),
        TargetType::Json => out.json(b"{}"),
        TargetType::FloatArray => out.json(b"[]"),
    }
}

/// The key part of a new row whose image lacks it: its default's bytes as an image would have them, length included.
///
/// # Errors
/// Definite: the default cannot be told, or its type is one whose bytes are not made here.
pub(super) fn key_bytes(column: &Column, wire: Wire, mariadb: bool) -> Result<Vec<u8>> {
    let value = default_of(column, mariadb)?;
    let bytes = match (wire, value) {
        (Wire::Integer { bytes }, Some(Value::Signed(value))) => {
            Some(value.to_le_bytes()[..usize::from(bytes)].to_vec())
        }
        (Wire::Integer { bytes } | Wire::Enum { bytes }, Some(Value::Unsigned(value))) => {
            Some(value.to_le_bytes()[..usize::from(bytes)].to_vec())
        }
        (Wire::Varchar { bytes } | Wire::Text { bytes }, Some(Value::Bytes(text))) if is_plain(column, &text) => {
            let length = text.len() as u16;
            let prefix = if bytes > 255 { length.to_le_bytes().to_vec() } else { vec![length as u8] };
            Some([prefix, text].concat())
        }
        _ => None,
    };
    bytes.ok_or_else(|| untold(column, "a default of this type in a key is not read"))
}

/// Whether the text has the same bytes in the column's character set as in UTF-8.
fn is_plain(column: &Column, text: &[u8]) -> bool {
    match &column.ty {
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } => match charset.as_str() {
            "utf8mb4" | "utf8mb3" | "utf8" => true,
            "utf16" | "utf16le" | "utf32" | "ucs2" => text.is_empty(),
            // Some of ASCII's signs are other bytes there.
            "swe7" | "sjis" => text.iter().all(u8::is_ascii_alphanumeric),
            _ => text.is_ascii(),
        },
        _ => text.is_empty(),
    }
}

/// The column, its text in UTF-8: the catalogue tells defaults so.
fn in_utf8(column: &Column) -> Cow<'_, Column> {
    let mut ty = column.ty.clone();
    match &mut ty {
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } | ColumnType::Text { charset, .. } => {
            *charset = "utf8mb4".to_owned();
        }
        _ => return Cow::Borrowed(column),
    }
    Cow::Owned(Column { ty, ..column.clone() })
}

/// `None`: NULL.
fn default_of(column: &Column, mariadb: bool) -> Result<Option<Value>> {
    if column.generated != Generated::No {
        return Err(untold(
            column,
            "it is generated, and MariaDB logs such columns in minimal images only if stored or indexed",
        ));
    }
    let value = match &column.default {
        None if column.nullable => return Ok(None),
        None => zero(&column.ty).ok_or("the type has none"),
        // These are always in the image, so the definition is not the one the row was written with.
        Some(DefaultValue::CurrentTimestamp) => {
            Err("the definition says CURRENT_TIMESTAMP, which would have been logged")
        }
        Some(DefaultValue::Literal(text)) => literal(&column.ty, text, mariadb),
        Some(DefaultValue::Expression(text)) => match &column.ty {
            // The catalogue cannot tell a constant of these from an expression, but no expression is left out.
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => binary(text, mariadb),
            _ => Err("the definition has an expression, whose value would have been logged"),
        },
    };
    value.map(Some).map_err(|why| untold(column, why))
}

fn untold(column: &Column, why: &str) -> Error {
    Error::definite(format!(
        "column {}: the row image of an INSERT leaves it out, and its default cannot be told from the definition: {why}",
        column.name
    ))
    .hint("SET GLOBAL binlog_row_image = 'FULL' at the source, connect its clients anew, then start a new job (another `name`)")
}

/// What a session that is not strict stores in a NOT NULL column without a default.
fn zero(ty: &ColumnType) -> Option<Value> {
    Some(match ty {
        ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Year | ColumnType::Set { .. } => {
            Value::Unsigned(0)
        }
        ColumnType::Enum { .. } => Value::Unsigned(1),
        ColumnType::Decimal { scale, .. } => Value::Bytes(scaled("0", *scale).into_bytes()),
        ColumnType::Float => Value::Float(0.0),
        ColumnType::Double => Value::Double(0.0),
        ColumnType::Char { .. }
        | ColumnType::Varchar { .. }
        | ColumnType::Text { .. }
        | ColumnType::Binary { .. }
        | ColumnType::Varbinary { .. }
        | ColumnType::Blob { .. }
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => Value::Bytes(Vec::new()),
        ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => Value::Civil(NO_DATE),
        ColumnType::Time { .. } => Value::Clock(Clock::default()),
        ColumnType::Json => Value::Bytes(b"null".to_vec()),
        ColumnType::Geometry => return None,
    })
}

const NO_DATE: Civil = Civil { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0, micros: 0 };

/// A constant as the catalogue writes it.
fn literal(ty: &ColumnType, text: &str, mariadb: bool) -> Result<Value, &'static str> {
    const MALFORMED: &str = "the catalogue's text for it is not understood";
    Ok(match ty {
        ColumnType::Integer { unsigned: true, .. } | ColumnType::Bit { .. } | ColumnType::Year => {
            Value::Unsigned(text.parse().map_err(|_| MALFORMED)?)
        }
        ColumnType::Integer { .. } => Value::Signed(text.parse().map_err(|_| MALFORMED)?),
        ColumnType::Decimal { scale, .. } => Value::Bytes(scaled(text, *scale).into_bytes()),
        ColumnType::Float => {
            // Both servers print six digits of it: one that shows six may have had more. (So may one that shows fewer, if
            // they were zeros, as in 0.1000001; nobody is taken to have meant that.)
            let digits = text.split(['e', 'E']).next().unwrap_or_default();
            let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
            if digits.trim_start_matches('0').len() >= 6 {
                return Err("the catalogue rounds it");
            }
            Value::Float(text.parse().map_err(|_| MALFORMED)?)
        }
        ColumnType::Double => Value::Double(text.parse().map_err(|_| MALFORMED)?),
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } | ColumnType::Text { charset, .. } => {
            if may_be_lossy(charset, text) {
                return Err("the catalogue shows ? for characters beyond U+FFFF");
            }
            Value::Bytes(text.as_bytes().to_vec())
        }
        ColumnType::Enum { members } => {
            let index = members.iter().position(|member| member == text).ok_or(MALFORMED)?;
            Value::Unsigned(index as u64 + 1)
        }
        ColumnType::Set { members } => {
            let mut bits = 0;
            for chosen in text.split(',').filter(|chosen| !chosen.is_empty()) {
                bits |= 1 << members.iter().position(|member| member == chosen).ok_or(MALFORMED)?;
            }
            Value::Unsigned(bits)
        }
        ColumnType::Date | ColumnType::DateTime { .. } => Value::Civil(civil(text).ok_or(MALFORMED)?),
        ColumnType::Timestamp { .. } => match civil(text).ok_or(MALFORMED)? {
            NO_DATE => Value::Civil(NO_DATE),
            // MariaDB's catalogue shows it in the session's zone, and ours asks in UTC.
            civil if mariadb => Value::Civil(civil),
            _ => return Err("MySQL's catalogue shows a TIMESTAMP's in the time zone of the session that defined it"),
        },
        ColumnType::Time { .. } => Value::Clock(clock(text).ok_or(MALFORMED)?),
        ColumnType::Uuid | ColumnType::Inet4 | ColumnType::Inet6 => {
            if !text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b'.')) {
                return Err(MALFORMED);
            }
            Value::Plain(text.to_owned())
        }
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => return Err(MALFORMED),
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => return Err("the type has none"),
    })
}

/// MySQL writes `0x6100`, MariaDB the text itself.
fn binary(text: &str, mariadb: bool) -> Result<Value, &'static str> {
    const UNSURE: &str = "the catalogue's text for its bytes is not certain";
    if mariadb {
        return if text.is_ascii() { Ok(Value::Bytes(text.as_bytes().to_vec())) } else { Err(UNSURE) };
    }
    if text.is_empty() {
        return Ok(Value::Bytes(Vec::new()));
    }
    let digits = text.strip_prefix("0x").ok_or(UNSURE)?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Value::Bytes).ok_or(UNSURE)
}

/// With all the digits behind the point that an image would have.
fn scaled(text: &str, scale: u8) -> String {
    let have = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let mut text = text.to_owned();
    if have == 0 && scale > 0 && !text.contains('.') {
        text.push('.');
    }
    text.extend(std::iter::repeat_n('0', usize::from(scale).saturating_sub(have)));
    text
}

/// `2020-01-31`, `2020-01-31 10:00:00.5`
fn civil(text: &str) -> Option<Civil> {
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let mut parts = day.split('-').map(|part| part.parse().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let Clock { negative: false, hours: hour, minutes: minute, seconds: second, micros } = clock(time)? else {
        return None;
    };
    parts.next().is_none().then_some(Civil { year, month, day, hour, minute, second, micros })
}

/// `-10:00:00.25`
fn clock(text: &str) -> Option<Clock> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(|part| part.parse().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse().ok()?;
    Some(Clock { negative, hours, minutes, seconds, micros })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::value::tests::Cells;
    use crate::schema::{IntegerSize, MappingOptions, Table, TableName, map_table};

    /// What is written for a column with this default.
    fn written(ty: ColumnType, default: Option<&str>, mariadb: bool) -> Result<String, String> {
        let mut column = Column::new("c", ty);
        column.default = default.map(|text| match column.ty {
            ColumnType::Varbinary { .. } | ColumnType::Binary { .. } => DefaultValue::Expression(text.to_owned()),
            _ => DefaultValue::Literal(text.to_owned()),
        });
        let id = Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: false });
        let table = Table {
            name: TableName::new("d", "t"),
            columns: vec![id, column],
            key: vec![0],
            primary: true,
            charset: None,
            indexes: Vec::new(),
            comment: String::new(),
        };
        let mapping = map_table(&table, &MappingOptions::for_version(3, 5)).unwrap();
        let filler = Filler::default(
            &mapping.source.columns[1],
            &mapping.target.columns[1],
            false,
            &ValueOptions::default(),
            mariadb,
        );
        let mut cells = Cells::default();
        filler.map_err(|error| error.to_string())?.write(&mut cells).unwrap();
        Ok(cells.0.concat())
    }

    fn text(charset: &str) -> ColumnType {
        ColumnType::Varchar { chars: 10, charset: charset.to_owned() }
    }

    #[test]
    fn a_default_is_written_as_the_value_would_be() {
        let members = || vec!["a".to_owned(), "b".to_owned()];
        for (ty, default, expected) in [
            (ColumnType::Integer { size: IntegerSize::Big, unsigned: false }, "-5", "-5"),
            (
                ColumnType::Integer { size: IntegerSize::Big, unsigned: true },
                "18446744073709551615",
                "18446744073709551615",
            ),
            (ColumnType::Decimal { precision: 5, scale: 2 }, "1", "1.00"),
            (ColumnType::Decimal { precision: 50, scale: 2 }, "-1.5", "-1.50"),
            (ColumnType::Float, "0.1", "0.1"),
            (ColumnType::Double, "0.12345678901234568", "0.12345678901234568"),
            (ColumnType::Bit { bits: 9 }, "5", "5"),
            (ColumnType::Date, "2020-01-02", "2020-01-02"),
            (ColumnType::DateTime { digits: 3 }, "2020-01-02 03:04:05.120", "2020-01-02 03:04:05.120"),
            (ColumnType::Timestamp { digits: 0 }, "0000-00-00 00:00:00", "NULL"),
            (ColumnType::Time { digits: 2 }, "-10:00:00.25", "-10:00:00.25"),
            (ColumnType::Year, "1999", "1999"),
            (ColumnType::Enum { members: members() }, "b", "b"),
            (ColumnType::Set { members: members() }, "a,b", "a,b"),
            (text("latin1"), "é", "é"),
            (text("utf16"), "é", "é"),
            (ColumnType::Varbinary { bytes: 4 }, "0x615C00", "[61, 5c, 00]"),
        ] {
            assert_eq!(written(ty.clone(), Some(default), false).as_deref(), Ok(expected), "{ty:?} {default}");
        }
        let moment = written(ColumnType::Timestamp { digits: 0 }, Some("2020-01-01 00:00:00"), true);
        assert_eq!(moment.as_deref(), Ok("2020-01-01 00:00:00"));
        assert_eq!(written(ColumnType::Varbinary { bytes: 4 }, Some("0x61"), true).as_deref(), Ok("[30, 78, 36, 31]"));
    }

    #[test]
    fn without_a_default_it_is_the_types_zero() {
        for (ty, expected) in [
            (ColumnType::Integer { size: IntegerSize::Tiny, unsigned: false }, "0"),
            (ColumnType::Decimal { precision: 5, scale: 2 }, "0.00"),
            (ColumnType::Enum { members: vec!["x".to_owned()] }, "x"),
            (ColumnType::Set { members: vec!["x".to_owned()] }, ""),
            (text("gbk"), ""),
            (ColumnType::Binary { bytes: 2 }, "[00, 00]"),
            (ColumnType::Year, "0"),
            (ColumnType::Time { digits: 0 }, "00:00:00"),
            (ColumnType::Json, "null"),
            (ColumnType::Inet4, "0.0.0.0"),
        ] {
            assert_eq!(written(ty.clone(), None, false).as_deref(), Ok(expected), "{ty:?}");
        }
    }

    #[test]
    fn a_default_that_cannot_be_told_is_an_error_with_the_way_out() {
        for (ty, default) in [
            (ColumnType::Float, Some("0.123457")),
            (ColumnType::Float, Some("16777200")),
            (ColumnType::Timestamp { digits: 0 }, Some("2020-01-01 00:00:00")),
            (ColumnType::Geometry, None),
            (text("utf8mb4"), Some("a?")),
            (ColumnType::Varbinary { bytes: 9 }, Some("uuid_to_bin(uuid())")),
        ] {
            let error = written(ty, default, false).unwrap_err();
            assert!(error.contains("column c") && error.contains("binlog_row_image"), "{error}");
        }
    }

    #[test]
    fn a_keys_default_has_the_bytes_of_an_image() {
        let bytes = |ty, wire, default: Option<&str>| {
            let mut column = Column::new("c", ty);
            column.default = default.map(|text| DefaultValue::Literal(text.to_owned()));
            key_bytes(&column, wire, false)
        };
        let int = ColumnType::Integer { size: IntegerSize::Medium, unsigned: false };
        assert_eq!(bytes(int, Wire::Integer { bytes: 3 }, Some("-2")).unwrap(), [0xfe, 0xff, 0xff]);
        assert_eq!(bytes(text("utf8mb4"), Wire::Varchar { bytes: 40 }, Some("é")).unwrap(), b"\x02\xc3\xa9");
        assert_eq!(bytes(text("utf8mb4"), Wire::Varchar { bytes: 400 }, None).unwrap(), b"\0\0");
        assert!(bytes(text("latin1"), Wire::Varchar { bytes: 10 }, Some("é")).is_err());
        assert!(bytes(ColumnType::Date, Wire::Date, Some("2020-01-01")).is_err());
    }
}
