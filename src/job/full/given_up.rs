//! A table that changes while it is copied.
//!
//! The copy reads by the definitions of the place where the stream begins, and the stream has the statements behind that
//! place. So most changes are the stream's concern, which knows by their position what the copy may have seen of them
//! ([`crate::apply::change`]). What is left for here are those that keep the copy from going on: a column that is gone, a
//! table under another name, values that the target's table was not made for. A failure that no time mends therefore has the
//! catalogue asked. If the table is another one by now, it is *given up*: the other tables are copied on, and when the log is
//! followed the table is emptied and copied beside the stream, with the definition that the stream has come to. If it is not,
//! the failure is tried once more, for the table may have been away for a moment only, and then it is the job's.
//!
//! What `startup: full` copies is followed by no stream. There each table is compared with the catalogue when all of it is in,
//! and one that has changed fails the job.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use mysql_async::Conn;

use super::Shared;
use crate::apply::join::swap::patiently;
use crate::config::{NoKeyTables, Startup};
use crate::job::Context;
use crate::mysql::connect::ServerInfo;
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;
use crate::mysql::{catalog, position};
use crate::schema::{Mapping, TableName};
use crate::state::{DefinitionChanges, Join, LetterMove, TableProgress};
use crate::target::Target;
use crate::{Error, Result, step};

/// A table that is not copied yet.
pub(super) struct Pending {
    pub(super) mapping: Arc<Mapping>,
    pub(super) table: Arc<SnapshotTable>,
    /// Chunks that are not in yet; one more while planning goes on.
    pub(super) left: AtomicU64,
    given_up: AtomicBool,
}

impl Pending {
    pub(super) fn new(mapping: &Arc<Mapping>, table: SnapshotTable) -> Pending {
        Pending {
            mapping: Arc::clone(mapping),
            table: Arc::new(table),
            left: AtomicU64::new(1),
            given_up: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &TableName {
        &self.mapping.source.name
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }
}

/// How definitions are read from the catalogue.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) server: ServerInfo,
    pub(super) no_key: NoKeyTables,
}

impl Lookup {
    /// How the table differs from what is copied; `None`: it does not.
    pub(super) async fn change(&self, connection: &mut Conn, mapping: &Mapping) -> Result<Option<String>> {
        let name = &mapping.source.name;
        Ok(match catalog::table(connection, &self.server, name, self.no_key).await {
            Ok(Some(now)) if now.reads_like(&mapping.source) => None,
            Ok(Some(_)) => Some("it has another definition than when the copy began".to_owned()),
            Ok(None) => Some("the source has no table of that name any more".to_owned()),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => Some(error.message().to_owned()),
        })
    }
}

impl Shared {
    /// After a failure that no time mends. `None`: the table has changed, and is given up; else the failure.
    pub(super) fn judge(&self, pending: &Pending, error: Error) -> Result<Option<Error>> {
        if pending.is_given_up() {
            return Ok(None);
        }
        if error.is_transient() || self.leaving() {
            return Ok(Some(error));
        }
        match self.ask(async |connection, lookup| lookup.change(connection, &pending.mapping).await)? {
            Some(Some(change)) => self.give_up(pending, &change, &error.to_string()).map(|()| None),
            Some(None) | None => Ok(Some(error)),
        }
    }

    fn give_up(&self, pending: &Pending, change: &str, found: &str) -> Result<()> {
        if pending.given_up.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        tracing::warn!(table = %pending.name(), change, found, "it has changed while it was copied, and is left to the stream");
        self.store.give_up_table(pending.name(), change)?;
        step::reached("table-given-up");
        Ok(())
    }

    /// Where the log is now that all of the table is read. `None`: the end of the whole copy counts.
    pub(super) fn read_to(&self, pending: &Pending) -> Result<Option<Position>> {
        if !self.follows || pending.is_given_up() {
            return Ok(None);
        }
        self.ask(async |connection, _| position::current(connection, self.flavor).await)
    }

    /// All of a table is in. `placed`: what [`Shared::read_to`] has told is written down.
    pub(super) fn table_is_in(&self, pending: &Pending, placed: bool) -> Result<()> {
        if pending.is_given_up() {
            return Ok(());
        }
        if self.follows {
            if !placed && let Some(until) = self.read_to(pending)? {
                self.store.read_until(std::slice::from_ref(pending.name()), &until)?;
            }
        } else if let Some(Some(change)) =
            self.ask(async |connection, lookup| lookup.change(connection, &pending.mapping).await)?
        {
            return self.give_up(pending, &change, "a comparison with the catalogue");
        }
        tracing::info!(table = %pending.name(), "copied");
        self.progress.full_table_done();
        Ok(())
    }

    /// Asks the source something, again and again while the failure is a passing one. `None`: leaving.
    fn ask<R>(&self, mut question: impl AsyncFnMut(&mut Conn, &Lookup) -> Result<R>) -> Result<Option<R>> {
        let mut pauses = self.patience.pauses();
        loop {
            let kept = self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => match self.connected(async || self.connect.sql(Some(&self.start)).await)? {
                    Some(connection) => connection,
                    None => return Ok(None),
                },
            };
            match self.wait_for(question(&mut connection, &self.lookup)) {
                Ok(answer) => {
                    self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                    return Ok(Some(answer));
                }
                Err(error) if self.again(&error, &mut pauses) => {}
                Err(error) => return self.unless_leaving(error),
            }
        }
    }
}

/// What the stream takes over from the copy, with the stage that follows: the tables that were given up, each empty and to
/// be copied beside the stream from its first place on.
pub(in crate::job) async fn hand_over<T: Target>(context: &Context<'_, T>) -> Result<DefinitionChanges> {
    let Context { job, store, target, prepared, .. } = context;
    let mut changes = DefinitionChanges::default();
    let tables = store.snapshot_tables()?;
    let given_up: Vec<(&TableProgress, &str)> =
        tables.iter().filter_map(|table| Some((table, table.given_up.as_deref()?))).collect();
    let listed =
        || given_up.iter().map(|(table, why)| format!("{}: {why}", table.table)).collect::<Vec<_>>().join("; ");
    if job.source.startup == Startup::Full && !given_up.is_empty() {
        return Err(Error::definite(format!("tables have changed while they were copied: {}", listed())).hint(
            "begin a new job (another `name`) with empty target tables; with startup: initial changes are followed",
        ));
    }
    for (table, why) in given_up {
        let Some(mapping) = prepared.mappings.iter().find(|mapping| mapping.source.name == table.table) else {
            continue;
        };
        patiently(context.patience(), || target.truncate_table(&mapping.target.name)).await?;
        step::reached("given-up-emptied");
        changes.letters.push(LetterMove::Emptied(mapping.target.name.clone()));
        let reason = format!("it changed while it was copied: {why}");
        let join = Join { number: 0, serves: None, live: false, new: false, reason };
        changes.joins.push((table.table.clone(), Some(join)));
    }
    Ok(changes)
}
