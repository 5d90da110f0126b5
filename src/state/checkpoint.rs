//! Checkpoint and intent: the two records that make a restart exact.
//!
//! `open_epoch` writes the intent before the first byte of an epoch's loads is sent, together with the
//! labels they will have. `close_epoch` moves the checkpoint to the epoch's end and removes the intent, in
//! one transaction, after every load is known to be in. Whoever finds an intent at a start must first find
//! out what became of its labels, then read `[begin, end)` again as one epoch.
//!
//! The first waits for the disk, the second does not: what a power loss may take back of it is what a crash just before
//! it would not have written, and the next epoch's intent brings it to the disk before the first byte of that epoch
//! ([`super::file`]).

use std::ops::Add;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::OptionalExtension;

use super::Store;
use super::dead_letter::{self, LetterChanges};
use super::definitions::{self, DefinitionChanges};
use super::lag::{self, ParkedChanges};
use super::prepared::{self, PreparedChanges};
use super::row_hash;
use super::store::json;
use crate::mysql::position::Position;
use crate::{Result, step};

/// Rows read from the log, before merging.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RowCounts {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Add for RowCounts {
    type Output = RowCounts;

    fn add(self, other: RowCounts) -> RowCounts {
        RowCounts {
            inserts: self.inserts + other.inserts,
            updates: self.updates + other.updates,
            deletes: self.deletes + other.deletes,
        }
    }
}

impl RowCounts {
    pub fn total(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// Everything before `position` is in the target, but for what tables lack that lag ([`super::Lag`]): that is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the last epoch that is in; 0 before the first.
    pub epoch: u64,
    pub position: Position,
    /// The source's commit time of the last transaction, microseconds since 1970; 0 = none yet.
    pub committed_at: u64,
    /// When the checkpoint was written, microseconds since 1970 by this machine's clock.
    pub saved_at: u64,
    /// Rows read from the log since the job began.
    pub read: RowCounts,
    /// Rows sent to the target, after merging.
    pub loaded: u64,
}

impl Checkpoint {
    /// Before the first epoch.
    pub fn at(position: Position) -> Self {
        Checkpoint { epoch: 0, position, committed_at: 0, saved_at: 0, read: RowCounts::default(), loaded: 0 }
    }
}

/// An epoch whose loads may have been sent. `begin == end`: a piece of a transaction that is too large for
/// the memory budget; the checkpoint stays before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub epoch: u64,
    pub begin: Position,
    pub end: Position,
}

/// A load's label and the target database it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoadName {
    pub database: String,
    pub label: String,
}

impl Store {
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let found = self.with(|connection| {
            connection
                .query_row(
                    "SELECT epoch, position, committed_at, saved_at, inserts, updates, deletes, loaded FROM checkpoint",
                    [],
                    |row| {
                        let count = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
                        let read = RowCounts { inserts: count(4)?, updates: count(5)?, deletes: count(6)? };
                        Ok((count(0)?, row.get::<_, String>(1)?, count(2)?, count(3)?, read, count(7)?))
                    },
                )
                .optional()
        })?;
        found
            .map(|(epoch, position, committed_at, saved_at, read, loaded)| {
                let position = self.parse("checkpoint.position", &position)?;
                Ok(Checkpoint { epoch, position, committed_at, saved_at, read, loaded })
            })
            .transpose()
    }

    /// Moves the checkpoint, with what the epoch changes about dead letters and what is prepared at its end, and closes the
    /// open epoch, if there is one; in one transaction, which does not wait for the disk.
    pub fn close_epoch(
        &self,
        checkpoint: &Checkpoint,
        letters: &LetterChanges,
        prepared: &PreparedChanges,
    ) -> Result<()> {
        self.close_epoch_with(checkpoint, letters, prepared, &ParkedChanges::default(), None)
    }

    /// As [`Store::close_epoch`], with the rows that wait at its end, and with the definitions that hold from there on: the
    /// schema change that was under way is done. With those it does wait for the disk, for the target may be altered next.
    pub fn close_epoch_with(
        &self,
        checkpoint: &Checkpoint,
        letters: &LetterChanges,
        prepared: &PreparedChanges,
        parked: &ParkedChanges,
        definitions: Option<&DefinitionChanges>,
    ) -> Result<()> {
        let close = |transaction: &rusqlite::Transaction<'_>| {
            lag::park(transaction, parked)?;
            if let Some(changes) = definitions {
                definitions::change(transaction, &checkpoint.position, changes)?;
            }
            dead_letter::apply(transaction, letters)?;
            prepared::change(transaction, prepared)?;
            write(transaction, checkpoint)?;
            step::reached("checkpoint-begun");
            transaction.prepare_cached("DELETE FROM intent")?.execute([])?;
            transaction.prepare_cached("DELETE FROM load")?.execute([])?;
            Ok(())
        };
        match definitions {
            Some(_) => self.transaction(close),
            None => self.lazy_transaction(close),
        }
    }

    /// Moves the job from `before` to another place, of the server `server`. The open epoch is given up; its loads are kept, so that the
    /// next start waits for their end.
    pub fn reposition(&self, checkpoint: &Checkpoint, server: &str, before: &Position) -> Result<()> {
        self.transaction(|transaction| {
            row_hash::reposition(transaction, before)?;
            write(transaction, checkpoint)?;
            transaction.execute("DELETE FROM intent", [])?;
            transaction.execute("UPDATE job SET server = ?1", [server])?;
            Ok(())
        })
    }

    pub fn intent(&self) -> Result<Option<Intent>> {
        let found = self.with(|connection| {
            connection
                .query_row("SELECT epoch, begin_position, end_position FROM intent", [], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
                })
                .optional()
        })?;
        found
            .map(|(epoch, begin, end)| {
                let begin = self.parse("intent.begin_position", &begin)?;
                Ok(Intent { epoch, begin, end: self.parse("intent.end_position", &end)? })
            })
            .transpose()
    }

    /// Writes the intent and the labels of its loads; an earlier intent of the same epoch is replaced.
    pub fn open_epoch(&self, intent: &Intent, loads: &[LoadName]) -> Result<()> {
        self.transaction(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO intent (id, epoch, begin_position, end_position) VALUES (1, ?1, ?2, ?3)",
                )?
                .execute((intent.epoch as i64, json(&intent.begin)?, json(&intent.end)?))?;
            transaction.prepare_cached("DELETE FROM load")?.execute([])?;
            insert_loads(transaction, loads)
        })
    }

    /// Loads whose fate was not recorded, of an epoch or of the full copy.
    pub fn open_loads(&self) -> Result<Vec<LoadName>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, label FROM load")?
                .query_map([], |row| Ok(LoadName { database: row.get(0)?, label: row.get(1)? }))?
                .collect()
        })
    }

    /// Records a load of the full copy before it is sent.
    pub fn open_load(&self, load: &LoadName) -> Result<()> {
        self.transaction(|transaction| insert_loads(transaction, std::slice::from_ref(load)))
    }

    /// Records more loads, before any of them is sent.
    pub fn open_more_loads(&self, loads: &[LoadName]) -> Result<()> {
        self.transaction(|transaction| insert_loads(transaction, loads))
    }

    /// Forgets loads whose fate is known.
    pub fn forget_loads(&self, loads: &[LoadName]) -> Result<()> {
        self.forget_loads_with(loads, &LetterChanges::default())
    }

    /// As [`Store::forget_loads`], with what the loads change about dead letters, in one transaction.
    pub fn forget_loads_with(&self, loads: &[LoadName], letters: &LetterChanges) -> Result<()> {
        self.transaction(|transaction| forget(transaction, loads, letters))
    }
}

