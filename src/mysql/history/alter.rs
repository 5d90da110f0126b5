//! ALTER TABLE: what it makes of a table, as far as its text says so; and what is remembered where it does not.

use std::sync::Arc;

use super::evolve::{self, Evolved};
use super::known::{Known, Shadow, Unread};
use super::{History, NOT_READ, described, stops, versioned};
use crate::Result;
use crate::config::NoKeyTables;
use crate::mysql::binlog::Statement;
use crate::mysql::ddl::{AlterTable, KeyKind, Other, TableChange, Unlogged};
use crate::schema::{Altered, SchemaChange, Table, TableName};

impl History {
    pub(super) fn alter(&mut self, alter: AlterTable, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let called = self.fold(alter.table);
        let mut changes = alter.changes;
        let renamed = changes.iter().position(|change| matches!(change, TableChange::RenameTo(_)));
        let renamed = match renamed.map(|index| changes.remove(index)) {
            Some(TableChange::RenameTo(to)) => Some(self.fold(to)).filter(|to| *to != called),
            _ => None,
        };
        let (mut found, mut name, mut last_name) = (Vec::new(), called.clone(), None);
        match renamed {
            // Its name comes first: what becomes of it then needs to know it by one name only.
            Some(to) if self.state.tables.contains_key(&called) && !self.is_shadow(&to) => {
                found = self.rename(vec![(name, to.clone())], statement)?;
                name = to;
            }
            to => last_name = to,
        }
        if changes.contains(&TableChange::SystemVersioning) && self.state.tables.contains_key(&name) {
            return Err(versioned(statement, &name));
        }
        if let Some(TableChange::Discard(clause)) =
            changes.iter().find(|change| matches!(change, TableChange::Discard(_)))
            && self.state.tables.contains_key(&name)
        {
            tracing::warn!(table = %name, "{clause}: the target keeps its rows until the source has rows again");
        }
        let unlogged = changes.iter().find_map(|change| match change {
            TableChange::RowsUnlogged(unlogged) => Some(unlogged.clone()),
            _ => None,
        });
        // Character sets are those of the database that it was in.
        if let Some(shadow) = self.state.shadows.get(&name) {
            let renames = shadow.renames || changes.iter().any(renames_a_column);
            let rules = self.rules(&called, statement);
            let table = shadow.table.as_ref().and_then(|table| evolve::alter(table, &changes, rules).ok());
            let table = table.map(|evolved| Arc::new(evolved.table));
            self.state.shadows.insert(name.clone(), Shadow { table, altered: true, renames });
        } else {
            match self.state.tables.get(&name) {
                Some(Known::Sure(before)) => {
                    let before = Arc::clone(before);
                    match evolve::alter(&before, &changes, self.rules(&called, statement)) {
                        Ok(evolved) => found.extend(self.altered(before, evolved, statement)?),
                        Err(reason) => self.unclear(&name, statement, &reason, renames_columns(&changes))?,
                    }
                }
                // The catalogue that proposed the definition may have known of this statement already.
                Some(Known::Provisional { .. }) if !changes.iter().all(is_nothing) => {
                    self.unclear(&name, statement, "the definition before it is not certain", false)?;
                }
                Some(Known::Unread(unread)) if !unread.is_new && renames_columns(&changes) => {
                    self.doubt(&name, RENAMED);
                }
                _ => {}
            }
        }
        if let Some(unlogged) = unlogged {
            found.extend(self.rows_moved(&name, unlogged, statement)?);
        }
        if let Some(to) = last_name {
            found.extend(self.rename(vec![(name, to)], statement)?);
        }
        Ok(found)
    }

