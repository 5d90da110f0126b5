//! Tables without a key (`noKeyTables: rowHash`): how their copies are numbered, and from where the log counts for them.
//!
//! [`crate::apply::row_hash`] says what for.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Transaction};

use super::Store;
use super::store::json;
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::TableName;

/// The numbers of one table's rows at the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Where the epoch began whose rows were numbered last.
    pub begin: Option<Position>,
    /// The first number of that epoch's new rows.
    pub base: i64,
    /// The first that no row has had yet.
    pub next: i64,
    /// Pieces of a transaction have gone out whose end has not.
    pub open: bool,
}

/// A row that a delete of an epoch removes: one of those that were in the target before the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victim {
    pub hash: i128,
    /// 0 for the first delete of this hash that finds no row of its own epoch, and so on.
    pub ordinal: u64,
    pub copy: i64,
}

/// What is written down of one table before an epoch's loads are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// At the source.
    pub table: TableName,
    pub numbering: Numbering,
    /// Victims of earlier epochs are forgotten.
    pub anew: bool,
    pub victims: Vec<Victim>,
}

impl Store {
    pub fn numbering(&self, table: &TableName) -> Result<Numbering> {
        let found = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT begin_position, base, next, open FROM row_hash_table WHERE database = ?1 AND name = ?2",
                )?
                .query_row((&table.database, &table.table), |row| {
                    Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()
        })?;
        let Some((begin, base, next, open)) = found else { return Ok(Numbering::default()) };
        let begin = begin.map(|begin| self.parse("row_hash_table.begin_position", &begin)).transpose()?;
        Ok(Numbering { begin, base, next, open })
    }

    /// Tables of which pieces of a transaction have gone out and not its end.
    pub fn open_numberings(&self) -> Result<Vec<TableName>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, name FROM row_hash_table WHERE open = 1")?
                .query_map([], |row| Ok(TableName { database: row.get(0)?, table: row.get(1)? }))?
                .collect()
        })
    }

    pub fn number(&self, tables: &[Numbered]) -> Result<()> {
        self.transaction(|transaction| tables.iter().try_for_each(|table| write(transaction, table)))
    }

    /// The victims of these hashes, by hash, in the order of their ordinals.
    pub fn victims(
        &self,
        table: &TableName,
        hashes: impl IntoIterator<Item = i128>,
    ) -> Result<HashMap<i128, Vec<i64>>> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT copy FROM row_hash_victim WHERE database = ?1 AND name = ?2 AND hash = ?3 ORDER BY ordinal",
            )?;
            let mut found = HashMap::new();
            for hash in hashes {
                let copies = select
                    .query_map((&table.database, &table.table, hash.to_be_bytes()), |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<i64>>>()?;
                if !copies.is_empty() {
                    found.insert(hash, copies);
                }
            }
            Ok(found)
        })
    }

    /// How often the copy of a table was begun.
    pub fn whole_copies_begun(&self, table: &TableName) -> Result<u64> {
        let found = self.with(|connection| {
            connection
                .query_row(
                    "SELECT attempts FROM row_hash_table WHERE database = ?1 AND name = ?2",
                    (&table.database, &table.table),
                    |row| row.get::<_, i64>(0),
                )
                .optional()
        })?;
        Ok(found.unwrap_or(0) as u64)
    }

    /// Begins to copy a table anew; returns how often that was begun before. To be called before anything is sent.
    /// Dead letters of the attempt before are forgotten with their rows; `target` is the table's name there.
    pub fn begin_whole_copy(&self, table: &TableName, target: &TableName) -> Result<u64> {
        self.transaction(|transaction| {
            transaction.execute(
                "DELETE FROM dead_letter WHERE database = ?1 AND name = ?2",
                (&target.database, &target.table),
            )?;
            transaction.execute(
                "INSERT INTO row_hash_table (database, name, attempts) VALUES (?1, ?2, 1)
                 ON CONFLICT (database, name) DO UPDATE SET attempts = attempts + 1, copied_at = NULL",
                (&table.database, &table.table),
            )?;
            transaction.query_row(
                "SELECT attempts - 1 FROM row_hash_table WHERE database = ?1 AND name = ?2",
                (&table.database, &table.table),
                |row| row.get::<_, i64>(0).map(|attempts| attempts as u64),
            )
        })
    }

    /// The copy under way shows the table as it was at this place, and has given its rows the numbers from 0 up to `next`.
    pub fn whole_copy_read(&self, table: &TableName, at: &Position, next: i64) -> Result<()> {
        self.transaction(|transaction| {
            transaction
                .execute(
                    "UPDATE row_hash_table SET copied_at = ?3, next = ?4, begin_position = NULL, base = 0, open = 0
                     WHERE database = ?1 AND name = ?2",
                    (&table.database, &table.table, json(at)?, next),
                )
                .map(drop)
        })
    }

    /// The places up to which the log's rows are in already.
    pub fn copied_at(&self) -> Result<HashMap<TableName, Position>> {
        let found: Vec<(TableName, String)> = self.with(|connection| {
            connection
                .prepare("SELECT database, name, copied_at FROM row_hash_table WHERE copied_at IS NOT NULL")?
                .query_map([], |row| Ok((TableName { database: row.get(0)?, table: row.get(1)? }, row.get(2)?)))?
                .collect()
        })?;
        let parsed = found.into_iter().map(|(table, at)| Ok((table, self.parse("row_hash_table.copied_at", &at)?)));
        parsed.collect()
    }

    pub fn has_numberings(&self) -> Result<bool> {
        self.with(|connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM row_hash_table)", [], |row| row.get(0))
        })
    }

    /// Tables that match and are left out, for whoever asks how the job stands.
    pub fn set_left_out(&self, tables: &[TableName]) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("DELETE FROM left_out", [])?;
            let mut insert = transaction.prepare("INSERT INTO left_out (database, name) VALUES (?1, ?2)")?;
            tables.iter().try_for_each(|table| insert.execute((&table.database, &table.table)).map(drop))
        })
    }

    pub fn left_out(&self) -> Result<Vec<TableName>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, name FROM left_out ORDER BY database, name")?
                .query_map([], |row| Ok(TableName { database: row.get(0)?, table: row.get(1)? }))?
                .collect()
        })
    }

    /// What the job decides about values, which is a part of every hash. The first call writes it down; returns what is
    /// written.
    pub fn hashed_with(&self, values: &str) -> Result<String> {
        self.transaction(|transaction| {
            transaction.execute("INSERT OR IGNORE INTO row_hash_form (id, form) VALUES (1, ?1)", [values])?;
            transaction.query_row("SELECT form FROM row_hash_form", [], |row| row.get(0))
        })
    }
}

