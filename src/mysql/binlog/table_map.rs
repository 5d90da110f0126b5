//! TABLE_MAP events: what the log says of a table before its rows.
//!
//! The body (behind the 19 bytes of the common header, without the checksum) is
//!
//! ```text
//! table id 6 | flags 2 | length 1, database, 0 | length 1, table, 0 | column count (length-encoded)
//! type code 1 per column | metadata length (length-encoded) | metadata | null bitmap
//! optional fields, each: type 1 | length (length-encoded) | content
//! ```
//!
//! All integers are little-endian; the metadata's length per column depends on its type code. The format is that of
//! `libbinlogevents`' `Table_map_event`; MariaDB writes the same. Optional fields this reader does not know are
//! passed over, because newer servers add kinds without changing the event's version.
//!
//! Bytes from the network are not trusted: every read is checked against the end, and nothing is reserved by a
//! length that the bytes present cannot back.

use std::fmt;

use crate::schema::TableName;
use crate::{Error, Result};

mod optional;

/// What the log says of a table before its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    pub table_id: u64,
    pub name: TableName,
    columns: Vec<MapColumn>,
    has_names: bool,
    primary_key: Option<Vec<usize>>,
    body: Box<[u8]>,
}

/// One column of a table map, in row image order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapColumn {
    pub wire: Wire,
    pub nullable: bool,
    /// For numeric columns, where the server tells (`binlog_row_metadata=MINIMAL` does).
    pub unsigned: Option<bool>,
    /// Only with `binlog_row_metadata=FULL`, as is the next one.
    pub name: Option<String>,
    /// The members' bytes, in the column's own character set.
    pub members: Option<Vec<Vec<u8>>>,
    /// Of a text, ENUM or SET, with `binary` for bytes; only with FULL, as is the next one.
    pub charset: Option<&'static str>,
    /// Of a VECTOR.
    pub dimensions: Option<u32>,
}

/// How a column's values lie in a row image: type code and metadata together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Integer {
        bytes: u8,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bit {
        bits: u16,
    },
    /// Length prefix of 1 byte up to 255 bytes, else of 2; so for `Text`.
    Varchar {
        bytes: u16,
    },
    /// CHAR and BINARY, and MariaDB's fixed types (UUID, INET).
    Text {
        bytes: u16,
    },
    /// `bytes` of an index.
    Enum {
        bytes: u8,
    },
    /// `bytes` of bits.
    Set {
        bytes: u8,
    },
    /// `length_bytes` of the prefix, 1 to 4; so for the next three.
    Blob {
        length_bytes: u8,
    },
    Json {
        length_bytes: u8,
    },
    Geometry {
        length_bytes: u8,
    },
    Vector {
        length_bytes: u8,
    },
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
    /// From before MySQL 5.6, and MariaDB with `mysql56_temporal_format=OFF`.
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// A type code that Towpath cannot read, with its metadata passed over.
    Unreadable {
        code: u8,
    },
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Wire::Integer { bytes } => write!(f, "an integer of {bytes} bytes"),
            Wire::Float => f.write_str("FLOAT"),
            Wire::Double => f.write_str("DOUBLE"),
            Wire::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            Wire::Bit { bits } => write!(f, "BIT({bits})"),
            Wire::Varchar { bytes } => write!(f, "a VARCHAR or VARBINARY of {bytes} bytes"),
            Wire::Text { bytes } => write!(f, "a CHAR or BINARY of {bytes} bytes"),
            Wire::Enum { bytes } => write!(f, "an ENUM of {bytes} bytes"),
            Wire::Set { bytes } => write!(f, "a SET of {bytes} bytes"),
            Wire::Blob { length_bytes } => write!(f, "a TEXT or BLOB with {length_bytes} length bytes"),
            Wire::Json { .. } => f.write_str("JSON"),
            Wire::Geometry { .. } => f.write_str("GEOMETRY"),
            Wire::Vector { .. } => f.write_str("VECTOR"),
            Wire::Year => f.write_str("YEAR"),
            Wire::Date => f.write_str("DATE"),
            Wire::Time { digits } => write!(f, "TIME({digits})"),
            Wire::DateTime { digits } => write!(f, "DATETIME({digits})"),
            Wire::Timestamp { digits } => write!(f, "TIMESTAMP({digits})"),
            Wire::OldTime => f.write_str("TIME in the format before MySQL 5.6"),
            Wire::OldDateTime => f.write_str("DATETIME in the format before MySQL 5.6"),
            Wire::OldTimestamp => f.write_str("TIMESTAMP in the format before MySQL 5.6"),
            Wire::Unreadable { code: 140 | 141 } => f.write_str("a COMPRESSED column"),
            Wire::Unreadable { code } => write!(f, "type code {code}"),
        }
    }
}

