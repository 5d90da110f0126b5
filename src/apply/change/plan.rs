//! What a statement makes of the job's tables, and the steps at the target that bring it about.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::columns::{Reshaped, reshape};
use super::copy::Case;
use super::unsettled::only_adds;
use super::{Followed, Rules};
use crate::config::{DdlKind, DdlPolicy, OnImpossible};
use crate::mysql::binlog::statement::{Change as Verb, Effect, classify};
use crate::mysql::binlog::{Place, Statement};
use crate::schema::{Altered, SchemaChange, Table, TableName, TargetTable, map_table};
use crate::state::{LetterMove, Outcome};
use crate::{Error, Result};

/// One thing to do at the target. Doing it again is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum Step {
    Create(TargetTable),
    Drop(TableName),
    Truncate(TableName),
    Rename { from: TableName, to: TableName },
    Alter { before: TargetTable, after: TargetTable, was: Vec<Option<usize>> },
}

impl Step {
    /// The target's tables that it works on.
    pub(super) fn tables(&self) -> Vec<&TableName> {
        match self {
            Step::Create(table) | Step::Alter { before: table, .. } => vec![&table.name],
            Step::Drop(table) | Step::Truncate(table) => vec![table],
            Step::Rename { from, to } => vec![from, to],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create(table) => write!(f, "create table {}", table.name),
            Step::Drop(table) => write!(f, "drop table {table}"),
            Step::Truncate(table) => write!(f, "truncate table {table}"),
            Step::Rename { from, to } => write!(f, "rename table {from} to {}", to.table),
            Step::Alter { before, .. } => write!(f, "alter table {}", before.name),
        }
    }
}

/// What is to be done about a statement.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The tables behind the statement.
    pub(super) followed: Followed,
    pub(super) counts: Vec<(DdlKind, Outcome)>,
    pub(super) letters: Vec<LetterMove>,
    /// Tables without a key that have another name.
    pub(super) renumbered: Vec<(TableName, TableName)>,
    /// Lines for the log: what is not applied.
    pub(super) warnings: Vec<String>,
}

/// Asks the policies, clause by clause, and remembers their answers.
pub(super) struct Verdict<'a> {
    pub(super) rules: &'a Rules,
    pub(super) case: &'a Case,
    counts: Vec<(DdlKind, Outcome)>,
    warnings: Vec<String>,
    /// Clauses that stop the job.
    stops: Vec<(DdlKind, String)>,
}

impl Verdict<'_> {
    /// Whether a clause is to be applied.
    pub(super) fn on(&mut self, kind: DdlKind, what: fmt::Arguments<'_>) -> bool {
        match self.rules.ddl.policy(kind) {
            DdlPolicy::Apply => {
                self.counts.push((kind, Outcome::Applied));
                return true;
            }
            DdlPolicy::Ignore => self.counts.push((kind, Outcome::Ignored)),
            DdlPolicy::Warn => {
                self.counts.push((kind, Outcome::Warned));
                self.warnings.push(format!("not applied (ddl.{}: warn): {what}", kind.key()));
            }
            DdlPolicy::Error => self.stops.push((kind, what.to_string())),
        }
        false
    }

    fn end(self, plan: &mut Plan) -> Result<()> {
        if self.stops.is_empty() {
            plan.counts = self.counts;
            plan.warnings.extend(self.warnings);
            return Ok(());
        }
        let mut kinds: Vec<String> = self.stops.iter().map(|(kind, _)| format!("ddl.{}", kind.key())).collect();
        kinds.dedup();
        let clauses: Vec<String> = self.stops.into_iter().map(|(_, what)| what).collect();
        let kinds = kinds.join(", ");
        Err(Error::definite(format!("{} ({kinds}: error)", clauses.join("; "))).hint(format!(
            "set {kinds} to `apply`, `ignore` or `warn` and start again: the job goes on with this statement"
        )))
    }
}

/// Works out what a statement's changes come to, in order.
///
/// # Errors
/// Definite: a policy says so; the target cannot follow.
pub(super) fn plan(
    followed: &Followed,
    changes: &[SchemaChange],
    statement: &Statement,
    rules: &Rules,
    case: &Case,
) -> Result<Plan> {
    let (place, strict) = (&statement.place, is_strict(statement));
    let mut plan = Plan {
        steps: Vec::new(),
        followed: followed.clone(),
        counts: Vec::new(),
        letters: Vec::new(),
        renumbered: Vec::new(),
        warnings: Vec::new(),
    };
    let mut verdict = Verdict { rules, case, counts: Vec::new(), warnings: Vec::new(), stops: Vec::new() };
    for change in changes {
        match change {
            SchemaChange::Create(table) => plan.create(table, place, &mut verdict)?,
            SchemaChange::Arrive(table) => plan.arrive(table, place, &mut verdict)?,
            SchemaChange::Leave { table, to } => plan.leave(table, to.as_ref(), &mut verdict),
            SchemaChange::Truncate(table) => plan.truncate(table, &mut verdict)?,
            SchemaChange::Rename(renamed) => plan.rename(renamed, place, &mut verdict)?,
            SchemaChange::Alter(altered) => plan.alter(altered, strict, &mut verdict)?,
            SchemaChange::Refill { table, reason } => plan.refill(table, reason, &mut verdict)?,
        }
    }
    verdict.end(&mut plan)?;
    Ok(plan)
}

