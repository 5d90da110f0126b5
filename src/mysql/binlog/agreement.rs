//! Whether the table that the log describes is the table that the definition describes.
//!
//! Rows carry no names, so a definition that is not the one the rows were written with would put values into the
//! wrong columns, in silence. Everything the table map tells is compared: the number of columns, each one's type with
//! its length, digits or precision, and where the server writes them, signedness, names, character sets, members and the
//! primary key.

use super::table_map::{MapColumn, TableMap, Wire};
use crate::Error;
use crate::mysql::value::{Charset, charset_max_bytes};
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
    if let Some((log, definition)) = keys_differ(table, map) {
        let message = format!("table {}: the log has {log}, the definition {definition}", table.name);
        return Err(Error::definite(message).hint(ANOTHER_TABLE));
    }
    Ok(())
}

/// What the log has and what the definition has, where the server tells of keys, and theirs differ.
///
/// Both servers take the first unique key without NULLs for the primary one where there is none, and log it as that.
fn keys_differ(table: &Table, map: &TableMap) -> Option<(String, String)> {
    if !map.has_names() {
        return None;
    }
    let logged = map.primary_key();
    let agree = match (table.primary && !table.key.is_empty(), logged) {
        (true, logged) => logged == Some(&table.key),
        (false, None) => true,
        // From a state store that did not keep them.
        (false, Some(_)) if table.charset.is_none() || !table.knows_indexes() => true,
        (false, Some(logged)) => {
            let parts: Vec<Option<usize>> = logged.iter().copied().map(Some).collect();
            table.indexes.iter().any(|index| index.unique && index.columns == parts)
        }
    };
    if agree {
        return None;
    }
    let told = |key: &[usize]| {
        let names = key.iter().filter_map(|&index| table.columns.get(index)).map(|column| column.name.as_str());
        format!("the key ({})", names.collect::<Vec<_>>().join(", "))
    };
    let none = || "no such key".to_owned();
    let defined = if table.primary { told(&table.key) } else { none() };
    Some((logged.map_or_else(|| "no key".to_owned(), told), defined))
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
    if let (Some(defined), Some(logged)) = (charset(&column.ty), logged.charset)
        && defined != logged
    {
        return Some((format!("the character set {logged}"), format!("{defined} ({:?})", column.ty)));
    }
    if let (ColumnType::Vector { dimensions }, Some(logged)) = (&column.ty, logged.dimensions)
        && *dimensions != logged
    {
        return Some((format!("{logged} dimensions"), format!("{dimensions}")));
    }
    if let (ColumnType::Enum { members } | ColumnType::Set { members }, Some(named)) = (&column.ty, &logged.members) {
        return members_differ(members, named, logged.charset);
    }
    None
}

fn members_differ(members: &[String], logged: &[Vec<u8>], charset: Option<&str>) -> Option<(String, String)> {
    if members.len() != logged.len() {
        return Some((format!("{} members", logged.len()), format!("{} members", members.len())));
    }
    let charset = charset.and_then(Charset::named);
    members.iter().zip(logged).find_map(|(member, logged)| {
        let logged = match &charset {
            Some(charset) => member_text(logged, charset)?,
            // In a character set that is not told: what reads the same in any can be compared.
            None => std::str::from_utf8(logged).ok().filter(|text| is_plain(text) && is_plain(member))?.to_owned(),
        };
        (*member != logged).then(|| (format!("the member {logged:?}"), format!("the member {member:?}")))
    })
}

/// A member as the definition would have it; `None`: it is no text, which a server lets pass.
pub(in crate::mysql) fn member_text(logged: &[u8], charset: &Charset) -> Option<String> {
    let mut buffer = Vec::new();
    let text = charset.decode(logged, &mut buffer).ok()?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

fn is_plain(text: &str) -> bool {
    text.is_ascii() && !text.contains('\0')
}

/// The character set that the log tells of a column of this type, if it is known.
fn charset(ty: &ColumnType) -> Option<&str> {
    match ty {
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } | ColumnType::Text { charset, .. } => {
            Some(if charset == "utf8" { "utf8mb3" } else { charset })
        }
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => Some("binary"),
        ColumnType::Uuid | ColumnType::Inet4 | ColumnType::Inet6 => Some("binary"),
        _ => None,
    }
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

#[cfg(test)]
mod tests;