    /// Rows of the table came or went, and perhaps another table's.
    fn rows_moved(&mut self, name: &TableName, unlogged: Unlogged, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let Unlogged { clause, other } = unlogged;
        // Of one whose definition is certain its own ALTER has told.
        let mut found = match self.state.tables.get(name) {
            Some(Known::Sure(_)) => Vec::new(),
            _ => self.rows_doubted(name, &format!("{clause} leaves no rows in the log"), statement)?,
        };
        match other {
            None => {}
            Some(Other::Exchanged(other)) => {
                let reason = format!("its rows were exchanged by {}", described(statement));
                found.extend(self.rows_doubted(&self.fold(other), &reason, statement)?);
            }
            Some(Other::Taken(other)) => found.extend(self.drop_table(&self.fold(other))),
            Some(Other::Made(other)) => {
                let other = self.fold(other);
                match self.like(name, &other) {
                    Some(evolved) if (self.surroundings.wanted)(&other) => {
                        let table = Arc::new(self.with_key(evolved, statement)?.table);
                        self.state.tables.insert(other, Known::Sure(Arc::clone(&table)));
                        found.push(SchemaChange::Arrive(table));
                    }
                    None if self.is_ours(&other) => found.extend(self.arrives(&other, statement)?),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// The table has other rows than the log tells of.
    fn rows_doubted(&mut self, name: &TableName, reason: &str, statement: &Statement) -> Result<Vec<SchemaChange>> {
        match self.state.tables.get(name) {
            Some(Known::Sure(table)) => {
                Ok(vec![SchemaChange::Refill { table: Arc::clone(table), reason: reason.to_owned() }])
            }
            Some(Known::Lost { .. }) => self.arrives(name, statement),
            Some(Known::Provisional { .. }) => {
                self.unclear(name, statement, "rows came into it that the log does not have", false)?;
                self.doubt(name, reason);
                Ok(Vec::new())
            }
            Some(Known::Unread(_)) => {
                self.doubt(name, reason);
                Ok(Vec::new())
            }
            Some(Known::Parked { .. }) | None => Ok(Vec::new()),
        }
    }

    /// When its definition is known again, the table is to be copied.
    fn doubt(&mut self, name: &TableName, reason: &str) {
        if let Some(Known::Unread(unread)) = self.state.tables.get_mut(name) {
            unread.doubt.get_or_insert_with(|| reason.to_owned());
        }
    }

    fn altered(&mut self, before: Arc<Table>, evolved: Evolved, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let another_key = evolved.has_another_key(&before);
        let evolved = self.with_key(evolved, statement)?;
        let (had_key, has_key) = (!before.key.is_empty(), evolved.has_key);
        let after = Arc::new(evolved.table);
        self.state.tables.insert(before.name.clone(), Known::Sure(Arc::clone(&after)));
        let refill = |reason: String| vec![SchemaChange::Refill { table: Arc::clone(&after), reason }];
        let skips = self.surroundings.no_key == NoKeyTables::Skip;
        Ok(if skips && had_key && !has_key {
            vec![SchemaChange::Leave { table: before.name.clone(), to: None }]
        } else if skips && !had_key {
            if has_key { vec![SchemaChange::Arrive(after)] } else { Vec::new() }
        } else if let Some(clause) = evolved.rows_unlogged {
            refill(format!("{clause} leaves no rows in the log"))
        } else if another_key {
            refill("its key has other columns".to_owned())
        } else if after.reads_like(&before) {
            Vec::new()
        } else {
            vec![SchemaChange::Alter(Altered { before, after, was: evolved.was })]
        })
    }

    /// A statement changed a known table in a way that it does not tell: rows will, or the catalogue. `renames`: what columns
    /// are called behind it does not say which they were.
    pub(super) fn unclear(
        &mut self,
        name: &TableName,
        statement: &Statement,
        reason: &str,
        renames: bool,
    ) -> Result<()> {
        let Some(known) = self.state.tables.get(name) else { return Ok(()) };
        let Some(before) = known.present() else { return Ok(()) };
        if self.surroundings.catalogue.is_none() {
            return Err(stops(statement, reason).hint(NOT_READ));
        }
        let text = described(statement);
        tracing::warn!(table = %name, reason, "a statement cannot be read, the table's next rows will tell: {text}");
        let (doubt, is_new) = match known {
            Known::Unread(unread) => (unread.doubt.clone(), unread.is_new),
            known => (None, matches!(known, Known::Provisional { .. })),
        };
        let doubt = doubt.or_else(|| (renames && !is_new).then(|| RENAMED.to_owned()));
        let unread = Unread { before: Arc::clone(before), statement: text, doubt, is_new };
        self.state.tables.insert(name.clone(), Known::Unread(unread));
        Ok(())
    }
}

fn renames_a_column(change: &TableChange) -> bool {
    match change {
        TableChange::RenameColumn { .. } => true,
        TableChange::ChangeColumn { old, column, .. } => !evolve::same(old, &column.name),
        _ => false,
    }
}

/// Whether a name may stand for another column behind the clauses than before them.
fn renames_columns(changes: &[TableChange]) -> bool {
    let added = |name: &str| {
        let is_it = |change: &TableChange| matches!(change, TableChange::AddColumn { column, .. } if evolve::same(&column.name, name));
        changes.iter().any(is_it)
    };
    let anew = |change: &TableChange| matches!(change, TableChange::DropColumn { name, .. } if added(name));
    changes.iter().any(|change| renames_a_column(change) || anew(change))
}

/// The same of a text that cannot be read.
pub(super) fn may_rename_columns(sql: &str) -> bool {
    let words: Vec<&str> = sql.split(|letter: char| !letter.is_alphanumeric()).collect();
    let has = |word: &str| words.iter().any(|found| found.eq_ignore_ascii_case(word));
    has("CHANGE") || has("RENAME") || has("DROP") && has("ADD")
}

fn is_nothing(change: &TableChange) -> bool {
    match change {
        TableChange::Nothing | TableChange::Discard(_) | TableChange::RenameKey { .. } => true,
        TableChange::AddKey(key) => key.kind == KeyKind::Plain,
        _ => false,
    }
}

const RENAMED: &str = "a statement that could not be read may have given columns each other's names";
