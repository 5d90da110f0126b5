//! How far the full copy got: a record a table and a chunk.
//!
//! A copied table stays *unsettled* until the stream has passed the place behind which the copy has read nothing: up to
//! there the table's rows may have been read with another definition than the stream has at the moment.
//!
//! What a chunk's record says is not waited for to reach the disk: should a power failure take the last of them, the chunk is
//! planned, or read, once more, and the same keys are written again. Only the label of a load is there before the load is sent
//! ([`Store::open_load`]), and with it all that was recorded before.

use std::collections::HashMap;

use rusqlite::Transaction;

use super::store::json;
use super::{LetterChanges, LoadName, Store, checkpoint};
use crate::Result;
use crate::mysql::position::Position;
use crate::mysql::snapshot::Chunk;
use crate::schema::TableName;

/// A chunk that was planned; with `rows` once all of them are in the target.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkRecord {
    pub chunk: Chunk,
    pub rows: Option<u64>,
}

/// All of a chunk is in.
#[derive(Debug, Clone, Copy)]
pub struct ChunkDone<'a> {
    pub table: &'a TableName,
    pub number: u64,
    pub rows: u64,
    /// It was the last one of its table, of which nothing was read behind this place.
    pub read_until: Option<&'a Position>,
}

/// One table's share of the full copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableProgress {
    pub table: TableName,
    /// The source's own estimate of the table's rows when the copy began.
    pub estimated: u64,
    /// Every chunk of the table is known.
    pub planned: bool,
    pub chunks: u64,
    pub chunks_done: u64,
    pub rows_done: u64,
    /// Why the full copy has ended before the table's end: the table has changed meanwhile.
    pub given_up: Option<String>,
}

impl TableProgress {
    /// Nothing of it is left to the full copy.
    pub fn done(&self) -> bool {
        self.given_up.is_some() || self.planned && self.chunks == self.chunks_done
    }
}

impl Store {
    /// Puts the tables on the list of those to copy. Tables on it already stay as they are.
    pub fn add_snapshot_tables(&self, tables: &[(TableName, u64)]) -> Result<()> {
        self.transaction(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO snapshot_table (database, name, estimated, planned) VALUES (?1, ?2, ?3, 0)",
            )?;
            tables.iter().try_for_each(|(table, estimated)| {
                insert.execute((&table.database, &table.table, *estimated as i64)).map(|_| ())
            })
        })
    }

    pub fn snapshot_tables(&self) -> Result<Vec<TableProgress>> {
        self.with(|connection| {
            connection
                .prepare(
                    "SELECT t.database, t.name, t.estimated, t.planned,
                            count(c.number), count(c.rows), coalesce(sum(c.rows), 0), t.given_up
                     FROM snapshot_table t LEFT JOIN snapshot_chunk c USING (database, name)
                     GROUP BY t.database, t.name ORDER BY t.database, t.name",
                )?
                .query_map([], |row| {
                    let count = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
                    Ok(TableProgress {
                        table: TableName { database: row.get(0)?, table: row.get(1)? },
                        estimated: count(2)?,
                        planned: row.get(3)?,
                        chunks: count(4)?,
                        chunks_done: count(5)?,
                        rows_done: count(6)?,
                        given_up: row.get(7)?,
                    })
                })?
                .collect()
        })
    }

    pub fn chunks(&self, table: &TableName) -> Result<Vec<ChunkRecord>> {
        let found: Vec<(String, Option<i64>)> = self.with(|connection| {
            connection
                .prepare("SELECT bounds, rows FROM snapshot_chunk WHERE database = ?1 AND name = ?2 ORDER BY number")?
                .query_map((&table.database, &table.table), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let record = |(bounds, rows): &(String, Option<i64>)| {
            Ok(ChunkRecord { chunk: self.parse("snapshot_chunk.bounds", bounds)?, rows: rows.map(|rows| rows as u64) })
        };
        found.iter().map(record).collect()
    }

    /// Records a chunk, and with the last one that the table is planned.
    pub fn add_chunk(&self, chunk: &Chunk) -> Result<()> {
        self.lazy_transaction(|transaction| {
            if chunk.is_last() {
                planned(transaction, &chunk.table)?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO snapshot_chunk (database, name, number, bounds, rows) VALUES (?1, ?2, ?3, ?4, NULL)",
                )?
                .execute((&chunk.table.database, &chunk.table.table, chunk.number as i64, json(chunk)?))?;
            Ok(())
        })
    }

    /// For a table whose last chunk was recorded without it.
    pub fn table_planned(&self, table: &TableName) -> Result<()> {
        self.lazy_transaction(|transaction| planned(transaction, table))
    }

    /// A load of the copy is in: forgets it, with what it changes about dead letters and, if it was the last one, that its
    /// chunk is done.
    pub fn load_of_copy_is_in(
        &self,
        loads: &[LoadName],
        letters: &LetterChanges,
        done: Option<&ChunkDone<'_>>,
    ) -> Result<()> {
        self.lazy_transaction(|transaction| {
            checkpoint::forget(transaction, loads, letters)?;
            let Some(ChunkDone { table, number, rows, read_until }) = done else { return Ok(()) };
            let sql = "UPDATE snapshot_chunk SET rows = ?4 WHERE database = ?1 AND name = ?2 AND number = ?3";
            transaction.prepare_cached(sql)?.execute((&table.database, &table.table, *number as i64, *rows as i64))?;
            if let Some(until) = read_until {
                self::read_until(transaction, [*table], until)?;
            }
            Ok(())
        })
    }

    /// All that was read of these tables lies before `until`. A place that is known already stays.
    pub fn read_until(&self, tables: &[TableName], until: &Position) -> Result<()> {
        self.transaction(|transaction| read_until(transaction, tables, until))
    }

    /// For each unsettled table the place before which all was read.
    pub fn unsettled(&self) -> Result<HashMap<TableName, Position>> {
        let found: Vec<(TableName, String)> = self.with(|connection| {
            connection
                .prepare("SELECT database, name, read_until FROM snapshot_table WHERE read_until IS NOT NULL")?
                .query_map([], |row| Ok((TableName { database: row.get(0)?, table: row.get(1)? }, row.get(2)?)))?
                .collect()
        })?;
        let parsed = found.into_iter().map(|(table, at)| Ok((table, self.parse("snapshot_table.read_until", &at)?)));
        parsed.collect()
    }

    /// The full copy leaves the table as it is: it has changed.
    pub fn give_up_table(&self, table: &TableName, reason: &str) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "UPDATE snapshot_table SET given_up = ?3 WHERE database = ?1 AND name = ?2";
            transaction.execute(sql, (&table.database, &table.table, reason)).map(drop)
        })
    }
}

