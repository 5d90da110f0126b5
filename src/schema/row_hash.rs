//! The key that a table without a key gets at the target (`noKeyTables: rowHash`): a hash of the row, and a number that
//! tells equal rows apart. [`crate::apply::row_hash`] says how both are made.

use super::{Fill, Mapping, TargetColumn, TargetTable, TargetType};

/// The first 128 bits of a row's hash.
pub const ROW_HASH: &str = "__towpath_row_hash";
/// Which of the rows with that hash.
pub const ROW_COPY: &str = "__towpath_copy";

/// `TargetColumn::source` of a column that no source column feeds.
const NO_SOURCE: usize = usize::MAX;

/// Both key columns, in key order. A LARGEINT holds the hash whole, and 24 bytes are a key of fixed length, of which
/// StarRocks keeps its index smallest.
pub(super) fn key_columns() -> [TargetColumn; 2] {
    let column = |name: &str, ty, comment: &str| TargetColumn {
        name: name.to_owned(),
        ty,
        nullable: false,
        default: None,
        comment: comment.to_owned(),
        fill: Fill::Unknown,
        source: NO_SOURCE,
    };
    [
        column(ROW_HASH, TargetType::LargeInt, "hash of the row, made by towpath"),
        column(ROW_COPY, TargetType::BigInt, "tells equal rows apart, made by towpath"),
    ]
}

impl Mapping {
    /// Whether the table has no key at the source, and the target's is [`ROW_HASH`] and [`ROW_COPY`].
    pub fn is_row_hash(&self) -> bool {
        self.source.key.is_empty()
    }

    /// The columns that a row of the source brings.
    pub fn carried(&self) -> &[TargetColumn] {
        let made = if self.is_row_hash() { self.target.key_columns } else { 0 };
        self.target.columns.get(made..).unwrap_or_default()
    }
}

impl TargetTable {
    /// The columns that decide in which tablet a row is: the key; of a row hash's table the hash alone, so that all rows
    /// with one hash are found in one tablet.
    pub fn distribution(&self) -> &[TargetColumn] {
        match self.key() {
            [hash, copy] if hash.name == ROW_HASH && copy.name == ROW_COPY => std::slice::from_ref(hash),
            key => key,
        }
    }
}
