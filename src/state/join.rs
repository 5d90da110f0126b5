//! Tables that are copied while the stream goes on, and those for which somebody has asked for a copy.
//!
//! A copy begins and ends in the transaction that changes the definitions ([`super::definitions`]). Between the two each
//! chunk that is in is written down, together with the end of doubt about its loads. A chunk is not written down before it
//! is read: what was read and is not in is nothing to go on from.

use rusqlite::{OptionalExtension as _, Transaction};
use serde::{Deserialize, Serialize};

use super::dead_letter::{self, LetterChanges};
use super::store::json;
use super::{LoadName, Store, row_hash};
use crate::Result;
use crate::mysql::snapshot::Chunk;
use crate::schema::TableName;

/// A table whose rows are being copied while the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The epoch at which the copy was begun: tells its loads from those of another copy of the table.
    pub number: u64,
    /// The target's table that serves until the copy takes its place; `None`: the copy has the table's own name.
    pub serves: Option<TableName>,
    /// The table that serves gets the stream's rows too.
    pub live: bool,
    /// The table is new to the job: of XA transactions that were prepared before, its rows were not kept.
    pub new: bool,
    pub reason: String,
}

/// What somebody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The job file selects the table, and did not before.
    New,
    /// A table of the job is to be copied once more.
    Again,
}

impl Asked {
    fn as_str(self) -> &'static str {
        match self {
            Asked::New => "new",
            Asked::Again => "again",
        }
    }
}

/// Brings the list of copies up to date; a copy that begins is what was asked for.
pub(super) fn change(
    transaction: &Transaction<'_>,
    joins: &[(TableName, Option<Join>)],
    asked: &[(TableName, Asked)],
) -> rusqlite::Result<()> {
    for (name, join) in joins {
        let at = (&name.database, &name.table);
        transaction.execute("DELETE FROM joining WHERE database = ?1 AND name = ?2", at)?;
        let Some(join) = join else {
            row_hash::end_copy(transaction, name)?;
            // One that was given up is no part of what was copied.
            transaction.execute(
                "DELETE FROM snapshot_chunk WHERE database = ?1 AND name = ?2 AND EXISTS
                 (SELECT 1 FROM snapshot_table t WHERE t.database = ?1 AND t.name = ?2 AND t.planned = 0)",
                at,
            )?;
            transaction.execute("DELETE FROM snapshot_table WHERE database = ?1 AND name = ?2 AND planned = 0", at)?;
            continue;
        };
        row_hash::forget_copy(transaction, name)?;
        transaction.execute("DELETE FROM snapshot_chunk WHERE database = ?1 AND name = ?2", at)?;
        transaction.execute(
            "INSERT OR REPLACE INTO snapshot_table (database, name, estimated, planned) VALUES (?1, ?2, 0, 0)",
            at,
        )?;
        transaction.execute(
            "INSERT INTO joining (database, name, copy, mark) VALUES (?1, ?2, ?3, NULL)",
            (&name.database, &name.table, json(join)?),
        )?;
        transaction.execute("DELETE FROM join_request WHERE database = ?1 AND name = ?2", at)?;
    }
    ask(transaction, asked)
}

fn ask(transaction: &Transaction<'_>, asked: &[(TableName, Asked)]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT OR IGNORE INTO join_request (database, name, kind) VALUES (?1, ?2, ?3)")?;
    asked.iter().try_for_each(|(name, kind)| insert.execute((&name.database, &name.table, kind.as_str())).map(drop))
}

