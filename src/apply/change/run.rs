//! Doing what was planned, step by step, and writing down where it stands.

use std::collections::HashMap;
use std::sync::Arc;

use super::copy::Case;
use super::plan::{Plan, Step, plan, tables};
use super::unsettled::Span;
use super::{Change, Followed, Origin};
use crate::apply::commit::Committer;
use crate::apply::flush::Epoch;
use crate::apply::join::swap::patiently;
use crate::apply::lag::Running;
use crate::config::OnImpossible;
use crate::mysql::binlog::Statement;
use crate::schema::{SchemaChange, TableName};
use crate::state::{Checkpoint, DefinitionChanges, Lag, LetterChanges, RunningChange, now_micros};
use crate::target::Target;
use crate::{Error, Result, step};

impl<T: Target> Committer<T> {
    /// Brings a statement to the target. Everything before it is in, and the checkpoint stands there.
    pub(in crate::apply) fn change(&mut self, epoch: Epoch, change: Change) -> Result<()> {
        let Change { statement, changes, reply, origin } = change;
        let asked = origin == Origin::Asked;
        if epoch.anew {
            self.changer.forget_pending();
        }
        let before = self.changer.pending.as_ref().map_or(&self.changer.followed, |(followed, _)| followed);
        let before = Arc::clone(before);
        let span = Span { begin: epoch.begin.clone(), end: epoch.end.clone() };
        let span = Some(span).filter(|_| !statement.inside && origin != Origin::Catalogue);
        let case = Case { number: self.checkpoint.epoch + 1, asked, span, ..Case::default() };
        let planned = self.planned(&before, &changes, &statement, case).map_err(|error| at(&statement, error))?;
        for warning in &planned.warnings {
            tracing::warn!("{}: {warning}", place(&statement));
        }
        step::reached("change-planned");
        let lagging = if asked { None } else { self.may_lag(&epoch, &statement, &planned) };
        let going_on = self.take_steps(&epoch, &statement, &planned.steps, lagging.is_some())?;
        if going_on.is_none() {
            step::reached("change-done");
        }

        let Plan { mut followed, counts, letters, renumbered, .. } = planned;
        let lags = going_on.zip(lagging);
        if let Some((_, (table, lag))) = &lags {
            followed.lags.insert(table.clone(), lag.clone());
        }
        let followed = Arc::new(followed);
        let mut definitions = DefinitionChanges {
            history: epoch.history.clone(),
            ends_change: true,
            counts: counts.iter().map(|(kind, outcome)| (kind.key(), *outcome)).collect(),
            letters,
            renumbered,
            ..self.changer.followed.changes(&followed)
        };
        if let Some((_, earlier)) = self.changer.pending.take() {
            definitions.history = definitions.history.or(earlier.history);
            definitions.counts.splice(0..0, earlier.counts);
            definitions.letters.splice(0..0, earlier.letters);
            definitions.renumbered.splice(0..0, earlier.renumbered);
        }
        if epoch.begin == epoch.end && origin == Origin::Log {
            // Its transaction goes on; the end of that takes the definitions with it.
            self.changer.pending = Some((Arc::clone(&followed), definitions));
            step::reached("change-waits");
        } else {
            self.close_change(epoch, &followed, &definitions)?;
        }
        for (kind, outcome) in counts {
            self.progress.metrics().schema_change(kind.key(), outcome.as_str());
            let (kind, outcome) = (kind.key(), outcome.as_str());
            tracing::info!("{}: {kind} {outcome}: {}", place(&statement), shortened(&statement.sql));
        }
        if let Some((altering, (table, lag))) = lags {
            step::reached("lag-begun");
            tracing::info!("{}: the rows of {table} wait for the target, the other tables go on", place(&statement));
            self.goes_on(&table, &lag, altering);
        }
        self.show_changing();
        // A flusher that is gone has failed by itself.
        let _ = reply.send(followed);
        Ok(())
    }

    /// The table whose rows may wait for the last step, while the others go on.
    fn may_lag(&self, epoch: &Epoch, statement: &Statement, plan: &Plan) -> Option<(TableName, Lag)> {
        // Inside a transaction the checkpoint cannot move, and with atomicTransactions all tables stand at one place.
        if epoch.begin == epoch.end || self.options.together {
            return None;
        }
        let Some(Step::Alter { before, after, was }) = plan.steps.last() else { return None };
        let mapping = plan.followed.mappings().find(|mapping| mapping.target.name == after.name)?;
        let table = &mapping.source.name;
        // A copy that begins is another table's matter, and gets the stream's rows at once.
        if mapping.twin.is_some() || plan.followed.join(table).is_some() {
            return None;
        }
        let lag = Lag {
            number: self.checkpoint.epoch + 1,
            since: epoch.end.clone(),
            statement: statement.sql.clone(),
            begun: now_micros(),
            before: before.clone(),
            after: after.clone(),
            was: was.clone(),
        };
        Some((table.clone(), lag))
    }

    fn close_change(&mut self, epoch: Epoch, followed: &Arc<Followed>, definitions: &DefinitionChanges) -> Result<()> {
        let last = &self.checkpoint;
        self.checkpoint = Checkpoint {
            epoch: last.epoch + 1,
            position: epoch.end,
            committed_at: if epoch.committed_at == 0 { last.committed_at } else { epoch.committed_at },
            saved_at: now_micros(),
            ..*last
        };
        let (letters, parked) = (LetterChanges::default(), epoch.parked);
        self.store.close_epoch_with(&self.checkpoint, &letters, &epoch.prepared, &parked.changes, Some(definitions))?;
        parked.written();
        step::reached("change-written");
        self.letters.follow(followed.mappings())?;
        self.changer.followed = Arc::clone(followed);
        self.changer.alterations.keep(followed);
        self.progress.committed(&self.checkpoint);
        Ok(())
    }

