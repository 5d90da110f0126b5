//! Whether the table that the log describes is the table that the definition describes.
//!
//! Rows carry no names, so a definition that is not the one the rows were written with would put values into the
//! wrong columns, in silence. Everything the table map tells is compared: the number of columns, each one's type with
//! its length, digits or precision, and where the server writes them, signedness, names and members.

use super::table_map::{MapColumn, TableMap, Wire};
use crate::Error;
use crate::mysql::value::charset_max_bytes;
use crate::schema::{Column, ColumnType, Table};

const ANOTHER_TABLE: &str = "the table's definition is not the one that these rows were written with: it was changed by \
                             a statement that the job did not see; copy the table anew";

/// # Errors
/// A definite error that names the table, the column, and what both sides have.
pub(in crate::mysql) fn check(table: &Table, map: &TableMap) -> Result<(), Error> {
    let (defined, logged) = (table.columns.len(), map.columns().len());
    if defined != logged {
        let message = format!("table {}: the log has {logged} columns, the definition {defined}", table.name);
        return Err(Error::definite(message).hint(ANOTHER_TABLE));
    }
    for (column, logged) in table.columns.iter().zip(map.columns()) {
        if let Wire::Unreadable { .. } = logged.wire {
            return Err(unreadable(table, &column.name, logged.wire));
        }
        if let Some((log, definition)) = difference(column, logged) {
            let (table, column) = (&table.name, &column.name);
            let message = format!("table {table}, column {column}: the log has {log}, the definition {definition}");
            return Err(Error::definite(message).hint(ANOTHER_TABLE));
        }
    }
    Ok(())
}

pub(super) fn unreadable(table: &Table, column: &str, wire: Wire) -> Error {
    let error = Error::definite(format!("table {}, column {column}: {wire} cannot be read from the log", table.name));
    match wire {
        Wire::Unreadable { code: 140 | 141 } => error.hint("remove COMPRESSED from the column, or leave the table out"),
        _ => error.hint("leave the table out by excludeTables"),
    }
}

pub(super) fn no_source(table: &Table, target: &str) -> Error {
    Error::definite(format!("table {}: no source column for {target} of the target", table.name))
}

pub(super) fn wrong_key(table: &Table) -> Error {
    Error::definite(format!("table {}: a key of columns that the table does not have", table.name))
}

/// What the log has and what the definition has, where they differ.
fn difference(column: &Column, logged: &MapColumn) -> Option<(String, String)> {
    let expected = expected(&column.ty);
    if !expected.contains(&logged.wire) {
        let definition = expected.first().map(Wire::to_string).unwrap_or_default();
        return Some((logged.wire.to_string(), format!("{definition} ({:?})", column.ty)));
    }
    if let (ColumnType::Integer { unsigned, .. }, Some(logged)) = (&column.ty, logged.unsigned)
        && *unsigned != logged
    {
        let name = |unsigned| if unsigned { "an unsigned integer" } else { "a signed integer" };
        return Some((name(logged).to_owned(), name(*unsigned).to_owned()));
    }
    if let Some(name) = &logged.name
        && !name.eq_ignore_ascii_case(&column.name)
        && name.to_lowercase() != column.name.to_lowercase()
    {
        return Some((format!("the name {name}"), format!("the name {}", column.name)));
    }
    if let (ColumnType::Enum { members } | ColumnType::Set { members }, Some(logged)) = (&column.ty, &logged.members) {
        if members.len() != logged.len() {
            return Some((format!("{} members", logged.len()), format!("{} members", members.len())));
        }
        // The log's are in the column's character set: compare those that read the same in any.
        for (member, logged) in members.iter().zip(logged) {
            if let Ok(logged) = std::str::from_utf8(logged)
                && logged.is_ascii()
                && !logged.contains('\0')
                && member.is_ascii()
                && member != logged
            {
                return Some((format!("the member {logged:?}"), format!("the member {member:?}")));
            }
        }
    }
    None
}

/// The forms in which a column's values may be logged, the usual one first. Of old forms of times the log does not tell
/// the digits.
fn expected(ty: &ColumnType) -> Vec<Wire> {
    let text = |chars: u32, charset: &str| {
        let bytes = chars.saturating_mul(charset_max_bytes(charset).unwrap_or(1));
        u16::try_from(bytes).unwrap_or(u16::MAX)
    };
    match ty {
        ColumnType::Integer { size, .. } => vec![Wire::Integer { bytes: size.bytes() as u8 }],
        ColumnType::Decimal { precision, scale } => vec![Wire::Decimal { precision: *precision, scale: *scale }],
        ColumnType::Float => vec![Wire::Float],
        ColumnType::Double => vec![Wire::Double],
        ColumnType::Bit { bits } => vec![Wire::Bit { bits: u16::from(*bits) }],
        ColumnType::Char { chars, charset } => vec![Wire::Text { bytes: text(*chars, charset) }],
        ColumnType::Varchar { chars, charset } => vec![Wire::Varchar { bytes: text(*chars, charset) }],
        ColumnType::Binary { bytes } => vec![Wire::Text { bytes: text(*bytes, "binary") }],
        ColumnType::Varbinary { bytes } => vec![Wire::Varchar { bytes: text(*bytes, "binary") }],
        ColumnType::Text { size, .. } | ColumnType::Blob { size } => {
            vec![Wire::Blob { length_bytes: size.length_bytes() as u8 }]
        }
        ColumnType::Date => vec![Wire::Date],
        ColumnType::DateTime { digits } => vec![Wire::DateTime { digits: *digits }, Wire::OldDateTime],
        ColumnType::Timestamp { digits } => vec![Wire::Timestamp { digits: *digits }, Wire::OldTimestamp],
        ColumnType::Time { digits } => vec![Wire::Time { digits: *digits }, Wire::OldTime],
        ColumnType::Year => vec![Wire::Year],
        ColumnType::Enum { members } => vec![Wire::Enum { bytes: if members.len() > 255 { 2 } else { 1 } }],
        ColumnType::Set { members } => {
            // 1, 2, 3, 4 or 8 bytes.
            let bytes = members.len().div_ceil(8).max(1);
            vec![Wire::Set { bytes: if bytes > 4 { 8 } else { bytes as u8 } }]
        }
        ColumnType::Json => vec![Wire::Json { length_bytes: 4 }],
        ColumnType::Geometry => vec![Wire::Geometry { length_bytes: 4 }],
        ColumnType::Vector { .. } => vec![Wire::Vector { length_bytes: 4 }],
        ColumnType::Uuid | ColumnType::Inet6 => vec![Wire::Text { bytes: 16 }],
        ColumnType::Inet4 => vec![Wire::Text { bytes: 4 }],
    }
}