fn chunk_is_in(
    transaction: &Transaction<'_>,
    chunk: &Chunk,
    rows: u64,
    loads: &[LoadName],
    letters: &LetterChanges,
) -> rusqlite::Result<()> {
    let Chunk { table, number, .. } = chunk;
    dead_letter::apply(transaction, letters)?;
    transaction
        .prepare_cached(
            "INSERT INTO snapshot_chunk (database, name, number, bounds, rows) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((&table.database, &table.table, *number as i64, json(chunk)?, rows as i64))?;
    let mut delete = transaction.prepare_cached("DELETE FROM load WHERE label = ?1")?;
    loads.iter().try_for_each(|load| delete.execute([&load.label]).map(drop))
}

impl Store {
    /// The copies under way, the oldest first.
    pub fn joins(&self) -> Result<Vec<(TableName, Join)>> {
        let rows: Vec<(TableName, String)> = self.with(|connection| {
            connection
                .prepare("SELECT database, name, copy FROM joining ORDER BY rowid")?
                .query_map([], |row| Ok((TableName { database: row.get(0)?, table: row.get(1)? }, row.get(2)?)))?
                .collect()
        })?;
        rows.into_iter().map(|(name, copy)| Ok((name, self.parse("joining.copy", &copy)?))).collect()
    }

    /// What tells the copy's table from all others of the target, written down before the first try to exchange it
    /// with the one that serves; `None`: there was no try.
    pub fn join_mark(&self, table: &TableName) -> Result<Option<String>> {
        let found = self.with(|connection| {
            let sql = "SELECT mark FROM joining WHERE database = ?1 AND name = ?2";
            connection.query_row(sql, (&table.database, &table.table), |row| row.get(0)).optional()
        })?;
        Ok(found.flatten())
    }

    pub fn mark_join(&self, table: &TableName, mark: &str) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "UPDATE joining SET mark = ?3 WHERE database = ?1 AND name = ?2";
            transaction.execute(sql, (&table.database, &table.table, mark)).map(drop)
        })
    }

    /// How many rows the source thinks the table has.
    pub fn estimate_join(&self, table: &TableName, rows: u64) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "UPDATE snapshot_table SET estimated = ?3 WHERE database = ?1 AND name = ?2";
            transaction.execute(sql, (&table.database, &table.table, rows as i64)).map(drop)
        })
    }

    /// A chunk is in: its loads are forgotten, and what they changed about dead letters holds.
    pub fn copied_chunk(&self, chunk: &Chunk, rows: u64, loads: &[LoadName], letters: &LetterChanges) -> Result<()> {
        self.transaction(|transaction| {
            if chunk.is_last() {
                transaction.execute(
                    "UPDATE snapshot_table SET planned = 1 WHERE database = ?1 AND name = ?2",
                    (&chunk.table.database, &chunk.table.table),
                )?;
            }
            chunk_is_in(transaction, chunk, rows, loads, letters)
        })
    }

    /// The same of some rows of a table without a key: a chunk without bounds, of which there are more.
    pub fn copied_part(&self, part: &Chunk, rows: u64, loads: &[LoadName], letters: &LetterChanges) -> Result<()> {
        self.transaction(|transaction| chunk_is_in(transaction, part, rows, loads, letters))
    }

    /// Asks for copies. One that was asked for already is not asked for twice.
    pub fn ask_for_copies(&self, asked: &[(TableName, Asked)]) -> Result<()> {
        self.transaction(|transaction| ask(transaction, asked))
    }

    /// What was asked for and has not begun, the oldest first.
    pub fn asked_copies(&self) -> Result<Vec<(TableName, Asked)>> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT database, name, kind FROM join_request ORDER BY rowid")?
                .query_map([], |row| {
                    let kind: String = row.get(2)?;
                    let kind = if kind == Asked::New.as_str() { Asked::New } else { Asked::Again };
                    Ok((TableName { database: row.get(0)?, table: row.get(1)? }, kind))
                })?
                .collect()
        })
    }

    /// Nothing is left to be done about it.
    pub fn forget_asked_copy(&self, table: &TableName) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "DELETE FROM join_request WHERE database = ?1 AND name = ?2";
            transaction.execute(sql, (&table.database, &table.table)).map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mysql::position::Position;
    use crate::state::DefinitionChanges;

    fn chunk(number: u64) -> Chunk {
        Chunk { table: TableName::new("shop", "t"), number, lower: None, upper: None }
    }

    #[test]
    fn a_copy_that_begins_anew_forgets_the_chunks_and_the_mark_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "shop").unwrap());
        let table = TableName::new("shop", "t");
        let at = Position { file: "binlog.000001".into(), offset: 4, gtids: None };
        let change = |join: Option<Join>| {
            let joins = vec![(table.clone(), join)];
            store.change_definitions(&DefinitionChanges { joins, ..DefinitionChanges::default() }, &at).unwrap();
        };
        let join = |number| Join { number, serves: None, live: false, new: false, reason: "asked".into() };
        store.ask_for_copies(&[(table.clone(), Asked::Again), (table.clone(), Asked::New)]).unwrap();
        assert_eq!(store.asked_copies().unwrap(), [(table.clone(), Asked::Again)]);
        change(Some(join(3)));
        assert!(store.asked_copies().unwrap().is_empty(), "what has begun is asked for no more");
        let load = LoadName { database: "shop".into(), label: "l".into() };
        store.open_load(&load).unwrap();
        store.copied_chunk(&chunk(0), 7, &[load], &LetterChanges::default()).unwrap();
        store.mark_join(&table, "10042").unwrap();
        assert_eq!((store.chunks(&table).unwrap().len(), store.open_loads().unwrap().len()), (1, 0));
        assert!(store.snapshot_tables().unwrap()[0].done());
        change(Some(join(9)));
        assert_eq!(store.joins().unwrap(), [(table.clone(), join(9))]);
        assert_eq!((store.chunks(&table).unwrap().len(), store.join_mark(&table).unwrap()), (0, None));
        change(None);
        assert!(store.joins().unwrap().is_empty() && store.snapshot_tables().unwrap().is_empty());
    }
}
