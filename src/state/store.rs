//! Opening a store, and the job's own row.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema;
use crate::mysql::position::Position;
use crate::schema::Table;
use crate::{Error, Result};

pub struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Held as long as the store is open for writing.
    _lock: Option<File>,
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
    /// Opens or creates the job's store and takes its lock.
    ///
    /// # Errors
    /// Definite: another process runs the job; the folder or file cannot be used; a newer version.
    pub fn open(dir: &Path, job: &str) -> Result<Store> {
        let unusable = |error: std::io::Error| {
            Error::definite(format!("cannot use the state folder {}", dir.display()))
                .caused_by(error)
                .hint("`stateDir` in the job file must name a folder that this user may write to")
        };
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(format!("{job}.lock")))
            .map_err(unusable)?;
        take(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => Error::definite(format!("job {job} is running already"))
                .hint(format!("another process holds {}; stop it, or use another `stateDir`", dir.display())),
            TryLockError::Error(error) => unusable(error),
        })?;
        let path = dir.join(format!("{job}.db"));
        let mut connection = Connection::open(&path).map_err(|error| cannot_open(&path, error))?;
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000")
            .map_err(|error| cannot_open(&path, error))?;
        schema::migrate(&mut connection).map_err(|error| error.context(path.display()))?;
        Ok(Store { connection: Mutex::new(connection), path, _lock: Some(lock) })
    }

    /// Opens an existing store to look at; `None` when the job has none yet.
    pub fn read(dir: &Path, job: &str) -> Result<Option<Store>> {
        let path = dir.join(format!("{job}.db"));
        if !path.exists() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| cannot_open(&path, error))?;
        connection
            .execute_batch("PRAGMA busy_timeout=5000; PRAGMA query_only=ON")
            .map_err(|error| cannot_open(&path, error))?;
        Ok(Some(Store { connection: Mutex::new(connection), path, _lock: None }))
    }

    /// Opens an existing store to change what a running job does not rely on: its dead letters. Takes no lock.
    ///
    /// # Errors
    /// Definite: the store was written by another version of the program.
    pub fn amend(dir: &Path, job: &str) -> Result<Option<Store>> {
        let path = dir.join(format!("{job}.db"));
        if !path.exists() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(|error| cannot_open(&path, error))?;
        connection
            .execute_batch("PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000")
            .map_err(|error| cannot_open(&path, error))?;
        schema::check(&connection).map_err(|error| error.context(path.display()))?;
        Ok(Some(Store { connection: Mutex::new(connection), path, _lock: None }))
    }

    /// Whether a process holds the job's lock at this moment.
    pub fn is_running(dir: &Path, job: &str) -> bool {
        File::options()
            .write(true)
            .open(dir.join(format!("{job}.lock")))
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

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
    pub fn begin(&self, identity: &Identity, tables: &[Table]) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT INTO job (id, name, run_id, server, stage, start) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                (&identity.name, &identity.run_id, &identity.server, identity.stage.as_str(), json(&identity.start)?),
            )?;
            let since = json(&identity.start)?;
            for table in tables {
                transaction.execute(
                    "INSERT INTO source_table (database, name, since, definition) VALUES (?1, ?2, ?3, ?4)",
                    (&table.name.database, &table.name.table, &since, json(table)?),
                )?;
            }
            Ok(())
        })
    }

    /// The definitions the job works with.
    pub fn tables(&self) -> Result<Vec<Table>> {
        let texts: Vec<String> = self.with(|connection| {
            connection
                .prepare("SELECT definition FROM source_table ORDER BY database, name")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        texts.iter().map(|text| self.parse("source_table.definition", text)).collect()
    }

    pub fn set_stage(&self, stage: Stage) -> Result<()> {
        self.with(|connection| connection.execute("UPDATE job SET stage = ?1", [stage.as_str()]))?;
        Ok(())
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.lock()).map_err(|error| self.failed(error))
    }

    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            // Immediate: a second writer (`towpath dead-letters` beside a running job) then waits for its turn.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error| self.failed(error))
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| self.corrupt(what).caused_by(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::definite(format!("state store {}: {what} cannot be read", self.path.display()))
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        Error::definite(format!("state store {}", self.path.display()))
            .caused_by(error)
            .hint("is the disk full, or the file read-only? The job goes on from its checkpoint when started again")
    }
}

/// Takes the lock. `is_running` holds it for a moment too, so one refusal means nothing.
fn take(lock: &File) -> std::result::Result<(), TryLockError> {
    for _ in 0..20 {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            taken => return taken,
        }
    }
    lock.try_lock()
}

/// Serializes for a text column.
pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn cannot_open(path: &Path, error: rusqlite::Error) -> Error {
    Error::definite(format!("cannot open the state store {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Checkpoint, LetterChanges, PreparedChanges};

    fn position(offset: u64) -> Position {
        Position { file: "binlog.000001".into(), offset, gtids: None }
    }

    #[test]
    fn a_second_process_of_the_same_job_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path(), "shop").unwrap();
        assert!(Store::is_running(folder.path(), "shop"));
        let error = Store::open(folder.path(), "shop").err().unwrap();
        assert!(error.to_string().starts_with("job shop is running already"), "{error}");
        assert!(Store::open(folder.path(), "crm").is_ok(), "another job of the same folder may run");
        drop(first);
        assert!(!Store::is_running(folder.path(), "shop"));
        assert!(Store::open(folder.path(), "shop").is_ok());
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "shop").unwrap());
        let looking = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while looking.load(std::sync::atomic::Ordering::Relaxed) {
                    Store::is_running(folder.path(), "shop");
                }
            });
            let opened: Vec<_> = (0..50).map(|_| Store::open(folder.path(), "shop").map(drop)).collect();
            looking.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(opened.iter().all(Result::is_ok), "{opened:?}");
        });
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
            store.begin(&identity, &[]).unwrap();
            store.set_stage(Stage::Incremental).unwrap();
            store.close_epoch(&checkpoint, &LetterChanges::default(), &PreparedChanges::default()).unwrap();
        }
        let store = Store::read(folder.path(), "shop").unwrap().unwrap();
        assert_eq!(store.identity().unwrap(), Some(Identity { stage: Stage::Incremental, ..identity }));
        assert_eq!(store.checkpoint().unwrap(), Some(checkpoint));
        assert!(store.set_stage(Stage::Done).is_err(), "who only looks cannot write");
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "shop").unwrap());
        let connection = Connection::open(folder.path().join("shop.db")).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let error = Store::open(folder.path(), "shop").err().unwrap();
        assert!(error.to_string().contains("the state store has version 99"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        fs::write(&file, "").unwrap();
        let error = Store::open(&file, "shop").err().unwrap();
        assert!(error.to_string().contains("stateDir"), "{error}");
    }
}