fn planned(transaction: &Transaction<'_>, table: &TableName) -> rusqlite::Result<()> {
    let sql = "UPDATE snapshot_table SET planned = 1 WHERE database = ?1 AND name = ?2 AND planned = 0";
    transaction.prepare_cached(sql)?.execute((&table.database, &table.table)).map(drop)
}

fn read_until<'a>(
    transaction: &Transaction<'_>,
    tables: impl IntoIterator<Item = &'a TableName>,
    until: &Position,
) -> rusqlite::Result<()> {
    let sql = "UPDATE snapshot_table SET read_until = ?3 WHERE database = ?1 AND name = ?2 AND read_until IS NULL";
    let mut update = transaction.prepare_cached(sql)?;
    let until = json(until)?;
    tables.into_iter().try_for_each(|table| update.execute((&table.database, &table.table, &until)).map(drop))
}

/// The tables are settled: what changes them from here on is told by the stream alone.
pub(super) fn settle(transaction: &Transaction<'_>, tables: &[TableName]) -> rusqlite::Result<()> {
    let sql = "UPDATE snapshot_table SET read_until = NULL WHERE database = ?1 AND name = ?2";
    let mut update = transaction.prepare_cached(sql)?;
    tables.iter().try_for_each(|table| update.execute((&table.database, &table.table)).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_last_load_of_a_chunk_all_is_written_that_it_decides() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let table = TableName::new("shop", "t");
        store.add_snapshot_tables(&[(table.clone(), 7)]).unwrap();
        let only = Chunk { table: table.clone(), number: 0, lower: None, upper: None };
        store.add_chunk(&only).unwrap();
        let listed = || store.snapshot_tables().unwrap().remove(0);
        assert!(listed().planned && !listed().done(), "no other chunk comes behind one without an end");

        let loads = ["a", "b"].map(|label| LoadName { database: "shop".into(), label: label.into() });
        loads.iter().for_each(|load| store.open_load(load).unwrap());
        let letters = LetterChanges::default();
        store.load_of_copy_is_in(&loads[..1], &letters, None).unwrap();
        assert_eq!((store.open_loads().unwrap().as_slice(), listed().chunks_done), (&loads[1..], 0));
        let until = Position { file: "binlog.000001".into(), offset: 9, gtids: None };
        let done = ChunkDone { table: &table, number: 0, rows: 3, read_until: Some(&until) };
        store.load_of_copy_is_in(&loads[1..], &letters, Some(&done)).unwrap();
        drop(store);
        let store = Store::open(folder.path(), "shop").unwrap();
        assert!(store.open_loads().unwrap().is_empty());
        let listed = store.snapshot_tables().unwrap().remove(0);
        assert_eq!((listed.done(), listed.rows_done), (true, 3));
        assert_eq!(store.unsettled().unwrap(), HashMap::from([(table, until)]));
    }

    #[test]
    fn the_disk_is_waited_for_again_behind_what_is_recorded_lazily() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let waits =
            || store.with(|connection| connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)));
        let full = waits().unwrap();
        let inside = store.lazy_transaction(|transaction| {
            transaction.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
        });
        assert_eq!((full, inside.unwrap(), waits().unwrap()), (2, 1, 2));
        assert!(store.lazy_transaction(|transaction| transaction.execute("no SQL", [])).is_err());
        assert_eq!(waits().unwrap(), 2);
    }
}
