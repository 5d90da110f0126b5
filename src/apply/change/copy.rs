//! Tables that have to be copied while the stream goes on ([`crate::apply::join`]): what a statement, or somebody who asked
//! for it, makes of them.
//!
//! A copy that is under way and whose table is changed by a statement is given up, with all that it has at the target,
//! and begun anew behind the statement: nothing has to be known of how far it had come. The table that serves meanwhile
//! follows the statement like any other if it gets the stream's rows; if it does not, it stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::plan::{Plan, Step, Verdict};
use super::unsettled::Span;
use crate::apply::join::beside;
use crate::config::{DdlKind, OnImpossible};
use crate::mysql::binlog::Place;
use crate::schema::{Mapping, Table, TableName, map_table};
use crate::state::{Join, LetterMove};
use crate::{Error, Result};

/// What is known about a statement besides its text and the policies.
#[derive(Debug, Default)]
pub(super) struct Case {
    /// Of copies that begin with it.
    pub(super) number: u64,
    /// Somebody has asked for a copy: no policy counts.
    pub(super) asked: bool,
    /// `None`: rows behind the statement have told of it, and it stood somewhere before them.
    pub(super) span: Option<Span>,
    /// Tables of the target that are there though the job does not have them.
    pub(super) taken: HashSet<TableName>,
    /// Tables of the source that the target cannot alter, and why.
    pub(super) impossible: HashMap<TableName, String>,
}

/// What serves while a copy is made.
pub(super) struct Serving {
    table: TableName,
    /// It has the copy's shape, and gets the stream's rows.
    live: bool,
}

impl Plan {
    /// A table with rows that are not in the log.
    pub(super) fn arrive(&mut self, table: &Arc<Table>, place: &Place, verdict: &mut Verdict<'_>) -> Result<()> {
        let name = &table.name;
        let asked = verdict.case.asked;
        let what = format_args!("table {name} comes from outside the job's tables");
        if !asked && !verdict.on(DdlKind::RenameTable, what) {
            self.followed.passed.insert(name.clone());
            return Ok(());
        }
        let mapping = map_table(table, &verdict.rules.mapping)?;
        self.bring(mapping, place, "it is new to the job".to_owned(), asked, verdict)
    }

    /// A table whose rows the target does not have under the name that they are to have there.
    pub(super) fn bring(
        &mut self,
        mapping: Mapping,
        place: &Place,
        reason: String,
        new: bool,
        verdict: &Verdict<'_>,
    ) -> Result<()> {
        let (name, target) = (mapping.source.name.clone(), mapping.target.name.clone());
        self.make_room(&target, &name, place)?;
        let is_off = |step: &Step| match step {
            Step::Rename { from, .. } => *from == target,
            Step::Drop(table) => *table == target,
            _ => false,
        };
        let serving = verdict.case.taken.contains(&target) && !self.steps.iter().any(is_off);
        let serving = serving.then_some(Serving { table: target, live: false });
        self.followed.passed.remove(&name);
        self.copy(mapping, serving, reason, new, verdict)
    }

    /// The target's rows can no longer be followed, or are to be copied anew all the same.
    pub(super) fn refill(&mut self, table: &Arc<Table>, reason: &str, verdict: &mut Verdict<'_>) -> Result<()> {
        let name = &table.name;
        if self.followed.passes(name) {
            return Ok(());
        }
        // What is asked for brings rows beside those that there are.
        let thrown_away = match verdict.case.asked {
            true => None,
            false => self.throw_away(name, verdict.case),
        };
        let asked = verdict.case.asked || thrown_away.is_some();
        self.followed.unsettled.remove(name);
        if !asked && verdict.rules.ddl.on_impossible() == OnImpossible::Error {
            return Err(Error::definite(format!("table {name}: {reason}: it cannot be followed row by row")).hint(
                "set ddl.onImpossible to `recopy` and start again: the table is copied anew beside the one that serves. Or \
                 leave it out with source.excludeTables",
            ));
        }
        let former = self.give_up_copy(name).or(thrown_away);
        // The copy brings what waits for the target.
        let lagged = self.followed.lags.remove(name).is_some();
        let Some(mapping) = self.followed.mappings.get(name) else { return Ok(()) };
        // One that has its own name and is not whole is made and filled anew.
        let whole = former.as_ref().is_none_or(|join| join.serves.is_some());
        let same = mapping.source == **table;
        let frozen = former.is_some_and(|join| join.serves.is_some() && !join.live);
        let table_at_target = mapping.target.name.clone();
        let mapping = if same { mapping.as_ref().clone() } else { map_table(table, &verdict.rules.mapping)? };
        if !whole {
            self.steps.push(Step::Drop(table_at_target.clone()));
        }
        // Rows without a key have the numbers of one table.
        let live = same && !frozen && !lagged && !mapping.is_row_hash();
        let serving = whole.then_some(Serving { table: table_at_target, live });
        self.copy(mapping, serving, reason.to_owned(), false, verdict)
    }

