//! What a statement of the log did to the job's tables: its meaning, free of the words it was written in.
//!
//! Applying a change is a comparison: the definition after it says what the target's table has to be, and what is so
//! already needs no statement. Only what a comparison cannot tell is said beside it: which column had which name before.

use std::sync::Arc;

use super::{Table, TableName};

/// One step. A statement may be several (`RENAME TABLE a TO x, b TO a`), to be taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaChange {
    /// A new table without rows; what it gets is in the log behind the statement.
    Create(Arc<Table>),
    /// A table came into the selection with rows that are not in the log: renamed from outside, or re-created from
    /// another one. It has to be copied.
    Arrive(Arc<Table>),
    /// It is dropped, or renamed out of the selection (`to`).
    Leave {
        table: TableName,
        to: Option<TableName>,
    },
    /// All rows are gone.
    Truncate(TableName),
    /// Both names are in the selection. The definition is as before, but for the name.
    Rename {
        from: TableName,
        table: Arc<Table>,
    },
    Alter(Altered),
    /// The target's rows can no longer be followed row by row, for this reason: another key, partitions exchanged or
    /// truncated. The table has to be copied anew.
    Refill {
        table: Arc<Table>,
        reason: String,
    },
}

/// A table under the same name with other columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    pub before: Arc<Table>,
    pub after: Arc<Table>,
    /// For each column of `after`, the index in `before.columns` of the column that it was; `None`: it is new.
    pub was: Vec<Option<usize>>,
}

impl SchemaChange {
    /// The table as it is called before the change.
    pub fn table(&self) -> &TableName {
        match self {
            SchemaChange::Create(table) | SchemaChange::Arrive(table) | SchemaChange::Refill { table, .. } => {
                &table.name
            }
            SchemaChange::Leave { table, .. } | SchemaChange::Truncate(table) => table,
            SchemaChange::Rename { from, .. } => from,
            SchemaChange::Alter(altered) => &altered.before.name,
        }
    }
}
