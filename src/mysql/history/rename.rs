//! RENAME TABLE: several steps in one statement, which is one change.
//!
//! A step alone tells little: `RENAME TABLE a TO tmp, b TO a, tmp TO b` takes `a` out of the job and back in. So each
//! table's last name decides what becomes of it, and its steps are then told in the statement's order, so that no two tables
//! ever have one name.

use std::collections::HashMap;
use std::sync::Arc;

use super::History;
use super::known::{Known, Shadow};
use super::shadow::{Lineage, by_names};
use crate::Result;
use crate::mysql::binlog::Statement;
use crate::schema::{SchemaChange, Table, TableName};

/// A step, and the name that its table had before the statement and has behind it.
struct Step {
    from: TableName,
    to: TableName,
    first: TableName,
    last: TableName,
}

impl Step {
    /// The statement's last step of this table.
    fn ends(&self) -> bool {
        self.to == self.last
    }
}

fn steps(pairs: Vec<(TableName, TableName)>) -> Vec<Step> {
    // The name now → the name before.
    let mut names: HashMap<TableName, TableName> = HashMap::new();
    let mut steps: Vec<Step> = Vec::with_capacity(pairs.len());
    for (from, to) in pairs {
        let first = names.remove(&from).unwrap_or_else(|| from.clone());
        names.insert(to.clone(), first.clone());
        steps.push(Step { from, to: to.clone(), first, last: to });
    }
    for (last, first) in names {
        for step in steps.iter_mut().filter(|step| step.first == first) {
            step.last.clone_from(&last);
        }
    }
    steps
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
        let pairs = pairs.into_iter().map(|(from, to)| (self.fold(from), self.fold(to))).collect();
        let steps = steps(pairs);
        let mut tables: HashMap<TableName, Was> = HashMap::new();
        for step in &steps {
            if !tables.contains_key(&step.first) {
                tables.insert(step.first.clone(), self.take(&step.first));
            }
        }
        let mut changes = Vec::new();
        // Real tables that a shadow replaces in this statement, under the name they have got.
        let mut replaced: HashMap<TableName, (TableName, Known)> = HashMap::new();
        for step in &steps {
            let Some(was) = tables.get(&step.first) else { continue };
            match was {
                Was::Ours(known) => {
                    let by_shadow = steps.iter().any(|other| {
                        other.last == step.first
                            && (matches!(tables.get(&other.first), Some(Was::Shadow(_)))
                                || self.is_shadow(&other.first))
                    });
                    if by_shadow || self.is_shadow(&step.last) {
                        if step.ends() {
                            replaced.insert(step.first.clone(), (step.last.clone(), known.clone()));
                        }
                    } else if (self.surroundings.wanted)(&step.last) {
                        let moved = moved(known, &step.to);
                        if let Some(table) = moved.present() {
                            changes.push(SchemaChange::Rename { from: step.from.clone(), table: Arc::clone(table) });
                        }
                        if step.ends() {
                            self.state.tables.insert(step.to.clone(), moved);
                        }
                    } else if step.from == step.first && known.present().is_some() {
                        changes.push(SchemaChange::Leave { table: step.first.clone(), to: Some(step.last.clone()) });
                    }
                }
                _ if !step.ends() => {}
                Was::Parked(real, table) => {
                    let table = Arc::clone(table);
                    if step.last == *real {
                        self.state.tables.insert(real.clone(), Known::Sure(table));
                    } else if self.is_shadow(&step.last) {
                        let at = step.last.clone();
                        self.state.tables.insert(real.clone(), Known::Parked { table, at });
                    } else if (self.surroundings.wanted)(&step.last) {
                        let known = moved(&Known::Sure(table), &step.last);
                        if let Some(table) = known.present() {
                            changes.push(SchemaChange::Rename { from: real.clone(), table: Arc::clone(table) });
                        }
                        self.state.tables.insert(step.last.clone(), known);
                    } else {
                        changes.push(SchemaChange::Leave { table: real.clone(), to: Some(step.last.clone()) });
                    }
                }
                Was::Shadow(shadow) => changes.extend(self.shadow_moves(shadow, step, &mut replaced, statement)?),
                Was::Unknown if self.is_shadow(&step.first) && self.is_or_was_ours(&step.last, &replaced) => {
                    // Made before the job began: rows will tell its definition.
                    let shadow = Shadow { table: None, altered: true, renames: false };
                    changes.extend(self.shadow_moves(&shadow, step, &mut replaced, statement)?);
                }
                // A name of the job that is not known is none (MariaDB's IF EXISTS).
                Was::Unknown if self.is_ours(&step.last) && !(self.surroundings.wanted)(&step.first) => {
                    changes.extend(self.arrives(&step.last, statement)?)
                }
                Was::Unknown => {}
            }
        }
        for (real, (at, known)) in replaced {
            if let Some(table) = known.present() {
                self.state.tables.insert(real, Known::Parked { table: Arc::clone(table), at });
            }
        }
        Ok(changes)
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
        step: &Step,
        replaced: &mut HashMap<TableName, (TableName, Known)>,
        statement: &Statement,
    ) -> Result<Vec<SchemaChange>> {
        let name = &step.last;
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
        let unread = |statement| Known::Unread { before: Arc::clone(old), statement };
        match (&shadow.table, before) {
            (Some(table), Known::Sure(_)) => {
                let after = Arc::new(Table { name: name.clone(), ..Table::clone(table) });
                self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(&after)));
                Ok(by_names(Arc::clone(old), after, Lineage::of(shadow)))
            }
            (_, Known::Unread { statement, .. }) => {
                let known = unread(statement.clone());
                self.state.tables.insert(name.clone(), known);
                Ok(Vec::new())
            }
            _ => {
                self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(old)));
                self.unclear(name, statement, "the table that comes in its place was made before the job began")
            }
        }
    }

    /// A table with rows comes into the job from outside; its definition is the catalogue's.
    fn arrives(&mut self, name: &TableName, statement: &Statement) -> Result<Vec<SchemaChange>> {
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
        Known::Unread { before, statement } => Known::Unread { before: rename(before), statement: statement.clone() },
        other => other.clone(),
    }
}
