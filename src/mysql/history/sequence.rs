//! MariaDB's sequences, whose numbers its log has as rows of a table.
//!
//! No statement and no catalogue tells of a table there. A sequence's one row always has the same eight columns, so a map of just these,
//! of a table that nobody knows, is a sequence's.

use super::History;
use crate::Result;
use crate::mysql::binlog::{MapColumn, TableMap, Wire};

/// Their names and bytes, and whether they have no sign.
const COLUMNS: [(&str, u8, bool); 8] = [
    ("next_not_cached_value", 8, false),
    ("minimum_value", 8, false),
    ("maximum_value", 8, false),
    ("start_value", 8, false),
    ("increment", 8, false),
    ("cache_size", 8, true),
    ("cycle_option", 1, true),
    ("cycle_count", 8, false),
];

impl History {
    /// Whether rows of a table that is not known are a sequence's.
    ///
    /// # Errors
    /// Those of the source's catalogue.
    pub fn is_sequence(&self, map: &TableMap) -> Result<bool> {
        let alike = |(column, (name, bytes, unsigned)): (&MapColumn, (&str, u8, bool))| {
            matches!(column.wire, Wire::Integer { bytes: found } if found == bytes)
                && !column.nullable
                && column.unsigned.is_none_or(|found| found == unsigned)
                && column.name.as_deref().is_none_or(|found| found == name)
        };
        Ok(self.surroundings.mariadb
            && map.columns().len() == COLUMNS.len()
            && map.columns().iter().zip(COLUMNS).all(alike)
            && self.surroundings.catalogue.is_some()
            && self.catalogue(&map.name)?.is_none())
    }
}