impl TableMap {
    /// Reads an event's body: from the table id up to, and without, the checksum.
    ///
    /// # Errors
    /// A definite error when the bytes end early or contradict themselves.
    pub fn parse(body: &[u8]) -> Result<TableMap> {
        let mut reader = Reader { bytes: body };
        let map = parse(&mut reader).map(|map| TableMap { body: body.into(), ..map });
        map.ok_or_else(|| {
            Error::definite("a table map event is damaged or of an unknown format")
                .hint("check the binlog with mysqlbinlog --verify-binlog-checksum, or start anew behind this event")
        })
    }

    /// The table id and name alone, for a reader that only wants to know whether the table is replicated.
    /// `None` when the bytes end early; names that are not UTF-8 are `None` too.
    pub fn peek(body: &[u8]) -> Option<(u64, &str, &str)> {
        let mut reader = Reader { bytes: body };
        head(&mut reader)
    }

    /// What it was read from.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// In the order of the row images.
    pub fn columns(&self) -> &[MapColumn] {
        &self.columns
    }

    /// Whether the server wrote column names (`binlog_row_metadata=FULL`).
    pub fn has_names(&self) -> bool {
        self.has_names
    }

    /// The primary key's columns in key order, where the server wrote them: a map with names and without them is of a table
    /// that has no primary key.
    pub fn primary_key(&self) -> Option<&[usize]> {
        self.primary_key.as_deref()
    }
}

fn head<'a>(reader: &mut Reader<'a>) -> Option<(u64, &'a str, &'a str)> {
    let table_id = reader.integer(6)?;
    reader.take(2)?;
    let database = reader.name()?;
    let table = reader.name()?;
    Some((table_id, database, table))
}

fn parse(reader: &mut Reader<'_>) -> Option<TableMap> {
    let (table_id, database, table) = head(reader)?;
    let name = TableName::new(database, table);
    let count = reader.length()?;
    let codes = reader.take(count)?;
    let metadata_length = reader.length()?;
    let mut metadata = Reader { bytes: reader.take(metadata_length)? };
    let nulls = reader.take(count.div_ceil(8))?;
    let mut columns = Vec::with_capacity(count);
    for (index, &code) in codes.iter().enumerate() {
        let nullable = nulls[index / 8] & (1 << (index % 8)) != 0;
        let wire = wire(code, &mut metadata)?;
        let untold =
            MapColumn { wire, nullable, unsigned: None, name: None, members: None, charset: None, dimensions: None };
        columns.push(untold);
    }
    let mut map = TableMap { table_id, name, columns, has_names: false, primary_key: None, body: Box::default() };
    while !reader.bytes.is_empty() {
        let kind = reader.integer(1)? as u8;
        let length = reader.length()?;
        let mut content = Reader { bytes: reader.take(length)? };
        map.optional(kind, &mut content)?;
    }
    Some(map)
}

