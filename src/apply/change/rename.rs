//! Tables that get other names, all at one moment at the source and one after the other at the target.
//!
//! No two tables of the target may have one name at any time. So a table is renamed when nobody has its new name any more;
//! where names go round in a circle, one table steps aside under a name that nobody else has. What the tables were called
//! in the middle of the source's statement is of no importance: a name in another database may have been among these.
//!
//! StarRocks moves no table to another database. One that is in another database behind the statement, as the target
//! calls it, is copied there (`ddl.onImpossible: recopy`), and what becomes of the table that it was is said by
//! `ddl.dropTable`.

use std::collections::HashMap;
use std::sync::Arc;

use super::plan::{Plan, Step, Verdict};
use crate::config::{DdlKind, OnImpossible};
use crate::mysql::binlog::Place;
use crate::schema::{Mapping, Renamed, TableName};
use crate::state::LetterMove;
use crate::{Error, Result};

/// A table of the target on its way to another name.
struct Moving {
    old: TableName,
    new: TableName,
    /// The source's table, behind the statement.
    of: TableName,
}

impl Plan {
    pub(super) fn rename(&mut self, renamed: &[Renamed], place: &Place, verdict: &mut Verdict<'_>) -> Result<()> {
        let (mut passing, mut unknown, mut stays) = (Vec::new(), Vec::new(), Vec::new());
        let (mut moving, mut far) = (Vec::new(), Vec::new());
        // Tables without a key, whose rows have numbers under their names.
        let mut numbered = Vec::new();
        for Renamed { from, table } in renamed {
            let to = &table.name;
            if self.followed.passed.remove(from) {
                passing.push(to.clone());
                continue;
            }
            let former = self.give_up_copy(from);
            let thrown_away = self.throw_away(from, verdict.case);
            let Some(mapping) = self.followed.mappings.remove(from) else {
                // One that the job file no longer selects, under its former name.
                unknown.push(table);
                continue;
            };
            let is_row_hash = mapping.is_row_hash();
            let mut mapping = Mapping { source: table.as_ref().clone(), ..mapping.as_ref().clone() };
            if verdict.on(DdlKind::RenameTable, format_args!("table {from} is renamed to {to}")) {
                let new = TableName::new(verdict.rules.mapping.target_database(&to.database), &to.table);
                let old = std::mem::replace(&mut mapping.target.name, new.clone());
                if old.database != new.database {
                    if thrown_away.is_none() && verdict.rules.ddl.on_impossible() == OnImpossible::Error {
                        return Err(too_far(from, to));
                    }
                    far.push((old, mapping));
                    continue;
                }
                if old != new {
                    moving.push(Moving { old, new, of: to.clone() });
                }
            }
            if is_row_hash {
                numbered.push((from.clone(), to.clone()));
            }
            stays.push((mapping, former, thrown_away));
        }
        self.renumbered.extend(in_order(numbered));
        self.followed.passed.extend(passing);
        let mappings = stays.iter().map(|(mapping, ..)| (mapping.source.name.clone(), Arc::new(mapping.clone())));
        self.followed.mappings.extend(mappings);
        for (old, mapping) in &far {
            self.leave_behind(old, &mapping.source.name, verdict);
        }
        self.rename_at_target(&moving, place)?;
        for (mapping, former, thrown_away) in stays {
            if thrown_away.is_some() {
                self.steps.push(Step::Truncate(mapping.target.name.clone()));
            }
            if let Some(former) = former.or(thrown_away) {
                self.copy_again(&mapping.source.name, former, verdict)?;
            }
        }
        for (_, mapping) in far {
            self.bring(mapping, place, "it came from another database".to_owned(), false, verdict)?;
        }
        unknown.into_iter().try_for_each(|table| self.arrive(table, place, verdict))
    }

    /// The target's table whose rows are to be in another database.
    fn leave_behind(&mut self, old: &TableName, to: &TableName, verdict: &mut Verdict<'_>) {
        self.letters.push(LetterMove::Emptied(old.clone()));
        if verdict.on(DdlKind::DropTable, format_args!("the target's table {old} is left behind by {to}")) {
            self.steps.push(Step::Drop(old.clone()));
        } else {
            self.followed.left.insert(old.clone());
        }
    }

    fn rename_at_target(&mut self, moving: &[Moving], place: &Place) -> Result<()> {
        let of: HashMap<&TableName, &TableName> = moving.iter().map(|one| (&one.new, &one.of)).collect();
        for (from, to) in in_order(moving.iter().map(|one| (one.old.clone(), one.new.clone())).collect()) {
            // One that only steps aside is in nobody's way.
            if let Some(of) = of.get(&to) {
                self.make_room(&to, of, place)?;
            }
            self.letters.push(LetterMove::Renamed { from: from.clone(), to: to.clone() });
            self.steps.push(Step::Rename { from, to });
        }
        Ok(())
    }
}

/// Old names and new ones as single steps, of which none leads to a name that somebody has.
pub(in crate::apply) fn in_order(mut moving: Vec<(TableName, TableName)>) -> Vec<(TableName, TableName)> {
    let mut steps = Vec::with_capacity(moving.len());
    while !moving.is_empty() {
        let is_free = |(_, new): &(TableName, TableName)| moving.iter().all(|(old, _)| old != new);
        if let Some(free) = moving.iter().position(is_free) {
            steps.push(moving.remove(free));
        } else if let Some((old, _)) = moving.first_mut() {
            let aside = TableName::new(&old.database, format!("{}__towpath_aside", old.table));
            steps.push((std::mem::replace(old, aside.clone()), aside));
        }
    }
    steps
}

fn too_far(from: &TableName, to: &TableName) -> Error {
    Error::definite(format!("table {from} is renamed to {to}: the target cannot move a table to another database")).hint(
        "set ddl.onImpossible to `recopy` and start again: the table is copied anew there, and ddl.dropTable says what becomes \
         of the one that it was. Or set ddl.renameTable to `ignore`: the target's table keeps its name and gets the rows all \
         the same",
    )
}
