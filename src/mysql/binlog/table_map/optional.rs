//! The optional fields of a table map: what `binlog_row_metadata` adds to it. MINIMAL gives signs and, of MySQL, character
//! sets; FULL everything below.
//!
//! # Whose character set is whose
//! A field of character sets numbers the columns that have one, and which columns those are differs: MySQL counts texts,
//! bytes and vectors, MariaDB geometries, UUIDs and addresses too (`is_character_field` of both). The latter two look like
//! CHARs in a map and need no rule; whether geometries count is found out by trying: with them in, the number of sets
//! has to be that of columns, and each geometry has the set `binary`. Where both ways are possible and differ, a column's
//! set stays unknown.

use super::{Reader, TableMap, Wire};
use crate::mysql::binlog::text;

// `Table_map_event::Optional_metadata_field_type`.
pub(super) const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
pub(super) const COLUMN_NAME: u8 = 4;
const SET_STR_VALUE: u8 = 5;
pub(super) const ENUM_STR_VALUE: u8 = 6;
const SIMPLE_PRIMARY_KEY: u8 = 8;
const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
const VECTOR_DIMENSIONALITY: u8 = 13;

impl TableMap {
    pub(super) fn optional(&mut self, kind: u8, content: &mut Reader<'_>) -> Option<()> {
        match kind {
            SIGNEDNESS => {
                // One bit for each numeric column, the first in the highest bit.
                let numeric = self.columns.iter_mut().filter(|column| is_numeric(column.wire));
                for (index, column) in numeric.enumerate() {
                    let Some(byte) = content.bytes.get(index / 8) else { break };
                    column.unsigned = Some(byte & (0x80 >> (index % 8)) != 0);
                }
            }
            COLUMN_NAME => {
                for column in &mut self.columns {
                    let length = content.length()?;
                    column.name = Some(std::str::from_utf8(content.take(length)?).ok()?.to_owned());
                }
                self.has_names = true;
            }
            SET_STR_VALUE => self.members(content, |wire| matches!(wire, Wire::Set { .. }))?,
            ENUM_STR_VALUE => self.members(content, |wire| matches!(wire, Wire::Enum { .. }))?,
            SIMPLE_PRIMARY_KEY => self.key(content, false)?,
            PRIMARY_KEY_WITH_PREFIX => self.key(content, true)?,
            DEFAULT_CHARSET | COLUMN_CHARSET => {
                let sets = Sets::read(content, kind == DEFAULT_CHARSET)?;
                self.character_sets(&sets);
            }
            ENUM_AND_SET_DEFAULT_CHARSET | ENUM_AND_SET_COLUMN_CHARSET => {
                let sets = Sets::read(content, kind == ENUM_AND_SET_DEFAULT_CHARSET)?;
                let columns = self.numbered(|wire| matches!(wire, Wire::Enum { .. } | Wire::Set { .. }));
                self.assign(&columns, &sets);
            }
            VECTOR_DIMENSIONALITY => {
                let vectors = self.columns.iter_mut().filter(|column| matches!(column.wire, Wire::Vector { .. }));
                for column in vectors {
                    column.dimensions = Some(u32::try_from(content.length()?).ok()?);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn members(&mut self, content: &mut Reader<'_>, wanted: fn(Wire) -> bool) -> Option<()> {
        for column in self.columns.iter_mut().filter(|column| wanted(column.wire)) {
            let count = content.length()?;
            let mut members = Vec::new();
            for _ in 0..count {
                let length = content.length()?;
                members.push(content.take(length)?.to_vec());
            }
            column.members = Some(members);
        }
        Some(())
    }

    fn key(&mut self, content: &mut Reader<'_>, prefixes: bool) -> Option<()> {
        let mut key = Vec::new();
        while !content.bytes.is_empty() {
            let column = content.length()?;
            if prefixes {
                content.length()?;
            }
            key.push((column < self.columns.len()).then_some(column)?);
        }
        self.primary_key = Some(key);
        Some(())
    }

    fn character_sets(&mut self, sets: &Sets) {
        let geometry = |wire| matches!(wire, Wire::Geometry { .. });
        let without = self.numbered(is_character);
        let with = self.numbered(|wire| is_character(wire) || geometry(wire));
        let may_be = |columns: &[usize]| {
            let mut geometries = columns
                .iter()
                .enumerate()
                .filter(|(_, index)| self.columns.get(**index).is_some_and(|column| geometry(column.wire)));
            sets.fits(columns.len()) && geometries.all(|(number, _)| sets.of(number) == Some("binary"))
        };
        match (may_be(&without), may_be(&with)) {
            (true, false) => self.assign(&without, sets),
            (false, true) => self.assign(&with, sets),
            (false, false) => {}
            (true, true) => {
                self.assign(&with, sets);
                let other: Vec<(usize, Option<&'static str>)> =
                    without.iter().enumerate().map(|(number, &index)| (index, sets.of(number))).collect();
                for (index, charset) in other {
                    if let Some(column) = self.columns.get_mut(index).filter(|column| column.charset != charset) {
                        column.charset = None;
                    }
                }
            }
        }
    }

    fn numbered(&self, counts: impl Fn(Wire) -> bool) -> Vec<usize> {
        let columns = self.columns.iter().enumerate().filter(|(_, column)| counts(column.wire));
        columns.map(|(index, _)| index).collect()
    }

    fn assign(&mut self, columns: &[usize], sets: &Sets) {
        if !sets.fits(columns.len()) {
            return;
        }
        for (number, &index) in columns.iter().enumerate() {
            if let Some(column) = self.columns.get_mut(index) {
                column.charset = sets.of(number);
            }
        }
    }
}

/// Collations by a column's number.
enum Sets {
    /// One for all, and the exceptions.
    Default(usize, Vec<(usize, usize)>),
    Each(Vec<usize>),
}

impl Sets {
    fn read(content: &mut Reader<'_>, default: bool) -> Option<Self> {
        let first = if default { Some(content.length()?) } else { None };
        let mut numbers = Vec::new();
        while !content.bytes.is_empty() {
            numbers.push(content.length()?);
        }
        let Some(first) = first else { return Some(Sets::Each(numbers)) };
        let (pairs, rest) = numbers.as_chunks::<2>();
        rest.is_empty().then(|| Sets::Default(first, pairs.iter().map(|&[column, set]| (column, set)).collect()))
    }

    /// It may be about so many columns.
    fn fits(&self, columns: usize) -> bool {
        match self {
            Sets::Default(_, exceptions) => exceptions.iter().all(|(column, _)| *column < columns),
            Sets::Each(sets) => sets.len() == columns,
        }
    }

    fn of(&self, number: usize) -> Option<&'static str> {
        let collation = match self {
            Sets::Default(default, exceptions) => {
                exceptions.iter().find(|(column, _)| *column == number).map_or(*default, |(_, set)| *set)
            }
            Sets::Each(sets) => *sets.get(number)?,
        };
        text::known_charset(u16::try_from(collation).ok()?)
    }
}

fn is_character(wire: Wire) -> bool {
    matches!(wire, Wire::Varchar { .. } | Wire::Text { .. } | Wire::Blob { .. } | Wire::Vector { .. })
}

fn is_numeric(wire: Wire) -> bool {
    matches!(wire, Wire::Integer { .. } | Wire::Float | Wire::Double | Wire::Decimal { .. } | Wire::Year)
}
