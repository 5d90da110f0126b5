//! What a statement of the log did to the job's tables: its meaning, free of the words it was written in.
//!
//! Applying a change is a comparison: the definition after it says what the target's table has to be, and what is so
//! already needs no statement. Only what a comparison cannot tell is said beside it: which column had which name before.

use std::sync::Arc;

use super::{Table, TableName};

/// One step. A statement may be several (`RENAME TABLE a TO outside.a, b TO a`), to be taken in order.
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
    /// Tables that stay in the selection under other names, all at one moment: two may exchange theirs.
    Rename(Vec<Renamed>),
    Alter(Altered),
    /// The target's rows can no longer be followed row by row, for this reason: another key, partitions exchanged or
    /// truncated. The table has to be copied anew.
    Refill {
        table: Arc<Table>,
        reason: String,
    },
}

/// A table under another name. Its definition is as before, but for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub from: TableName,
    pub table: Arc<Table>,
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
    /// The tables that it is about, by their names before it and behind it; and the one that a table that leaves becomes.
    pub fn tables(&self) -> Vec<&TableName> {
        match self {
            SchemaChange::Create(table) | SchemaChange::Arrive(table) | SchemaChange::Refill { table, .. } => {
                vec![&table.name]
            }
            SchemaChange::Leave { table, to } => std::iter::once(table).chain(to).collect(),
            SchemaChange::Truncate(table) => vec![table],
            SchemaChange::Rename(renamed) => {
                renamed.iter().flat_map(|renamed| [&renamed.from, &renamed.table.name]).collect()
            }
            SchemaChange::Alter(altered) => vec![&altered.before.name, &altered.after.name],
        }
    }
}
