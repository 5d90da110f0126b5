//! The store's transactions, and the job's own row.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definitions::{self, DefinitionChanges};
use super::file::{StateFile, damaged, failed};
use crate::mysql::position::Position;
use crate::{Error, Result};

pub struct Store {
    pub(super) connection: Mutex<Connection>,
    pub(super) file: StateFile,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The target's tables are being made.
    Schema,
    /// Rows are being copied.
    Full,
    /// The binlog is followed.
    Incremental,
    /// A `startup: full` job that has copied everything.
    Done,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Schema => "schema",
            Stage::Full => "full",
            Stage::Incremental => "incremental",
            Stage::Done => "done",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Stage::Schema, Stage::Full, Stage::Incremental, Stage::Done].into_iter().find(|stage| stage.as_str() == text)
    }
}

/// What a job was begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    /// Drawn when the state was begun; part of every label.
    pub run_id: String,
    /// Which server its positions belong to.
    pub server: String,
    pub stage: Stage,
    /// Where the incremental stage begins.
    pub start: Position,
}

impl Store {
    /// The job as it was begun; `None` before `begin`.
    pub fn identity(&self) -> Result<Option<Identity>> {
        self.with(|connection| {
            connection
                .query_row("SELECT name, run_id, server, stage, start FROM job", [], |row| {
                    let text = |at: usize| row.get::<_, String>(at);
                    Ok((text(0)?, text(1)?, text(2)?, text(3)?, text(4)?))
                })
                .optional()
        })?
        .map(|(name, run_id, server, stage, start)| {
            let stage = Stage::parse(&stage).ok_or_else(|| self.corrupt("job.stage"))?;
            Ok(Identity { name, run_id, server, stage, start: self.parse("job.start", &start)? })
        })
        .transpose()
    }

    /// Records the job, its tables and the position that was read before any of their rows.
    pub fn begin(&self, identity: &Identity, definitions: &DefinitionChanges) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT INTO job (id, name, run_id, server, stage, start) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                (&identity.name, &identity.run_id, &identity.server, identity.stage.as_str(), json(&identity.start)?),
            )?;
            definitions::change(transaction, &identity.start, definitions)
        })
    }

    pub fn set_stage(&self, stage: Stage) -> Result<()> {
        self.transaction(|transaction| transaction.execute("UPDATE job SET stage = ?1", [stage.as_str()]).map(drop))
    }

    /// Enters the stage with these changes of definitions, which hold from `at` on.
    pub fn enter(&self, stage: Stage, changes: &DefinitionChanges, at: &Position) -> Result<()> {
        self.transaction(|transaction| {
            definitions::change(transaction, at, changes)?;
            transaction.execute("UPDATE job SET stage = ?1", [stage.as_str()]).map(drop)
        })
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.lock()).map_err(|error| failed(self.file.path(), error))
    }

    /// A transaction that is on the disk when this returns, with all before it.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.run(&mut self.lock(), work)
    }

    /// As [`Store::transaction`], for what may be lost when the machine loses its power, because a restart does it again: the
    /// disk is not waited for. It is there with the next transaction that is waited for, since they lie in one log, in order.
    pub(super) fn lazy_transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let waits = |connection: &Connection, mode: &str| {
            let set = connection.pragma_update(None, "synchronous", mode);
            set.map_err(|error| failed(self.file.path(), error))
        };
        waits(&connection, "NORMAL")?;
        let value = self.run(&mut connection, work);
        waits(&connection, "FULL")?;
        value
    }

    fn run<T>(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let run = || {
            // Immediate: a second writer (`towpath dead-letters` beside a running job) then waits for its turn.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let value = run().map_err(|error| failed(self.file.path(), error))?;
        self.file.still_there(connection)?;
        Ok(value)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| self.corrupt(what).caused_by(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn corrupt(&self, what: &str) -> Error {
        damaged(self.file.path(), format!("{what} cannot be read"))
    }
}

/// Serializes for a text column.
pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Checkpoint, LetterChanges, PreparedChanges};

    fn position(offset: u64) -> Position {
        Position { file: "binlog.000001".into(), offset, gtids: None }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::read(folder.path(), "shop").unwrap().is_none());
        let identity = Identity {
            name: "shop".into(),
            run_id: "00c0ffee".into(),
            server: "uuid".into(),
            stage: Stage::Schema,
            start: position(4),
        };
        let checkpoint = Checkpoint { epoch: 7, ..Checkpoint::at(position(100)) };
        {
            let store = Store::open(folder.path(), "shop").unwrap();
            store.begin(&identity, &DefinitionChanges::default()).unwrap();
            store.set_stage(Stage::Incremental).unwrap();
            store.close_epoch(&checkpoint, &LetterChanges::default(), &PreparedChanges::default()).unwrap();
        }
        let store = Store::read(folder.path(), "shop").unwrap().unwrap();
        assert_eq!(store.identity().unwrap(), Some(Identity { stage: Stage::Incremental, ..identity }));
        assert_eq!(store.checkpoint().unwrap(), Some(checkpoint));
        assert!(store.set_stage(Stage::Done).is_err(), "who only looks cannot write");
    }
}
