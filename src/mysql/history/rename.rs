//! RENAME TABLE: several steps in one statement, which is one change.
//!
//! A step alone tells little: `RENAME TABLE a TO x.tmp, b TO a, x.tmp TO b` takes `a` out of its database and back in. So the
//! names that a table has before the statement and behind it decide what becomes of it, whatever it was called in between,
//! and all tables that stay in the job get their last names at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use super::History;
use super::known::{Known, Shadow, Unread};
use super::shadow::{Lineage, by_names};
use crate::Result;
use crate::mysql::binlog::Statement;
use crate::schema::{Renamed, SchemaChange, Table, TableName};

/// What a table is called before the statement, and behind it.
struct Move {
    first: TableName,
    last: TableName,
}

fn moves(pairs: impl IntoIterator<Item = (TableName, TableName)>) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    for (from, to) in pairs {
        // The last one: with MariaDB's IF EXISTS an earlier one may be of a table that is none.
        match moves.iter_mut().rev().find(|known| known.last == from) {
            Some(known) => known.last = to,
            None => moves.push(Move { first: from, last: to }),
        }
    }
    moves.retain(|known| known.first != known.last);
    moves
}

/// What a table is before the statement.
enum Was {
    Ours(Known),
    /// It stands aside; its own name.
    Parked(TableName, Arc<Table>),
    Shadow(Shadow),
    Unknown,
}

impl History {
    pub(super) fn rename(
        &mut self,
        pairs: Vec<(TableName, TableName)>,
        statement: &Statement,
    ) -> Result<Vec<SchemaChange>> {
        let moves = moves(pairs.into_iter().map(|(from, to)| (self.fold(from), self.fold(to))));
        let tables: Vec<Was> = moves.iter().map(|known| self.take(&known.first)).collect();
        let (mut leaving, mut renamed, mut others) = (Vec::new(), Vec::new(), Vec::new());
        // Real tables that stand aside from now on, and under which name.
        let mut replaced: HashMap<TableName, (TableName, Known)> = HashMap::new();
        let mut rename = |history: &mut History, from: &TableName, known: &Known, to: &TableName| {
            let known = moved(known, to);
            if let Some(table) = known.present() {
                renamed.push(Renamed { from: from.clone(), table: Arc::clone(table) });
            }
            history.state.tables.insert(to.clone(), known);
        };
        for (Move { first, last }, was) in moves.iter().zip(&tables) {
            match was {
                Was::Ours(known) => {
                    let heir = moves.iter().zip(&tables).find(|(other, _)| other.last == *first);
                    let by_tool = heir.as_ref().is_some_and(|(heir, was)| match was {
                        Was::Shadow(_) => true,
                        Was::Unknown => self.is_shadow(&heir.first),
                        Was::Ours(_) | Was::Parked(..) => false,
                    });
                    if by_tool || heir.is_none() && self.is_shadow(last) {
                        replaced.insert(first.clone(), (last.clone(), known.clone()));
                    } else if (self.surroundings.wanted)(last) {
                        rename(self, first, known, last);
                    } else if known.present().is_some() {
                        leaving.push(SchemaChange::Leave { table: first.clone(), to: Some(last.clone()) });
                    }
                }
                Was::Parked(real, table) => {
                    let table = Arc::clone(table);
                    if last == real {
                        self.state.tables.insert(real.clone(), Known::Sure(table));
                    } else if self.is_shadow(last) {
                        self.state.tables.insert(real.clone(), Known::Parked { table, at: last.clone() });
                    } else if (self.surroundings.wanted)(last) {
                        rename(self, real, &Known::Sure(table), last);
                    } else {
                        leaving.push(SchemaChange::Leave { table: real.clone(), to: Some(last.clone()) });
                    }
                }
                Was::Shadow(_) | Was::Unknown => {}
            }
        }
        for (Move { first, last }, was) in moves.iter().zip(&tables) {
            match was {
                Was::Shadow(shadow) => others.extend(self.shadow_moves(shadow, last, &mut replaced, statement)?),
                Was::Unknown if self.is_shadow(first) && self.is_or_was_ours(last, &replaced) => {
                    // Made before the job began: rows will tell its definition.
                    let shadow = Shadow { table: None, altered: true, renames: false };
                    others.extend(self.shadow_moves(&shadow, last, &mut replaced, statement)?);
                }
                // A name of the job that is not known is none (MariaDB's IF EXISTS).
                Was::Unknown if self.is_ours(last) && !(self.surroundings.wanted)(first) => {
                    others.extend(self.arrives(last, statement)?);
                }
                Was::Unknown | Was::Ours(_) | Was::Parked(..) => {}
            }
        }
        for (real, (at, known)) in replaced {
            if let Some(table) = known.present() {
                self.state.tables.insert(real, Known::Parked { table: Arc::clone(table), at });
            }
        }
        let renamed = (!renamed.is_empty()).then_some(SchemaChange::Rename(renamed));
        // Whoever leaves makes room for those that get other names, and these for those that come.
        Ok(leaving.into_iter().chain(renamed).chain(others).collect())
    }