/// Reads one column's metadata; how long it is depends on the type code.
fn wire(code: u8, metadata: &mut Reader<'_>) -> Option<Wire> {
    let mut one = || metadata.integer(1).map(|value| value as u8);
    Some(match code {
        1 => Wire::Integer { bytes: 1 },
        2 => Wire::Integer { bytes: 2 },
        9 => Wire::Integer { bytes: 3 },
        3 => Wire::Integer { bytes: 4 },
        8 => Wire::Integer { bytes: 8 },
        4 => {
            one()?;
            Wire::Float
        }
        5 => {
            one()?;
            Wire::Double
        }
        7 => Wire::OldTimestamp,
        10 | 14 => Wire::Date,
        11 => Wire::OldTime,
        12 => Wire::OldDateTime,
        13 => Wire::Year,
        15 | 253 => Wire::Varchar { bytes: metadata.integer(2)? as u16 },
        16 => {
            let (rest, bytes) = (one()?, one()?);
            Wire::Bit { bits: u16::from(bytes) * 8 + u16::from(rest) }
        }
        17 => Wire::Timestamp { digits: one()? },
        18 => Wire::DateTime { digits: one()? },
        19 => Wire::Time { digits: one()? },
        242 => Wire::Vector { length_bytes: one()? },
        245 => Wire::Json { length_bytes: one()? },
        246 => Wire::Decimal { precision: one()?, scale: one()? },
        249..=252 => Wire::Blob { length_bytes: one()? },
        255 => Wire::Geometry { length_bytes: one()? },
        247 | 248 | 254 => {
            // The real type in the first byte, the length in the second. A length over 255 puts its two upper
            // bits, inverted, into bits 4 and 5 of the first byte, which are set in every real type.
            let (first, second) = (one()?, one()?);
            match first | 0x30 {
                247 => Wire::Enum { bytes: second },
                248 => Wire::Set { bytes: second },
                254 => Wire::Text { bytes: (u16::from((first & 0x30) ^ 0x30) << 4) | u16::from(second) },
                _ => Wire::Unreadable { code: first },
            }
        }
        // MariaDB's compressed BLOB and VARCHAR.
        140 => {
            one()?;
            Wire::Unreadable { code }
        }
        141 => {
            metadata.integer(2)?;
            Wire::Unreadable { code }
        }
        0 | 6 | 243 | 244 => Wire::Unreadable { code },
        // The length of an unknown type's metadata is unknown too: nothing behind it could be read.
        _ => return None,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn integer(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
    }

    /// A length-encoded integer of the protocol.
    fn length(&mut self) -> Option<usize> {
        let value = match self.integer(1)? {
            value @ 0..=250 => value,
            252 => self.integer(2)?,
            253 => self.integer(3)?,
            254 => self.integer(8)?,
            _ => return None,
        };
        usize::try_from(value).ok()
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = self.integer(1)? as usize;
        let name = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::optional::{COLUMN_NAME, ENUM_STR_VALUE, SIGNEDNESS};
    use super::*;
    use crate::schema::{ColumnType, Table};

    /// The event's body for columns given as (type code, metadata, nullable), with optional fields behind them.
    pub(in super::super) fn body(columns: &[(u8, Vec<u8>, bool)], optional: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut body = b"\x01\0\0\0\0\0\x01\0\x04shop\0\x01t\0".to_vec();
        let length = |length: usize, body: &mut Vec<u8>| match length {
            0..=250 => body.push(length as u8),
            _ => {
                body.push(252);
                body.extend_from_slice(&(length as u16).to_le_bytes());
            }
        };
        length(columns.len(), &mut body);
        body.extend(columns.iter().map(|column| column.0));
        length(columns.iter().map(|column| column.1.len()).sum(), &mut body);
        columns.iter().for_each(|column| body.extend_from_slice(&column.1));
        let mut nulls = vec![0u8; columns.len().div_ceil(8)];
        for (index, _) in columns.iter().enumerate().filter(|(_, column)| column.2) {
            nulls[index / 8] |= 1 << (index % 8);
        }
        body.extend_from_slice(&nulls);
        for (kind, content) in optional {
            body.push(*kind);
            length(content.len(), &mut body);
            body.extend_from_slice(content);
        }
        body
    }

    /// What a server writes for a table of INT and VARCHAR columns, with the names of columns and the key or without.
    pub(in crate::mysql) fn of(table: &Table, names: bool) -> TableMap {
        let columns: Vec<(u8, Vec<u8>, bool)> = table
            .columns
            .iter()
            .map(|column| match &column.ty {
                ColumnType::Integer { .. } => (3, Vec::new(), column.nullable),
                ColumnType::Varchar { chars, .. } => (15, (*chars as u16 * 4).to_le_bytes().to_vec(), column.nullable),
                other => panic!("{other:?}"),
            })
            .collect();
        let named = table.columns.iter().flat_map(|column| {
            std::iter::once(column.name.len() as u8).chain(column.name.bytes()).collect::<Vec<u8>>()
        });
        let optional = if names { vec![(COLUMN_NAME, named.collect())] } else { Vec::new() };
        let primary_key = names.then(|| table.key.clone());
        TableMap { name: table.name.clone(), primary_key, ..TableMap::parse(&body(&columns, &optional)).unwrap() }
    }

    /// The same with all that `binlog_row_metadata=FULL` has of it: signs and character sets too.
    pub(in crate::mysql) fn whole(table: &Table) -> TableMap {
        let mut map = of(table, true);
        for (column, logged) in table.columns.iter().zip(&mut map.columns) {
            match &column.ty {
                ColumnType::Varchar { charset, .. } if charset == "utf8mb4" => logged.charset = Some("utf8mb4"),
                ColumnType::Integer { unsigned, .. } => logged.unsigned = Some(*unsigned),
                other => panic!("{other:?}"),
            }
        }
        map
    }

    #[test]
    fn types_and_metadata_are_read() {
        let columns = [
            (3, vec![], false),
            (15, vec![0x2c, 0x01], true),
            (254, vec![0xfe, 0x10], true),
            // A CHAR of 1020 bytes: the upper bits of the length are inverted in the type.
            (254, vec![0xce, 0xfc], true),
            (254, vec![247, 2], true),
            (246, vec![10, 2], true),
            (16, vec![1, 1], true),
            (18, vec![3], true),
            (245, vec![4], true),
        ];
        let map = TableMap::parse(&body(&columns, &[])).unwrap();
        assert_eq!(map.name, TableName::new("shop", "t"));
        let wires: Vec<Wire> = map.columns().iter().map(|column| column.wire).collect();
        assert_eq!(
            wires,
            [
                Wire::Integer { bytes: 4 },
                Wire::Varchar { bytes: 300 },
                Wire::Text { bytes: 16 },
                Wire::Text { bytes: 1020 },
                Wire::Enum { bytes: 2 },
                Wire::Decimal { precision: 10, scale: 2 },
                Wire::Bit { bits: 9 },
                Wire::DateTime { digits: 3 },
                Wire::Json { length_bytes: 4 },
            ]
        );
        assert!(!map.columns()[0].nullable && map.columns()[8].nullable);
        assert_eq!(TableMap::peek(&body(&columns, &[])), Some((1, "shop", "t")));
    }

    #[test]
    fn optional_fields_are_read_and_unknown_ones_passed_over() {
        let columns = [(3, vec![], false), (15, vec![40, 0], true), (8, vec![], true), (254, vec![247, 1], true)];
        let optional = [
            (SIGNEDNESS, vec![0b0100_0000]),
            (99, vec![1, 2, 3]),
            // A default character set, and another one for a column that only MariaDB counts.
            (2, vec![45, 1, 63]),
            (COLUMN_NAME, b"\x02id\x01a\x01b\x01e".to_vec()),
            (ENUM_STR_VALUE, b"\x02\x01x\x01y".to_vec()),
        ];
        let map = TableMap::parse(&body(&columns, &optional)).unwrap();
        let unsigned: Vec<_> = map.columns().iter().map(|column| column.unsigned).collect();
        assert_eq!(unsigned, [Some(false), None, Some(true), None]);
        assert!(map.has_names());
        assert_eq!(map.columns()[1].name.as_deref(), Some("a"));
        assert_eq!(map.columns()[3].members, Some(vec![b"x".to_vec(), b"y".to_vec()]));
    }

    #[test]
    fn a_length_that_the_bytes_do_not_back_is_an_error() {
        let whole = body(&[(15, vec![40, 0], true)], &[(COLUMN_NAME, b"\x01a".to_vec())]);
        let optional_at = whole.len() - 4;
        for end in (0..whole.len()).filter(|&end| end != optional_at) {
            assert!(TableMap::parse(&whole[..end]).is_err(), "{end}");
        }
        let huge = b"\x01\0\0\0\0\0\x01\0\x01d\0\x01t\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(TableMap::parse(huge).is_err());
    }

    proptest! {
        #[test]
        fn any_change_of_a_map_is_read_or_refused(at in 0usize..80, byte: u8, rest: Vec<u8>) {
            let columns = [(3, vec![], false), (15, vec![40, 0], true), (254, vec![247, 1], true)];
            let optional = [(SIGNEDNESS, vec![0]), (ENUM_STR_VALUE, b"\x02\x01x\x01y".to_vec())];
            let mut body = body(&columns, &optional);
            let at = at % body.len();
            body[at] = byte;
            let _ = TableMap::parse(&body);
            body.truncate(at);
            body.extend_from_slice(&rest);
            let _ = TableMap::parse(&body);
            let _ = TableMap::peek(&body);
        }
    }
}
