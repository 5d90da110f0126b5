//! Key values as bounds: how a SELECT asks for them, how they are kept, and how they stand in a later SELECT
//! so that the server compares exactly as its index is ordered.
//!
//! A bound must mean the same row as before and must let the range use the index. So it is written as a
//! literal of the column's own kind: text as its stored bytes in the column's own character set and collation
//! (`_latin1 X'6162' COLLATE latin1_swedish_ci`; with any other collation the comparison would have another
//! order or no index), DECIMAL as digits (a quoted number would be compared as a DOUBLE), ENUM and SET as numbers, which is
//! what orders them, dates and times as text in the session's zone, which is UTC.

use std::fmt::Write as _;

use mysql_async::Value;
use serde::{Deserialize, Serialize};

use crate::schema::{Column, ColumnType, quote};
use crate::{Error, Result};

/// The most members of an ENUM that a condition lists.
const MOST_LISTED: usize = 256;

/// One row's key, in key order. Restores exactly from its serialized form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub(super) Vec<KeyValue>);

impl Key {
    /// Each column's value by itself: a number's digits, a date's text (in UTC for a TIMESTAMP), the bytes of text in
    /// the column's own character set. An ENUM's is its member's number.
    pub(crate) fn values(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(|value| match value {
            KeyValue::Integer(value) => value.to_string().into_bytes(),
            KeyValue::Unsigned(value) => value.to_string().into_bytes(),
            KeyValue::Digits(text) | KeyValue::Plain(text) => text.clone().into_bytes(),
            KeyValue::Double(bits) => format!("{:e}", f64::from_bits(*bits)).into_bytes(),
            KeyValue::Bytes(hex) => unhex(hex),
        })
    }
}

