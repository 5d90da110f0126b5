//! The inserts and deletes of a transaction's pieces so far, by hash.
//!
//! There may be as many hashes as the transaction has rows, so they are in a temporary file, of which a few megabytes are in
//! memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{Error, Result};

pub(super) struct Counts {
    /// Locked only because what has it is shared; there is one user.
    sqlite: Mutex<Connection>,
}

impl Counts {
    pub(super) fn create() -> Result<Counts> {
        // An empty name is SQLite's own temporary file, which it removes by itself.
        let sqlite = Connection::open(Path::new("")).map_err(failed)?;
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
                 CREATE TABLE counts (hash BLOB PRIMARY KEY, inserts INTEGER NOT NULL, deletes INTEGER NOT NULL)
                 WITHOUT ROWID;
                 BEGIN;",
            )
            .map_err(failed)?;
        Ok(Counts { sqlite: Mutex::new(sqlite) })
    }

    /// Inserts and deletes.
    pub(super) fn get(&self, hash: i128) -> Result<(u64, u64)> {
        let sqlite = self.sqlite();
        let mut select =
            sqlite.prepare_cached("SELECT inserts, deletes FROM counts WHERE hash = ?1").map_err(failed)?;
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|number| number as u64);
        let found = select.query_row([hash.to_be_bytes()], |row| Ok((number(row, 0)?, number(row, 1)?))).optional();
        Ok(found.map_err(failed)?.unwrap_or_default())
    }

    pub(super) fn set(&self, hash: i128, (inserts, deletes): (u64, u64)) -> Result<()> {
        let sqlite = self.sqlite();
        let mut insert = sqlite.prepare_cached("INSERT OR REPLACE INTO counts VALUES (?1, ?2, ?3)").map_err(failed)?;
        insert.execute(params![hash.to_be_bytes(), inserts as i64, deletes as i64]).map(drop).map_err(failed)
    }

    fn sqlite(&self) -> MutexGuard<'_, Connection> {
        self.sqlite.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    Error::definite("the temporary file with the counts of a transaction larger than memory cannot be used")
        .caused_by(error)
        .hint("make room in the system's folder for temporary files (TMPDIR), or raise params.totalDataInMemMb")
}