impl Plan {
    fn create(&mut self, table: &Arc<Table>, place: &Place, verdict: &mut Verdict<'_>) -> Result<()> {
        let name = &table.name;
        if table.key.is_empty() && !verdict.rules.mapping.row_hash {
            self.warnings.push(format!("table {name} is left out: it has no primary key (noKeyTables: skip)"));
            self.followed.passed.insert(name.clone());
            return Ok(());
        }
        if !verdict.on(DdlKind::CreateTable, format_args!("table {name} is created")) {
            self.followed.passed.insert(name.clone());
            return Ok(());
        }
        let mapping = map_table(table, &verdict.rules.mapping)?;
        self.make_room(&mapping.target.name, name, place)?;
        self.steps.push(Step::Create(mapping.target.clone()));
        self.followed.passed.remove(name);
        self.followed.mappings.insert(name.clone(), Arc::new(mapping));
        Ok(())
    }

    /// A name of the target that is to be another table's from now on. A table that was left there when its source was
    /// dropped keeps its rows, under a name made of the statement's place, which is the same when it is read again.
    pub(super) fn make_room(&mut self, name: &TableName, of: &TableName, place: &Place) -> Result<()> {
        if let Some(other) =
            self.followed.mappings().find(|mapping| mapping.target.name == *name && mapping.source.name != *of)
        {
            return Err(Error::definite(format!(
                "table {of}: the target's table {name} holds the rows of {}, whose rename was not applied",
                other.source.name
            ))
            .hint(
                "set the policy of this statement (ddl.createTable, ddl.renameTable) to `ignore` and start again, or leave \
                 one of the two out with source.excludeTables",
            ));
        }
        if self.followed.left.remove(name) {
            let aside = TableName::new(&name.database, aside(&name.table, place));
            self.letters.push(LetterMove::Renamed { from: name.clone(), to: aside.clone() });
            self.steps.push(Step::Rename { from: name.clone(), to: aside });
        }
        Ok(())
    }

    fn leave(&mut self, table: &TableName, to: Option<&TableName>, verdict: &mut Verdict<'_>) {
        if self.followed.passed.remove(table) {
            return;
        }
        self.give_up_copy(table);
        let in_doubt = self.followed.is_in_doubt(table, verdict.case);
        self.followed.unsettled.remove(table);
        let Some(mapping) = self.followed.mappings.get(table).cloned() else { return };
        let applies = match to {
            None => verdict.on(DdlKind::DropTable, format_args!("table {table} is dropped")),
            Some(to) => verdict.on(DdlKind::DropTable, format_args!("table {table} leaves the job's tables, as {to}")),
        };
        let at_target = &mapping.target.name;
        if applies {
            self.steps.push(Step::Drop(at_target.clone()));
        } else {
            self.followed.left.insert(at_target.clone());
            if in_doubt {
                self.warnings.push(format!(
                    "table {table} went while it was being copied: the target's {at_target} keeps what was copied under that name, \
                     perhaps rows of a table that has it now among them"
                ));
            }
        }
        self.letters.push(LetterMove::Emptied(at_target.clone()));
        self.followed.mappings.remove(table);
    }

    fn truncate(&mut self, table: &TableName, verdict: &mut Verdict<'_>) -> Result<()> {
        if !self.followed.mappings.contains_key(table) {
            return Ok(());
        }
        if verdict.on(DdlKind::TruncateTable, format_args!("table {table} is truncated")) {
            if self.followed.shows(table, verdict.case) {
                return Ok(());
            }
            let former = self.give_up_copy(table);
            if let Some(mapping) = self.followed.mappings.get(table) {
                self.letters.push(LetterMove::Emptied(mapping.target.name.clone()));
                self.steps.push(Step::Truncate(mapping.target.name.clone()));
            }
            if let Some(former) = former {
                self.copy_again(table, former, verdict)?;
            }
        }
        Ok(())
    }