impl KeyValue {
    pub(super) fn whole_number(&self) -> Option<i128> {
        match self {
            KeyValue::Integer(value) => Some((*value).into()),
            KeyValue::Unsigned(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// `None`: no column has one so large.
    pub(super) fn of_whole_number(value: i128) -> Option<KeyValue> {
        let signed = i64::try_from(value).map(KeyValue::Integer);
        signed.or_else(|_| u64::try_from(value).map(KeyValue::Unsigned)).ok()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyValue {
    Integer(i64),
    Unsigned(u64),
    /// DECIMAL's digits.
    Digits(String),
    /// The bits of an IEEE double.
    Double(u64),
    /// A date, a time, an address: ASCII.
    Plain(String),
    /// Text in the column's character set, or binary, in hex.
    Bytes(String),
}

/// How one key column is asked for and compared.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    /// Back-quoted.
    name: String,
    kind: KeyKind,
}

#[derive(Debug, Clone)]
enum KeyKind {
    Integer,
    /// Compared as a number, whatever it shows: BIT, SET, and an ENUM of very many members.
    Number,
    /// Ordered by its members' numbers, of which there are so many. Neither server finds `>` on an ENUM in an index, but IN
    /// it does.
    Enum(usize),
    Decimal,
    Double,
    /// Shown and compared as ASCII text.
    Plain,
    Text {
        charset: String,
        collation: String,
    },
    Binary,
}

impl KeyColumn {
    /// `collation`: the column's character set and collation as the server names them, for text.
    pub(super) fn new(column: &Column, collation: Option<(String, String)>) -> Result<Self> {
        let kind = match &column.ty {
            ColumnType::Integer { .. } | ColumnType::Year => KeyKind::Integer,
            ColumnType::Enum { members } if members.len() <= MOST_LISTED => KeyKind::Enum(members.len()),
            ColumnType::Bit { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. } => KeyKind::Number,
            ColumnType::Decimal { .. } => KeyKind::Decimal,
            ColumnType::Float | ColumnType::Double => KeyKind::Double,
            ColumnType::Date
            | ColumnType::DateTime { .. }
            | ColumnType::Timestamp { .. }
            | ColumnType::Time { .. }
            | ColumnType::Uuid
            | ColumnType::Inet4
            | ColumnType::Inet6 => KeyKind::Plain,
            ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text { .. } => match collation {
                Some((charset, collation)) => KeyKind::Text { charset: name(charset)?, collation: name(collation)? },
                None => KeyKind::Binary,
            },
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => KeyKind::Binary,
            ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => {
                return Err(Error::definite(format!("key column {} is of a type that has no order", column.name)));
            }
        };
        Ok(KeyColumn { name: quote(&column.name), kind })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// INT and its kin, and YEAR.
    pub(super) fn is_whole_number(&self) -> bool {
        matches!(self.kind, KeyKind::Integer)
    }

    /// Whether its text has ASCII's bytes for ASCII's characters, wherever they stand; `false`: it has no characters. `None`:
    /// it is another text, or none.
    pub(super) fn text_is_ascii(&self) -> Option<bool> {
        const ALIKE: [&str; 6] = ["utf8mb4", "utf8mb3", "utf8", "latin1", "ascii", "latin2"];
        match &self.kind {
            KeyKind::Binary => Some(false),
            KeyKind::Text { charset, .. } => ALIKE.contains(&charset.as_str()).then_some(true),
            _ => None,
        }
    }

    /// A value that the column can be compared with. `None`: it depends on the column.
    pub(super) fn any_value(&self) -> Option<KeyValue> {
        match self.kind {
            KeyKind::Integer | KeyKind::Number | KeyKind::Enum(_) => Some(KeyValue::Integer(0)),
            KeyKind::Decimal => Some(KeyValue::Digits("0".into())),
            KeyKind::Double => Some(KeyValue::Double(0)),
            KeyKind::Text { .. } | KeyKind::Binary => Some(KeyValue::Bytes(String::new())),
            KeyKind::Plain => None,
        }
    }

    /// The column as a SELECT lists it, for `value`.
    pub(super) fn expression(&self) -> String {
        let name = &self.name;
        match self.kind {
            KeyKind::Number | KeyKind::Enum(_) => format!("CAST({name} AS UNSIGNED)"),
            KeyKind::Plain => format!("CAST({name} AS CHAR)"),
            _ => name.clone(),
        }
    }

    /// What came for `expression` over the binary protocol.
    pub(super) fn value(&self, value: &Value) -> Result<KeyValue> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().filter(|text| text.is_ascii());
        let value = match (&self.kind, value) {
            (KeyKind::Integer | KeyKind::Number | KeyKind::Enum(_), Value::Int(value)) => {
                Some(KeyValue::Integer(*value))
            }
            (KeyKind::Integer | KeyKind::Number | KeyKind::Enum(_), Value::UInt(value)) => {
                Some(KeyValue::Unsigned(*value))
            }
            (KeyKind::Double, Value::Double(value)) => Some(KeyValue::Double(value.to_bits())),
            (KeyKind::Double, Value::Float(value)) => Some(KeyValue::Double(f64::from(*value).to_bits())),
            (KeyKind::Decimal, Value::Bytes(bytes)) => text(bytes).filter(|text| is_number(text)).map(KeyValue::Digits),
            (KeyKind::Plain, Value::Bytes(bytes)) => text(bytes).filter(|text| is_plain(text)).map(KeyValue::Plain),
            (KeyKind::Text { .. } | KeyKind::Binary, Value::Bytes(bytes)) => Some(KeyValue::Bytes(hex(bytes))),
            _ => None,
        };
        value.ok_or_else(|| Error::definite(format!("key column {} has a value that cannot be a bound", self.name)))
    }

    /// `name <operator> literal`, in the form that the index is used for.
    fn condition(&self, operator: &str, literal: &str) -> String {
        if let (KeyKind::Enum(members), Ok(bound)) = (&self.kind, literal.parse::<usize>()) {
            // 0 is the mark of an invalid value.
            let within: Vec<String> = (0..=*members)
                .filter(|member| match operator {
                    ">" => *member > bound,
                    ">=" => *member >= bound,
                    "<" => *member < bound,
                    "<=" => *member <= bound,
                    _ => *member == bound,
                })
                .map(|member| member.to_string())
                .collect();
            return if within.is_empty() {
                "FALSE".into()
            } else {
                format!("{} IN ({})", self.name, within.join(", "))
            };
        }
        format!("{} {operator} {literal}", self.name)
    }

    fn literal(&self, value: &KeyValue) -> Result<String> {
        Ok(match (&self.kind, value) {
            (KeyKind::Integer | KeyKind::Number | KeyKind::Enum(_), KeyValue::Integer(value)) => value.to_string(),
            (KeyKind::Integer | KeyKind::Number | KeyKind::Enum(_), KeyValue::Unsigned(value)) => value.to_string(),
            (KeyKind::Double, KeyValue::Double(bits)) => format!("{:e}", f64::from_bits(*bits)),
            (KeyKind::Decimal, KeyValue::Digits(digits)) if is_number(digits) => digits.clone(),
            (KeyKind::Plain, KeyValue::Plain(text)) if is_plain(text) => format!("'{text}'"),
            (KeyKind::Text { charset, collation }, KeyValue::Bytes(hex)) if is_hex(hex) => {
                format!("_{charset} X'{hex}' COLLATE {collation}")
            }
            (KeyKind::Binary, KeyValue::Bytes(hex)) if is_hex(hex) => format!("_binary X'{hex}'"),
            _ => {
                return Err(Error::definite(format!("a stored bound does not fit key column {}", self.name))
                    .hint("the table's key was changed since its copy began: copy it again"));
            }
        })
    }
}

/// A character set or collation for the text of a statement.
fn name(name: String) -> Result<String> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(name)
    } else {
        Err(Error::definite(format!("'{name}' is no name of a character set or collation")))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b' '))
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Of what `hex` wrote.
pub(super) fn unhex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The rows with `lower < key <= upper`, as a WHERE clause with a blank in front; nothing for no bounds.
///
/// Neither server's range optimizer understands `(a, b) > (1, 2)`: it would read the index from its start. The
/// written-out form below is understood by both as one range (`EXPLAIN` shows `range` on the key), and the plain
/// comparison of the first column in front keeps that so when the planner's other rules look at it first.
pub(super) fn range(columns: &[KeyColumn], lower: Option<&Key>, upper: Option<&Key>) -> Result<String> {
    let mut conditions = Vec::new();
    for (key, beyond, within) in [(lower, ">", ">"), (upper, "<", "<=")] {
        let Some(key) = key else { continue };
        if key.0.len() != columns.len() {
            return Err(Error::definite("a stored bound does not fit the table's key")
                .hint("the table's key was changed since its copy began: copy it again"));
        }
        let literals = columns.iter().zip(&key.0).map(|(column, value)| column.literal(value));
        let literals: Vec<String> = literals.collect::<Result<_>>()?;
        if let ([first, _, ..], [literal, ..]) = (columns, literals.as_slice()) {
            conditions.push(first.condition(&format!("{beyond}="), literal));
        }
        conditions.push(compare(columns, &literals, beyond, within));
    }
    if conditions.is_empty() { Ok(String::new()) } else { Ok(format!(" WHERE {}", conditions.join(" AND "))) }
}

fn compare(columns: &[KeyColumn], literals: &[String], beyond: &str, within: &str) -> String {
    match (columns, literals) {
        ([column, rest @ ..], [literal, literals @ ..]) if !rest.is_empty() => {
            let (further, same) = (column.condition(beyond, literal), column.condition("=", literal));
            let deeper = compare(rest, literals, beyond, within);
            format!("({further} OR ({same} AND {deeper}))")
        }
        ([column], [literal]) => column.condition(within, literal),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::IntegerSize;

    fn column(name: &str, ty: ColumnType) -> KeyColumn {
        let column = Column::new(name, ty);
        KeyColumn::new(&column, Some(("latin1".into(), "latin1_swedish_ci".into()))).unwrap()
    }

    fn integer(name: &str) -> KeyColumn {
        column(name, ColumnType::Integer { size: IntegerSize::Int, unsigned: false })
    }

    #[test]
    fn one_column_is_one_comparison_a_side() {
        let columns = [integer("id")];
        let key = |value| Key(vec![KeyValue::Integer(value)]);
        assert_eq!(range(&columns, None, None).unwrap(), "");
        assert_eq!(range(&columns, Some(&key(-5)), Some(&key(9))).unwrap(), " WHERE `id` > -5 AND `id` <= 9");
    }

    #[test]
    fn a_compound_key_is_written_out() {
        let columns = [integer("a"), column("b", ColumnType::Varchar { chars: 5, charset: "latin1".into() })];
        let key = Key(vec![KeyValue::Integer(1), KeyValue::Bytes("6162".into())]);
        let text = "_latin1 X'6162' COLLATE latin1_swedish_ci";
        assert_eq!(
            range(&columns, Some(&key), None).unwrap(),
            format!(" WHERE `a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` > {text}))")
        );
        assert_eq!(
            range(&columns, None, Some(&key)).unwrap(),
            format!(" WHERE `a` <= 1 AND (`a` < 1 OR (`a` = 1 AND `b` <= {text}))")
        );
    }

    #[test]
    fn keys_restore_exactly() {
        let key = Key(vec![
            KeyValue::Unsigned(u64::MAX),
            KeyValue::Double(0.1_f64.to_bits()),
            KeyValue::Digits("-1.50".into()),
            KeyValue::Bytes(hex(&[0, 255, 16])),
        ]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert!(text.contains("00ff10"), "{text}");
    }

    #[test]
    fn a_bound_that_is_no_literal_is_refused() {
        let columns = [column("b", ColumnType::Varbinary { bytes: 5 })];
        let key = Key(vec![KeyValue::Bytes("00' OR 1".into())]);
        assert!(range(&columns, Some(&key), None).is_err());
        let key = Key(vec![KeyValue::Integer(1)]);
        assert!(range(&columns, Some(&key), None).is_err());
    }
}