pub(super) fn forget(
    transaction: &rusqlite::Transaction<'_>,
    loads: &[LoadName],
    letters: &LetterChanges,
) -> rusqlite::Result<()> {
    dead_letter::apply(transaction, letters)?;
    let mut delete = transaction.prepare_cached("DELETE FROM load WHERE label = ?1")?;
    loads.iter().try_for_each(|load| delete.execute([&load.label]).map(|_| ()))
}

fn write(transaction: &rusqlite::Transaction<'_>, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    let numbers = [
        checkpoint.epoch,
        checkpoint.committed_at,
        checkpoint.saved_at,
        checkpoint.read.inserts,
        checkpoint.read.updates,
        checkpoint.read.deletes,
        checkpoint.loaded,
    ]
    .map(|number| number as i64);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO checkpoint
             (id, position, epoch, committed_at, saved_at, inserts, updates, deletes, loaded)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            json(&checkpoint.position)?,
            numbers[0],
            numbers[1],
            numbers[2],
            numbers[3],
            numbers[4],
            numbers[5],
            numbers[6],
        ))?;
    Ok(())
}

fn insert_loads(transaction: &rusqlite::Transaction<'_>, loads: &[LoadName]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO load (label, database) VALUES (?1, ?2)")?;
    loads.iter().try_for_each(|load| insert.execute((&load.label, &load.database)).map(|_| ()))
}

/// Microseconds since 1970 by this machine's clock.
pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_waits_for_the_disk_and_the_end_of_its_epoch_only_with_definitions() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let watch = "CREATE TEMP TABLE seen (synchronous INTEGER);
             CREATE TEMP TRIGGER opens AFTER INSERT ON intent
             BEGIN INSERT INTO seen SELECT synchronous FROM pragma_synchronous; END;
             CREATE TEMP TRIGGER closes AFTER DELETE ON intent
             BEGIN INSERT INTO seen SELECT synchronous FROM pragma_synchronous; END";
        store.with(|connection| connection.execute_batch(watch)).unwrap();
        let position = |offset| Position { file: "binlog.000001".into(), offset, gtids: None };
        let changes = DefinitionChanges::default();
        let (letters, prepared) = (LetterChanges::default(), PreparedChanges::default());
        for (epoch, definitions) in [(1, None), (2, Some(&changes)), (3, None)] {
            let intent = Intent { epoch, begin: position(epoch * 10), end: position(epoch * 10 + 10) };
            store.open_epoch(&intent, &[]).unwrap();
            let checkpoint = Checkpoint { epoch, ..Checkpoint::at(intent.end) };
            let parked = ParkedChanges::default();
            store.close_epoch_with(&checkpoint, &letters, &prepared, &parked, definitions).unwrap();
        }
        let seen: Vec<u32> = store
            .with(|connection| {
                connection
                    .prepare("SELECT synchronous FROM seen ORDER BY rowid")?
                    .query_map([], |row| row.get(0))?
                    .collect()
            })
            .unwrap();
        const NORMAL: u32 = 1;
        const FULL: u32 = 2;
        assert_eq!(seen, [FULL, NORMAL, FULL, FULL, FULL, NORMAL]);
    }
}