    fn alter(&mut self, altered: &Altered, strict: bool, verdict: &mut Verdict<'_>) -> Result<()> {
        let name = &altered.before.name;
        let former = self.give_up_copy(name);
        let Some(mapping) = &self.followed.mappings.get(name).cloned() else { return Ok(()) };
        if mapping.source.columns.len() != altered.before.columns.len() {
            return Err(Error::definite(format!("table {name}: the job and its history know it by different columns"))
                .hint("this is a mistake of Towpath; begin a new job (another `name`) that copies, and report it"));
        }
        let reshaped = reshape(mapping, altered, strict, verdict.rules, verdict)?;
        let can_follow =
            reshaped.rewritten.is_empty() && reshaped.rehashed.is_none() && !verdict.case.impossible.contains_key(name);
        let former = match only_adds(altered) && can_follow {
            true => former,
            false => former.or_else(|| self.throw_away(name, verdict.case)),
        };
        if let Some(former) = former.as_ref().filter(|join| !join.live) {
            // Nothing serves that could follow.
            if former.serves.is_none() {
                self.steps.push(Step::Drop(mapping.target.name.clone()));
            }
            self.followed.mappings.insert(name.clone(), Arc::new(reshaped.mapping));
            return self.copy_again(name, former.clone(), verdict);
        }
        if let Some(reason) =
            rewritten(name, &reshaped, verdict)?.or_else(|| verdict.case.impossible.get(name).cloned())
        {
            return self.copy_instead(reshaped.mapping, reason, verdict);
        }
        if !reshaped.is_same_at_target() {
            let (renamed, dropped) = reshaped.moved();
            if !renamed.is_empty() || !dropped.is_empty() {
                let table = mapping.target.name.clone();
                self.letters.push(LetterMove::Altered { table, renamed, dropped });
            }
            let Reshaped { before, after, was, .. } = &reshaped;
            self.steps.push(Step::Alter { before: before.clone(), after: after.clone(), was: was.clone() });
        }
        self.followed.mappings.insert(name.clone(), Arc::new(reshaped.mapping));
        match former {
            Some(former) => self.copy_again(name, former, verdict),
            None => Ok(()),
        }
    }
}

/// Why the target's rows would not be the source's behind an ALTER like the source's, if the table is to be copied then.
fn rewritten(table: &TableName, reshaped: &Reshaped, verdict: &Verdict<'_>) -> Result<Option<String>> {
    if let Some(why) = &reshaped.rehashed {
        if verdict.rules.ddl.on_impossible() == OnImpossible::Recopy {
            return Ok(Some(why.clone()));
        }
        return Err(Error::definite(format!("table {table}: {why}")).hint(
            "set ddl.onImpossible to `recopy` and start again: the table is copied anew beside the one that serves. With \
             ddl.addColumn: ignore columns may be added without that; a primary key lets any change be followed",
        ));
    }
    let found = reshaped.rewritten.join("; ");
    if found.is_empty() {
        return Ok(None);
    }
    let what = format!("the statement changed rows, of which the log tells nothing: {found}");
    if verdict.rules.ddl.on_impossible() == OnImpossible::Recopy {
        return Ok(Some(what));
    }
    Err(Error::definite(format!("table {table}: {what}")).hint(
        "set ddl.onImpossible to `recopy` and start again: the table is copied anew beside the one that serves. Or set \
         ddl.addColumn or ddl.modifyColumn to `ignore` or `warn`: the target's column stays as it is and gets the values of \
         rows that change from here on",
    ))
}

/// Values that did not fit made the statement fail, so it met none. Of a statement that is no ALTER (an online tool's
/// RENAME) that is not known.
fn is_strict(statement: &Statement) -> bool {
    const STRICT: u64 = 0x20_0000 | 0x40_0000;
    let words = statement.sql.split_whitespace();
    let ignores =
        words.take_while(|word| !word.eq_ignore_ascii_case("TABLE")).any(|word| word.eq_ignore_ascii_case("IGNORE"));
    statement.session.sql_mode & STRICT != 0
        && !ignores
        && matches!(classify(&statement.sql, &statement.database), Effect::Tables(Verb::Alter, _))
}

/// `orders` → `orders__dropped_000042_1570`: the number of the log file and the offset in it.
fn aside(table: &str, place: &Place) -> String {
    let number = place.file.rsplit('.').next().unwrap_or_default();
    let number: String = number.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{table}__dropped_{number}_{}", place.offset)
}

/// The tables that the steps work on, each once.
pub(super) fn tables(steps: &[Step]) -> Vec<TableName> {
    let mut seen = HashSet::new();
    steps.iter().flat_map(Step::tables).filter(|table| seen.insert((*table).clone())).cloned().collect()
}
