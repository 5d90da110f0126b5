//! What is known of each table, in the form that is kept for a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::schema::{Table, TableName};

/// How sure a table's definition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Sure(Arc<Table>),
    /// The catalogue's, for a new table; no row has confirmed it.
    Provisional {
        table: Arc<Table>,
        statement: String,
    },
    Unread(Unread),
    /// It was created by a statement that could not be read, and the catalogue does not have it.
    Lost {
        statement: String,
    },
    /// It stands aside under a shadow's name: the first of the two steps by which an online tool swaps tables.
    Parked {
        table: Arc<Table>,
        at: TableName,
    },
}

/// A table that was altered by a statement that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) before: Arc<Table>,
    pub(super) statement: String,
    /// Why its rows are not those that the definitions before and behind it tell of.
    pub(super) doubt: Option<String>,
    /// It is new, and no row of it was met: what its columns were called is of no importance.
    pub(super) is_new: bool,
}

impl Known {
    /// The definition, or the last that was known.
    pub(super) fn present(&self) -> Option<&Arc<Table>> {
        match self {
            Known::Sure(table)
            | Known::Provisional { table, .. }
            | Known::Unread(Unread { before: table, .. })
            | Known::Parked { table, .. } => Some(table),
            Known::Lost { .. } => None,
        }
    }
}

/// A table that an online schema-change tool fills beside the real one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shadow {
    /// `None`: a statement on it could not be read.
    pub(super) table: Option<Arc<Table>>,
    /// It was altered since it was made: that is what the tools make it for.
    pub(super) altered: bool,
    /// A column of it was renamed.
    pub(super) renames: bool,
}

/// All that a history has learnt from the log up to a place; it is stored with the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct HistoryState {
    pub(super) tables: BTreeMap<TableName, Known>,
    pub(super) shadows: BTreeMap<TableName, Shadow>,
    /// Database → default character set.
    pub(super) databases: BTreeMap<String, String>,
}

impl HistoryState {
    /// The table that stands aside under this name, with its own.
    pub(super) fn parked_at(&self, name: &TableName) -> Option<(&TableName, &Arc<Table>)> {
        self.tables.iter().find_map(|(real, known)| match known {
            Known::Parked { table, at } if at == name => Some((real, table)),
            _ => None,
        })
    }

    /// All names of tables, each as the server has it now.
    pub(super) fn names(&self) -> impl Iterator<Item = &TableName> {
        let tables = self.tables.iter().map(|(name, known)| match known {
            Known::Parked { at, .. } => at,
            _ => name,
        });
        tables.chain(self.shadows.keys())
    }
}

/// The same as lists, which any format can hold.
#[derive(Serialize, Deserialize)]
struct Stored {
    tables: Vec<StoredTable>,
    shadows: Vec<StoredShadow>,
    databases: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct StoredTable {
    name: TableName,
    table: Option<Table>,
    how: How,
    #[serde(default)]
    doubt: Option<String>,
    #[serde(default)]
    is_new: bool,
}

#[derive(Serialize, Deserialize)]
enum How {
    Sure,
    Provisional(String),
    Unread(String),
    Lost(String),
    Parked(TableName),
}

#[derive(Serialize, Deserialize)]
struct StoredShadow {
    name: TableName,
    table: Option<Table>,
    altered: bool,
    renames: bool,
}

impl From<HistoryState> for Stored {
    fn from(state: HistoryState) -> Self {
        let owned = |table: &Arc<Table>| Table::clone(table);
        let tables = state.tables.into_iter().map(|(name, known)| StoredTable {
            name,
            table: known.present().map(owned),
            doubt: match &known {
                Known::Unread(unread) => unread.doubt.clone(),
                _ => None,
            },
            is_new: matches!(&known, Known::Unread(unread) if unread.is_new),
            how: match known {
                Known::Sure(_) => How::Sure,
                Known::Provisional { statement, .. } => How::Provisional(statement),
                Known::Unread(Unread { statement, .. }) => How::Unread(statement),
                Known::Lost { statement } => How::Lost(statement),
                Known::Parked { at, .. } => How::Parked(at),
            },
        });
        let shadows = state.shadows.into_iter().map(|(name, shadow)| StoredShadow {
            name,
            table: shadow.table.as_ref().map(owned),
            altered: shadow.altered,
            renames: shadow.renames,
        });
        Stored { tables: tables.collect(), shadows: shadows.collect(), databases: state.databases }
    }
}

impl From<Stored> for HistoryState {
    fn from(stored: Stored) -> Self {
        let tables = stored.tables.into_iter().map(|StoredTable { name, table, how, doubt, is_new }| {
            let known = match (table.map(Arc::new), how) {
                (Some(table), How::Sure) => Known::Sure(table),
                (Some(table), How::Provisional(statement)) => Known::Provisional { table, statement },
                (Some(before), How::Unread(statement)) => Known::Unread(Unread { before, statement, doubt, is_new }),
                (Some(table), How::Parked(at)) => Known::Parked { table, at },
                (_, How::Provisional(statement) | How::Unread(statement) | How::Lost(statement)) => {
                    Known::Lost { statement }
                }
                (None, How::Sure | How::Parked(_)) => Known::Lost { statement: "its creation".to_owned() },
            };
            (name, known)
        });
        let shadows = stored.shadows.into_iter().map(|shadow| {
            let StoredShadow { name, table, altered, renames } = shadow;
            (name, Shadow { table: table.map(Arc::new), altered, renames })
        });
        HistoryState { tables: tables.collect(), shadows: shadows.collect(), databases: stored.databases }
    }
}