    fn take(&mut self, name: &TableName) -> Was {
        if let Some((real, table)) = self.state.parked_at(name) {
            let (real, table) = (real.clone(), Arc::clone(table));
            self.state.tables.remove(&real);
            return Was::Parked(real, table);
        }
        if let Some(shadow) = self.state.shadows.remove(name) {
            return Was::Shadow(shadow);
        }
        match self.state.tables.remove(name) {
            Some(known) => Was::Ours(known),
            None => Was::Unknown,
        }
    }

    fn is_or_was_ours(&self, name: &TableName, replaced: &HashMap<TableName, (TableName, Known)>) -> bool {
        replaced.contains_key(name) || self.state.tables.contains_key(name)
    }

    fn shadow_moves(
        &mut self,
        shadow: &Shadow,
        name: &TableName,
        replaced: &mut HashMap<TableName, (TableName, Known)>,
        statement: &Statement,
    ) -> Result<Vec<SchemaChange>> {
        if let Some((at, before)) = replaced.remove(name) {
            return self.cut_over(shadow, name, &at, &before, statement);
        }
        if let Some(Known::Parked { table, at }) = self.state.tables.get(name).cloned() {
            return self.cut_over(shadow, name, &at, &Known::Sure(table), statement);
        }
        if self.is_shadow(name) {
            self.state.shadows.insert(name.clone(), shadow.clone());
            return Ok(Vec::new());
        }
        if !self.is_ours(name) {
            return Ok(Vec::new());
        }
        match &shadow.table {
            Some(table) => {
                let table = Arc::new(Table { name: name.clone(), ..Table::clone(table) });
                self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(&table)));
                Ok(vec![SchemaChange::Arrive(table)])
            }
            None => self.arrives(name, statement),
        }
    }

    /// A shadow takes the place of the real table, which is now called `at` and a shadow itself.
    fn cut_over(
        &mut self,
        shadow: &Shadow,
        name: &TableName,
        at: &TableName,
        before: &Known,
        statement: &Statement,
    ) -> Result<Vec<SchemaChange>> {
        let Some(old) = before.present() else { return self.arrives(name, statement) };
        let aside = Table { name: at.clone(), ..Table::clone(old) };
        // If it comes back, its columns are as they were; the tool has kept its rows.
        let kept = Shadow { table: Some(Arc::new(aside)), altered: true, renames: shadow.renames };
        self.state.shadows.insert(at.clone(), kept);
        match (&shadow.table, before) {
            (Some(table), Known::Sure(_)) => {
                let after = Arc::new(Table { name: name.clone(), ..Table::clone(table) });
                self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(&after)));
                Ok(by_names(Arc::clone(old), after, Lineage::of(shadow)))
            }
            (_, Known::Unread(unread)) => {
                let known = Known::Unread(unread.clone());
                self.state.tables.insert(name.clone(), known);
                Ok(Vec::new())
            }
            _ => {
                self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(old)));
                self.unclear(
                    name,
                    statement,
                    "the table that comes in its place was made before the job began",
                    false,
                )?;
                Ok(Vec::new())
            }
        }
    }

    /// A table with rows comes into the job from outside; its definition is the catalogue's.
    pub(super) fn arrives(&mut self, name: &TableName, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let changes = self.propose(name, statement, "a table outside the job gets a name inside it")?;
        let arrive = |change| match change {
            SchemaChange::Create(table) => SchemaChange::Arrive(table),
            other => other,
        };
        Ok(changes.into_iter().map(arrive).collect())
    }
}

/// The same under another name.
fn moved(known: &Known, name: &TableName) -> Known {
    let rename = |table: &Arc<Table>| Arc::new(Table { name: name.clone(), ..Table::clone(table) });
    match known {
        Known::Sure(table) => Known::Sure(rename(table)),
        Known::Provisional { table, statement } => {
            Known::Provisional { table: rename(table), statement: statement.clone() }
        }
        Known::Unread(unread) => Known::Unread(Unread { before: rename(&unread.before), ..unread.clone() }),
        other => other.clone(),
    }
}
