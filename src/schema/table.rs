//! A source table's definition.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Column;

/// A table's database and name, as the server spells them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    pub database: String,
    pub table: String,
}

impl TableName {
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        TableName { database: database.into(), table: table.into() }
    }

    /// The name for a SQL statement, both parts back-quoted.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.database), quote(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Back-quotes an identifier for MySQL and StarRocks.
pub(crate) fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// A source table as it was at one position of the binlog. Serialized into the state store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub name: TableName,
    /// In the table's own order, invisible and generated columns too: the order of a row image.
    pub columns: Vec<Column>,
    /// The primary key (or, by `noKeyTables`, the chosen unique key): indexes into `columns`, in key order. Empty: the
    /// table has none (`noKeyTables: rowHash`).
    pub key: Vec<usize>,
    /// Whether `key` is the primary key.
    #[serde(default = "yes")]
    pub primary: bool,
    pub comment: String,
    /// The character set of columns that name none. `None`: from a state store that did not keep it.
    #[serde(default)]
    pub charset: Option<String>,
    /// Its indexes beside the primary key. They decide how a later statement is understood: which of them it drops, and
    /// which one tells rows apart when there is no primary key.
    #[serde(default)]
    pub indexes: Vec<Index>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    pub unique: bool,
    /// Indexes into the table's `columns`; `None` for a part that is an expression.
    pub columns: Vec<Option<usize>>,
}

impl Index {
    /// Stands among a table's indexes for those that are not known. `key_too`: nor is it known whether the table's key is
    /// the primary one, or a unique one in its stead, which the log tells alike.
    pub(crate) fn unknown(key_too: bool) -> Self {
        Index { name: String::new(), unique: key_too, columns: vec![None] }
    }

    fn is_unknown(&self) -> bool {
        self.name.is_empty()
    }
}

fn yes() -> bool {
    true
}

impl Table {
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&index| self.columns.get(index))
    }

    /// All of its indexes are known.
    pub(crate) fn knows_indexes(&self) -> bool {
        !self.indexes.iter().any(Index::is_unknown)
    }

    /// Its key is known to be the primary one, or not to be.
    pub(crate) fn knows_key(&self) -> bool {
        !self.indexes.iter().any(|index| index.is_unknown() && index.unique)
    }

    /// Whether rows are read alike by both definitions: they differ in indexes and the default character set at most.
    pub fn reads_like(&self, other: &Table) -> bool {
        (&self.name, &self.columns, &self.key, self.primary, &self.comment)
            == (&other.name, &other.columns, &other.key, other.primary, &other.comment)
    }

    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }
}