    fn planned(
        &self,
        before: &Followed,
        changes: &[SchemaChange],
        statement: &Statement,
        mut case: Case,
    ) -> Result<Plan> {
        let rules = &self.changer.rules;
        let database = |name: &TableName| rules.mapping.target_database(&name.database).to_owned();
        let come = changes.iter().flat_map(|change| match change {
            SchemaChange::Arrive(table) => vec![&table.name],
            SchemaChange::Rename(renamed) => {
                let far = renamed.iter().filter(|one| database(&one.from) != database(&one.table.name));
                far.map(|one| &one.table.name).collect()
            }
            _ => Vec::new(),
        });
        for name in come {
            let name = TableName::new(database(name), &name.table);
            let (target, patience) = (self.target.as_ref(), self.changer.patience);
            if self.unless_leaving(patiently(patience, || target.table_id(&name)))?.is_some() {
                case.taken.insert(name);
            }
        }
        let made = plan(before, changes, statement, rules, &case)?;
        let impossible = self.impossible(&made);
        if impossible.is_empty() {
            return Ok(made);
        }
        // What is copied again all the same needs no ALTER at the target.
        let stays = |table: &TableName| !before.is_in_doubt(table, &case);
        if rules.ddl.on_impossible() == OnImpossible::Error && impossible.keys().any(stays) {
            return Err(cannot(&impossible));
        }
        case.impossible = impossible;
        plan(before, changes, statement, rules, &case)
    }

    /// Tables of the source whose alteration the target cannot follow, and why.
    fn impossible(&self, plan: &Plan) -> HashMap<TableName, String> {
        let mut found: HashMap<TableName, String> = HashMap::new();
        for step in &plan.steps {
            let Step::Alter { before, after, was } = step else { continue };
            let why = self.target.cannot_alter(before, after, was);
            let source = plan
                .followed
                .mappings()
                .find(|mapping| mapping.target.name == after.name || mapping.twin.as_ref() == Some(&after.name));
            if let (Some(source), false) = (source, why.is_empty()) {
                found.insert(source.source.name.clone(), why.join("; "));
            }
        }
        found
    }

    /// Takes the steps, one after another. With `lags` the last may be given back if it goes on.
    fn take_steps(
        &self,
        epoch: &Epoch,
        statement: &Statement,
        steps: &[Step],
        lags: bool,
    ) -> Result<Option<Running<Result<()>>>> {
        if steps.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(steps)
            .map_err(|error| Error::definite("the steps of a schema change cannot be written down").caused_by(error))?;
        let begun = self
            .store
            .running_change()?
            .filter(|begun| begun.position == epoch.end && begun.statement == statement.sql && begun.steps == text);
        let begun = match begun {
            Some(begun) => begun,
            None => {
                let change = RunningChange {
                    position: epoch.end.clone(),
                    statement: statement.sql.clone(),
                    steps: text,
                    tables: tables(steps),
                    done: 0,
                    since: now_micros(),
                };
                self.store.begin_change(&change)?;
                change
            }
        };
        step::reached("change-begun");
        self.progress.changing(Some(begun.since));
        for (number, step) in steps.iter().enumerate().skip(begun.done as usize) {
            tracing::info!("{}: {step} …", place(statement));
            let is_last = number + 1 == steps.len();
            let going_on = match step {
                Step::Alter { before, after, was } if lags && is_last => self.soon(self.alter(before, after, was)),
                _ => self.unless_leaving(patiently(self.changer.patience, || self.take(step))).map(|()| None),
            };
            if let Some(going_on) = going_on.map_err(|error| at(statement, error))? {
                return Ok(Some(going_on));
            }
            step::reached("change-step-done");
            self.store.change_goes_on(number as u64 + 1)?;
            step::reached("change-step-written");
        }
        Ok(None)
    }

    async fn take(&self, step: &Step) -> Result<()> {
        match step {
            Step::Create(table) => self.target.ensure_table(table).await.map(drop),
            Step::Drop(table) => self.target.drop_table(table).await,
            Step::Truncate(table) => self.target.truncate_table(table).await,
            Step::Rename { from, to } => self.target.rename_table(from, to).await,
            Step::Alter { before, after, was } => self.target.alter_table(before, after, was).await,
        }
    }
}

fn cannot(impossible: &HashMap<TableName, String>) -> Error {
    let mut found: Vec<String> = impossible.iter().map(|(table, why)| format!("table {table}: {why}")).collect();
    found.sort();
    Error::definite(format!("the target cannot follow: {}", found.join("; "))).hint(
        "set ddl.onImpossible to `recopy` and start again: the table is copied anew beside the one that serves. Or set the \
         policy of this kind (ddl.addColumn, ddl.dropColumn, ddl.renameColumn, ddl.modifyColumn) to `ignore` or `warn`: the \
         target's table stays as it is and gets what it can hold",
    )
}

fn at(statement: &Statement, error: Error) -> Error {
    error.context(format!("{}: {}", place(statement), shortened(&statement.sql)))
}

fn place(statement: &Statement) -> String {
    format!("{}:{}", statement.place.file, statement.place.offset)
}

/// The first 300 characters of a statement.
pub(in crate::apply) fn shortened(sql: &str) -> String {
    match sql.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}