    /// A copy begins. `mapping` is the table as it is to be; its rows are in the log from here on.
    pub(super) fn copy(
        &mut self,
        mut mapping: Mapping,
        serving: Option<Serving>,
        reason: String,
        new: bool,
        verdict: &Verdict<'_>,
    ) -> Result<()> {
        let name = mapping.source.name.clone();
        let mut live = false;
        let serves = serving.map(|serving| {
            mapping.target.name = beside(&serving.table);
            live = serving.live;
            serving.table
        });
        let copy = &mapping.target.name;
        let others = self.followed.mappings.values().filter(|other| other.source.name != name);
        if let Some(other) = others.into_iter().find(|other| other.target.name == *copy) {
            return Err(Error::definite(format!(
                "table {name} is to be copied into {copy}, and that is where the rows of {} are",
                other.source.name
            ))
            .hint("rename that table at the source"));
        }
        if serves.is_some() {
            self.drop_once(copy.clone());
        }
        mapping.twin = serves.clone().filter(|_| live);
        self.steps.push(Step::Create(mapping.whole_target()));
        let join = Join { number: verdict.case.number, serves, live, new, reason };
        self.followed.joins.insert(name.clone(), join);
        self.followed.mappings.insert(name, Arc::new(mapping));
        Ok(())
    }

    /// The copy that is under way, if there is one, leaves nothing behind.
    pub(super) fn give_up_copy(&mut self, table: &TableName) -> Option<Join> {
        let join = self.followed.joins.remove(table)?;
        self.warnings.push(format!("the copy of table {table} is given up: the table has changed"));
        if let (Some(serves), Some(mapping)) = (&join.serves, self.followed.mappings.get(table)) {
            let mut mapping = mapping.as_ref().clone();
            mapping.twin = None;
            let copy = std::mem::replace(&mut mapping.target.name, serves.clone());
            self.letters.push(LetterMove::Emptied(copy.clone()));
            self.drop_once(copy);
            self.followed.mappings.insert(table.clone(), Arc::new(mapping));
        }
        Some(join)
    }

    /// Begins a copy anew that was given up, for the table as it is called and as it is now.
    pub(super) fn copy_again(&mut self, table: &TableName, former: Join, verdict: &Verdict<'_>) -> Result<()> {
        let Some(mapping) = self.followed.mappings.get(table).map(|mapping| mapping.as_ref().clone()) else {
            return Ok(());
        };
        let Join { serves, live, new, reason, .. } = former;
        let serving = serves.map(|_| Serving { table: mapping.target.name.clone(), live });
        self.copy(mapping, serving, reason, new, verdict)
    }

    /// The target cannot alter a table that is to be `mapping`: it is copied beside the one that is there.
    pub(super) fn copy_instead(&mut self, mapping: Mapping, reason: String, verdict: &Verdict<'_>) -> Result<()> {
        let serving = Serving { table: mapping.target.name.clone(), live: false };
        self.copy(mapping, Some(serving), reason, false, verdict)
    }

    /// What this plan makes under the name is not made at all.
    fn drop_once(&mut self, table: TableName) {
        while let Some(last) = self.steps.iter().rposition(|step| step.tables().contains(&&table)) {
            match self.steps.get(last) {
                Some(Step::Create(_)) => _ = self.steps.remove(last),
                Some(Step::Drop(_)) => return,
                _ => break,
            }
        }
        self.steps.push(Step::Drop(table));
    }
}