/// The job is moved: what lies before `at` is in, and comes again only for tables with keys.
pub(super) fn reposition(transaction: &Transaction<'_>, at: &Position) -> rusqlite::Result<()> {
    let tables: Vec<(String, String, Option<String>)> = transaction
        .prepare("SELECT database, name, copied_at FROM row_hash_table")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (database, name, copied_at) in tables {
        let copied_at = copied_at.and_then(|text| serde_json::from_str::<Position>(&text).ok());
        // A copy may be ahead of the job.
        let later = copied_at.filter(|copied_at| copied_at.reached(at));
        transaction.execute(
            "UPDATE row_hash_table SET copied_at = ?3, begin_position = NULL, open = 0 WHERE database = ?1 AND name = ?2",
            (database, name, json(later.as_ref().unwrap_or(at))?),
        )?;
    }
    Ok(())
}

fn write(transaction: &Transaction<'_>, table: &Numbered) -> rusqlite::Result<()> {
    let Numbered { table: TableName { database, table: name }, numbering, anew, victims } = table;
    transaction
        .prepare_cached(
            "INSERT INTO row_hash_table (database, name, begin_position, base, next, open) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (database, name) DO UPDATE SET begin_position = ?3, base = ?4, next = ?5, open = ?6",
        )?
        .execute((
            database,
            name,
            numbering.begin.as_ref().map(json).transpose()?,
            numbering.base,
            numbering.next,
            numbering.open,
        ))?;
    if *anew {
        transaction
            .prepare_cached("DELETE FROM row_hash_victim WHERE database = ?1 AND name = ?2")?
            .execute((database, name))?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO row_hash_victim (database, name, hash, ordinal, copy) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    victims.iter().try_for_each(|Victim { hash, ordinal, copy }| {
        insert.execute((database, name, hash.to_be_bytes(), *ordinal as i64, copy)).map(drop)
    })
}
