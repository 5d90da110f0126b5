//! How far the full copy got: a record a table and a chunk.
//!
//! A copied table stays *unsettled* until the stream has passed the place behind which the copy has read nothing: up to
//! there the table's rows may have been read with another definition than the stream has at the moment.

use std::collections::HashMap;

use super::Store;
use super::store::json;
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

    pub fn add_chunk(&self, chunk: &Chunk) -> Result<()> {
        self.transaction(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO snapshot_chunk (database, name, number, bounds, rows) VALUES (?1, ?2, ?3, ?4, NULL)",
                )?
                .execute((&chunk.table.database, &chunk.table.table, chunk.number as i64, json(chunk)?))?;
            Ok(())
        })
    }

    pub fn table_planned(&self, table: &TableName) -> Result<()> {
        self.with(|connection| {
            connection.execute(
                "UPDATE snapshot_table SET planned = 1 WHERE database = ?1 AND name = ?2",
                (&table.database, &table.table),
            )
        })?;
        Ok(())
    }

    pub fn chunk_done(&self, table: &TableName, number: u64, rows: u64) -> Result<()> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "UPDATE snapshot_chunk SET rows = ?4 WHERE database = ?1 AND name = ?2 AND number = ?3",
                )?
                .execute((&table.database, &table.table, number as i64, rows as i64))
        })?;
        Ok(())
    }

    /// All that was read of these tables lies before `until`. A place that is known already stays.
    pub fn read_until(&self, tables: &[TableName], until: &Position) -> Result<()> {
        self.transaction(|transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE snapshot_table SET read_until = ?3 WHERE database = ?1 AND name = ?2 AND read_until IS NULL",
            )?;
            let until = json(until)?;
            tables.iter().try_for_each(|table| update.execute((&table.database, &table.table, &until)).map(drop))
        })
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

/// The tables are settled: what changes them from here on is told by the stream alone.
pub(super) fn settle(transaction: &rusqlite::Transaction<'_>, tables: &[TableName]) -> rusqlite::Result<()> {
    let sql = "UPDATE snapshot_table SET read_until = NULL WHERE database = ?1 AND name = ?2";
    let mut update = transaction.prepare_cached(sql)?;
    tables.iter().try_for_each(|table| update.execute((&table.database, &table.table)).map(drop))
}
