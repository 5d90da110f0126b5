//! A table's definition and the clauses of a statement make the next definition, by the servers' own rules.
//!
//! An ALTER TABLE is one change, whatever its clauses' order says. The servers sort the clauses into lists and make the new
//! table from the old one and the lists; so does this, step for step, because what statements mean follows from the steps and
//! from nothing simpler: `ADD x INT AFTER b, CHANGE a b INT, MODIFY b …` is read by where each name is looked up at that
//! moment.
//!
//! ```text
//! clauses      which lists there are; MariaDB's IF [NOT] EXISTS, by the table as it was
//! definition   a column's words, character sets included: a column's own, else the table's default after the statement;
//!              CONVERT TO overrules both
//! columns      the new list of columns
//! keys         the old keys by their columns' old names, then the new ones
//! ```
//!
//! A statement that a server refuses is not in its log: where the steps end in an error the definition is not known, and
//! nothing else is tried.

use crate::config::NoKeyTables;
use crate::mysql::catalog::choose_key;
use crate::mysql::ddl::TableChange;
use crate::schema::{Column, Table, TableName};

mod clauses;
mod columns;
mod definition;
mod keys;

use clauses::Clauses;
use definition::Charsets;

/// What decides the meaning of a statement's words besides themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) mariadb: bool,
    pub(super) no_key: NoKeyTables,
    /// `explicit_defaults_for_timestamp`: a TIMESTAMP is like any other column.
    pub(super) explicit_timestamps: bool,
    /// `sql_mode` has REAL_AS_FLOAT.
    pub(super) real_as_float: bool,
    /// The default character set of the table's database, where it is known.
    pub(super) database_charset: Option<&'a str>,
}

/// A definition after a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evolved {
    pub(super) table: Table,
    /// For each column the index of what it was before.
    pub(super) was: Vec<Option<usize>>,
    /// The clause after which rows came or went without row events.
    pub(super) rows_unlogged: Option<String>,
    /// There is something to tell rows apart by.
    pub(super) has_key: bool,
}

impl Evolved {
    /// A definition as it is.
    pub(super) fn unchanged(table: Table) -> Self {
        let was = (0..table.columns.len()).map(Some).collect();
        Evolved { has_key: !table.key.is_empty(), was, rows_unlogged: None, table }
    }

    /// The key has other columns, or in another order, than in `before`.
    pub(super) fn has_another_key(&self, before: &Table) -> bool {
        let was: Vec<Option<usize>> = self.table.key.iter().map(|&index| self.was.get(index).copied()?).collect();
        was != before.key.iter().copied().map(Some).collect::<Vec<_>>()
    }
}

/// A new table.
///
/// # Errors
/// Why its definition cannot be known.
pub(super) fn create(name: TableName, changes: &[TableChange], rules: Rules<'_>) -> Result<Evolved, String> {
    let empty = Table {
        name,
        columns: Vec::new(),
        key: Vec::new(),
        primary: true,
        comment: String::new(),
        charset: rules.database_charset.map(str::to_owned),
        indexes: Vec::new(),
    };
    alter(&empty, changes, rules)
}

/// # Errors
/// Why the definition after it cannot be known.
pub(super) fn alter(before: &Table, changes: &[TableChange], rules: Rules<'_>) -> Result<Evolved, String> {
    let charsets = Charsets::read(before, changes, rules)?;
    let clauses = Clauses::read(before, changes, rules.mariadb);
    let mut placed = columns::place(before, &clauses, &charsets, rules)?;
    let keys = keys::keys(before, &clauses.keys, &placed)?;
    if !rules.explicit_timestamps {
        // MySQL lets no part of a primary key have the implied zero.
        let without = keys.primary.as_deref().filter(|_| !rules.mariadb).unwrap_or_default();
        columns::imply_timestamps(&mut placed, &clauses, without);
    }
    let (mut columns, was): (Vec<Column>, Vec<Option<usize>>) =
        placed.into_iter().map(|placed| (placed.column, placed.was)).unzip();
    for &part in keys.primary.iter().flatten() {
        if let Some(column) = columns.get_mut(part) {
            column.nullable = false;
        }
    }
    let key = choose_key(&columns, keys.primary, &keys.indexes, rules.no_key);
    let has_key = key.is_some();
    let (key, primary) = key.unwrap_or_default();
    let mut table = Table {
        name: before.name.clone(),
        columns,
        key,
        primary,
        comment: before.comment.clone(),
        charset: charsets.default,
        indexes: keys.indexes,
    };
    let mut rows_unlogged = None;
    for change in changes {
        match change {
            TableChange::Comment(comment) => table.comment.clone_from(comment),
            TableChange::RowsUnlogged(unlogged) => rows_unlogged = Some(unlogged.clause.clone()),
            _ => {}
        }
    }
    Ok(Evolved { table, was, rows_unlogged, has_key })
}

/// Names of columns and indexes are compared without case.
pub(super) fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right) || !left.is_ascii() && left.to_lowercase() == right.to_lowercase()
}

fn no_column(name: &str) -> String {
    format!("there is no column {name}")
}
